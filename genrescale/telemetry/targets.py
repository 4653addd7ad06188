"""Files by which Prometheus finds a job (``file_sd``): one for each address, in a folder that it watches."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_ANSWER_S = 1.0


def target_path(folder: str, host: str, port: int) -> Path:
    return Path(folder, f"genrescale-{host.replace(':', '-')}-{port}.json")


def write_target(folder: str, host: str, port: int, of_ray: Sequence[str] = ()) -> Path:
    """Write the file of an address whole, so that no reader sees a half; return its path.

    ``of_ray`` are the addresses of Ray's own metrics, one of each node. A job that was killed leaves its file behind,
    and the next one removes it.
    """
    path = target_path(folder, host, port)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_dead(path, host)
    own = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    groups = [{"targets": [own], "labels": {"job": "genrescale"}}]
    if of_ray:
        groups.append({"targets": sorted(of_ray), "labels": {"job": "ray"}})
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(groups) + "\n")
    os.replace(part, path)
    return path


def _remove_dead(own: Path, host: str) -> None:
    """Remove the files of this host's jobs that no longer listen: a later program might take their port."""
    for path in own.parent.glob(f"genrescale-{host.replace(':', '-')}-*.json"):
        port = path.stem.rpartition("-")[2]
        if path == own or not port.isdigit():
            continue
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:  # it may be busy
            continue


def remove_target(folder: str, host: str, port: int) -> None:
    with suppress(FileNotFoundError):
        target_path(folder, host, port).unlink()
