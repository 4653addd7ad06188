"""Read checkpoint files of any author as arrays by name, without executing anything stored in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# keys under which published checkpoints nest the weights, and the prefix that DataParallel adds to names
_WRAPPERS = ("model", "state_dict", "model_state_dict")
_PARALLEL = "module."


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the arrays of a PyTorch (``weights_only``) or safetensors file to the CPU.

    Raises FileNotFoundError, and ValueError for a file that is damaged or holds anything but named arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; give the path of the checkpoint file itself, e.g. best_model.pth")
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is damaged, or cannot be read safely as a checkpoint ({reason})") from None
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    arrays = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not arrays:
        raise ValueError(f"{path} holds no named arrays, so it is not a state_dict")
    if all(name.startswith(_PARALLEL) for name in arrays):
        arrays = {name.removeprefix(_PARALLEL): array for name, array in arrays.items()}
    return arrays


def _torch_load(path: Path) -> object:
    return torch.load(path, weights_only=True, map_location="cpu")
