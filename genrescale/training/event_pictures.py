"""What event files show besides numbers: clips as the model sees them, confusions, and the worst mistakes.

Shapes: n clips, T samples, F mel bins, N songs, K tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from genrescale.audio import PCM_SCALE
from genrescale.config import RunConfig
from genrescale.config.spec_augment import parse_spec_augment
from genrescale.data.reading.source import CropGroup
from genrescale.display.confusion import confusion_png
from genrescale.display.pixels import log_mel_png
from genrescale.metrics.by_tag import confusion_matrix
from genrescale.models.parts.frontend import RawLogMel
from genrescale.models.parts.spec_augment import SpecAugment
from genrescale.results import ScoreTable
from genrescale.telemetry.terminal import printable
from genrescale.training.augment import augment

SHOWN = 3
WORST = 4
"""Test songs whose sound is kept."""
WORST_S = 10.0
_GAP = 4  # pixels between clips


@torch.no_grad()
def clips_picture(group: CropGroup, run: RunConfig) -> np.ndarray:
    """Draw the log-mel of the first SHOWN clips, one below the other; at the right, as they are augmented: (H, W, 3).

    The augmentations are drawn anew here: another draw than that which the step trains on, by the same settings. The
    state of torch's generator stays as it was.
    """
    front_end, wave_nT = RawLogMel(), torch.from_numpy(group.wave_nT).float() * PCM_SCALE
    columns = [front_end(wave_nT[:SHOWN])]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        augmented_nT, _ = augment(wave_nT, torch.from_numpy(group.labels_nK).float(), run.augment)
        seen_nFN = front_end(augmented_nT[:SHOWN])
        if run.augment.spec_augment != "none":
            seen_nFN = SpecAugment(parse_spec_augment(run.augment.spec_augment), None).train()(seen_nFN)
    if not torch.equal(seen_nFN, columns[0]):
        columns.append(seen_nFN)
    low, high = np.quantile(columns[0].numpy(), [0.01, 0.998]).tolist()
    rows = [[_pixels(mels[i].numpy(), low, high) for mels in columns] for i in range(len(columns[0]))]
    return _beside([_beside(row, axis=1) for row in rows], axis=0)


def _pixels(mel_FN: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(log_mel_png(mel_FN, low, high))).convert("RGB"))


def _beside(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=axis)


def worst_songs(true_NK: np.ndarray, score_NK: np.ndarray, exclusive: bool) -> list[int]:
    """The WORST songs that the model is most wrong about, the worst first.

    With ``exclusive`` tags: of the songs given another tag, those where its score exceeds the true one's the most.
    Otherwise: those with the largest mean difference between tags and scores.
    """
    if exclusive:
        true_N = true_NK.argmax(axis=1)
        wrong_N = score_NK.max(axis=1) - score_NK[np.arange(len(score_NK)), true_N]
    else:
        wrong_N = np.abs(true_NK - score_NK).mean(axis=1)
    return [int(song) for song in np.argsort(-wrong_N, kind="stable")[:WORST] if wrong_N[song] > 0]


def confusions_picture(scores: ScoreTable, names: Sequence[str]) -> np.ndarray:
    """Draw the confusion matrix of songs with one tag each: (H, W, 3)."""
    png = confusion_png(confusion_matrix(scores.true_NK, scores.score_NK), names, "Test songs")
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def mistakes_table(songs: Sequence[int], scores: ScoreTable, names: Sequence[str]) -> str:
    """Songs as a table in Markdown: the key, its tags, and the tags with the highest scores."""
    lines = ["| clip | song | tags | scored |", "|---|---|---|---|"]
    for place, song in enumerate(songs):
        true_K, score_K = scores.true_NK[song], scores.score_NK[song]
        tags = ", ".join(names[k] for k in np.flatnonzero(true_K > 0.5).tolist())
        likeliest = ", ".join(f"{names[k]} {score_K[k]:.2f}" for k in np.argsort(-score_K, kind="stable")[:3].tolist())
        lines.append(f"| {place + 1} | {_cell(scores.keys[song])} | {_cell(tags)} | {_cell(likeliest)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """A name from outside as plain text of a Markdown table: nothing in it is markup."""
    return "".join(c if c.isalnum() or c in " ,.-_" else f"&#{ord(c)};" for c in printable(text))
