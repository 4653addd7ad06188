"""``ssast``: the self-supervised audio spectrogram transformer (Gong et al. 2022), fine-tuned to tag clips; also AST.

A vision transformer (DeiT with its two class tokens) on patches of 16 x 16 cells of Kaldi's filter bank. Pretraining
(``ssast_pretraining.py``) uses adjacent patches, stride 16. Fine-tuning uses overlapping ones, stride 10, and resamples
the position embeddings bilinearly. AST (Gong et al. 2021; ``transformers.ASTModel``) is the same network with
``pooling="class"`` and ``remove_mean=False``. The GTZAN report fine-tunes ``base`` with the defaults here and
``frames=1024`` (10 s clips, padded).

Shapes: B batch, T samples, F mel bins (128), N frames, P patches, D width, K tags. Patches are numbered along time
first, as in the authors' code: patch 1 is to the right of patch 0.

Lengths: any clip of at least 16 frames (2,800 samples). 10.24 s with stride 10 give 1,212 patches. Attention grows with
the square of that, so a 30 s clip costs nine times as much; ``checkpoint_activations`` saves memory there.

Difference from the authors' code: positions are stored for a clip of ``position_frames`` and interpolated to any clip,
longer or shorter. Theirs store one grid per fine-tuning, and for clips shorter than those of the pretraining cut out
the middle of the pretrained grid.
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
# (width, heads); every size has 12 layers, and hidden layers of four times its width.
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
HIDDEN_FACTOR = 4
CLASS_TOKENS = 2
NORM_EPS = 1e-6  # timm's, used to train SSAST and AST; transformers runs AST with 1e-12
INIT_STD = 0.02
POOLINGS = ("patches", "class")

Grid = tuple[int, int]


def patch_grid(frames: int, stride: int) -> Grid:
    """Return the number of patches along frequency and along time."""
    return (NUM_MELS - PATCH) // stride + 1, (frames - PATCH) // stride + 1


def resample_positions(positions_1PD: Tensor, before: Grid, after: Grid) -> Tensor:
    """Resample position embeddings bilinearly from one grid of patches to another.

    The first two, of the class tokens, are kept. Raises ValueError if their number does not match ``before``.
    """
    if positions_1PD.shape[1] != CLASS_TOKENS + before[0] * before[1]:
        raise ValueError(
            f"{positions_1PD.shape[1]} positions do not match {CLASS_TOKENS} class tokens and a grid of "
            f"{before[0]} x {before[1]} patches; check the stride and the number of frames"
        )
    if before == after:
        return positions_1PD
    of_classes, of_patches = positions_1PD[:, :CLASS_TOKENS], positions_1PD[:, CLASS_TOKENS:]
    image_1DFN = of_patches.transpose(1, 2).unflatten(2, before)
    resampled_1DFN = F.interpolate(image_1DFN, size=after, mode="bilinear", align_corners=False)
    return torch.cat([of_classes, resampled_1DFN.flatten(2).transpose(1, 2)], dim=1)


@dataclass(frozen=True, kw_only=True)
class SsastDials:
    """``size`` is one of ``SIZES``; ``stride`` is the patch stride, 10 in fine-tuning and 16 in pretraining.

    ``pooling`` averages the patch tokens (``patches``, which pretraining trains) or the two class tokens (``class``,
    AST). ``frames`` pads or cuts every clip (the authors: 1024); 0 keeps it as it is. ``position_frames`` is the clip
    length, in frames, for which positions are stored. ``remove_mean`` and ``normalisation`` are those of
    ``KaldiFbank``. ``checkpoint_activations`` saves memory at the cost of time; results are the same.
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
        """The samples of one frame if clips are padded, else of one patch."""
        return min_samples(1 if self.frames else PATCH)


class PatchTransformer(nn.Module):
    """Map ``fbank_BNF`` (N of at least 16) to ``tokens_BPD``: two class tokens, then the patches, layer-normalised."""

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
        """Run the transformer. In pretraining, ``mask_token_D`` replaces the patches where ``masked_BP`` is true."""
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
    """Map ``wave_BT`` to ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: SsastDials."""

    Dials = SsastDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = SsastDials(**dials)
        self.fbank = KaldiFbank(self.dials.normalisation, self.dials.frames, self.dials.remove_mean)
        # Applied before the normalisation, as in the authors' code: masked cells are a raw 0.
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
        """Return a parent's weights with its positions resampled to this model's grid.

        ``dials`` are the parent's. Weights of a network without positions are returned unchanged.
        """
        if "backbone.positions" not in weights or "stride" not in dials:
            return dict(weights)
        return fit_positions(weights, self, dials["stride"])


def fit_positions(state: Mapping[str, Tensor], model: SsastTagger, stride: int | None = None) -> dict[str, Tensor]:
    """Return ``state`` with its positions resampled to the model's grid.

    ``stride`` is the patch stride that ``state`` was trained with. If None: 16 if ``state`` holds a mask token, which
    only pretraining has, else the model's own. Raises ValueError if the positions do not form such a grid.
    """
    key = "backbone.positions"
    if key not in state:
        raise ValueError(f"the weights have no {key!r}, so they are not those of an SSAST or AST")
    if stride is None:
        stride = PATCH if "mask_token" in state else model.dials.stride
    rows = patch_grid(PATCH, stride)[0]
    columns = (state[key].shape[1] - CLASS_TOKENS) // rows
    return {**state, key: resample_positions(state[key], (rows, columns), model.backbone.stored_grid)}
