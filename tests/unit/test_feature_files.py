"""Features lie beside the corpus: nothing is computed twice, and no feature of a song that was taken down stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_corpus import contents, make_corpus, make_song, shard_here
from helpers.toy_features import Looking

from genrescale.baselines.extractors import Extractor
from genrescale.baselines.log_mel import LogMelStatistics
from genrescale.baselines.tables import feature_matrix
from genrescale.data import features
from genrescale.data.features import features_path, held_songs, read_features
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.upkeep.inspect import inspect
from genrescale.data.upkeep.mix import mix_corpora
from genrescale.data.upkeep.take_down import take_down
from genrescale.data.upkeep.verify import Remedy
from genrescale.data.upkeep.verify_features import verify_features
from genrescale.inventory import deletion, find_items
from genrescale.storage.lease import writing
from genrescale.storage.names import is_ours
from genrescale.storage.store import Store

LOG_MEL = LogMelStatistics()


@pytest.fixture
def corpus(tmp_path: Path) -> Manifest:
    return make_corpus(tmp_path)


def looked_at(manifest: Manifest, rows: np.ndarray | None = None, extractor: Extractor = LOG_MEL) -> list[str]:
    """The songs whose audio was read to have the features of ``rows`` (all)."""
    look = Looking([])
    value_NF = feature_matrix(manifest, np.arange(len(manifest)) if rows is None else rows, extractor, look)
    assert np.isfinite(value_NF).all()
    return look.seen


def keys_of(manifest: Manifest) -> list[str]:
    return manifest.songs["key"].to_pylist()


def files_of(manifest: Manifest) -> list[str]:
    return sorted(path.name for path in Path(manifest.uri, "features").glob("*"))


def test_features_are_computed_once_and_are_the_songs_own(corpus: Manifest):
    assert looked_at(corpus, np.array([3, 1])) == [keys_of(corpus)[3], keys_of(corpus)[1]]
    assert sorted(looked_at(corpus)) == sorted(set(keys_of(corpus)) - {keys_of(corpus)[3], keys_of(corpus)[1]})
    assert looked_at(corpus) == []
    assert files_of(corpus) == [f"log_mel-{corpus.version}.parquet"]
    rows = np.array([5, 2, 9])
    again = feature_matrix(corpus, rows, LOG_MEL, Looking([]))
    anew = dict(Looking([])(corpus, rows, LOG_MEL))
    np.testing.assert_array_equal(again, np.stack([anew[i] for i in range(3)]))


def test_features_that_are_computed_in_another_way_are_computed_anew(corpus: Manifest):
    looked_at(corpus)
    assert len(looked_at(corpus, extractor=LogMelStatistics(definition="2"))) == len(corpus)
    assert len(looked_at(corpus)) == len(corpus)  # one file for each kind


def test_of_an_addition_only_the_new_songs_are_looked_at_and_the_old_file_goes(tmp_path: Path):
    songs = [make_song(tmp_path, i) for i in range(12)]
    out = Store(str(tmp_path / "out"))
    first = shard_here(songs[:8], out).manifest
    looked_at(first)
    second = read_manifest(shard_here(songs, out, append=True).manifest.uri)
    assert second.version != first.version
    assert sorted(looked_at(second)) == [f"s{i:02d}" for i in range(8, 12)]
    assert files_of(second) == [f"log_mel-{second.version}.parquet"]
    assert verify_features(second) == []


def test_a_song_of_the_same_key_and_other_audio_is_looked_at_again(corpus: Manifest):
    looked_at(corpus)
    path = features_path("log_mel", corpus.version)
    store = Store(corpus.uri)
    table = read_features(store, path, LOG_MEL.definition, LOG_MEL.columns)
    assert table
    key, crc32, length = table.audio[4]
    table.audio[4] = (key, crc32 ^ 1, length)
    features.write_features(store, "log_mel", corpus.version, LOG_MEL.definition, LOG_MEL.columns, table)
    (problem,) = verify_features(corpus)
    assert problem.where == path
    assert problem.remedy is Remedy.FEATURES
    assert f"the first is {key}" in problem.what
    assert looked_at(corpus) == [key]


# Takedowns


def test_a_takedown_leaves_no_features_of_the_song_in_files_of_any_version(corpus: Manifest):
    store, gone = Store(corpus.uri), keys_of(corpus)[2]
    looked_at(corpus)
    data = Path(corpus.uri, features_path("log_mel", corpus.version)).read_bytes()
    older = features_path("hand_made", "0" * 12)
    store.write_bytes(older, data)
    kept = take_down(store, [gone], "asked").manifest
    assert kept.version != corpus.version
    for path in (features_path("log_mel", corpus.version), older):
        keys = [key for key, _, _ in held_songs(store, path)]
        assert gone not in keys
        assert len(keys) == len(corpus) - 1
    assert not any(gone.encode() in data for path, data in contents(corpus.uri).items() if path.startswith("features"))
    assert verify_features(kept) == []
    assert looked_at(kept) == []  # of the songs that stay, nothing is computed again
    assert [file for file in files_of(kept) if file.startswith("log_mel")] == [f"log_mel-{kept.version}.parquet"]


def test_a_takedown_deletes_features_that_cannot_be_read(corpus: Manifest):
    path = features_path("log_mel", corpus.version)
    Store(corpus.uri).write_bytes(path, b"no table")
    (problem,) = verify_features(corpus)
    assert (problem.where, problem.remedy) == (path, Remedy.FEATURES)
    take_down(Store(corpus.uri), [keys_of(corpus)[0]], "asked")
    assert files_of(corpus) == []


def test_features_are_not_kept_that_a_takedown_overtook(corpus: Manifest, capsys: pytest.CaptureFixture[str]):
    def overtaken(*arguments: Any) -> Iterator[tuple[int, np.ndarray]]:
        found = list(Looking([])(*arguments))
        take_down(Store(corpus.uri), [keys_of(corpus)[0]], "asked")
        yield from found

    assert len(feature_matrix(corpus, np.arange(len(corpus)), LOG_MEL, overtaken)) == len(corpus)
    assert files_of(corpus) == []
    assert "has changed from version" in capsys.readouterr().err


def test_features_are_not_kept_while_another_job_writes(
    corpus: Manifest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with writing(Store(corpus.uri), "shard_corpus"):
        with monkeypatch.context() as patch:
            patch.setattr("genrescale.storage.lease._HELD", {})  # as another job would see it
            assert len(looked_at(corpus)) == len(corpus)
        assert "is being written by" in capsys.readouterr().err
    assert files_of(corpus) == []


def test_a_file_that_names_a_song_taken_down_is_a_problem(corpus: Manifest):
    looked_at(corpus)
    data = Path(corpus.uri, features_path("log_mel", corpus.version)).read_bytes()
    kept = take_down(Store(corpus.uri), [keys_of(corpus)[0]], "asked").manifest
    back = features_path("log_mel", kept.version)
    Store(corpus.uri).write_bytes(back, data)
    assert [problem.what for problem in verify_features(kept)] == [
        f"it holds 1 songs that were taken down, the first is {keys_of(corpus)[0]}"
    ]


def test_a_mix_that_is_made_again_forgets_the_songs_that_its_corpora_lost(tmp_path: Path):
    manifests = []
    for name, numbers in (("a", range(12)), ("b", range(20, 32))):
        (tmp_path / name).mkdir()
        songs = [make_song(tmp_path / name, i) for i in numbers]
        manifests.append(read_manifest(shard_here(songs, Store(str(tmp_path / name / "out"))).manifest.uri))
    out = Store(str(tmp_path / "mix"))
    mix, _ = mix_corpora(manifests, out)
    looked_at(mix)
    gone = keys_of(manifests[0])[0]
    smaller = take_down(Store(manifests[0].uri), [gone], "asked").manifest
    again, _ = mix_corpora([smaller, manifests[1]], out)
    assert gone not in [key for key, _, _ in held_songs(out, features_path("log_mel", mix.version))]
    assert looked_at(again) == []


# What else knows of the files


def test_inspection_names_the_features_of_a_song_and_verification_what_does_not_belong(corpus: Manifest):
    looked_at(corpus, np.array([0]))
    with_features, without = (list(inspect(corpus, keys_of(corpus)[i])) for i in (0, 1))
    assert f"features: features/log_mel-{corpus.version}.parquet" in with_features
    assert not any(line.startswith("features: ") for line in without)
    Path(corpus.uri, "features", "notes.txt").write_text("mine")
    assert [(p.where, p.remedy) for p in verify_features(corpus)] == [("features/notes.txt", Remedy.EXTRA)]


def test_the_inventory_counts_and_deletes_the_features_with_their_corpus_or_version(corpus: Manifest):
    store = Store(corpus.uri)
    (before,) = find_items(store)
    looked_at(corpus)
    (after,) = find_items(store)
    path = features_path("log_mel", corpus.version)
    assert after.num_bytes - before.num_bytes == store.size(path)  # type: ignore[union-attr]
    assert path in [name for names in deletion(store, "corpus").names.values() for name in names]
    kept = take_down(store, [keys_of(corpus)[0]], "asked").manifest
    looked_at(kept)
    store.write_bytes(path, store.read_bytes(features_path("log_mel", kept.version)))
    deletion(store, "version", version=corpus.version).run()
    assert files_of(kept) == [f"log_mel-{kept.version}.parquet"]


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("features/log_mel-0123456789ab.parquet", True),
        ("features/embedding-0123456789ab-0123456789ab.parquet", True),
        ("features/.log_mel-0123456789ab.parquet.0123abcd.part", True),
        ("features/../log_mel-0123456789ab.parquet", False),
        ("features/log_mel-0123456789ab.csv", False),
        ("baselines/0123456789ab/result.json", True),
        ("baselines/0123456789ab/notes.txt", False),
    ],
)
def test_only_files_of_our_names_are_ours(path: str, ours: bool):
    assert is_ours(path) == ours


def test_numbers_that_are_not_finite_are_refused_and_computed_anew(
    corpus: Manifest, capsys: pytest.CaptureFixture[str]
):
    looked_at(corpus)
    store, path = Store(corpus.uri), features_path("log_mel", corpus.version)
    table = read_features(store, path, LOG_MEL.definition, LOG_MEL.columns)
    assert table
    table.value_NF[3, 5] = np.nan
    features.write_features(store, "log_mel", corpus.version, LOG_MEL.definition, LOG_MEL.columns, table)
    assert len(looked_at(corpus)) == len(corpus)
    assert "are not 576 finite numbers each" in capsys.readouterr().err


def test_features_of_many_songs_are_written_in_parts(corpus: Manifest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features, "_ROWS", 7)
    looked_at(corpus)
    assert looked_at(corpus) == []
