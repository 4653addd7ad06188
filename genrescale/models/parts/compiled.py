"""C++ that is compiled when it is first used, and kept in ``~/.cache/genrescale``.

Loading a library runs its code. So a kept one is used only if nobody else can have written it: its folder and the file
must belong to this user and be writable for this user only. Otherwise it is compiled in a temporary folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c++17", "-fPIC", "-fopenmp", "-shared")
log = logging.getLogger(__name__)


def load(source: Path) -> ctypes.CDLL | None:
    """Compile and load a C++ file. Returns None, and logs a warning, if that fails."""
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if compiler is None:
        log.warning("no C++ compiler: training uses PyTorch's own layers, which are slower (install g++)")
        return None
    try:
        with _compiled(compiler, source) as path:
            return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        log.warning("training uses PyTorch's own layers, which are slower: %s did not compile (%s)", source, reason)
        return None


@contextmanager
def _compiled(compiler: str, source: Path) -> Iterator[Path]:
    """Yield the path of the compiled library, from the cache or just compiled.

    The file name hashes source, flags, platform and CPU, because machines may share a home folder.
    """
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))]
    key = "\n".join([source.read_text(), *FLAGS, platform.platform(), *cpu[:1]])
    with _cache() as folder:
        target = folder / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
        if not is_private(target, stat.S_ISREG):
            _compile(compiler, source, target)
        yield target


def _compile(compiler: str, source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        made = Path(work) / target.name
        command = [compiler, *FLAGS, str(source), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        made.chmod(0o600)
        made.replace(target)  # atomic: several workers may compile at the same time


@contextmanager
def _cache() -> Iterator[Path]:
    """Yield the folder for compiled code. It is a temporary one if the user's cannot be made private."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genrescale"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.lstat().st_uid == os.geteuid() and not folder.is_symlink():
            folder.chmod(0o700)
    except OSError as error:
        log.debug("no cache for compiled code: %s", error)
    if is_private(folder, stat.S_ISDIR):
        yield folder
        return
    log.warning("%s belongs to another user or cannot be used: compiled code is made anew in every process", folder)
    with tempfile.TemporaryDirectory(prefix="genrescale-") as private:
        yield Path(private)


def is_private(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Return whether ``path`` is of a kind (of ``stat.S_ISREG``...), no link, and writable for this user only."""
    try:
        found = path.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return is_kind(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & others
