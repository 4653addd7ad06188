"""The import contracts hold, and each of them fails where it is broken, also by a module that no contract names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and its contracts."""
    folder = tmp_path_factory.mktemp("contracts")
    shutil.copytree(ROOT / "genrescale", folder / "genrescale", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run([LINT, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_the_package_keeps_its_contracts(copy: Path):
    ended = lint(copy)
    assert ended.returncode == 0, ended.stdout
    assert "0 broken" in ended.stdout


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("data.upkeep.planted", "ray.data", "Ray: launch and the named modules, nowhere else"),
        ("baselines.planted", "ray", "Ray: launch and the named modules, nowhere else"),
        ("training.planted", "genrescale.baselines", "Imports go down only"),
        ("training.planted", "genrescale.data.tasks", "Below launch, no Ray, not even through another module"),
        ("training.planted", "deepspeed", "DeepSpeed: the engine, nowhere else"),
        ("launch.planted", "hydra", "Hydra: jobs, nowhere in the package"),
        ("storage.planted", "genrescale.results", "Imports go down only"),
        ("data.planted", "genrescale.audio", "Inside data, imports go down only"),  # it has no layer
    ],
    ids=[
        "ray",
        "ray in baselines",
        "baselines",
        "ray through another module",
        "deepspeed",
        "hydra",
        "upward",
        "no layer",
    ],
)
def test_a_planted_import_breaks_its_contract(copy: Path, module: str, imported: str, contract: str):
    planted = copy / "genrescale" / f"{module.replace('.', '/')}.py"
    planted.write_text(f"import {imported}\n")
    try:
        ended = lint(copy)
    finally:
        planted.unlink()
    assert ended.returncode == 1
    assert f"{contract} BROKEN" in ended.stdout
    assert f"genrescale.{module}" in ended.stdout.partition("Broken contracts")[2]
