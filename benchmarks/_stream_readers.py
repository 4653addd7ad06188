"""The readers that benchmarks/stream.py compares: each turns the same songs into batches of 32 random crops of 15 s.

A peer is used as its documentation does, with its fastest fitting settings: stored PCM (lhotse: WAV), a worker process
for each core, cropped before it is batched. Peers are imported where they are used: none is a dependency of ours.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _stream_songs import BATCH, CROP_LEN, SONG_LEN, SONGS_PER_SHARD, Place, module

WINDOW = 8  # shards
EPOCHS = 10_000  # a reader is stopped, it never ends


def crop(pcm: np.ndarray) -> np.ndarray:
    start = random.randrange(len(pcm) - CROP_LEN + 1)
    return pcm[start : start + CROP_LEN]


def _stream_source(place: Place, group: int, whole_shards: bool = False) -> Any:
    from genrescale.data.manifest import read_manifest
    from genrescale.data.reading.crops import SongTable
    from genrescale.data.reading.plan import RunPlan, ScorePlan, TrainPlan
    from genrescale.data.reading.samplers import Uniform, Windows
    from genrescale.data.reading.shard_cache import ShardCache
    from genrescale.data.reading.source import StreamSource

    manifest = read_manifest(place.folder("tar"))
    cache = ShardCache(tempfile.mkdtemp(dir=os.environ["BENCH_SCRATCH"]), 10**12) if whole_shards else None
    table = SongTable.of(manifest, manifest.select("train"), cache=cache)
    sampler = Windows(table.shard_N, WINDOW, group, 1) if whole_shards else Uniform(len(table))
    score = ScorePlan(table.len_N[:2], CROP_LEN, "consecutive", "validation")
    train = TrainPlan(table.len_N, 0, group, group, CROP_LEN, sampler)
    steps = EPOCHS * train.steps_per_epoch
    return StreamSource(
        {"train": table, "validation": table, "test": table}, RunPlan(train, score, steps, steps), score
    )


def floor(place: Place, cores: int) -> Iterator[torch.Tensor]:
    """A memory map, offsets known, one copy; one process."""
    from genrescale.data.reading.spans import mapped_shard

    table = _stream_source(place, BATCH).tables["train"]
    views = [memoryview(mapped_shard(Path(place.folder("tar"), name))) for name in table.shard_names]
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = rng.permutation(len(table))
        starts = rng.integers(0, SONG_LEN - CROP_LEN + 1, len(table))
        for low in range(0, len(order) - BATCH + 1, BATCH):
            wave_BT = np.empty((BATCH, CROP_LEN), np.int16)
            for clip_T, i in zip(wave_BT, order[low : low + BATCH], strict=True):
                offset = int(table.offset_N[i]) + 2 * int(starts[i])
                clip_T[:] = np.frombuffer(views[table.shard_N[i]], np.int16, CROP_LEN, offset)
            yield torch.from_numpy(wave_BT)


def ours(place: Place, cores: int) -> Iterator[torch.Tensor]:
    """The ranges of the crops, in a perfect shuffle."""
    return _ours(place, cores, _stream_source(place, BATCH))


def ours_windows(place: Place, cores: int) -> Iterator[torch.Tensor]:
    """Whole shards, a window at a time, kept on disk: as litdata and mosaicml-streaming do."""
    return _ours(place, cores, _stream_source(place, BATCH, whole_shards=True))


def _ours(place: Place, cores: int, source: Any) -> Iterator[torch.Tensor]:
    import ray

    from genrescale.data.reading.source import READ_CPUS
    from genrescale.data.stream import GroupStream
    from genrescale.launch.cluster import connect

    with connect(num_cpus=max(4, cores)):
        # one read task for each core; those that wait for a bucket may be more
        cpus = READ_CPUS * cores * (4 if place.endpoint else 1)
        for group in GroupStream(source, ray.put(source), source.plan.items(0, 1), cpus):
            if len(group) == BATCH:
                yield torch.from_numpy(group.wave_nT)


def webdataset(place: Place, cores: int) -> Iterator[torch.Tensor]:
    from torch.utils.data import DataLoader

    wds = module("webdataset")
    if place.endpoint:
        import s3fs

        def open_s3(url: str, mode: str = "rb", bufsize: int = 8192, **options: Any) -> Any:
            return s3fs.S3FileSystem().open(url, mode, block_size=1 << 24)

        module("webdataset.gopen").gopen_schemes["s3"] = open_s3

    def decode(sample: dict[str, bytes]) -> torch.Tensor:
        return torch.from_numpy(crop(np.frombuffer(sample["pcm"], np.int16)).copy())

    data = (
        wds.WebDataset(place.shards, shardshuffle=len(place.shards), seed=0, empty_check=False)
        .repeat(EPOCHS)
        .map(decode)
        .shuffle(256)
        .batched(BATCH, collation_fn=torch.stack, partial=False)
    )
    yield from DataLoader(data, batch_size=None, num_workers=cores)


class _Crops:
    """A map from a song's sample to a crop, for the peers whose datasets are subclassed."""

    def __getitem__(self, index: Any) -> torch.Tensor:
        return torch.from_numpy(crop(np.frombuffer(super().__getitem__(index)["pcm"], np.int16)).copy())  # type: ignore[misc]


