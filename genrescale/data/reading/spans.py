"""Read byte spans of shards: from a memory map, by range requests, or from whole cached shards. No Ray."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from genrescale.audio import SAMPLE_BYTES
from genrescale.data.reading.shard_cache import ShardCache
from genrescale.storage.store import Store

_SHARDS_AT_ONCE = 4  # concurrent downloads into a cache


class DamagedShardError(ValueError):
    """The content of a shard does not match the manifest."""


@dataclass
class ReadStats:
    """The cost of reading some crops: seconds, bytes and retries.

    ``fetch_s`` is the wait for a bucket. The pages of a local file are loaded during ``verify_s``.
    """

    fetch_s: float = 0.0
    verify_s: float = 0.0
    copy_s: float = 0.0
    bytes_fetched: int = 0  # whole seconds that the crops touch, each verified; from the cache where there is one
    retries: int = 0  # range reads that failed and were retried


@dataclass(frozen=True)
class Span:
    """The whole seconds of a song that a crop overlaps: samples ``low`` to ``high`` of ``song``, in a shard."""

    song: int
    store: Store
    name: str
    low: int
    high: int
    offset: int  # bytes from the start of the shard

    @property
    def num_bytes(self) -> int:
        return (self.high - self.low) * SAMPLE_BYTES


@lru_cache(maxsize=256)  # each holds a file descriptor
def mapped_shard(store: Store, name: str) -> mmap.mmap:
    with store.opened(name) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_spans(spans: Sequence[Span], cache: ShardCache | None, stats: ReadStats) -> list[memoryview]:
    """Read the bytes of every span; those of a bucket are fetched concurrently."""
    places: dict[Store, list[int]] = {}
    for i, span in enumerate(spans):
        places.setdefault(span.store, []).append(i)
    bytes_of: dict[int, memoryview] = {}
    for store, indices in places.items():
        of_store = [spans[i] for i in indices]
        if store.local_path() is not None:
            data = [_mapped_bytes(span) for span in of_store]
        else:
            data = _fetched(store, of_store, cache, stats)
        bytes_of.update(zip(indices, data, strict=True))
    return [bytes_of[i] for i in range(len(spans))]


def _fetched(store: Store, spans: Sequence[Span], cache: ShardCache | None, stats: ReadStats) -> list[memoryview]:
    """Fetch spans of a bucket: by range requests, or from whole shards in the cache."""

    def count_retry(error: BaseException) -> None:
        stats.retries += 1

    try:
        if cache is None:
            ranges = [(span.name, span.offset, span.num_bytes) for span in spans]
            return store.read_ranges(ranges, count_retry)
        if absent := [name for name in {span.name: None for span in spans} if not cache.has(store, name)]:
            with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
                list(pool.map(lambda name: cache.fetch(store, name, count_retry), absent))
        return [memoryview(cache.read(store, span.name, span.offset, span.num_bytes, count_retry)) for span in spans]
    except FileNotFoundError:
        name = next((span.name for span in spans if not store.exists(span.name)), spans[0].name)
        raise DamagedShardError(_unreadable(store, name, "it does not exist")) from None


def _mapped_bytes(span: Span) -> memoryview:
    try:
        return memoryview(mapped_shard(span.store, span.name))[span.offset : span.offset + span.num_bytes]
    except (FileNotFoundError, ValueError) as error:  # mmap refuses an empty file with a ValueError
        raise DamagedShardError(_unreadable(span.store, span.name, str(error))) from None


def _unreadable(store: Store, name: str, reason: str) -> str:
    return (
        f"shard {name} of {store.uri} cannot be read ({reason}); "
        f"run jobs/verify_corpus.py corpus={store.uri}, or jobs/shard_corpus.py again"
    )
