"""Check what is installed: Python, the packages by the versions that genrescale asks for, and ffmpeg."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import genrescale
from genrescale.doctor.finding import Finding, fault, ok

NAMED = ("torch", "ray", "deepspeed")
"""Packages with a line of their own; the others share one."""
_INSTALL = "install it with: make env (or pip install -e . in the checkout, on every node)"
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Pins:
    """What genrescale asks for: a range of Pythons, and packages with their ranges."""

    python: SpecifierSet
    packages: tuple[Requirement, ...]


def read_pins() -> Pins:
    """The pins in pyproject.toml beside the package; without a checkout, those of the installed package."""
    path = Path(genrescale.__file__).parents[1] / "pyproject.toml"
    if path.is_file():
        project = tomllib.loads(path.read_text())["project"]
        python, packages = project["requires-python"], project["dependencies"]
    else:
        python = importlib.metadata.metadata("genrescale")["Requires-Python"]
        packages = importlib.metadata.requires("genrescale") or []
    required = [Requirement(text) for text in packages]
    return Pins(SpecifierSet(python), tuple(r for r in required if r.marker is None or r.marker.evaluate()))


def installed_versions(pins: Pins) -> dict[str, str | None]:
    """The installed version of each package of ``pins``; None if it is not installed."""
    versions: dict[str, str | None] = {}
    for required in pins.packages:
        try:
            versions[required.name] = importlib.metadata.version(required.name)
        except importlib.metadata.PackageNotFoundError:
            versions[required.name] = None
    return versions


def check_python(pins: Pins, version: str = "") -> Iterable[Finding]:
    version = version or platform.python_version()
    if pins.python.contains(version, prereleases=True):
        yield ok("python", version)
    else:
        yield fault("python", f"{version}, but {pins.python} is needed", "make the environment with such a Python")


def check_packages(pins: Pins, versions: Mapping[str, str | None]) -> Iterable[Finding]:
    """A line for each package of NAMED and for each that does not fit, and one for all others."""
    fitting = 0
    for required in pins.packages:
        version = versions[required.name]
        if version is None:
            yield fault(required.name, f"not installed; {required.specifier} is needed", _INSTALL)
        elif not required.specifier.contains(version, prereleases=True):
            yield fault(required.name, f"{version}, but {required.specifier} is needed", _INSTALL)
        elif required.name in NAMED:
            yield ok(required.name, version)
        else:
            fitting += 1
    yield ok("other packages", f"{fitting} of {len(pins.packages) - len(NAMED)} fit")


def check_ffmpeg(path: str) -> Iterable[Finding]:
    """``path`` is the ffmpeg that decodes songs."""
    try:
        told = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield fault("ffmpeg", f"{path} does not run ({error})", "install ffmpeg, or pip install imageio-ffmpeg again")
        return
    version = re.match(r"ffmpeg version (\S+)", told)
    if not version:
        yield fault("ffmpeg", f"{path} is no ffmpeg", "take it out of PATH, or install ffmpeg")
    else:
        yield ok("ffmpeg", f"{version[1]} ({path})")
