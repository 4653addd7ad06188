"""A libsndfile that crashes its process at some files and hangs at others: a ``soundfile`` that hides the real one."""

from __future__ import annotations

from pathlib import Path

MARK, HANG = b"DEADLY", b"ENDLESS"
LIMIT_S = 4.0
"""Seconds that a fork server which loads it gives a song, whatever it was asked."""
_SOURCE = f"""
import ctypes, importlib.machinery, importlib.util, os, sys
from genrescale.data.decoding import isolated

_request = isolated.Request
isolated.Request = lambda limit_s, **asked: _request(min(limit_s, {LIMIT_S}), **asked)

_paths = [path for path in sys.path if os.path.abspath(path) != os.path.dirname(os.path.abspath(__file__))]
_spec = importlib.machinery.PathFinder.find_spec("soundfile", _paths)
_real = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_real)
globals().update({{name: getattr(_real, name) for name in dir(_real) if not name.startswith("_")}})


class SoundFile(_real.SoundFile):
    def __init__(self, file, *args, **kwargs):
        data = os.pread(file, os.fstat(file).st_size, 0)
        if {MARK!r} in data:
            ctypes.string_at(0)
        if {HANG!r} in data:
            ctypes.PyDLL(None).sleep(3600)  # in C, with the interpreter's lock: no other thread of Python runs
        super().__init__(file, *args, **kwargs)
"""


def write_deadly_soundfile(folder: Path) -> None:
    """First in a process's module path, ``folder`` makes songs that hold MARK the death of their decoder."""
    folder.mkdir(exist_ok=True)
    (folder / "soundfile.py").write_text(_SOURCE)


def make_deadly(song: Path, mark: bytes = MARK) -> None:
    """Still a whole song for everyone else: what follows its last sample is no audio."""
    song.write_bytes(song.read_bytes() + mark)
