"""Embeddings of songs by a published model: the input of its output layer, averaged over the song's windows.

Shapes: T samples, C windows, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from genrescale.audio import PCM_SCALE
from genrescale.data.reading.plan import ScorePlan
from genrescale.export.published import Frozen
from genrescale.models.parts.head import head_inputs, head_name

WINDOWS_AT_ONCE = 8
_SCORING = "consecutive"  # adjacent windows, the rest at the end is dropped


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The extractor of a published model's embeddings; ``name`` carries the first digits of its weights' SHA-256."""

    frozen: Frozen

    @property
    def name(self) -> str:
        return f"embedding-{self.frozen.sha256[:12]}"

    @property
    def definition(self) -> str:
        return f"1: {self.frozen.sha256}, windows of {self.frozen.crop_len}, {_SCORING}"

    @property
    def columns(self) -> tuple[str, ...]:
        head = self.frozen.model.get_submodule(head_name(self.frozen.model, self.frozen.num_tags))
        return tuple(f"embedding_{i}" for i in range(int(head.in_features)))  # type: ignore[arg-type]

    @torch.inference_mode()
    def vector(self, pcm_T: np.ndarray) -> np.ndarray:
        """The embedding (D,) of a song; a song shorter than a window is zero-padded to one."""
        crop_len, model = self.frozen.crop_len, self.frozen.model
        plan = ScorePlan(np.array([len(pcm_T)]), crop_len, _SCORING)
        starts = [start for group in range(plan.num_groups) for start in plan.crops(0, group).starts_n.tolist()]
        wave_T = np.pad(pcm_T.astype(np.float32) * PCM_SCALE, (0, max(0, crop_len - len(pcm_T))))
        with head_inputs(model, self.frozen.num_tags) as parts_CD:
            for low in range(0, len(starts), WINDOWS_AT_ONCE):
                windows = [wave_T[start : start + crop_len] for start in starts[low : low + WINDOWS_AT_ONCE]]
                model(torch.from_numpy(np.stack(windows)))
        return torch.cat(parts_CD).double().mean(dim=0).float().numpy()
