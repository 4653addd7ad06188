"""A job's file run as a script in this process, with what it printed and how it ended."""

from __future__ import annotations

import io
import runpy
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

RunJob = Callable[..., "Ended"]
"""``run``, or another way to run a job: ``(name, *overrides)``."""
JOBS = Path(__file__).parents[2] / "jobs"


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def run(job: str, *overrides: str) -> Ended:
    """The job's file run as a script, in this process: one of its own would import Ray for seconds."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [f"{JOBS}/{job}.py", *overrides])
        patch.syspath_prepend(JOBS)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(f"{JOBS}/{job}.py", run_name="__main__")
    code = ended.value.code
    assert isinstance(code, int)
    return Ended(code, out.getvalue(), err.getvalue())
