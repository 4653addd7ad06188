"""Who a process is, so that another one can tell whether it is dead: by machine, id and the moment it began."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_STATE, _START = 0, 19  # of the fields of /proc/PID/stat that follow the name
_ENDED = ("Z", "X")


def machine() -> str:
    """Return what names this machine since it was booted, and its container; "" on a system that does not say it.

    Machines may share a name, and containers too: process 7 of one is not process 7 of the other.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def began(pid: int) -> int:
    """Return when a process of this machine began, in ticks since it was booted; 0 if the system does not say it."""
    return int(fields[_START]) if len(fields := _stat(pid)) > _START else 0


def is_dead(pid: int, started: int) -> bool:
    """Return whether the process of this machine that began then has ended; its id may be another one's by now."""
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return True
    except OSError:
        pass  # another user's
    fields = _stat(pid)
    if len(fields) <= _START:
        return False  # another user's, hidden here: nobody can tell
    return fields[_STATE] in _ENDED or (started > 0 and int(fields[_START]) != started)


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
