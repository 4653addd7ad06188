"""make soak: the recipe for recorded music, on the game soundtracks beside the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from genrescale.results import read_results
from genrescale.storage.store import Store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]
MAJORITY = 1 / 12


def test_both_families_tell_soundtracks_apart(shared_data: Path, tmp_path: Path):
    table = shared_data / "gamemusic/labels.csv"
    shard = [
        "jobs/shard_corpus.py",
        "corpus=table",
        f"audio={table}",
        "columns.labels=game",
        f"out={tmp_path / 'game'}",
    ]
    sharded = subprocess.run([sys.executable, *shard], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert sharded.returncode == 0, sharded.stderr
    assert "216 songs (144 train, 24 validation, 48 test)" in sharded.stdout
    assert "20 test songs are by artists of train songs; 88 songs have no artist" in sharded.stdout
    sweep = ["jobs/scale_sweep.py", "sweep=gamemusic", f"corpus={tmp_path / 'game'}", f"out={tmp_path / 'sweep'}"]
    subprocess.run([sys.executable, *sweep, "sizes=[144]", "seeds=[0]"], cwd=ROOT, check=True, timeout=900)
    rows = list(read_results(Store(str(tmp_path / "sweep"))).values())
    assert {row.model for row in rows} == {"waveform", "spectrogram"}
    for row in rows:
        print(f"{row.model}: accuracy {row.accuracy:.3f}")
        assert row.accuracy is not None
        assert row.accuracy >= 0.25 > 2 * MAJORITY