def mosaicml_streaming(place: Place, cores: int) -> Iterator[torch.Tensor]:
    streaming = module("streaming")

    class Crops(_Crops, streaming.StreamingDataset): ...

    where: dict[str, Any] = {"local": place.folder("mds")}
    if place.endpoint:
        where = {"remote": place.folder("mds"), "local": tempfile.mkdtemp()}
    crops: Any = Crops
    data = crops(**where, shuffle=True, batch_size=BATCH, num_canonical_nodes=1)
    loader = streaming.StreamingDataLoader(
        data, batch_size=BATCH, num_workers=cores, drop_last=True, persistent_workers=True
    )
    for _ in range(EPOCHS):
        yield from loader


def litdata(place: Place, cores: int) -> Iterator[torch.Tensor]:
    lit = module("litdata")

    class Crops(_Crops, lit.StreamingDataset): ...

    options: dict[str, Any] = {}
    if place.endpoint:
        options["storage_options"] = {"endpoint_url": place.endpoint}
    crops: Any = Crops
    data = crops(place.folder("litdata"), shuffle=True, drop_last=True, **options)
    loader = lit.StreamingDataLoader(data, batch_size=BATCH, num_workers=cores, drop_last=True, persistent_workers=True)
    for _ in range(EPOCHS):
        yield from loader


def lhotse_shar(place: Place, cores: int) -> Iterator[torch.Tensor]:
    from torch.utils.data import DataLoader, Dataset

    lhotse, iterable = module("lhotse"), module("lhotse.dataset.iterable_dataset")

    class Crops(Dataset):
        def __getitem__(self, cuts: Any) -> torch.Tensor:
            waves = [crop((cut.load_audio()[0] * 2**15).astype(np.int16)) for cut in cuts]
            return torch.from_numpy(np.stack(waves))

    count = len(range(0, place.songs, SONGS_PER_SHARD))
    fields = {
        "cuts": [f"{place.folder('lhotse')}/cuts.{i:06d}.jsonl.gz" for i in range(count)],
        "recording": [f"{place.folder('lhotse')}/recording.{i:06d}.tar" for i in range(count)],
    }
    cuts = lhotse.CutSet.from_shar(fields, shuffle_shards=True, split_for_dataloading=True, seed=0)
    cuts = cuts.repeat().shuffle(buffer_size=256)
    sampler = module("lhotse.dataset").SimpleCutSampler(cuts, max_cuts=BATCH, shuffle=False, drop_last=True)
    yield from DataLoader(iterable.IterableDatasetWrapper(Crops(), sampler), batch_size=None, num_workers=cores)


def ray_read_webdataset(place: Place, cores: int) -> Iterator[torch.Tensor]:
    import pyarrow.fs
    import ray

    from genrescale.launch.cluster import connect

    def decode(row: dict[str, Any]) -> dict[str, np.ndarray]:
        return {"wave": crop(np.frombuffer(row["pcm"], np.int16))}

    filesystem, paths = None, place.shards
    if place.endpoint:
        filesystem = pyarrow.fs.S3FileSystem(endpoint_override=place.endpoint.removeprefix("http://"), scheme="http")
        paths = [path.removeprefix("s3://") for path in paths]
    with connect(num_cpus=max(4, cores)):
        ray.data.DataContext.get_current().enable_progress_bars = False
        data = ray.data.read_webdataset(paths, decoder=None, shuffle="files", filesystem=filesystem).map(decode)
        for _ in range(EPOCHS):
            for batch in data.iter_torch_batches(batch_size=BATCH, local_shuffle_buffer_size=256, drop_last=True):
                yield batch["wave"]


READERS: dict[str, Callable[[Place, int], Iterator[torch.Tensor]]] = {
    reader.__name__: reader
    for reader in (floor, ours, ours_windows, webdataset, mosaicml_streaming, litdata, lhotse_shar, ray_read_webdataset)
}
