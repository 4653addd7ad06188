"""Read checkpoint files of any author as arrays by name, without executing anything stored in them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# keys under which published checkpoints nest the weights
_WRAPPERS = ("model", "state_dict", "model_state_dict")
# prefixes of names by DataParallel, torch.compile and Lightning, and the counter that averaging adds
_PREFIXES = ("module.", "_orig_mod.", "model.")
_COUNTERS = ("n_averaged",)
_FORBIDDEN = re.compile(r"GLOBAL (\S+) was not an allowed global")


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the arrays of a PyTorch (``weights_only``) or safetensors file to the CPU.

    A prefix that a wrapper gave to all names is taken off. Raises FileNotFoundError, and ValueError for a file that is
    damaged, holds anything but named arrays, or an array with a number that is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; give the path of the checkpoint file itself, e.g. best_model.pth")
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or cannot be read safely as a checkpoint ({_reason(error)})") from None
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    arrays = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not arrays:
        raise ValueError(f"{path} holds no named arrays, so it is not a state_dict")
    arrays = _unwrapped(arrays)
    floats = {name: array for name, array in arrays.items() if array.is_floating_point()}
    # as fp32, because the 8-bit formats have no isfinite
    if wrong := [name for name, array in floats.items() if not array.float().isfinite().all()]:
        raise ValueError(
            f"{path} holds numbers that are not finite, in {', '.join(wrong[:3])}: training diverged, or it is damaged"
        )
    return arrays


def _unwrapped(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off the prefixes that all names share, and leave out the counters of wrappers."""
    while True:
        named = {name: array for name, array in arrays.items() if name not in _COUNTERS}
        prefix = next((p for p in _PREFIXES if named and all(name.startswith(p) for name in named)), "")
        if not prefix:
            return arrays
        arrays = {name.removeprefix(prefix): array for name, array in named.items()}


def _reason(error: Exception) -> str:
    if found := _FORBIDDEN.search(str(error)):
        return f"it holds a {found[1]}, which is no array; save its state_dict() alone"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _torch_load(path: Path) -> object:
    return torch.load(path, weights_only=True, map_location="cpu")
