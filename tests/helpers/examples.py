"""The folder that the Python examples of the documents run in."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from helpers.scored_runs import multi_label, write_scored

from genrescale.audio import Vocabulary
from genrescale.data.manifest import Manifest
from genrescale.export import ModelSpec, export_model
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.storage.store import Store

DIALS = {"frontend_width": 0.25, "backend_filters": 16, "backend_units": 8}
TAGS = ("ambient", "disco", "metal")


def make_examples(folder: Path, corpus: Manifest, audio: Path) -> Path:
    """``audio`` and ``shards`` of a corpus, ``song.mp3``, a finished run in ``sweep``, a model in ``models/mine``."""
    shutil.copytree(corpus.uri, folder / "shards")
    shutil.copytree(audio, folder / "audio")
    shutil.copyfile(sorted(audio.rglob("*.mp3"))[0], folder / "song.mp3")
    table = multi_label()
    tags = Vocabulary.of_classes([f"tag {k:02}" for k in range(table.true_NK.shape[1])])
    write_scored(Store(str(folder / "sweep")), table, tags)
    torch.manual_seed(0)
    model, spec = (
        build_model("spectrogram", len(TAGS), **DIALS),
        ModelSpec("spectrogram", DIALS, crop_s=2.0, loss="bce"),
    )
    origin = Origin("an example", "nothing", "MIT")
    export_model(Store(str(folder / "models" / "mine")), model, Vocabulary.of_classes(TAGS), spec, origin)
    return folder
