"""A view of streams for people: where each worker's time goes, from result rows and from runs that still train.

While a run trains, its rank 0 leaves ``runs/{run_id}/streams.json`` after every validation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from genrescale.results import Files, ResultRow, read_results, run_folder
from genrescale.telemetry import READ_STAGES, StreamStats

_SLOW = {
    "train": "the model: data arrives in time",
    "fetch": "the object store: more site.data_cpus read more at a time",
    "verify": "checksums: more site.data_cpus",
    "copy": "copying: more site.data_cpus",
    "deliver": "Ray, between reading and training: larger groups, or more site.data_cpus",
}


def streams_path(run_id: str) -> str:
    return f"{run_folder(run_id)}/streams.json"


def write_streams(files: Files, run_id: str, streams: Sequence[dict[str, float]]) -> None:
    files.write_bytes(streams_path(run_id), json.dumps(list(streams)).encode())


def read_streams(files: Files) -> dict[str, list[StreamStats]]:
    """By run id, each worker's stream; of finished runs and of those that train. A run without any is left out."""
    found = {id: row.streams for id, row in read_results(files).items()}
    for path in files.list("runs"):
        if path.endswith("/streams.json"):
            found.setdefault(path.split("/")[1], json.loads(files.read_bytes(path)))
    return {id: [_stats(values) for values in streams] for id, streams in found.items() if streams}


def _stats(values: dict[str, float]) -> StreamStats:
    return StreamStats(**values)  # type: ignore[arg-type]  (JSON kept whole numbers whole)


def slow_stage(streams: Sequence[StreamStats]) -> str:
    """What the run hangs on: the slow stage of the worker that waits longest, for which all others wait."""
    return max(streams, key=lambda stream: stream.wait_share).slow_stage()


def slow_stage_of(row: ResultRow) -> str:
    """The slow stage of a finished run; "-" for a row from before there were streams."""
    return slow_stage([_stats(values) for values in row.streams]) if row.streams else "-"


def format_streams(found: dict[str, list[StreamStats]]) -> str:
    """A table with one line for each worker, and under each run's lines the stage that is slow and what helps.

    Rates are clips/s of a stage alone: of one read task, of which several run at a time, and of training.
    """
    if not found:
        return "no run has told of its stream yet: the first validation does"
    names = (*READ_STAGES, "train")
    lines = [
        f"{'run':14}{'worker':>7}{'clips/s':>9}{'waiting':>9}{'ahead':>7}{'tries':>7}"
        + "".join(f"{n:>9}" for n in names)
    ]
    for id, streams in found.items():
        for stream in streams:
            rate = stream.clips / stream.seconds if stream.seconds else 0.0
            stages = "".join(_cell(stream.clips_per_s(name)) for name in names)
            lines.append(
                f"{id:14}{stream.rank:7d}{rate:9.1f}{stream.wait_share:9.1%}{stream.queue_depth:7.1f}"
                f"{stream.retries:7d}{stages}"
            )
        slow = slow_stage(streams)
        lines.append(f"{'':14}slow stage: {slow} ({_SLOW[slow]})")
    lines.append("ahead: groups that are read and wait for the worker; tries: reads of the store that were repeated;")
    lines.append(f"{', '.join(READ_STAGES)} (in one read task), train: clips/s of that stage alone")
    return "\n".join(lines)


def _cell(rate: float) -> str:
    return f"{rate:9,.0f}" if rate else f"{'-':>9}"
