"""Checkpoint files as arrays by name, whoever wrote them; nothing that a file holds is ever executed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# what the authors of published checkpoints put around the weights, and DataParallel before their names
_WRAPPERS = ("model", "state_dict", "model_state_dict")
_PARALLEL = "module."


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The arrays of a PyTorch (``weights_only``) or safetensors file, on the CPU.

    Raises FileNotFoundError, and ValueError for a file that is damaged or holds anything but named arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file that exists; give the checkpoint itself, e.g. best_model.pth")
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no checkpoint that can be read safely, or a damaged one ({reason})") from None
    for name in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    arrays = {k: v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    if not arrays:
        raise ValueError(f"{path} holds no named arrays: it is no state_dict")
    if all(name.startswith(_PARALLEL) for name in arrays):
        arrays = {name.removeprefix(_PARALLEL): array for name, array in arrays.items()}
    return arrays


def _torch_load(path: Path) -> object:
    return torch.load(path, weights_only=True, map_location="cpu")
