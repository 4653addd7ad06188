"""What is installed is what was locked: every file by its hash, and no address of a registry is recorded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-uv.lock")


def entries(name: str) -> list[str]:
    return (ROOT / name).read_text().replace("\\\n", " ").strip().split("\n")


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_one_version_and_hashes(name: str):
    for entry in entries(name):
        assert re.match(r"[\w.\[\],-]+==[\w.+!]+ ", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert "://" not in (ROOT / name).read_text()


def test_the_makefile_installs_by_hash():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    installs = [line for line in makefile.splitlines() if re.search(r"\bpip install\b", line)]
    assert len(installs) == 3
    assert ["--require-hashes" in line or "--no-deps --no-build-isolation -e ." in line for line in installs] == [
        True
    ] * 3


def test_a_file_with_another_hash_is_refused(tmp_path: Path):
    """As pip does it with our lock, for one small package of it."""
    [entry] = [entry for entry in entries("requirements.lock") if entry.startswith("annotated-types==")]
    (tmp_path / "package").mkdir()
    wheel = tmp_path / "package" / f"annotated_types-{entry.split('==')[1].split()[0]}-py3-none-any.whl"
    wheel.write_bytes(b"not the file that was locked")
    (tmp_path / "lock").write_text(entry.replace("  ", " ") + "\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-index",
        f"--find-links={wheel.parent}",
        "--require-hashes",
    ]
    ended = subprocess.run([*command, "-r", tmp_path / "lock"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ended.stderr
