"""Songs that lie inside of Parquet files, written by Hugging Face's datasets, are those of the files they were."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Dataset, Features, Value
from helpers.formats import encoded
from helpers.small_corpus import shard_here

from genrescale.audio import Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_songs
from genrescale.data.decoding import fetch
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.in_parquet import read_song
from genrescale.data.sharding.writer import decode_song
from genrescale.storage.store import Store

KINDS = ("mp3", "flac", "ogg", "wav", "au", "m4a")
SETTINGS = ShardSettings(val_fraction=0.0, test_fraction=0.0, songs_per_shard=4, min_s=0.5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [encoded(kind, 1.0 + i / 8, folder) for i, kind in enumerate(KINDS)]


def write_dataset(folder: Path, files: list[Path], name: str = "data/train-00000-of-00001.parquet") -> None:
    """As ``push_to_hub`` leaves it: audio inside, groups of two songs."""
    rows = {
        "audio": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "genre": [i % 2 for i in range(len(files))],
    }
    plain = Features(
        {"audio": {"bytes": Value("binary"), "path": Value("string")}, "genre": ClassLabel(names=["A", "B"])}
    )
    dataset = Dataset.from_dict(rows, features=plain).cast_column("audio", Audio(decode=False))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(str(folder / name), batch_size=2)


def test_songs_inside_of_a_dataset_are_those_of_the_files(tmp_path: Path, files: list[Path]):
    write_dataset(tmp_path, files)
    table = tmp_path / "data/train-00000-of-00001.parquet"
    assert pq.ParquetFile(table).num_row_groups > 1
    songs, vocabulary = list_songs("fma_hf", str(tmp_path))
    assert vocabulary.names == ["A", "B"]
    assert [(song.path, song.split) for song in songs] == [(f"{table}#audio/{i}", "train") for i in range(len(files))]
    for song, file in zip(songs, files, strict=True):
        assert np.array_equal(decode_song(song, ShardSettings()).pcm_T, decode_pcm(file, "").pcm_T)
    result = shard_here(songs, Store(str(tmp_path / "out")), settings=SETTINGS, vocabulary=vocabulary)
    assert (len(result.manifest), result.quarantined) == (len(files), [])


def test_rows_with_bytes_and_rows_with_paths(tmp_path: Path, files: list[Path]):
    (tmp_path / "1.flac").write_bytes(files[1].read_bytes())
    audio = [{"bytes": files[0].read_bytes(), "path": None}, {"bytes": None, "path": "1.flac"}]
    pq.write_table(pa.table({"audio": pa.array(audio), "genre": ["A", "B"]}), tmp_path / "train.parquet")
    songs, _ = list_songs("fma_hf", str(tmp_path))
    assert [song.path for song in songs] == [f"{tmp_path}/train.parquet#audio/0", f"{tmp_path}/1.flac"]
    for song, file in zip(songs, files, strict=False):
        assert np.array_equal(decode_song(song, ShardSettings()).pcm_T, decode_pcm(file, "").pcm_T)
    assert songs[0].key.startswith("train_row_1-")


def test_a_row_without_bytes_and_path_is_named(tmp_path: Path):
    audio = pa.array([{"bytes": None, "path": None}], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(pa.table({"audio": audio, "genre": ["A"]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="row 1: no file is named, and the row holds no audio"):
        list_songs("fma_hf", str(tmp_path))


def test_no_more_than_a_group_of_rows_is_in_memory(tmp_path: Path):
    songs = [np.random.default_rng(i).bytes(1 << 20) for i in range(64)]
    rows = [{"bytes": data, "path": f"{i}.mp3"} for i, data in enumerate(songs)]
    pq.write_table(pa.table({"audio": pa.array(rows)}), tmp_path / "train.parquet", row_group_size=4)
    usual, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert read_song(f"{tmp_path}/train.parquet#audio/63") == songs[63]
    finally:
        pa.set_memory_pool(usual)
    assert 4 << 20 < pool.max_memory() < 12 << 20


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("none.parquet#audio/0", "the file does not exist"),
        ("train.parquet#audio/1", "it cannot be read from Parquet: "),
        ("broken.parquet#audio/0", "it cannot be read from Parquet: "),
        ("train.parquet#sound/0", "it cannot be read from Parquet: "),
        ("empty.parquet#audio/0", "the row holds no audio"),
    ],
)
def test_what_cannot_be_read_is_a_song_in_quarantine(tmp_path: Path, address: str, reason: str):
    pq.write_table(pa.table({"audio": pa.array([{"bytes": b"ID3"}])}), tmp_path / "train.parquet")
    data = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "broken.parquet").write_bytes(data[: len(data) // 2])
    nothing = pa.array([{"bytes": None}], pa.struct({"bytes": pa.binary()}))
    pq.write_table(pa.table({"audio": nothing}), tmp_path / "empty.parquet")
    with pytest.raises(DecodeError, match=f"{address}: {reason}"):
        decode_song(Song("song", f"{tmp_path}/{address}", "", {}), ShardSettings())


def test_a_dataset_in_object_storage(tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch):
    import fsspec

    monkeypatch.setattr(fetch, "BUCKETS", ("memory://",))
    write_dataset(tmp_path, files[:2], "train.parquet")
    storage = fsspec.filesystem("memory")
    storage.pipe_file("/in_parquet/train.parquet", (tmp_path / "train.parquet").read_bytes())
    try:
        songs, _ = list_songs("fma_hf", "memory://in_parquet")
        assert np.array_equal(decode_song(songs[1], ShardSettings()).pcm_T, decode_pcm(files[1], "").pcm_T)
    finally:
        storage.rm("/in_parquet", recursive=True)
