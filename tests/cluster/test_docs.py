"""What of the documents needs Ray: the notebook, from nothing to its figure, and the Python blocks marked ``ray``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from helpers.documents import DOCUMENTS, NOTEBOOK, blocks, notebook_source, run_python
from helpers.examples import make_examples
from PIL import Image

from genrescale.data.manifest import Manifest
from genrescale.results import read_results
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
ON_RAY = [document for document in DOCUMENTS if any(block.language == "python ray" for block in blocks(document))]


@pytest.fixture(autouse=True)
def on_the_sessions_ray(ray_cluster: None, monkeypatch: pytest.MonkeyPatch):
    """Where an example connects to Ray, it is connected already."""
    monkeypatch.setattr("genrescale.launch.cluster.connect", lambda *_, **__: nullcontext())


SMALLER = {
    "songs=320": "songs=96",
    "sizes=[24, 192]": "sizes=[24]",
    "max_steps=100, validate_every=25, plateau_steps=50": "max_steps=10, validate_every=5, plateau_steps=5",
}
"""The notebook with a tenth of its training, for ``make test``; ``make soak`` runs it as it is."""


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [(SMALLER, [24]), pytest.param({}, [24, 192], marks=pytest.mark.soak)],
    ids=["smaller", "whole"],
)
def test_the_notebook_runs_from_nothing_to_a_figure(
    changes: dict[str, str],
    sizes: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    source = notebook_source()
    for before, after in changes.items():
        assert before in source
        source = source.replace(before, after)
    exec(compile(source, NOTEBOOK.name, "exec"), {"__name__": "notebook"})
    rows = read_results(Store(str(tmp_path / "quickstart"))).values()
    expected = [(model, size) for model in ("spectrogram", "waveform") for size in sizes]
    assert sorted((row.model, row.size) for row in rows) == expected
    assert Image.open(tmp_path / "quickstart" / "figure.png").width > 500
    assert "PR-AUC" in capsys.readouterr().out


@pytest.mark.parametrize("document", ON_RAY, ids=lambda path: path.stem)
def test_examples_on_ray_run(
    document: Path, corpus: Manifest, audio_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(make_examples(tmp_path, corpus, audio_folder))
    run_python(document, ("python", "python ray"))
