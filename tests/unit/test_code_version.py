"""A result says which code wrote it, wherever the code lies."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import genrescale
from genrescale.results.code_version import code_version

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b")


@pytest.fixture(autouse=True)
def computed_anew() -> Iterator[None]:
    code_version.cache_clear()
    yield
    code_version.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's file in a folder of its own."""
    (tmp_path / "checkout" / "genrescale").mkdir(parents=True)
    path = tmp_path / "checkout" / "genrescale" / "__init__.py"
    path.write_text("")
    monkeypatch.setattr(genrescale, "__file__", str(path))
    return path


def test_a_checkout_has_its_commit_and_says_when_it_was_changed(package: Path):
    checkout = package.parents[1]
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, *IDENTITY, "commit", "-qm", "first")
    git(checkout, *IDENTITY, "tag", "-a", "v9", "-m", "a tag is no part of it")
    version = f"{genrescale.__version__}+g{git(checkout, 'rev-parse', 'HEAD')[:12]}"
    assert code_version() == version
    package.write_text("changed = True")
    assert code_version() == version, "it is found once"
    code_version.cache_clear()
    assert code_version() == f"{version}.dirty"


def test_a_package_that_is_installed_below_a_work_tree_is_not_of_its_commit(package: Path):
    outside = package.parents[2]
    git(outside, "init", "-q")
    git(outside, *IDENTITY, "commit", "-qm", "somebody else's", "--allow-empty")
    assert code_version() == genrescale.__version__


def test_without_git_or_with_a_repository_that_it_refuses_the_version_is_the_packages(
    package: Path, monkeypatch: pytest.MonkeyPatch
):
    (package.parents[1] / ".git").write_text("gitdir: /nowhere/at/all")
    assert code_version() == genrescale.__version__
    code_version.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert code_version() == genrescale.__version__
