"""Which code wrote a result: the version of the package and, in a checkout, the commit."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

import genrescale


@lru_cache(maxsize=1)
def code_version() -> str:
    """``0.1.0`` of an installed package; in a git work tree ``0.1.0+g1a2b3c4d5e6f``, with ``.dirty`` after changes."""
    commit = _commit(Path(genrescale.__file__).parents[1])
    return f"{genrescale.__version__}+g{commit}" if commit else genrescale.__version__


def _commit(checkout: Path) -> str:
    """The commit of the work tree whose root is ``checkout``; "" where it is none, or where git cannot tell."""
    if not (checkout / ".git").exists():  # a package installed below somebody else's work tree is not of its commit
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=.dirty"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # there is no git
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""
