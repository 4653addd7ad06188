"""What Ray's workers wrote last: beside a trace, it often says what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LINES = 20
KEPT = "worker_lines"
"""The attribute of an exception in which ``worker_lines_kept`` leaves the lines."""
_READ = 64_000  # bytes of the end of a file
_MARKS = (":job_id:", ":actor_name:", ":task_name:")  # of Ray, for its own reader


@contextmanager
def worker_lines_kept() -> Iterator[None]:
    """Keep, with an exception, the last lines of the worker that wrote last: a private Ray's logs go with it."""
    try:
        yield
    except Exception as error:
        with suppress(Exception):  # whatever is wrong with logs, the exception matters more
            setattr(error, KEPT, last_lines(session_logs()))
        raise


def session_logs() -> Path:
    """The folder of the logs of this node's Ray."""
    from ray._private.worker import global_worker

    node: Any = global_worker.node
    return Path(node.get_logs_dir_path())


def last_lines(logs: Path, pid: int | None = None) -> str:
    """The last LINES lines of the worker that wrote last, or of that with ``pid``, with its file's name above.

    Empty if no worker wrote anything.
    """
    wrote = [path for path in logs.glob(f"worker-*-{pid or '*'}.[eo][ru][rt]") if path.stat().st_size]
    for path in sorted(wrote, key=lambda path: path.stat().st_mtime, reverse=True):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _READ))
            lines = file.read().decode(errors="replace").splitlines()
        if kept := [line for line in lines if not line.startswith(_MARKS)][-LINES:]:
            return "\n".join([f"{path.name}:", *kept])
    return ""
