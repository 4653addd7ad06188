"""What a process that decodes a stranger's song may do: limits of memory, time and files, and a filter of system calls.

``limit`` sets the limits of the operating system (``setrlimit(2)``). ``forbid`` adds a seccomp filter (``seccomp(2)``):
afterwards the process can start no other one (threads it can), open no socket, and reach into no other process; with
``files=True`` it cannot open files either, and has those that are open already. RLIMIT_NPROC would not do: it counts
all processes and threads of the user, so that a busy machine would make songs fail. A program that is started
afterwards keeps limits and filter. Where the kernel or the processor has no such filter (other than x86-64 and ARM64),
the limits are all there is.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import resource
import struct

LOG_LIMIT = 1 << 20
"""Bytes of a file, which is the one that takes the messages."""
MAX_OPEN_FILES = 64
_CPU_SHARE = 4
"""Seconds of processor time for each second of wall time: ffmpeg has a few threads."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# numbers by architecture (x86-64, ARM64; None where there is no such call), of asm/unistd.h
_PROCESSES = {
    "fork": (57, None),
    "vfork": (58, None),
    "execveat": (322, 281),
    "socket": (41, 198),
    "connect": (42, 203),
    "io_uring_setup": (425, 425),  # a ring opens files and sockets past any filter
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
}
_FILES = {
    "execve": (59, 221),
    "open": (2, None),
    "creat": (85, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "truncate": (76, 45),
}
_CLONE, _CLONE3, _CLONE_THREAD = (56, 220), 435, 0x10000

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_CALL, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in the kernel's struct seccomp_data
_X32 = 0x40000000  # x86-64 knows every call by a second number from here on


def limit(limit_s: float, memory: int) -> None:
    """Limit this process to ``memory`` bytes of address space.

    It has ``limit_s`` seconds of wall time: then its parent ends it. The limit of processor time follows from that.
    """
    cpu_s = math.ceil(_CPU_SHARE * limit_s) + 1
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: LOG_LIMIT,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for name, value in wanted.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def forbid(files: bool) -> None:
    """Forbid this process what the module's docstring says, for good."""
    if (machine := platform.machine()) not in _ARCHITECTURES:
        return
    place = [*_ARCHITECTURES].index(machine)
    denied = [*_PROCESSES.values(), *(_FILES.values() if files else ())]
    numbers = [number for calls in denied if (number := calls[place]) is not None]
    program = _filter(_ARCHITECTURES[machine], numbers, _CLONE[place])
    library, code = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(program)
    description = struct.pack("HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    one, nothing = ctypes.c_ulong(1), ctypes.c_ulong(0)
    for option, *arguments in (
        (_PR_SET_NO_NEW_PRIVS, one, nothing),
        (_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), description),
    ):
        if library.prctl(option, *arguments, nothing, nothing) and (number := ctypes.get_errno()) != errno.EINVAL:
            raise OSError(number, f"prctl: {os.strerror(number)}")


def _filter(architecture: int, denied: list[int], clone: int) -> bytes:
    """A program of the kernel's classic BPF: each step is its code, two jumps (if true, if false) and a number."""
    refused = _ERRNO | errno.EPERM

    def step(code: int, number: int, otherwise: int = 0) -> bytes:
        return struct.pack("HBBI", code, 0, otherwise, number)

    parts = [
        step(_LOAD, _ARCHITECTURE),
        struct.pack("HBBI", _EQUAL, 1, 0, architecture),
        step(_RETURN, _KILL),
        step(_LOAD, _CALL),
        *(step(_AT_LEAST, _X32, 1), step(_RETURN, refused)),
        # its flags lie in memory, where no filter looks: the C library takes clone instead
        *(step(_EQUAL, _CLONE3, 1), step(_RETURN, _ERRNO | errno.ENOSYS)),
    ]
    for number in denied:
        parts += [step(_EQUAL, number, 1), step(_RETURN, refused)]
    parts += [
        step(_EQUAL, clone, 3),
        step(_LOAD, _FIRST_ARGUMENT),
        struct.pack("HBBI", _ANY_BIT, 1, 0, _CLONE_THREAD),
        step(_RETURN, refused),
        step(_RETURN, _ALLOW),
    ]
    return b"".join(parts)
