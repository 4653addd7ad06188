"""Check what a machine has: GPUs, shared memory, memory, disk, and ports of loopback."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psutil

from genrescale.doctor.finding import Finding, fault, ok, warning

SHM = "/dev/shm"
_GB = 1e9
_LEAST_SHM, _GOOD_SHM = 0.5 * _GB, 2 * _GB  # a worker's object store, and with room to change datasets
_LEAST_MEMORY = 2 * _GB  # one worker with the default data CPUs, as docs/operations.md says
_LEAST_DISK = 1 * _GB
_FULL, _NEARLY_FULL = 0.95, 0.9  # Ray writes nothing to a disk that is fuller than 0.95
_FEW_FILES = 10_000
RAY_PORTS = {6379: "the head's", 8265: "the dashboard's"}
_PORTS_AT_ONCE = 64


def check_gpus(wanted: bool) -> Iterable[Finding]:
    """GPUs as PyTorch sees them, and a sum over all of them by NCCL. ``wanted``: without a GPU, nothing works."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        driver = shutil.which("nvidia-smi")
        mend = (
            "compare nvidia-smi's CUDA version with torch.version.cuda, and see CUDA_VISIBLE_DEVICES"
            if driver
            else "install NVIDIA's driver, or leave use_gpu out to use the CPUs"
        )
        if wanted or (driver and os.environ.get("CUDA_VISIBLE_DEVICES") != ""):
            found = "nvidia-smi is here, but PyTorch finds no GPU" if driver else "PyTorch finds no GPU"
            yield (fault if wanted else warning)("gpus", found, mend)
        else:
            yield ok("gpus", "none: the CPUs are used")
        return
    names = [torch.cuda.get_device_properties(i) for i in range(count)]
    yield ok("gpus", ", ".join(f"{gpu.name} {gpu.total_memory / _GB:.0f} GB" for gpu in names))
    yield from _check_nccl(count)


def _check_nccl(count: int) -> Iterable[Finding]:
    import torch
    from torch.cuda import nccl

    version = ".".join(map(str, nccl.version()))
    parts = [torch.full((1024,), i + 1.0, device=f"cuda:{i}") for i in range(count)]
    try:
        nccl.all_reduce(parts)
        sums = [float(part.mean()) for part in parts]
    except RuntimeError as error:
        yield fault("nccl", f"{version}: {error}", "set NCCL_DEBUG=INFO and run this again; see /dev/shm, too")
        return
    if sums == [count * (count + 1) / 2] * count:
        yield ok("nccl", f"{version}, a sum over {count} GPU{'s' if count > 1 else ''}")
    else:
        yield fault("nccl", f"{version} adds wrongly: {sums}", "see nvidia-smi topo -m, and disable PCIe's ACS")


def check_shm(folder: str = SHM) -> Iterable[Finding]:
    """Shared memory, where Ray's object store and NCCL put what processes hand to each other."""
    told = os.statvfs(folder)
    total, free = told.f_frsize * told.f_blocks, told.f_frsize * told.f_bavail
    found = f"{free / _GB:.1f} of {total / _GB:.1f} GB free in {folder}"
    mend = f"make it larger: mount -o remount,size=8G {folder}; for a container --shm-size=8g"
    if free < _LEAST_SHM:
        yield fault("shared memory", found, mend)
    elif free < _GOOD_SHM:
        yield warning("shared memory", found, mend)
    else:
        yield ok("shared memory", found)


def check_memory() -> Iterable[Finding]:
    memory = psutil.virtual_memory()
    found = f"{memory.available / _GB:.1f} of {memory.total / _GB:.1f} GB available"
    if memory.available < _LEAST_MEMORY:
        yield fault("memory", found, "end other programs, or take a larger machine: a worker takes about 2 GB")
    else:
        yield ok("memory", found)


def check_disk(folder: str = "") -> Iterable[Finding]:
    """The disk of ``folder``, by default of temporary files: there Ray puts its logs and what memory does not hold."""
    folder = folder or tempfile.gettempdir()
    told = os.statvfs(folder)
    total, free = told.f_frsize * told.f_blocks, told.f_frsize * told.f_bavail
    full = 1 - free / total if total else 1.0
    found = f"{free / _GB:.1f} of {total / _GB:.1f} GB free in {folder}"
    if free < _LEAST_DISK or full > _FULL:
        yield fault("disk", found, "make room there, or set TMPDIR: Ray writes nothing to a disk that is 95 % full")
    elif told.f_files and told.f_favail < _FEW_FILES:
        yield warning("disk", f"{found}, but room for {told.f_favail:,} files only", "delete small files there")
    elif full > _NEARLY_FULL:
        yield warning("disk", found, "make room there soon: Ray writes nothing to a disk that is 95 % full")
    else:
        yield ok("disk", found)


def check_ports() -> Iterable[Finding]:
    """Loopback carries bytes, there are free ports, and those of a Ray head are free."""
    held = []
    try:
        for _ in range(_PORTS_AT_ONCE):
            listening = socket.socket()
            held.append(listening)
            listening.bind(("127.0.0.1", 0))
        held[0].listen(1)
        with socket.create_connection(held[0].getsockname(), timeout=5) as calling:
            answering, _ = held[0].accept()
            with answering:
                calling.sendall(b"ping")
                heard = answering.recv(4)
        if heard != b"ping":
            yield fault("loopback", f"127.0.0.1 hands on {heard!r} for ping", "see this machine's firewall")
        else:
            yield ok("loopback", f"127.0.0.1 answers; {len(held)} ports at once")
    except OSError as error:
        yield fault("loopback", f"127.0.0.1: {error}", "bring it up (ip link set lo up), or raise ulimit -n")
    finally:
        for listening in held:
            listening.close()
    taken = [f"{port} ({whose})" for port, whose in RAY_PORTS.items() if not _is_free(port)]
    if taken:
        yield warning(
            "ray's ports", f"taken: {', '.join(taken)}", "a Ray head runs here already, or start one with other ports"
        )
    else:
        yield ok("ray's ports", f"{', '.join(map(str, RAY_PORTS))} are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check_folder(folder: Path) -> Iterable[Finding]:
    """The disk of the nearest folder that is there already."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    for finding in check_disk(str(there)):
        yield Finding("store's disk", finding.state, finding.found, finding.mend)
