"""Compute a song's tags: the mean over its windows, the whole song as one input, and by second. No Ray.

Shapes: T samples, C windows, S seconds, K tags, D dimensions of an embedding.
"""

from __future__ import annotations

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
from genrescale.models.parts.head import head_inputs
from genrescale.models.parts.transformer import TransformerLayer

MAX_WHOLE_S = 600.0
"""Longer songs are not given to a model as one input, because activations take up to 8 MB a second (short_chunk)."""
MAX_ATTENTION_S = 60.0
"""The same limit for transformers, whose attention grows with the square of the length."""


@dataclass(frozen=True, eq=False)
class SongTags:
    """A song's scores: ``score_K`` is the mean over ``windows``, ``whole_K`` the scores of the whole song as one input.

    ``whole_K``, if requested, is None if the architecture accepts one length only or cuts its input, and if the song is
    shorter than a window or longer than MAX_WHOLE_S (MAX_ATTENTION_S). ``padded`` means that the song was shorter than
    a window and was zero-padded. ``embedding_D``, if requested, is the input of the output layer, averaged over
    windows, float32.
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
    """A song that could not be tagged, and the reason."""

    song: str
    reason: str


def tag_clip(exported: Exported, clip: Clip, embed: bool = False, whole: bool = False) -> SongTags:
    """Tag one decoded song, scored as the model's test songs were.

    With ``embed``, also compute its embedding; with ``whole``, the scores of the whole song as one input.
    """
    plan = ScorePlan(np.array([len(clip.pcm_T)]), exported.spec.crop_len, exported.spec.scoring)
    starts_C = np.concatenate([plan.crops(0, group).starts_n for group in range(plan.num_groups)])
    embedding_D = None
    if embed:
        with head_inputs(exported.model, len(exported.vocabulary)) as parts_CD:
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
        whole_K=_whole(exported, clip) if whole else None,
        embedding_D=embedding_D,
    )


def tags_by_second(exported: Exported, pcm_T: np.ndarray) -> np.ndarray:
    """Compute scores (S, K) for every started second: the mean of the windows that cover it.

    Windows start at every second, and the last one ends with the song. So the score of a second depends on the music up
    to a window's length around it.
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
    """Score the windows that start at samples ``starts_C``: (C, K), float64 in [0, 1].

    Windows beyond the song's end are zero-padded.
    """
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
    cuts = spec.dials.get("frames", 0) > 0  # models with this dial pad or cut every input to that many frames
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
