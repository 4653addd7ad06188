"""The models: each maps ``wave_BT`` (B clips of T samples, mono 16 kHz, float32 in [-1, 1]) to ``logits_BK`` (K tags).

The front end is part of the model, so waveform and spectrogram models train on the same batches.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import torch
from torch import nn

from genrescale.models.choi_fcn import ChoiFcn
from genrescale.models.cnn_transformer import CnnTransformer
from genrescale.models.crnn import Crnn
from genrescale.models.dieleman import Dieleman
from genrescale.models.fcn import Fcn
from genrescale.models.mediaeval_res import MediaevalRes
from genrescale.models.mtg_fcn import MtgFcn
from genrescale.models.musicnn import Musicnn
from genrescale.models.musicnn_layernorm import MusicnnLayernorm
from genrescale.models.own import is_own, own_model
from genrescale.models.parts.frontend import NORMALISATION_DIALS, LogMel
from genrescale.models.parts.protocol import FixedLength, ModelDials, Tagger
from genrescale.models.recurrent import GruTagger, LstmTagger, RnnTagger
from genrescale.models.sample_cnn import SampleCnn
from genrescale.models.short_chunk import ShortChunk
from genrescale.models.short_chunk_res import ShortChunkRes
from genrescale.models.spectrogram import SpectrogramTagger
from genrescale.models.ssast import SsastTagger
from genrescale.models.ssast_pretraining import SsastPretraining
from genrescale.models.timbre_cnn import TimbreCnn
from genrescale.models.vgg_gtzan import VggGtzan
from genrescale.models.waveform import WaveformTagger

MODELS: dict[str, type[Tagger]] = {
    "waveform": WaveformTagger,
    "spectrogram": SpectrogramTagger,
    "sample_cnn": SampleCnn,
    "dieleman": Dieleman,
    "choi_fcn": ChoiFcn,
    "timbre_cnn": TimbreCnn,
    "fcn": Fcn,
    "crnn": Crnn,
    "musicnn": Musicnn,
    "mtg_fcn": MtgFcn,
    "short_chunk": ShortChunk,
    "short_chunk_res": ShortChunkRes,
    "mediaeval_res": MediaevalRes,
    "vgg_gtzan": VggGtzan,
    "musicnn_layernorm": MusicnnLayernorm,
    "rnn": RnnTagger,
    "gru": GruTagger,
    "lstm": LstmTagger,
    "ssast": SsastTagger,
    "cnn_transformer": CnnTransformer,
}
# Pretraining without tags, by loss ``pretext``: ``wave_BT`` to ``pretext_B3``. Taggers start from it (``init.run``).
PRETEXTS: dict[str, type[SsastPretraining]] = {"ssast_pretraining": SsastPretraining}


def _dials(name: str, dials: dict[str, Any]) -> ModelDials:
    """The model's dials: its defaults, overridden by ``dials``.

    Raises ValueError for an unknown name, dial or value.
    """
    if not is_own(name) and name not in MODELS and name not in PRETEXTS:
        known = sorted({**MODELS, **PRETEXTS})
        raise ValueError(f"model {name!r} is none of {known}; a model of your own is package.module:Class")
    known = (MODELS.get(name) or PRETEXTS.get(name) or own_model(name)).Dials
    defaults = {field.name: field.default for field in fields(known)}
    unknown = sorted(set(dials) - set(defaults))
    if unknown:
        raise ValueError(f"model {name!r} has no dials {unknown}; it has {sorted(defaults)}")
    return known(**{dial: _as_default(value, defaults[dial]) for dial, value in dials.items()})


def _as_default(value: Any, default: Any) -> Any:
    """Convert a whole number to float where the default is a float, so that 0 and 0.0 give the same run id."""
    return float(value) if type(value) is int and isinstance(default, float) else value


def full_dials(name: str, dials: dict[str, Any]) -> dict[str, Any]:
    """Return all dials of a model with their values: the defaults, overridden by ``dials``.

    Raises ValueError as ``build_model`` does.
    """
    return asdict(_dials(name, dials))


def changed_dials(name: str, dials: dict[str, Any]) -> str:
    """The dials of a model that differ from their defaults, as text: ``frontend_layers=9 pooling=max``."""
    defaults = full_dials(name, {})
    return " ".join(f"{dial}={value}" for dial, value in dials.items() if value != defaults[dial])


def build_model(name: str, num_tags: int, **dials: Any) -> nn.Module:
    """Build a freshly initialised model of ``MODELS`` or ``PRETEXTS``, or one that ``use_own`` has imported.

    A pretraining model ignores ``num_tags``. Raises ValueError for an unknown name, dial or value, and for a model that
    would stay without its corpus's normalisation.
    """
    chosen = _dials(name, dials)
    model = PRETEXTS[name](**dials) if name in PRETEXTS else (MODELS.get(name) or own_model(name))(num_tags, **dials)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model {name!r} is no torch.nn.Module")
    _check_log_mels(name, model, chosen)
    return model


def _check_log_mels(name: str, model: nn.Module, dials: ModelDials) -> None:
    """Raise ValueError for a LogMel without the two dials by which training gives it the corpus's normalisation."""
    for front_end in (module for module in model.modules() if isinstance(module, LogMel)):
        given = [getattr(dials, dial, None) for dial in NORMALISATION_DIALS]
        used = [getattr(front_end, dial) for dial in NORMALISATION_DIALS]
        if None in given or [torch.tensor(value) for value in given] != used:
            raise ValueError(
                f"model {name!r} has a LogMel that does not get {' and '.join(NORMALISATION_DIALS)} of its Dials, so "
                "no corpus would normalise it; pass these dials to LogMel, or use RawLogMel"
            )


def min_crop_len(name: str, **dials: Any) -> int:
    """Return the shortest crop, in samples, that the model accepts, without building it.

    Raises ValueError as ``build_model`` does.
    """
    return _dials(name, dials).min_input_len


def fixed_crop_len(name: str, **dials: Any) -> int | None:
    """Return the one crop length, in samples, that the model accepts; None if it accepts any from ``min_crop_len``."""
    chosen = _dials(name, dials)
    return chosen.fixed_input_len if isinstance(chosen, FixedLength) else None


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters, as the papers' tables do: without batch-norm statistics."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
