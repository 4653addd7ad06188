"""A failure that is a mistake of this software: one line for the reader, and a file with all that helps to mend it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import traceback

from genrescale import __version__
from genrescale.addresses import scrubbed


def logged(job: str, error: BaseException) -> str:
    """Write the log of an unexpected error, readable for this user only, and return the sentence that names it.

    The log has the command, the trace, and the last lines that a worker of Ray wrote, all without passwords and keys of
    addresses. Where it cannot be written, it is part of the sentence.
    """
    from genrescale.launch.worker_logs import KEPT  # its modules are loaded where there was a worker

    text = [f"genrescale {__version__}, Python {platform.python_version()}", shlex.join(sys.argv), ""]
    text += traceback.format_exception(error)
    if lines := getattr(error, KEPT, ""):
        text += ["", "A worker's last lines:", lines]
    log = scrubbed("\n".join(line.rstrip("\n") for line in text)) + "\n"
    words = " ".join([f"{type(error).__name__}:", *str(error).split()])
    try:
        file, path = tempfile.mkstemp(prefix=f"genrescale-{job}-", suffix=".log")
        with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as written:
            written.write(log)
    except OSError as unwritten:
        return f"{words}; this is a mistake of this software, whose log cannot be written ({unwritten}):\n{log}"
    return f"{words}; this is a mistake of this software; please report it with its log: {path}"
