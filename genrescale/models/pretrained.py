"""Published weights into our models, array by array, with a list of what did not match.

The names of each published layout are in ``published_keys.py`` (Won et al. 2020, MTG-Jamendo's baseline) and
``ssast_keys.py`` (SSAST's authors, AST of transformers). The layout is told by the names and shapes themselves: of
those that are for the model, the one of which most arrays fit. A checkpoint of our own (``model.safetensors``) is one.
A layout also says which dials its weights mean something with: ``published_dials``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from genrescale.models import MODELS, PRETEXTS, full_dials
from genrescale.models.published.checkpoints import read_checkpoint
from genrescale.models.published.keys import MTG_FCN, WON, cnn_transformer_keys
from genrescale.models.published.ssast_keys import ast_keys, ssast_keys
from genrescale.models.ssast import CLASS_TOKENS, PATCH, SIZES, SsastTagger, fit_positions, patch_grid

State = dict[str, Tensor]
Rename = Callable[[State], tuple[State, list[str]]]
Dials = dict[str, Any]

# Arrays that follow from the settings, or only count: a file may lack them (torchaudio's have been stored and not).
CONSTANTS = ("num_batches_tracked", "spectrogram.window", "mel_scale.fb", "resample.kernel")
_FILTERBANK, _POSITIONS = "mel_scale.fb", "backbone.positions"
FILTERBANK_TOLERANCE = 1e-4
"""Of a stored mel filter bank against the model's; Won's differ from the HTK formula by 1.3e-5."""
SENSIBLE_SHARE = 0.5
PUBLISHED_DIALS: dict[str, Dials] = {
    "sample_cnn": {"last_kernel": 1, "first_padding": 1, "norm_eps": 1e-5},
}
"""Where our defaults are another reading of a paper than the one that Won's weights were trained with."""
AST_DIALS: Dials = {"pooling": "class", "remove_mean": False}
"""What makes an SSAST an AST; no shape tells, only the names in the file."""
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
    MTG's baseline have the same shapes, but another activation and front end. ``dials`` gives the dials without which
    these arrays, under our names, would load and mean nothing.
    """

    name: str
    rename: Rename
    models: tuple[str, ...] = ()
    dials: Callable[[State], Dials] = lambda renamed: {}

    def is_for(self, model: nn.Module) -> bool:
        return not self.models or isinstance(model, tuple((MODELS | PRETEXTS)[name] for name in self.models))


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
        state = {name: array for name, array in state.items() if array.numel()}
        shapes = {name: array.to("meta") for name, array in state.items()}  # joined without any memory
        known = keys(shapes).keys()
        unknown = [name for name in state if keys({k: v for k, v in shapes.items() if k != name}).keys() == known]
        return keys(state), [name for name in unknown if not name.startswith(unused)]

    return rename


def transformer_dials(renamed: State) -> Dials:
    """The size and depth of an SSAST or AST, as the shapes of its arrays tell them."""
    widths = {width: size for size, (width, _) in SIZES.items()}
    width = renamed["backbone.class_tokens"].shape[-1] if "backbone.class_tokens" in renamed else 0
    depth = sum(name.endswith(".qkv.weight") for name in renamed)
    return ({"size": widths[width]} if width in widths else {}) | ({"depth": depth} if depth else {})


# heads for images that DeiT brought along, and two numbers
_SSAST_UNUSED = ("v.head.", "v.head_dist.", "p_input_")
# who else starts from an architecture's weights
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
    # AST's first authors use the same names: pooling and remove_mean are for who imports to say
    Layout("SSAST, its authors'", by_function(ssast_keys, _SSAST_UNUSED), _TRANSFORMERS, transformer_dials),
    Layout("AST, transformers", by_function(ast_keys), ("ssast",), lambda state: transformer_dials(state) | AST_DIALS),
    _OURS,
)


def published_dials(name: str, path: str | Path, dials: Mapping[str, Any]) -> Dials:
    """``dials`` of the model ``name`` with those that the weights at ``path`` need, so that a user may leave these out.

    Positions of an SSAST or AST are kept as they are stored, where ``position_frames`` is not among ``dials``. Raises
    ValueError for dials that contradict the weights, and as ``read_checkpoint`` does.
    """
    state = read_checkpoint(path)
    renamed, layout = {}, _OURS
    for candidate in LAYOUTS[:-1]:
        if name in candidate.models:
            found, unknown = candidate.rename(state)
            if len(unknown) <= SENSIBLE_SHARE * len(state) and len(found) > len(renamed):
                renamed, layout = found, candidate
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
    """Load what fits of the checkpoint at ``path`` into ``model`` and say what did not.

    Arrays that do not match keep their values, so a model with other tags gets everything but its head. Positions of an
    SSAST or AST are interpolated to the model's grid. Raises FileNotFoundError; ValueError for a file that cannot be
    read safely, where the model's dials are not those that the weights need, where less than half of the model's arrays
    would be loaded (with the list), and where the file's filter bank is not the model's: another front end.
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
        found = ", ".join(f"{name}={chosen[name]!r}" for name in wrong)
        wanted = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise ValueError(f"{where} holds weights of a model with {wanted}, found {found}: give these dials that value")


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
