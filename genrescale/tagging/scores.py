"""A song's tags: the mean over its windows, the whole song at once, and second by second. No Ray.

Shapes: T samples, C windows, S seconds, K tags, D dimensions of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genrescale.audio import PCM_SCALE, SAMPLE_RATE, Clip
from genrescale.config.numbers import ceil_div
from genrescale.data.reading.plan import SCORE_GROUP, ScorePlan
from genrescale.export import Exported
from genrescale.losses import probabilities
from genrescale.models import fixed_crop_len
from genrescale.models.parts.head import head_name
from genrescale.models.parts.transformer import TransformerLayer

MAX_WHOLE_S = 600.0
"""Longer songs are not given to a model at once: activations take up to 8 MB a second (short_chunk)."""
MAX_ATTENTION_S = 60.0
"""The same for transformers, whose attention grows with the square of the length."""


@dataclass(frozen=True, eq=False)
class SongTags:
    """``score_K`` is the mean over ``windows``; ``whole_K`` the model's answer to the whole song at once.

    ``whole_K`` is None where the architecture takes one length only or cuts its input, and for songs shorter than a
    window or longer than MAX_WHOLE_S (MAX_ATTENTION_S). ``padded``: shorter than a window, so silence was added.
    ``embedding_D``, where it was asked for, is the mean over the windows of what the model's head is given, float32.
    """

    song: str
    seconds: float
    windows: int
    padded: bool
    score_K: np.ndarray
    whole_K: np.ndarray | None
    embedding_D: np.ndarray | None = None


@dataclass(frozen=True)
class Untagged:
    """A song that could not be tagged, and why."""

    song: str
    reason: str


def tag_clip(exported: Exported, clip: Clip, embed: bool = False) -> SongTags:
    """The tags of one decoded song, scored as the model's test songs were; with ``embed`` also its embedding."""
    plan = ScorePlan(np.array([len(clip.pcm_T)]), exported.spec.crop_len, exported.spec.scoring)
    starts_C = np.concatenate([plan.crops(0, group).starts_n for group in range(plan.num_groups)])
    embedding_D = None
    if embed:
        with _head_inputs(exported) as parts_CD:
            score_CK = window_scores(exported, clip.pcm_T, starts_C)
        embedding_D = torch.cat(parts_CD).double().mean(dim=0).float().numpy()
    else:
        score_CK = window_scores(exported, clip.pcm_T, starts_C)
    return SongTags(
        song=clip.key,
        seconds=clip.duration_s,
        windows=len(starts_C),
        padded=len(clip.pcm_T) < exported.spec.crop_len,
        score_K=score_CK.mean(axis=0),
        whole_K=_whole(exported, clip),
        embedding_D=embedding_D,
    )


@contextmanager
def _head_inputs(exported: Exported) -> Iterator[list[Tensor]]:
    """What the model's head is given in the block, a part for each forward pass."""
    parts: list[Tensor] = []
    head = exported.model.get_submodule(head_name(exported.model, len(exported.vocabulary)))
    handle = head.register_forward_pre_hook(lambda _, inputs: parts.append(inputs[0].float().cpu()))
    try:
        yield parts
    finally:
        handle.remove()


def tags_by_second(exported: Exported, pcm_T: np.ndarray) -> np.ndarray:
    """Scores (S, K) of every started second: the mean of the windows that cover it.

    A window starts at every second and one ends with the song. So a second hears the music around it, as far as a
    window is long.
    """
    length, crop_len = len(pcm_T), exported.spec.crop_len
    last = max(length - crop_len, 0)
    starts_C = np.unique([*range(0, last + 1, SAMPLE_RATE), last])
    score_CK = window_scores(exported, pcm_T, starts_C)
    sum_SK = np.zeros((ceil_div(length, SAMPLE_RATE), score_CK.shape[1]))
    count_S = np.zeros(len(sum_SK))
    for start, score_K in zip(starts_C.tolist(), score_CK, strict=True):
        covered = slice(start // SAMPLE_RATE, ceil_div(min(start + crop_len, length), SAMPLE_RATE))
        sum_SK[covered] += score_K
        count_S[covered] += 1
    return sum_SK / count_S[:, None]


def window_scores(exported: Exported, pcm_T: np.ndarray, starts_C: np.ndarray) -> np.ndarray:
    """Scores (C, K), float64 in [0, 1], of the windows from samples ``starts_C``, padded with silence at the end."""
    crop_len = exported.spec.crop_len
    parts = []
    for first in range(0, len(starts_C), SCORE_GROUP):
        starts = starts_C[first : first + SCORE_GROUP].tolist()
        wave_CT = np.zeros((len(starts), crop_len), pcm_T.dtype)
        for window_T, start in zip(wave_CT, starts, strict=True):
            crop = pcm_T[start : start + crop_len]
            window_T[: len(crop)] = crop
        parts.append(_scores(exported, wave_CT))
    return np.concatenate(parts)


def _whole(exported: Exported, clip: Clip) -> np.ndarray | None:
    spec = exported.spec
    cuts = spec.dials.get("frames", 0) > 0  # the dial of models that pad or cut every input to so many frames
    if cuts or fixed_crop_len(spec.model, **spec.dials) is not None:
        return None
    attends = any(isinstance(module, TransformerLayer) for module in exported.model.modules())
    if len(clip.pcm_T) < spec.crop_len or clip.duration_s > (MAX_ATTENTION_S if attends else MAX_WHOLE_S):
        return None
    return _scores(exported, clip.pcm_T[None])[0]


@torch.inference_mode()
def _scores(exported: Exported, wave_CT: np.ndarray) -> np.ndarray:
    device = next(exported.model.parameters()).device
    wave: Tensor = torch.from_numpy(wave_CT).to(device).float() * PCM_SCALE
    scores = probabilities(exported.model(wave), exported.vocabulary, exported.spec.loss)
    return scores.double().cpu().numpy()
