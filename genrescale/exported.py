"""The trained model that a run leaves, ``runs/{run_id}/model.safetensors``: its best weights by their names.

The names are those of the module's state dict. The file's metadata are text: ``model`` (a name of MODELS), ``dials``
and ``tags`` (JSON) and ``crop_s``. It is written when training has ended; another run may start from it (``init.run``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from genrescale.config import RunConfig
from genrescale.data.store import Store
from genrescale.results import is_finished, run_folder

_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header


@dataclass(frozen=True)
class ModelHeader:
    """What an exported model is, without its weights: the shape of each by name, and the file's metadata."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]

    @property
    def tags(self) -> list[str]:
        """The tags of its outputs; none of a model that was trained without tags."""
        return json.loads(self.metadata["tags"])

    @property
    def dials(self) -> dict[str, Any]:
        return json.loads(self.metadata["dials"])


def model_path(run_id: str) -> str:
    return f"{run_folder(run_id)}/model.safetensors"


def write_model(files: Store, run_id: str, run: RunConfig, tags: list[str], weights: Mapping[str, Tensor]) -> None:
    """Write a run's weights with what is needed to build its model again."""
    metadata = {
        "model": run.model.name,
        "dials": json.dumps(run.model.dials, sort_keys=True),
        "tags": json.dumps(tags),
        "crop_s": str(run.data.crop_s),
    }
    contiguous = {name: weight.contiguous() for name, weight in weights.items()}
    files.write_bytes(model_path(run_id), save(contiguous, metadata))


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
    length = int.from_bytes(files.read_range(path, 0, _LENGTH_BYTES), "little")
    header = json.loads(files.read_range(path, _LENGTH_BYTES, length))
    metadata = header.pop("__metadata__", {})
    return ModelHeader({name: tuple(entry["shape"]) for name, entry in header.items()}, metadata)


def read_weights(files: Store, run_id: str) -> dict[str, Tensor]:
    """The weights of an exported model, on the CPU."""
    return load(files.read_bytes(model_path(run_id)))
