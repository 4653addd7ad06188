"""Streams that fail: ``python -m helpers.broken_streams poison|flip FILE`` writes after what time, and the error.

A script, because threads of Ray Data that a failed stream leaves behind may end the process whose Ray is gone.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray
from helpers.small_corpus import flip
from helpers.traces import CROP, plan_of, ten_thousand_songs, train_items
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.exceptions import RayError

from genrescale.data.reading.plan import ScorePlan
from genrescale.data.reading.source import StreamSource
from genrescale.data.stream import GroupStream
from genrescale.launch.cluster import connect

FLIPPED_SONG = 4_321


class Poison:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple:
        return os._exit, (1,)


def main(kind: str, failed: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, connect(num_cpus=2):
        table = ten_thousand_songs(Path(folder))
        if kind == "flip":
            shard = table.shard_names[table.shard_N[FLIPPED_SONG]]
            flip(Path(folder) / shard, int(table.offset_N[FLIPPED_SONG]) + 100)
        plan = plan_of(table.len_N, 44)
        test = ScorePlan(table.len_N[:2], CROP, "consecutive", "test")
        source = StreamSource({"train": table, "validation": table, "test": table}, plan, test)
        reference: Any = ray.put(Poison() if kind == "poison" else source)
        began = time.monotonic()
        try:
            list(GroupStream(source, reference, iter(train_items(plan, 0, 1)), 0.5))
        except RayError as error:
            failed.write_text(f"{time.monotonic() - began}\n{error}")
        for thread in threading.enumerate():
            if isinstance(thread, StreamingExecutor):
                thread.join(30)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
