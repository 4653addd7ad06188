"""Published weights into our models, array by array, with a list of what did not match.

The names of each published layout are in ``published_keys.py`` (Won et al. 2020, MTG-Jamendo's baseline) and
``ssast_keys.py`` (SSAST's authors, AST of transformers). The layout is told by the names and shapes themselves: of
those that are for the model, the one of which most arrays fit. A checkpoint of our own (``model.safetensors``) is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from genrescale.models import MODELS
from genrescale.models.checkpoints import read_checkpoint
from genrescale.models.published_keys import MTG_FCN, WON
from genrescale.models.ssast import SsastTagger, fit_positions
from genrescale.models.ssast_keys import ast_keys, ssast_keys

State = dict[str, Tensor]
Rename = Callable[[State], tuple[State, list[str]]]

# Arrays that follow from the settings, or only count: a file may lack them (torchaudio's have been stored and not).
CONSTANTS = ("num_batches_tracked", "spectrogram.window", "mel_scale.fb", "resample.kernel")
_FILTERBANK, _POSITIONS = "mel_scale.fb", "backbone.positions"
FILTERBANK_TOLERANCE = 1e-4
"""Of a stored mel filter bank against the model's; Won's differ from the HTK formula by 1.3e-5."""
SENSIBLE_SHARE = 0.5
PUBLISHED_DIALS: dict[str, dict[str, Any]] = {
    "sample_cnn": {"last_kernel": 1, "first_padding": 1, "norm_eps": 1e-5},
}
"""Where our defaults are another reading of a paper than the one that the published weights were trained with."""
_LISTED = 8


@dataclass(frozen=True)
class Loaded:
    """What became of the arrays of a checkpoint, by name; ``loaded`` and ``missing`` are the model's names.

    ``unexpected`` are arrays of the file that the model has no place for; ``wrong_shape`` says both shapes.
    """

    path: str
    layout: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every array of the file has found its place, and every parameter of the model its value."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} arrays of {self.path} (layout: {self.layout}) loaded"]
        lists = {"missing": self.missing, "unexpected": self.unexpected, "wrong shape": self.wrong_shape}
        for name, what in lists.items():
            if what:
                more = f" and {len(what) - _LISTED} more" if len(what) > _LISTED else ""
                parts.append(f"{name}: {', '.join(what[:_LISTED])}{more}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Layout:
    """A way to name a model's arrays; ``rename`` gives them our names, and lists the names that it does not know.

    ``models`` are the names in MODELS that it is for; none: any. Names alone would not do: the layers of ``fcn`` and of
    MTG's baseline have the same shapes, but another activation and front end.
    """

    name: str
    rename: Rename
    models: tuple[str, ...] = ()

    def is_for(self, model: nn.Module) -> bool:
        return not self.models or isinstance(model, tuple(MODELS[name] for name in self.models))


def by_module(names: Mapping[str, str]) -> Rename:
    """A Rename by the names of modules, theirs -> ours: ``layer1.conv`` covers ``layer1.conv.weight``, ``.bias``."""

    def rename(state: State) -> tuple[State, list[str]]:
        found, unknown = {}, []
        for name, array in state.items():
            module, _, leaf = name.rpartition(".")
            if not array.numel():  # some files hold an empty filter bank
                continue
            if module in names:
                found[f"{names[module]}.{leaf}"] = array
            else:
                unknown.append(name)
        return found, unknown

    return rename


def by_function(keys: Callable[[State], State], unused: tuple[str, ...] = ()) -> Rename:
    """A Rename of a function that may join arrays, and leaves out what it does not know.

    A name is unknown where the result is the same without it, unless it begins with one of ``unused``.
    """

    def rename(state: State) -> tuple[State, list[str]]:
        shapes = {name: array.to("meta") for name, array in state.items()}  # joined without any memory
        known = keys(shapes).keys()
        unknown = [name for name in state if keys({k: v for k, v in shapes.items() if k != name}).keys() == known]
        return keys(state), [name for name in unknown if not name.startswith(unused)]

    return rename


# heads for images that DeiT brought along, and two numbers
_SSAST_UNUSED = ("v.head.", "v.head_dist.", "p_input_")
# who else starts from an architecture's weights
_HEIRS = {"short_chunk_res": ("mediaeval_res",)}
LAYOUTS = (
    *(Layout(f"Won 2020, {name}", by_module(names), (name, *_HEIRS.get(name, ()))) for name, names in WON.items()),
    Layout("MTG-Jamendo baseline", by_module(MTG_FCN), ("mtg_fcn",)),
    Layout("SSAST, its authors'", by_function(ssast_keys, _SSAST_UNUSED)),
    Layout("AST, transformers", by_function(ast_keys)),
    Layout("genrescale", lambda state: (state, [])),
)


def load_published(model: nn.Module, path: str | Path) -> Loaded:
    """Load what fits of the checkpoint at ``path`` into ``model`` and say what did not.

    Arrays that do not match keep their values, so a model with other tags gets everything but its head. Positions of an
    SSAST or AST are interpolated to the model's grid. Raises FileNotFoundError; ValueError for a file that cannot be
    read safely, where less than half of the model's arrays would be loaded (with the list), and where the file's filter
    bank is not the model's: another front end.
    """
    state = read_checkpoint(path)
    ours = model.state_dict()
    layouts = [layout for layout in LAYOUTS if layout.is_for(model)]
    layout = max(layouts, key=lambda layout: len(_fitting(layout.rename(state)[0], ours)))
    renamed, unknown = layout.rename(state)
    if isinstance(model, SsastTagger) and _POSITIONS in renamed:
        renamed = fit_positions(renamed, model)
    fitting = _fitting(renamed, ours)
    theirs = {id(array): name for name, array in state.items()}
    report = Loaded(
        path=str(path),
        layout=layout.name,
        loaded=tuple(fitting),
        missing=tuple(name for name in ours if name not in renamed and not name.endswith(CONSTANTS)),
        unexpected=(
            *unknown,
            *(theirs.get(id(array), name) for name, array in renamed.items() if name not in ours),
        ),
        wrong_shape=tuple(
            f"{name} ({_shape(array)} in the file, {_shape(ours[name])} in the model)"
            for name, array in renamed.items()
            if name in ours and name not in fitting
        ),
    )
    wanted = [name for name in ours if not name.endswith(CONSTANTS)]
    if sum(name in fitting for name in wanted) < SENSIBLE_SHARE * len(wanted):
        raise ValueError(f"{path} holds no weights for this {type(model).__name__} of {len(wanted)} arrays: {report}")
    _check_filterbank(fitting, ours, str(path))
    model.load_state_dict(fitting, strict=False)
    return report


def _fitting(renamed: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: array for name, array in renamed.items() if name in ours and array.shape == ours[name].shape}


def _check_filterbank(fitting: Mapping[str, Tensor], ours: Mapping[str, Tensor], path: str) -> None:
    for name, array in fitting.items():
        if name.endswith(_FILTERBANK):
            gap = float((array - ours[name]).abs().max())
            if not gap <= FILTERBANK_TOLERANCE:
                raise ValueError(
                    f"{path} was trained on another mel filter bank ({name} differs by {gap:.2g}): "
                    "its weights mean nothing on this front end; choose the dials that it was trained with"
                )


def _shape(array: Tensor) -> str:
    return "x".join(map(str, array.shape)) or "scalar"
