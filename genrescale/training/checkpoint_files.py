"""Seal checkpoint folders, check them before anything is read, and load them without running code that they hold.

Others may be able to write to a checkpoint. Each rank writes its ``files-RANK.json`` last: the rank's files with their
SHA-256. A file that is changed, missing or not listed is refused. This finds damage. It does not stop a stranger who
also writes these lists, so every tensor file is loaded with PyTorch's ``weights_only``, which accepts only tensors,
numbers, text and a few listed classes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

_SEAL = re.compile(r"files-[0-9]+\.json")


class CheckpointError(ValueError):
    """A checkpoint is not what was written."""


def seal_path(rank: int) -> str:
    return f"files-{rank}.json"


def seal(folder: Path, rank: int) -> None:
    """Write the digests of the files that this rank wrote to ``folder``. This is the last step of saving."""
    digests = {name: _sha256(folder / name) for name in _names(folder)}
    (folder / seal_path(rank)).write_text(json.dumps(digests, indent=1, sort_keys=True))


def check_seal(folder: Path, num_ranks: int) -> None:
    """Raise CheckpointError, naming the files, unless ``folder`` holds exactly what ``num_ranks`` ranks sealed."""
    sealed: dict[str, set[str]] = {}
    for rank in range(num_ranks):
        try:
            for name, digest in json.loads((folder / seal_path(rank)).read_text()).items():
                sealed.setdefault(name, set()).add(digest)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            raise CheckpointError(_refused(f"its {seal_path(rank)} is missing or cannot be read")) from None
    present = _names(folder)
    if extra := sorted(set(present) - set(sealed)):
        raise CheckpointError(_refused(f"it holds files that were not written with it: {', '.join(extra[:5])}"))
    if missing := sorted(set(sealed) - set(present)):
        raise CheckpointError(_refused(f"files are missing: {', '.join(missing[:5])}"))
    if changed := [name for name in present if _sha256(folder / name) not in sealed[name]]:
        raise CheckpointError(_refused(f"files have changed: {', '.join(changed[:5])}"))


def _refused(what: str) -> str:
    return f"the checkpoint is refused: {what}; delete the run's folder under checkpoints/ to train it anew"


def _names(folder: Path) -> list[str]:
    """List the files in ``folder`` except the seals, as relative paths. A link counts as a file."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if not _SEAL.fullmatch(name))


def _sha256(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(_refused(f"{path.name} is not a plain file"))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_tensors(path: Path | str, map_location: Any = None, classes: Sequence[type] = ()) -> Any:
    """Load a file of a checkpoint without running code of it. Only ``classes`` may occur beside tensors and plain data.

    Raises CheckpointError if the file holds anything else, or is damaged.
    """
    try:
        with torch.serialization.safe_globals(list(classes)):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # whatever a hostile file makes the reader raise
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line.strip() for line in lines if "WeightsUnpickler" in line), lines[0])  # what it met
        raise CheckpointError(_refused(f"{Path(path).name} holds something other than tensors ({reason})")) from None
