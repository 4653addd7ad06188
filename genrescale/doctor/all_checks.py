"""All checks of one machine, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Iterator

from genrescale.doctor.finding import Finding, examined
from genrescale.doctor.machine import check_disk, check_folder, check_gpus, check_memory, check_ports, check_shm
from genrescale.doctor.software import check_ffmpeg, check_packages, check_python, installed_versions, read_pins
from genrescale.doctor.stores import check_clock, check_rights, endpoint_of
from genrescale.storage.store import Store


def machine_findings(use_gpu: bool) -> Iterator[Finding]:
    """Check this machine: software, GPUs, memory, disk and ports. ``use_gpu``: a GPU is needed."""
    from genrescale.data.decoding.decoders import ffmpeg_exe

    pins = read_pins()
    yield from examined("python", lambda: check_python(pins))
    yield from examined("packages", lambda: check_packages(pins, installed_versions(pins)))
    yield from examined("ffmpeg", lambda: check_ffmpeg(ffmpeg_exe()))
    yield from examined("gpus", lambda: check_gpus(use_gpu))
    yield from examined("shared memory", check_shm)
    yield from examined("memory", check_memory)
    yield from examined("disk", check_disk)
    yield from examined("ports", check_ports)


def store_findings(store: Store) -> Iterator[Finding]:
    """Check a store: rights by real requests, and its clock where it is a bucket of S3, else its disk."""
    yield from examined("store", lambda: check_rights(store))
    if endpoint := endpoint_of(store.uri):
        yield from examined("store clock", lambda: check_clock(endpoint))
    elif (folder := store.local_path()) is not None:
        yield from examined("store's disk", lambda: check_folder(folder))
