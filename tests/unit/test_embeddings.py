"""Embeddings: the mean over windows of what a model's head is given, kept while tagging, drawn as a map."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.job_runs import run
from helpers.small_corpus import shard_here
from PIL import Image

import genrescale.evaluation.mapping
from genrescale.audio import PCM_SCALE, Clip, Song, Tag, Vocabulary
from genrescale.config.corpus import ShardSettings
from genrescale.data.manifest import Manifest
from genrescale.evaluation.mapping import map_png
from genrescale.export import Exported, ModelSpec, export_model, load_exported
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.results.embeddings import ROWS, embedding_writer, read_embeddings
from genrescale.storage.store import Store
from genrescale.tagging.scores import tag_clip

DIALS = {"frontend_width": 0.25, "backend_filters": 16, "backend_units": 8}
RATE = 16_000
GENRES = ("blues", "disco", "metal")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    to = tmp_path_factory.mktemp("model")
    spec = ModelSpec("spectrogram", DIALS, crop_s=2.0, loss="bce")
    vocabulary = Vocabulary.of_classes(GENRES)
    export_model(
        Store(str(to)), build_model("spectrogram", 3, **DIALS), vocabulary, spec, Origin("x", "nothing", "MIT")
    )
    return to


@pytest.fixture(scope="module")
def exported(folder: Path) -> Exported:
    return load_exported(str(folder))


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, round(seconds * RATE)).astype(np.int16)


def make_corpus(folder: Path, vocabulary: Vocabulary, labels: list[dict[str, float]]) -> Manifest:
    """Songs of half a second with these labels, half of them in the test split."""
    songs = []
    for i, given in enumerate(labels):
        soundfile.write(folder / f"{i}.wav", noise(0.6, i), RATE)
        songs.append(Song(f"s{i:03d}", str(folder / f"{i}.wav"), f"artist{i}", given))
    settings = ShardSettings(val_fraction=0.1, test_fraction=0.5, songs_per_shard=64, min_s=0.1)
    return shard_here(songs, Store(str(folder / "shards")), settings=settings, vocabulary=vocabulary).manifest


def file_of(songs: list[str], embedding_ND: np.ndarray) -> bytes:
    data = io.BytesIO()
    with embedding_writer(data) as add:
        for song, embedding_D in zip(songs, embedding_ND, strict=True):
            add(song, embedding_D)
    return data.getvalue()


def test_an_embedding_is_the_heads_input_whose_output_is_the_logits(exported: Exported):
    pcm_T = noise(5.2)
    tags = tag_clip(exported, Clip("a", pcm_T), embed=True)
    assert tags.embedding_D is not None
    assert (tags.windows, tags.embedding_D.shape, tags.embedding_D.dtype) == (2, (8,), np.float32)
    wave_CT = torch.from_numpy(np.stack([pcm_T[:32_000], pcm_T[32_000:64_000]])).float() * PCM_SCALE
    with torch.inference_mode():
        mean_K = exported.model(wave_CT).mean(dim=0)
        through_the_head_K = exported.model.get_submodule("backend.output")(torch.from_numpy(tags.embedding_D))
    torch.testing.assert_close(through_the_head_K, mean_K, rtol=1e-4, atol=1e-5)
    plain = tag_clip(exported, Clip("a", pcm_T))
    assert plain.embedding_D is None
    np.testing.assert_array_equal(plain.score_K, tags.score_K)
    assert not exported.model.get_submodule("backend.output")._forward_pre_hooks


def test_files_are_embedded_while_they_are_tagged(folder: Path, exported: Exported, tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", noise(3.0), RATE)
    (tmp_path / "broken.mp3").write_bytes(b"no music at all" * 50)
    ended = run("tag", f"model={folder}", str(tmp_path), "format=json", f"embeddings={tmp_path}/new/e.parquet")
    assert (ended.returncode, len(ended.stdout.splitlines())) == (1, 1)
    songs, embedding_ND = read_embeddings((tmp_path / "new" / "e.parquet").read_bytes())
    assert songs == [f"{tmp_path}/a.wav"]
    alone_D = tag_clip(exported, Clip("a", noise(3.0)), embed=True).embedding_D
    assert alone_D is not None
    np.testing.assert_allclose(embedding_ND[0], alone_D, rtol=1e-5, atol=1e-6)


def test_a_long_file_comes_back_in_order():
    embedding_ND = np.random.default_rng(0).normal(size=(2 * ROWS + 3, 5)).astype(np.float32)
    songs = [f"song {i}" for i in range(len(embedding_ND))]
    found, values_ND = read_embeddings(file_of(songs, embedding_ND))
    assert found == songs
    np.testing.assert_array_equal(values_ND, embedding_ND)


def test_what_is_no_file_of_embeddings_is_refused():
    with pytest.raises(ValueError, match=r"no file of embeddings, as jobs/tag.py embeddings=FILE writes it"):
        read_embeddings(b"PAR1 no, it is not")
    with pytest.raises(ValueError, match="no embeddings: 0 rows"):
        read_embeddings(file_of([], np.zeros((0, 3))))


@pytest.fixture(scope="module")
def genres(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    labels = [{GENRES[i % 3]: 1.0} for i in range(60)]
    return make_corpus(tmp_path_factory.mktemp("genres"), Vocabulary.of_classes(GENRES, exclusive=True), labels)


def clusters(manifest: Manifest) -> tuple[list[str], np.ndarray]:
    """All songs of a corpus, in another order, each near its first tag."""
    tag_N = manifest.labels_NK.argmax(axis=1)
    embedding_ND = 4 * np.eye(6)[tag_N] + np.random.default_rng(0).normal(0, 0.5, (len(tag_N), 6))
    order = np.random.default_rng(1).permutation(len(tag_N))
    keys = manifest.songs["key"].to_pylist()
    return [keys[i] for i in order], embedding_ND[order]


def test_the_map_is_of_the_test_songs_each_with_its_tag(genres: Manifest, tmp_path: Path):
    data = file_of(*clusters(genres))
    (tmp_path / "e.parquet").write_bytes(data)
    ended = run("evaluate", f"out={tmp_path}", f"embeddings={tmp_path}/e.parquet", f"corpus={genres.uri}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{tmp_path}/evaluations/embeddings/map.png\n"
    with Image.open(tmp_path / "evaluations" / "embeddings" / "map.png") as picture:
        assert picture.width > 600
    embedding_ND, tag_N, names, title = drawn(data, genres)
    assert names == list(GENRES)
    assert len(tag_N) == len(genres.select("test"))
    np.testing.assert_array_equal(embedding_ND[:, :3].argmax(axis=1), tag_N)
    assert title.startswith(f"{len(tag_N)} of {len(tag_N)} test songs\n")


def drawn(data: bytes, manifest: Manifest) -> tuple[np.ndarray, np.ndarray, list[str], str]:
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(genrescale.evaluation.mapping, "embedding_png", lambda *given: seen.extend(given) or b"")
        map_png(data, manifest)
    return seen[0], seen[1], seen[2], seen[3]


def test_of_several_tags_songs_with_one_of_the_commonest_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(genrescale.evaluation.mapping, "COMMON_TAGS", 2)
    vocabulary = Vocabulary((Tag("rare"), Tag("energy", "regress"), Tag("rock"), Tag("live")))
    common = [{"rock": 1.0}, {"live": 1.0}, {"rock": 1.0, "live": 1.0}, {"rock": 1.0, "rare": 1.0}]
    manifest = make_corpus(tmp_path, vocabulary, [{**common[i % 4], "energy": 1.0} for i in range(40)])
    keys = manifest.songs["key"].to_pylist()
    rows = manifest.select("test")
    _, tag_N, names, title = drawn(file_of(keys, np.random.default_rng(0).normal(size=(len(keys), 3))), manifest)
    assert names == ["rock", "live"]
    labels_NK = manifest.labels_NK[rows][:, 2:]
    alone_N = labels_NK.sum(axis=1) == 1
    np.testing.assert_array_equal(tag_N, labels_NK[alone_N].argmax(axis=1))
    assert 0 < len(tag_N) < len(rows)
    assert f"{len(tag_N)} of {len(rows)} test songs with exactly one of the 2 most common tags" in title


def test_many_songs_are_drawn_by_lot(genres: Manifest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(genrescale.evaluation.mapping, "MAX_SONGS", 10)
    embedding_ND, tag_N, _, _ = drawn(file_of(*clusters(genres)), genres)
    assert len(tag_N) == 10
    np.testing.assert_array_equal(embedding_ND[:, :3].argmax(axis=1), tag_N)


def test_maps_that_cannot_be(genres: Manifest, tmp_path: Path):
    (tmp_path / "e.parquet").write_bytes(file_of(["/music/a.mp3"], np.zeros((1, 3))))
    arguments = (f"out={tmp_path}", f"embeddings={tmp_path}/e.parquet")
    ended = run("evaluate", *arguments, f"corpus={genres.uri}")
    assert ended.returncode == 2
    assert "none of the 1 embedded songs (/music/a.mp3, ...) is a test song" in ended.stderr
    assert "embeddings=FILE makes a map of corpus=..." in run("evaluate", *arguments).stderr
    few = genres.songs["key"].take(genres.select("test")[:3]).to_pylist()
    with pytest.raises(ValueError, match="3 of 3 test songs have exactly one of 3 tags; a map needs 4"):
        map_png(file_of(few, np.eye(3)), genres)
