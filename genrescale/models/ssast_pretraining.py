"""``ssast_pretraining``: masked-patch pretraining of SSAST (Gong et al. 2022, section 2), with both objectives.

It needs no labels. Most patches of a clip (400 of 512) are replaced by one learned token, in clusters of C x C patches
with C from {3, 4, 5}. From the output tokens, one head must tell which masked patch was at which position
(discriminative: InfoNCE among the masked patches of the clip); another must reconstruct them (generative: mean squared
error). Each objective has its own mask and forward pass. The loss ``pretext`` (``genrescale.losses``) is ``L_d + 10
L_g``.

Shapes: B batch, T samples, P patches, M masked patches, D width, Q cells of a patch (256).

As in the authors' code, and unlike equation 1, the softmax of InfoNCE runs over the predictions. Their recipe: Adam
1e-4 with betas (.95, .999) and weight decay 5e-7, batches of 24, 1,000 steps of warm-up, 10.24 s clips
(``frames=1024``). Masks come from torch's generator, which the engine seeds: by step in training, with one fixed seed
in validation. Difference: they drop surplus masked patches at the end of the clip's list of patches; here the last
cluster is cut short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_length
from genrescale.models.parts.exact import exactly
from genrescale.models.parts.fbank import KaldiFbank
from genrescale.models.ssast import CLASS_TOKENS, PATCH, SIZES, Grid, PatchTransformer, SsastDials, patch_grid

CLUSTERS = (3, 4, 5)
CELLS = PATCH * PATCH


@dataclass(frozen=True, kw_only=True)
class SsastPretrainingDials(SsastDials):
    """SsastDials with adjacent patches, of which ``masked_share`` are masked. ``pooling`` has no effect here."""

    stride: int = PATCH
    masked_share: float = 400 / 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride != PATCH:
            raise ValueError(f"stride={self.stride}: overlapping patches would reveal masked cells; use {PATCH}")
        if not 0 < self.masked_share < 1:
            raise ValueError(f"masked_share={self.masked_share!r} must be between 0 and 1")


def random_masks(clips: int, grid: Grid, count: int, device: torch.device) -> Tensor:
    """Draw indices ``masked_BM`` of ``count`` patches of every clip, in clusters of C x C, with one C for each clip.

    A cluster starts at a random patch and extends C patches to the right and C up. Beyond the edge in time it continues
    in the next row, as the authors' flat indices do. Patch 0 is never masked. Clusters are drawn until ``count``
    patches are masked. Start patches are drawn without repetition: a repeated one would mask nothing new. So a patch is
    masked when the first cluster that covers it is drawn, which is computed for all clips at once.
    """
    rows, columns = grid
    patches = rows * columns
    if not 0 < count < patches:
        raise ValueError(f"{count} patches to mask of {patches}: mask at least one, and fewer than all")
    turn_BP = torch.rand(clips, patches, device=device).argsort(dim=1).argsort(dim=1)
    size_B1 = torch.randint(min(CLUSTERS), max(CLUSTERS) + 1, (clips, 1), device=device)
    first_BP = turn_BP.clone()
    for up in range(max(CLUSTERS)):
        for right in range(max(CLUSTERS)):
            offset = up * columns + right
            if 0 < offset < patches:
                reached = turn_BP[:, :-offset].masked_fill(size_B1 <= max(up, right), patches)
                first_BP[:, offset:] = torch.minimum(first_BP[:, offset:], reached)
    first_BP[:, 0] = patches
    return first_BP.argsort(dim=1, stable=True)[:, :count]


def take(values_BPX: Tensor, indices_BM: Tensor) -> Tensor:
    """Select the rows ``indices_BM`` of each clip: (B, M, X)."""
    return values_BPX.gather(1, indices_BM.unsqueeze(2).expand(-1, -1, values_BPX.shape[2]))


def pretext_head(width: int) -> nn.Sequential:
    """Make the authors' two-layer head, from a token to the cells of a patch."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CELLS))


class SsastPretraining(nn.Module):
    """Map ``wave_BT`` to ``pretext_B3``, for any T of at least ``dials.min_input_len``. Dials: SsastPretrainingDials.

    The columns are a clip's discriminative loss, its generative loss, and the share of its masked patches that were
    identified, which has no gradient. Fine-tuning starts from ``backbone`` (``SsastTagger.fit_weights``).
    """

    Dials = SsastPretrainingDials

    def __init__(self, **dials: Any) -> None:
        super().__init__()
        self.dials = SsastPretrainingDials(**dials)
        self.fbank = KaldiFbank(self.dials.normalisation, self.dials.frames, self.dials.remove_mean)
        self.backbone = PatchTransformer(self.dials)
        width, _ = SIZES[self.dials.size]
        self.mask_token = nn.Parameter(width**-0.5 * torch.randn(width))
        self.discriminative = pretext_head(width)
        self.generative = pretext_head(width)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        fbank_BNF = self.fbank(wave_BT)
        patches_BPQ = F.unfold(fbank_BNF.transpose(1, 2).unsqueeze(1), PATCH, stride=PATCH).transpose(1, 2)
        predicted_BMQ, target_BMQ = self._predict(fbank_BNF, patches_BPQ, self.discriminative)
        discriminative_B, accuracy_B = info_nce(predicted_BMQ, target_BMQ)
        predicted_BMQ, target_BMQ = self._predict(fbank_BNF, patches_BPQ, self.generative)
        generative_B = (predicted_BMQ - target_BMQ).square().mean(dim=(1, 2))
        return torch.stack([discriminative_B, generative_B, accuracy_B], dim=1)

    def _predict(self, fbank_BNF: Tensor, patches_BPQ: Tensor, head: nn.Module) -> tuple[Tensor, Tensor]:
        """Draw a mask; return the head's predictions of the masked patches, in float32, and the patches themselves."""
        clips, patches, _ = patches_BPQ.shape
        grid = patch_grid(fbank_BNF.shape[1], PATCH)
        masked_BM = random_masks(clips, grid, round(self.dials.masked_share * patches), fbank_BNF.device)
        masked_BP = torch.zeros(clips, patches, dtype=torch.bool, device=fbank_BNF.device).scatter_(1, masked_BM, True)
        tokens_BPD = self.backbone(fbank_BNF, masked_BP, self.mask_token)[:, CLASS_TOKENS:]
        return head(take(tokens_BPD, masked_BM)).float(), take(patches_BPQ, masked_BM)


def info_nce(predicted_BMQ: Tensor, target_BMQ: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each clip (B,), the mean InfoNCE loss over its masked patches and the share of patches identified.

    The score of a patch and a prediction is their dot product. The softmax runs over the predictions. A patch counts as
    identified if no other patch gives its prediction a higher probability than it does itself.
    """
    with exactly(predicted_BMQ):
        log_share_BMM = (target_BMQ @ predicted_BMQ.transpose(1, 2)).log_softmax(dim=2)
    right_M = torch.arange(log_share_BMM.shape[1], device=log_share_BMM.device)
    accuracy_B = (log_share_BMM.detach().argmax(dim=1) == right_M).float().mean(dim=1)
    return -log_share_BMM.diagonal(dim1=1, dim2=2).mean(dim=1), accuracy_B
