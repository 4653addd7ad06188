"""What the driver hands to every worker of a run, and the function that it starts there.

Ray Train's controller, a process of its own, reads this module with the function: it must not import PyTorch.
"""

from __future__ import annotations

import os
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import ray.train

from genrescale.addresses import scrubbed
from genrescale.audio import Vocabulary
from genrescale.config import RunConfig, SiteConfig
from genrescale.launch.errors import error_sentence, is_unexpected
from genrescale.launch.worker_logs import last_lines, session_logs
from genrescale.results import run_folder
from genrescale.results.live import live_path, read_live
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store

if TYPE_CHECKING:
    from genrescale.data.reading.source import StreamSource


@dataclass(frozen=True, eq=False)
class WorkerJob:
    """What the driver hands to every worker of a run.

    ``class_counts_K`` are the training songs of each tag; ``source`` is in Ray's object store, for the read tasks too;
    ``launched`` is when the driver began, a time.time(). ``claim`` is the right of the job to write, checked at the
    start, before every checkpoint and before the scores.
    """

    run: RunConfig
    site: SiteConfig
    run_id: str
    vocabulary: Vocabulary
    class_counts_K: np.ndarray
    source: ray.ObjectRef[StreamSource]
    launched: float
    claim: Claim | None = None


def run_worker(config: dict[str, Any]) -> None:
    """One Ray Train worker, on the WorkerJob in ``config["job"]``: Ray Train hands over dicts only.

    What ends it is written down here, where the error is at hand: Ray Train hands on its text, cut in the middle.
    """
    job: WorkerJob = config["job"]
    began_s = time.time()
    files, path = Store(job.site.out), error_path(job.run_id)
    leads = ray.train.get_context().get_world_rank() == 0
    before = read_live(files, job.run_id) if leads else None
    for earlier in (path, trace_path(job.run_id), live_path(job.run_id)) if leads else ():  # of an earlier attempt
        if files.exists(earlier):
            files.delete(earlier)
    try:
        from genrescale.launch.worker import train_and_score

        train_and_score(job, began_s, None if before is None else before.step)
    except Exception as error:
        if not files.exists(path):  # the first is the cause: the other workers only lose their connection
            files.write_bytes(path, f"{error_sentence(error)}{_logged(files, job.run_id, error)}".encode())
        raise


def _logged(files: Store, id: str, error: Exception) -> str:
    """Where a mistake of this software is written down: its trace, and the worker's last lines; "" for others."""
    if not is_unexpected(error):
        return ""
    lines = ""
    with suppress(Exception):  # without them, the trace is worth writing all the same
        lines = last_lines(session_logs(), os.getpid())
    trace = "".join(traceback.format_exception(error))
    files.write_bytes(trace_path(id), scrubbed(f"{trace}\nThe worker's last lines:\n{lines}\n").encode())
    return f"; its log: {files.uri}/{trace_path(id)}"


def error_path(id: str) -> str:
    return f"{run_folder(id)}/error.txt"


def trace_path(id: str) -> str:
    """The trace of an unexpected error, and what its worker wrote last."""
    return f"{run_folder(id)}/error.log"


def scores_path(id: str, rank: int) -> str:
    """One worker's part of a run's score table."""
    return f"{run_folder(id)}/scores-{rank}.parquet"
