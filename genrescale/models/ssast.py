"""SSAST, the self-supervised audio spectrogram transformer (Gong et al. 2022), fine-tuned to tag clips; also AST.

A vision transformer (DeiT with its two class tokens) on patches of 16 x 16 cells of Kaldi's filter bank. Pretraining
(``ssast_pretraining.py``) cuts patches side by side, stride 16; fine-tuning lets them overlap, stride 10, and carries
the positions over by bilinear interpolation. AST (Gong et al. 2021; ``transformers.ASTModel``) is the same network
with ``pooling="class"`` and ``remove_mean=False``. The GTZAN report fine-tunes ``base`` with the defaults here and
``frames=1024`` (10 s clips, padded).

Shapes: B batch, T samples, F mel bins (128), N frames, P patches, D width, K tags. Patches are counted along time
first, as the authors count: patch 1 is to the right of patch 0.

Lengths: any clip of at least 16 frames (2,800 samples). 10.24 s with stride 10 are 1,212 patches; attention grows with
their square, so a 30 s clip costs nine times as much: ``checkpoint_activations`` saves memory there.

Where this differs from the authors' code: positions are held for a clip of ``position_frames`` and are interpolated to
whatever clip comes, longer or shorter; theirs hold one grid for each fine-tuning, and cut its middle out for clips that
are shorter than those of the pretraining.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_length, check_whole
from genrescale.models.parts.fbank import NUM_MELS, KaldiFbank, check_fbank, min_samples
from genrescale.models.parts.transformer import TransformerLayer, run_layers

PATCH = 16
# Width and heads; every size has 12 layers, and four times its width between the two linear layers of one.
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
HIDDEN_FACTOR = 4
CLASS_TOKENS = 2
NORM_EPS = 1e-6  # timm's, with which SSAST and AST were trained; transformers runs AST with 1e-12
INIT_STD = 0.02
POOLINGS = ("patches", "class")

Grid = tuple[int, int]


def patch_grid(frames: int, stride: int) -> Grid:
    """Patches along frequency and along time."""
    return (NUM_MELS - PATCH) // stride + 1, (frames - PATCH) // stride + 1


def resample_positions(positions_1PD: Tensor, before: Grid, after: Grid) -> Tensor:
    """Positions of another grid of patches, bilinearly; those of the two class tokens come first and are kept."""
    if positions_1PD.shape[1] != CLASS_TOKENS + before[0] * before[1]:
        raise ValueError(
            f"{positions_1PD.shape[1]} positions are not those of {CLASS_TOKENS} class tokens and a grid of "
            f"{before[0]} x {before[1]} patches; is the stride or the number of frames another one?"
        )
    if before == after:
        return positions_1PD
    of_classes, of_patches = positions_1PD[:, :CLASS_TOKENS], positions_1PD[:, CLASS_TOKENS:]
    image_1DFN = of_patches.transpose(1, 2).unflatten(2, before)
    resampled_1DFN = F.interpolate(image_1DFN, size=after, mode="bilinear", align_corners=False)
    return torch.cat([of_classes, resampled_1DFN.flatten(2).transpose(1, 2)], dim=1)


@dataclass(frozen=True, kw_only=True)
class SsastDials:
    """``size`` is one of ``SIZES``. ``stride`` is that of the patches, 10 in fine-tuning, 16 in pretraining.

    ``pooling`` is the mean of the patch tokens, which pretraining has trained, or of the two class tokens (AST).
    ``frames`` pads or cuts every clip (the authors: 1024); 0 takes it as it is. ``position_frames`` is the length of
    the clip for which positions are stored. ``remove_mean`` and ``normalisation`` are of ``KaldiFbank``.
    ``checkpoint_activations`` trades time for memory and changes no number.
    """

    size: str = "base"
    depth: int = 12
    stride: int = 10
    pooling: str = "patches"
    frames: int = 0
    position_frames: int = 1024
    normalisation: str = "audioset"
    remove_mean: bool = True
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        check_whole(depth=self.depth, stride=self.stride, position_frames=self.position_frames)
        check_fbank(self.normalisation, self.frames)
        if self.size not in SIZES:
            raise ValueError(f"size={self.size!r} is none of {list(SIZES)}")
        if self.stride > PATCH:
            raise ValueError(f"stride={self.stride} would skip cells between patches; it must be at most {PATCH}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling={self.pooling!r} is none of {list(POOLINGS)}")
        for name, frames in (("frames", self.frames or PATCH), ("position_frames", self.position_frames)):
            if frames < PATCH:
                raise ValueError(f"{name}={frames} must be at least {PATCH}, the width of a patch")

    @property
    def min_input_len(self) -> int:
        """Samples of one frame where clips are padded, else of one patch."""
        return min_samples(1 if self.frames else PATCH)


class PatchTransformer(nn.Module):
    """``fbank_BNF`` -> ``tokens_BPD``: the two class tokens, then the patches, normalised. For N of at least 16."""

    def __init__(self, dials: SsastDials) -> None:
        super().__init__()
        width, heads = SIZES[dials.size]
        self.stride, self.checkpoint_activations = dials.stride, dials.checkpoint_activations
        self.stored_grid = patch_grid(dials.position_frames, dials.stride)
        self.embed = nn.Conv2d(1, width, PATCH, stride=dials.stride)
        self.class_tokens = nn.Parameter(torch.empty(1, CLASS_TOKENS, width))
        self.positions = nn.Parameter(torch.empty(1, CLASS_TOKENS + self.stored_grid[0] * self.stored_grid[1], width))
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, HIDDEN_FACTOR * width, norm_first=True, norm_eps=NORM_EPS)
            for _ in range(dials.depth)
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        for parameter in (self.class_tokens, self.positions):
            nn.init.trunc_normal_(parameter, std=INIT_STD)
        for linear in self.layers.modules():
            if isinstance(linear, nn.Linear):
                nn.init.trunc_normal_(linear.weight, std=INIT_STD)
                nn.init.zeros_(linear.bias)

    def forward(self, fbank_BNF: Tensor, masked_BP: Tensor | None = None, mask_token_D: Tensor | None = None) -> Tensor:
        """In pretraining, ``mask_token_D`` stands where ``masked_BP`` is true."""
        image_B1FN = fbank_BNF.transpose(1, 2).unsqueeze(1)
        patches_BPD = self.embed(image_B1FN).flatten(2).transpose(1, 2)
        if masked_BP is not None and mask_token_D is not None:
            patches_BPD = torch.where(masked_BP.unsqueeze(2), mask_token_D.to(patches_BPD.dtype), patches_BPD)
        positions_1PD = resample_positions(
            self.positions, self.stored_grid, patch_grid(fbank_BNF.shape[1], self.stride)
        )
        classes_B2D = self.class_tokens.expand(len(fbank_BNF), -1, -1).to(patches_BPD.dtype)
        tokens_BPD = torch.cat([classes_B2D, patches_BPD], dim=1) + positions_1PD
        return self.norm(run_layers(self.layers, tokens_BPD, self.checkpoint_activations))


class SsastTagger(nn.Module):
    """``wave_BT`` -> ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: SsastDials."""

    Dials = SsastDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = SsastDials(**dials)
        self.fbank = KaldiFbank(self.dials.normalisation, self.dials.frames, self.dials.remove_mean)
        # Before the normalisation, as the authors have it: what is masked becomes a raw 0.
        self.spec_augment: nn.Module = nn.Identity()
        self.backbone = PatchTransformer(self.dials)
        width, _ = SIZES[self.dials.size]
        self.head_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_tags)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        tokens_BPD = self.backbone(self.fbank(wave_BT, self.spec_augment))
        pooled = tokens_BPD[:, CLASS_TOKENS:] if self.dials.pooling == "patches" else tokens_BPD[:, :CLASS_TOKENS]
        return self.head(self.head_norm(pooled.mean(dim=1)))

    def fit_weights(self, weights: Mapping[str, Tensor], dials: Mapping[str, Any]) -> dict[str, Tensor]:
        """A parent's weights, its positions brought from the grid of its ``dials`` to this one's.

        Those of a network without positions are returned as they are.
        """
        if "backbone.positions" not in weights or "stride" not in dials:
            return dict(weights)
        return fit_positions(weights, self, dials["stride"])


def fit_positions(state: Mapping[str, Tensor], model: SsastTagger, stride: int | None = None) -> dict[str, Tensor]:
    """``state`` with its positions brought to the model's grid: what pretraining (or other tagging) hands on.

    ``stride`` is the one that ``state`` was trained with: if None, 16 where it holds a mask token, which only
    pretraining has, else the model's own. Raises ValueError where its positions are no such grid.
    """
    key = "backbone.positions"
    if key not in state:
        raise ValueError(f"the weights have no {key!r}: they are not those of an SSAST or AST")
    if stride is None:
        stride = PATCH if "mask_token" in state else model.dials.stride
    rows = patch_grid(PATCH, stride)[0]
    columns = (state[key].shape[1] - CLASS_TOKENS) // rows
    return {**state, key: resample_positions(state[key], (rows, columns), model.backbone.stored_grid)}
