"""A view of streams for people: where each worker's time goes, from result rows and from runs that still train.

While a run trains, its rank 0 leaves ``runs/{run_id}/streams.json``: every few seconds with its own stream as it is by
then, after every validation with those of all workers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from genrescale.results import ResultRow, read_sound_results, run_folder
from genrescale.results.typed import read_typed
from genrescale.storage.json_bytes import JSON_BYTES
from genrescale.storage.store import Store
from genrescale.telemetry.stream_stats import READ_STAGES, StreamStats

_SLOW = {
    "train": "the model: data arrives in time",
    "fetch": "the object store: more site.data_cpus read more at a time",
    "verify": "checksums: more site.data_cpus",
    "copy": "copying: more site.data_cpus",
    "deliver": "Ray, between reading and training: larger groups, or more site.data_cpus",
}


_FEW_GROUPS = 20

# a worker's line: its name and the width of its column in a terminal
COLUMNS = {"worker": 7, "clips/s": 9, "waiting": 9, "ahead": 7, "tries": 7, **dict.fromkeys((*READ_STAGES, "train"), 9)}
LEGEND = (
    "ahead: groups that are read and wait for the worker; tries: reads of the store that were repeated;",
    f"{', '.join(READ_STAGES)} (in one read task), train: clips/s of that stage alone",
)


def streams_path(run_id: str) -> str:
    return f"{run_folder(run_id)}/streams.json"


def write_streams(files: Store, run_id: str, streams: Sequence[dict[str, float]]) -> None:
    files.write_bytes(streams_path(run_id), json.dumps(list(streams)).encode())


def read_streams(files: Store) -> dict[str, list[StreamStats]]:
    """By run id, each worker's stream; of finished runs and of those that train. A run without any is left out."""
    found = {id: row.streams for id, row in read_sound_results(files)[0].items()}
    for path in files.list("runs"):
        if path.endswith("/streams.json"):
            streams = read_typed(
                list[dict[str, int | float]], files.read_bytes(path, JSON_BYTES), f"{files.uri}/{path}"
            )
            found.setdefault(path.split("/")[1], streams)
    return {id: [StreamStats.from_dict(values) for values in streams] for id, streams in found.items() if streams}


def streams_of(row: ResultRow) -> list[StreamStats]:
    """Each worker's stream in the last attempt of a finished run."""
    return [StreamStats.from_dict(values) for values in row.streams]


def slow_stage(streams: Sequence[StreamStats]) -> str:
    """What the run hangs on: the slow stage of the worker that waits longest, for which all others wait."""
    return max(streams, key=lambda stream: stream.wait_share).slow_stage()


def slow_stage_of(row: ResultRow) -> str:
    """The slow stage of a finished run; "-" where no worker told of its stream."""
    return slow_stage(streams_of(row)) if row.streams else "-"


def slow_sentence(streams: Sequence[StreamStats]) -> str:
    """The stage that is slow, and what helps."""
    if max(stream.groups for stream in streams) < _FEW_GROUPS:
        return "too few groups to say which stage is slow"
    slow = slow_stage(streams)
    return f"slow stage: {slow} ({_SLOW[slow]})"


def stream_cells(stream: StreamStats) -> list[str]:
    """A worker's line by COLUMNS. Rates are clips/s; of a stage alone "-" where it took no time."""
    stages = [stream.clips_per_s(name) for name in (*READ_STAGES, "train")]
    return [
        str(stream.rank),
        f"{stream.clips / stream.seconds if stream.seconds else 0.0:.1f}",
        f"{stream.wait_share:.1%}",
        f"{stream.queue_depth:.1f}",
        str(stream.retries),
        *(f"{rate:,.0f}" if rate else "-" for rate in stages),
    ]


def format_streams(found: dict[str, list[StreamStats]]) -> str:
    """A table with one line for each worker, and under each run's lines the stage that is slow and what helps.

    Rates are clips/s of a stage alone: of one read task, of which several run at a time, and of training.
    """
    if not found:
        return "no run has told of its stream yet: its first steps do"
    lines = [f"{'run':14}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items())]
    for id, streams in found.items():
        for stream in streams:
            cells = zip(stream_cells(stream), COLUMNS.values(), strict=True)
            lines.append(f"{id:14}" + "".join(f"{cell:>{width}}" for cell, width in cells))
        lines.append(f"{'':14}{slow_sentence(streams)}")
    return "\n".join([*lines, *LEGEND])
