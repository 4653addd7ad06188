"""What of the documents needs Ray: the notebook, from nothing to its figure, and the Python blocks marked ``ray``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.documents import DOCUMENTS, blocks, notebook_source, run_python
from helpers.examples import make_examples
from PIL import Image

from genrescale.data.manifest import Manifest
from genrescale.results import read_results
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
ON_RAY = [document for document in DOCUMENTS if any(block.language == "python ray" for block in blocks(document))]


def test_the_notebook_runs_from_nothing_to_a_figure(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "notebook.py").write_text(notebook_source())
    command = [sys.executable, "notebook.py"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = read_results(Store(str(tmp_path / "quickstart"))).values()
    assert sorted((row.model, row.size) for row in rows) == [
        *(("spectrogram", 24), ("spectrogram", 192)),
        *(("waveform", 24), ("waveform", 192)),
    ]
    assert Image.open(tmp_path / "quickstart" / "figure.png").width > 500
    assert "waveform" in ended.stdout


@pytest.mark.parametrize("document", ON_RAY, ids=lambda path: path.stem)
def test_examples_on_ray_run(
    document: Path, corpus: Manifest, audio_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(make_examples(tmp_path, corpus, audio_folder))
    run_python(document, ("python", "python ray"))
