"""Load published weights into our models, and report which arrays did not match.

``published/keys.py`` maps the names of Won et al. 2020 and of MTG-Jamendo's baseline to ours,
``published/ssast_keys.py`` those of SSAST's authors and of AST in transformers. The layout of a file is detected: among
the layouts for the model, the one with the most arrays that fit by name and shape. Our own checkpoints
(``model.safetensors``) are one layout. A layout also knows which dials its weights need: ``published_dials``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genrescale.models import MODELS, PRETEXTS, full_dials
from genrescale.models.published.checkpoints import read_checkpoint
from genrescale.models.published.keys import MTG_FCN, WON, cnn_transformer_keys
from genrescale.models.published.ssast_keys import ast_keys, ssast_keys
from genrescale.models.ssast import CLASS_TOKENS, PATCH, SIZES, SsastTagger, fit_positions, patch_grid

State = dict[str, Tensor]
Rename = Callable[[State], tuple[State, list[str]]]
Dials = dict[str, Any]

# Arrays that follow from the settings, or are counters: a file may lack them (some checkpoints store torchaudio's).
CONSTANTS = ("num_batches_tracked", "spectrogram.window", "mel_scale.fb", "resample.kernel")
_FILTERBANK, _POSITIONS = "mel_scale.fb", "backbone.positions"
FILTERBANK_TOLERANCE = 1e-4
"""Largest difference between a stored mel filter bank and the model's; Won's differ from the HTK formula by 1.3e-5."""
SENSIBLE_SHARE = 0.5
PUBLISHED_DIALS: dict[str, Dials] = {
    "sample_cnn": {"last_kernel": 1, "first_padding": 1, "norm_eps": 1e-5},
}
"""Dials of Won's weights where our defaults follow another reading of the paper."""
AST_DIALS: Dials = {"pooling": "class", "remove_mean": False}
"""The dials that make an SSAST an AST. Array shapes do not show them; the names in the file do."""
_LISTED = 8


