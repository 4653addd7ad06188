"""A run's log for people: one aligned line for each validation, in ``runs/{run_id}/log.txt``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from genrescale.results import run_folder
from genrescale.storage.errors import TooLargeError
from genrescale.storage.json_bytes import JSON_BYTES
from genrescale.storage.store import Store

_WIDTHS = {"step": 9, "loss": 9, "val": 9, "lr": 10, "clips/s": 9, "wait": 7, "memory": 10}
HEAD = "".join(f"{name:>{width}}" for name, width in _WIDTHS.items())


def log_path(run_id: str) -> str:
    return f"{run_folder(run_id)}/log.txt"


def log_line(metrics: Mapping[str, float | None]) -> str:
    """Format what a run reports after a validation, below ``HEAD``.

    ``loss`` is the mean of the training clips since the last validation, ``val`` that of the validation windows;
    ``clips/s`` and ``wait``, the share of time that the first worker waited for data, are those since the attempt
    began; ``memory`` is what that worker holds.
    """
    cells = (
        f"{metrics.get('step') or 0:,.0f}",
        _number(metrics.get("train_loss"), ".4f"),
        _number(metrics.get("val_loss"), ".4f"),
        _number(metrics.get("lr"), ".2e"),
        _number(metrics.get("clips_per_s"), ",.1f"),
        _number(metrics.get("wait_share"), ".1%"),
        _number(metrics.get("memory_bytes"), ",.0f", 1e-6) + " MB",
    )
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS.values(), strict=True))


def _number(value: float | None, format: str, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:{format}}"


def add_line(files: Store, run_id: str, metrics: Mapping[str, float | None]) -> None:
    """Add a validation to the run's log; lines of this step and later ones are of an attempt that was lost."""
    earlier: list[str] = []
    with suppress(FileNotFoundError, TooLargeError):  # there is none yet, or none of ours
        earlier = files.read_bytes(log_path(run_id), JSON_BYTES).decode(errors="replace").splitlines()[1:]
    kept = [line for line in earlier if 0 <= _step(line) < (metrics.get("step") or 0)]
    files.write_bytes(log_path(run_id), ("\n".join([HEAD, *kept, log_line(metrics)]) + "\n").encode())


def _step(line: str) -> int:
    with suppress(ValueError, IndexError):
        return int(line.split()[0].replace(",", ""))
    return -1
