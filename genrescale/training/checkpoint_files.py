"""Checkpoint folders that are checked before anything of them is read, and loaded without running what they hold.

A checkpoint may lie where others can write. Each rank writes its ``files-RANK.json`` last, which names the rank's files
with their SHA-256; a file that is changed, missing or not named is refused. That finds damage. Against a stranger who
writes these lists too, every tensor file is loaded with PyTorch's ``weights_only``: it may hold tensors, numbers, text
and the few classes below, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch

_SEAL = re.compile(r"files-[0-9]+\.json")


class CheckpointError(ValueError):
    """A checkpoint is not what was written."""


def seal_path(rank: int) -> str:
    return f"files-{rank}.json"


def seal(folder: Path, rank: int) -> None:
    """Write the digests of the files of ``folder``, which are those that this rank wrote; the last act of saving."""
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
    """The files below ``folder`` but the seals, as paths relative to it. A link counts as a file."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if not _SEAL.fullmatch(name))


def _sha256(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(_refused(f"{path.name} is not a plain file"))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_tensors(path: Path | str, map_location: Any = None) -> Any:
    """``torch.load`` of a checkpoint's file that runs no code of it. Raises CheckpointError for what is not data."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # whatever a hostile file makes the reader raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(_refused(f"{Path(path).name} holds something other than tensors ({reason})")) from None
