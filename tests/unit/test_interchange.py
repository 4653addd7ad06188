"""Other libraries read our shards with nothing of ours: the stock webdataset library and Hugging Face datasets."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset
from webdataset.compat import WebDataset

from genrescale.audio import SPLITS
from genrescale.data.manifest import Manifest


def tars(corpus: Manifest, split: str) -> list[str]:
    return sorted(str(path) for path in Path(corpus.uri, "shards").glob(f"{split}-*.tar"))


def assert_is_the_split(corpus: Manifest, split: str, samples: Iterable[Mapping[str, Any]]) -> None:
    """Every song of the split, in its nested order, with its PCM, labels and artist. Facts are a dict or JSON bytes."""
    rows = corpus.select(split)
    samples = list(samples)
    assert [sample["__key__"] for sample in samples] == [corpus.songs["key"][row].as_py() for row in rows]
    for row, sample in zip(rows.tolist(), samples, strict=True):
        facts = sample["json"] if isinstance(sample["json"], dict) else json.loads(sample["json"])
        assert np.array_equal(corpus.vocabulary.encode(facts["labels"]), corpus.labels_NK[row])
        assert (facts["artist"], facts["split"]) == (corpus.songs["artist"][row].as_py(), split)
        song = {name: corpus.songs[name][row].as_py() for name in ("shard", "offset", "num_samples")}
        tar = Path(corpus.uri, corpus.shard_name(song["shard"])).read_bytes()
        assert sample["pcm"] == tar[song["offset"] : song["offset"] + 2 * song["num_samples"]]
        assert len(np.frombuffer(sample["pcm"], "<i2")) == facts["num_samples"] == song["num_samples"]


@pytest.mark.parametrize("split", SPLITS)
def test_webdataset_reads_every_song_of_a_split(corpus: Manifest, split: str):
    assert_is_the_split(corpus, split, WebDataset(tars(corpus, split), shardshuffle=False))


def test_webdataset_decodes_the_json_and_shuffles(corpus: Manifest):
    shuffled = WebDataset(tars(corpus, "train"), shardshuffle=False).shuffle(100, rng=random.Random(1)).decode()
    samples: Any = shuffled
    found = [sample["json"]["key"] for sample in samples]
    keys = [corpus.songs["key"][row].as_py() for row in corpus.select("train")]
    assert found != keys
    assert sorted(found) == sorted(keys)


@pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "as a table"])
def test_hugging_face_datasets_reads_every_split(corpus: Manifest, tmp_path: Path, streaming: bool):
    """Its columns are inferred from the first songs; no tag may get lost by that."""
    files = {split: tars(corpus, split) for split in SPLITS}
    found: Any = load_dataset("webdataset", data_files=files, streaming=streaming, cache_dir=str(tmp_path))
    assert set(found) == set(SPLITS)
    for split in SPLITS:
        assert_is_the_split(corpus, split, found[split])
