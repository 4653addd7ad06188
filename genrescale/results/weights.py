"""A model's weights as a file, ``model.safetensors``: a run leaves it, an exported folder holds it, runs start from it.

The names are those of the module's state dict. The file's metadata are text: ``model`` (a name of MODELS), ``dials``
and ``tags`` (JSON) and ``crop_s``. A run writes its best weights, ``runs/{run_id}/model.safetensors``, when training
has ended; another may start from them (``init.run``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from genrescale.config import RunConfig
from genrescale.results import is_finished, run_folder
from genrescale.storage.json_bytes import read_json, read_object
from genrescale.storage.store import Store

WEIGHTS = "model.safetensors"
_MAX_HEADER = 16 << 20
_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header


@dataclass(frozen=True)
class ModelHeader:
    """What an exported model is, without its weights: the shape of each by name, and the file's metadata."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]

    @property
    def tags(self) -> list[str]:
        """The tags of its outputs; none of a model that was trained without tags."""
        return read_json(self.metadata["tags"], "the tags of the model")

    @property
    def dials(self) -> dict[str, Any]:
        return read_object(self.metadata["dials"], "the dials of the model")


def model_path(run_id: str) -> str:
    return f"{run_folder(run_id)}/{WEIGHTS}"


def write_weights(
    files: Store,
    path: str,
    weights: Mapping[str, Tensor],
    *,
    model: str,
    dials: Mapping[str, Any],
    tags: Sequence[str],
    crop_s: float,
) -> None:
    """Write weights with what is needed to build their model again; ``crop_s`` is the seconds it was trained on."""
    metadata = {
        "format": "pt",
        "model": model,
        "dials": json.dumps(dict(dials), sort_keys=True),
        "tags": json.dumps(list(tags)),
        "crop_s": str(crop_s),
    }
    # copies: safetensors refuses arrays that share memory
    contiguous = {name: weight.detach().cpu().clone().contiguous() for name, weight in weights.items()}
    files.write_bytes(path, save(contiguous, metadata))


def write_model(files: Store, run_id: str, run: RunConfig, tags: Sequence[str], weights: Mapping[str, Tensor]) -> None:
    """Write the weights of a run into its folder."""
    what = {"model": run.model.name, "dials": run.model.dials, "crop_s": run.data.crop_s}
    write_weights(files, model_path(run_id), weights, **what, tags=tags)


def read_header(files: Store, run_id: str) -> ModelHeader:
    """The header of a finished run's model. Raises ValueError where the run is missing or unfinished, or its model."""
    path = model_path(run_id)
    if not files.exists(run_folder(run_id)):
        raise ValueError(
            f"init.run={run_id}: {files.uri} holds no such run; train it first, or give its folder as site.parents"
        )
    if not files.exists(path) and not is_finished(files, run_id):
        raise ValueError(f"init.run={run_id}: the run in {files.uri} has not finished; continue it first")
    if not files.exists(path):
        raise ValueError(
            f"init.run={run_id}: the run in {files.uri} left no weights ({path} is missing: it was made by an earlier "
            f"version, or deleted); delete {run_folder(run_id)} and train it again"
        )
    where = f"{files.uri}/{path}"
    length = _header_length(files.read_range(path, 0, _LENGTH_BYTES), where)
    return _header(files.read_range(path, _LENGTH_BYTES, length), where)


def read_weights(files: Store, path: str) -> tuple[dict[str, Tensor], ModelHeader]:
    """The weights of a file, on the CPU, and what they are. Raises ValueError, naming it, for one that is damaged."""
    data, where = files.read_bytes(path), f"{files.uri}/{path}"
    length = _header_length(data[:_LENGTH_BYTES], where)
    header = _header(data[_LENGTH_BYTES : _LENGTH_BYTES + length], where)
    try:
        return load(data), header
    except SafetensorError as error:
        raise ValueError(_damaged(where, error)) from None


def _header_length(data: bytes, where: str) -> int:
    """The bytes of a header. A file may claim any number, so it is checked before so many are asked for."""
    if (length := int.from_bytes(data, "little")) > _MAX_HEADER:
        raise ValueError(_damaged(where, ValueError(f"its header is said to have {length:,} bytes")))
    return length


def _header(data: bytes, where: str) -> ModelHeader:
    try:
        header = read_object(data, "its header", _MAX_HEADER)
        metadata = {str(name): str(text) for name, text in header.pop("__metadata__", {}).items()}
        return ModelHeader({name: tuple(map(int, entry["shape"])) for name, entry in header.items()}, metadata)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_damaged(where, error)) from None


def _damaged(where: str, error: Exception) -> str:
    return f"{where} is no safetensors file, or a damaged one ({error})"
