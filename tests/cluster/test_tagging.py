"""A sharded corpus tagged through Ray Data has the scores that its songs have one by one; damage costs one song."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.job_runs import RunJob

from genrescale.audio import Clip
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.export import Exported, ModelSpec, export_model, load_exported
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.results.embeddings import read_embeddings
from genrescale.storage.store import Store
from genrescale.tagging.scores import SongTags, tag_clip

pytestmark = pytest.mark.cluster
DIALS = {"frontend_width": 0.125, "backend_filters": 8, "backend_units": 8}


@pytest.fixture(scope="module")
def exported(corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Path]:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("model")
    spec = ModelSpec("spectrogram", DIALS, crop_s=2.0, scoring="spread:4", loss="bce")
    model = build_model("spectrogram", len(corpus.vocabulary), **DIALS)
    export_model(Store(str(folder)), model, corpus.vocabulary, spec, Origin("x", "nothing", "MIT"))
    return load_exported(str(folder)), folder


def one_by_one(exported: Exported, corpus: Manifest) -> dict[str, SongTags]:
    table = SongTable.of(corpus, np.arange(len(corpus)))
    songs = {}
    for song, key in enumerate(table.keys.to_pylist()):
        pcm_T = read_crops(table, np.array([song]), np.array([0]), int(table.len_N[song]))[0]
        songs[key] = tag_clip(exported, Clip(key, pcm_T), embed=True, whole=True)
    return songs


def test_a_corpus_as_json_lines(exported: tuple[Exported, Path], corpus: Manifest, tmp_path: Path, job: RunJob):
    """One second of one song is damaged: this song is named, passed over and counted, and no other is."""
    shards = Path(shutil.copytree(corpus.uri, tmp_path / "shards"))
    hurt = 7
    tar = shards / corpus.shard_name(int(corpus.column("shard")[hurt]))
    with tar.open("r+b") as file:
        file.seek(int(corpus.column("offset")[hurt]) + 100)
        file.write(b"damage")
    settings = (str(shards), f"model={exported[1]}", "format=json", "top=3", "whole_song=true")
    ended = job("tag", *settings, f"out={tmp_path}/tags.jsonl", f"embeddings={tmp_path}/e.parquet")
    assert ended.returncode == 1, ended.stderr
    keys = corpus.songs["key"].to_pylist()
    assert f"tag: {keys[hurt]}: shard " in ended.stderr
    assert f"{len(keys) - 1} of {len(keys)} songs tagged" in ended.stderr
    rows = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()]
    assert [row["song"] for row in rows] == [key for key in keys if key != keys[hurt]]
    alone = one_by_one(exported[0], corpus)
    songs, embedding_ND = read_embeddings((tmp_path / "e.parquet").read_bytes())
    assert songs == [row["song"] for row in rows]
    np.testing.assert_allclose(
        embedding_ND, np.array([alone[song].embedding_D for song in songs]), rtol=1e-4, atol=1e-5
    )
    names = corpus.vocabulary.names
    for row in rows:
        tags = alone[row["song"]]
        assert tags.whole_K is not None
        assert (row["windows"], row["padded"]) == (4, False)
        for found in row["tags"]:
            k = names.index(found["tag"])
            assert found["score"] == pytest.approx(tags.score_K[k], abs=1e-4)
            assert found["whole_song"] == pytest.approx(tags.whole_K[k], abs=1e-4)
