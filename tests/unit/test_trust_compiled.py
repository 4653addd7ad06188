"""A planted library in the cache of compiled code is never loaded, and the right one is compiled in its place."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genrescale.models.parts import compiled

SOURCE = 'extern "C" int answer() { return 42; }'
PAYLOAD = """
#include <cstdio>
__attribute__((constructor)) static void planted() { fclose(fopen("MARKER", "w")); }
extern "C" int answer() { return 666; }
"""
CODE = "import sys, pathlib; from genrescale.models.parts import compiled; " + (
    "print(compiled.load(pathlib.Path(sys.argv[1])).answer())"
)
NOBODY = 65534


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "answer.cpp").write_text(SOURCE)
    return tmp_path / "answer.cpp"


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """A library that writes a marker as soon as it is loaded."""
    (tmp_path / "payload.cpp").write_text(PAYLOAD.replace("MARKER", str(tmp_path / "marker")))
    subprocess.run(["g++", "-shared", "-fPIC", tmp_path / "payload.cpp", "-o", tmp_path / "payload.so"], check=True)
    return tmp_path / "payload.so"


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "home/genrescale").glob("*.so"))


def answer(source: Path) -> int:
    loaded = compiled.load(source)
    assert isinstance(loaded, ctypes.CDLL)
    return loaded.answer()


def test_a_library_is_compiled_once_in_a_folder_of_its_owner(source: Path, tmp_path: Path):
    assert answer(source) == 42
    [library] = kept(tmp_path)
    assert library.parent.stat().st_mode & 0o777 == 0o700
    assert library.stat().st_mode & 0o777 == 0o600
    before = library.stat().st_ino
    assert answer(source) == 42
    assert library.stat().st_ino == before


def put(payload: Path, library: Path) -> None:
    """In its place as another file: this process has loaded the library, and would crash if its bytes changed."""
    library.unlink()
    library.write_bytes(payload.read_bytes())


def writable_for_all(library: Path, payload: Path) -> None:
    put(payload, library)
    library.chmod(0o666)


def a_link(library: Path, payload: Path) -> None:
    library.unlink()
    library.symlink_to(payload)


def somebody_elses(library: Path, payload: Path) -> None:
    put(payload, library)
    os.chown(library, NOBODY, NOBODY)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.mark.parametrize("plant", [writable_for_all, a_link, pytest.param(somebody_elses, marks=needs_root)])
def test_a_planted_library_is_replaced(
    plant: Callable[[Path, Path], None], source: Path, payload: Path, tmp_path: Path
):
    answer(source)
    [library] = kept(tmp_path)
    library.parent.chmod(0o777)  # as an earlier version, or a careless user, may have left it
    plant(library, payload)
    # a process that has loaded a library does not load another one of its name
    ended = subprocess.run([sys.executable, "-c", CODE, source], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "42"
    assert not (tmp_path / "marker").exists()
    assert library.parent.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_cache_folder_of_another_user_is_not_used(
    source: Path, payload: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    answer(source)
    [library] = kept(tmp_path)
    put(payload, library)
    os.chown(library.parent, NOBODY, NOBODY)
    assert answer(source) == 42
    assert not (tmp_path / "marker").exists()
    assert "belongs to another user" in caplog.text


def test_without_a_usable_home_it_is_compiled_elsewhere(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert answer(source) == 42
