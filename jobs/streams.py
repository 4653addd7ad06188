#!/usr/bin/env python
"""Where the data streams of runs spend their time, by worker, and which stage is slow; also while a run trains.

python jobs/streams.py out=demo/sweep

``out`` is the folder of a sweep or of jobs/train.py. Finished runs tell of their last attempt; a run that trains tells
every few seconds of its first worker, and after every validation of all.
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.telemetry.terminal import say


@dataclass
class StreamsJob:
    """``out`` is the folder where ``runs/`` lies; below ``store`` where it is relative."""

    out: str = MISSING
    store: str = ""


def main(job: StreamsJob) -> None:
    from genrescale.results.stream_stats import format_streams, read_streams

    files = place(job.store, job.out, "out")
    if not files.list("runs"):
        raise FileNotFoundError(f"{files.uri} holds no runs; out= is the folder of a sweep or of jobs/train.py")
    say(format_streams(read_streams(files)))


if __name__ == "__main__":
    run_job(StreamsJob, "streams", main, __doc__)