@dataclass(frozen=True)
class Loaded:
    """Report of a checkpoint's arrays: which were loaded, and which did not match.

    ``loaded`` and ``missing`` are names of the model's arrays. ``unexpected`` are arrays of the file that the model
    does not have. ``wrong_shape`` gives the shape in the file and the shape in the model.
    """

    path: str
    layout: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every array of the file was loaded and every parameter of the model received a value."""
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
    """A naming scheme for a model's arrays. ``rename`` maps them to our names and lists the names it does not know.

    ``models`` are the names in MODELS that the layout is for; empty means any. Array names alone do not identify a
    layout: ``fcn`` and MTG's baseline have layers of the same shapes, but different activations and front ends.
    ``dials`` returns the dials that these weights need; with other dials they would load but give wrong outputs.
    """

    name: str
    rename: Rename
    models: tuple[str, ...] = ()
    dials: Callable[[State], Dials] = lambda renamed: {}

    def is_for(self, model: nn.Module) -> bool:
        return not self.models or isinstance(model, tuple((MODELS | PRETEXTS)[name] for name in self.models))


def by_module(names: Mapping[str, str]) -> Rename:
    """Make a Rename from module names, theirs -> ours: ``layer1.conv`` covers ``layer1.conv.weight`` and ``.bias``."""

    def rename(state: State) -> tuple[State, list[str]]:
        renamed, unknown = {}, []
        for name, array in state.items():
            module, _, leaf = name.rpartition(".")
            if not array.numel():  # some files hold an empty filter bank
                continue
            if module in names:
                renamed[f"{names[module]}.{leaf}"] = array
            else:
                unknown.append(name)
        return renamed, unknown

    return rename


def by_function(keys: Callable[[State], State], unused: tuple[str, ...] = ()) -> Rename:
    """Make a Rename from a function that may join arrays and that leaves out names it does not know.

    A name counts as unknown if the result is the same without it, unless it begins with one of ``unused``.
    """

    def rename(state: State) -> tuple[State, list[str]]:
        state = {name: array for name, array in state.items() if array.numel()}
        shapes = {name: array.to("meta") for name, array in state.items()}  # joining allocates nothing
        known = keys(shapes).keys()
        unknown = [name for name in state if keys({k: v for k, v in shapes.items() if k != name}).keys() == known]
        return keys(state), [name for name in unknown if not name.startswith(unused)]

    return rename


def transformer_dials(renamed: State) -> Dials:
    """Read the size and depth of an SSAST or AST from the shapes of its arrays."""
    widths = {width: size for size, (width, _) in SIZES.items()}
    width = renamed["backbone.class_tokens"].shape[-1] if "backbone.class_tokens" in renamed else 0
    depth = sum(name.endswith(".qkv.weight") for name in renamed)
    return ({"size": widths[width]} if width in widths else {}) | ({"depth": depth} if depth else {})


# DeiT's image heads, and two numbers
_SSAST_UNUSED = ("v.head.", "v.head_dist.", "p_input_")
# models that also start from the weights of another architecture
_HEIRS = {"short_chunk_res": ("mediaeval_res",)}
_TRANSFORMERS = ("ssast", "ssast_pretraining")
_OURS = Layout("genrescale", lambda state: (state, []))


def _won(name: str, names: Mapping[str, str]) -> Layout:
    models = (name, *_HEIRS.get(name, ()))
    return Layout(f"Won 2020, {name}", by_module(names), models, lambda _: PUBLISHED_DIALS.get(name, {}))


LAYOUTS = (
    *(_won(name, names) for name, names in WON.items()),
    Layout("Won 2020, cnn_transformer", by_function(cnn_transformer_keys), ("cnn_transformer",)),
    Layout("MTG-Jamendo baseline", by_module(MTG_FCN), ("mtg_fcn",)),
    # AST's own authors use the same names, so the user who imports their weights sets pooling and remove_mean
    Layout("SSAST, its authors'", by_function(ssast_keys, _SSAST_UNUSED), _TRANSFORMERS, transformer_dials),
    Layout("AST, transformers", by_function(ast_keys), ("ssast",), lambda state: transformer_dials(state) | AST_DIALS),
    _OURS,
)


def published_dials(name: str, path: str | Path, dials: Mapping[str, Any]) -> Dials:
    """Return ``dials`` of the model ``name`` together with the dials that the weights at ``path`` need.

    A user may thus leave those out. If ``position_frames`` is not in ``dials``, it is set so that the positions of an
    SSAST or AST are loaded as stored. Raises ValueError for dials that contradict the weights, and what
    ``read_checkpoint`` raises.
    """
    state = read_checkpoint(path)
    renamed, layout = {}, _OURS
    for candidate in LAYOUTS[:-1]:
        if name in candidate.models:
            arrays, unknown = candidate.rename(state)
            if len(unknown) <= SENSIBLE_SHARE * len(state) and len(arrays) > len(renamed):
                renamed, layout = arrays, candidate
    needed = layout.dials(renamed)
    chosen = full_dials(name, {**needed, **dials})
    _check_dials(needed, chosen, f"{path} (layout: {layout.name})")
    if _POSITIONS in renamed and "position_frames" not in dials:
        stride = PATCH if "mask_token" in renamed else chosen["stride"]
        columns = (renamed[_POSITIONS].shape[1] - CLASS_TOKENS) // patch_grid(PATCH, stride)[0]
        if columns > 0 and columns != patch_grid(chosen["position_frames"], stride)[1]:
            needed |= {"position_frames": (columns - 1) * stride + PATCH}
    return {**needed, **dials}


def load_published(model: nn.Module, path: str | Path) -> Loaded:
    """Load the arrays of the checkpoint at ``path`` that fit ``model``, and return a report of the rest.

    Arrays that do not match keep their values, so a model with other tags gets everything but its head. Positions of an
    SSAST or AST are interpolated to the model's grid. Raises FileNotFoundError, and ValueError

    - if the file cannot be read safely,
    - if the model's dials are not those that the weights need,
    - if less than half of the model's arrays would be loaded (the message lists them),
    - if the file's mel filter bank differs from the model's, i.e. the weights belong to another front end.
    """
    state = read_checkpoint(path)
    ours = model.state_dict()

    def fit(layout: Layout) -> tuple[int, int]:
        renamed = layout.rename(state)[0]
        return len(_fitting(renamed, ours)), sum(name in ours for name in renamed)

    layout = max((layout for layout in LAYOUTS if layout.is_for(model)), key=fit)
    renamed, unknown = layout.rename(state)
    dials: Any = model.dials
    _check_dials(layout.dials(renamed), vars(dials), f"{path} (layout: {layout.name})")
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


def _check_dials(needed: Mapping[str, Any], chosen: Mapping[str, Any], where: str) -> None:
    if wrong := {name: value for name, value in needed.items() if name in chosen and chosen[name] != value}:
        actual = ", ".join(f"{name}={chosen[name]!r}" for name in wrong)
        wanted = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise ValueError(f"{where} holds weights of a model with {wanted}, but this model has {actual}: set {wanted}")


def _fitting(renamed: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: array for name, array in renamed.items() if name in ours and array.shape == ours[name].shape}


def _check_filterbank(fitting: Mapping[str, Tensor], ours: Mapping[str, Tensor], path: str) -> None:
    for name, array in fitting.items():
        if name.endswith(_FILTERBANK):
            gap = float((array.float() - ours[name]).abs().max())
            rounding = torch.finfo(array.dtype).eps if array.is_floating_point() else 0.0  # of fp16 and bf16
            if not gap <= max(FILTERBANK_TOLERANCE, rounding):
                raise ValueError(
                    f"{path} was trained on another mel filter bank ({name} differs by {gap:.2g}): "
                    "its weights do not work with this front end; set the dials that it was trained with"
                )


def _shape(array: Tensor) -> str:
    return "x".join(map(str, array.shape)) or "scalar"
