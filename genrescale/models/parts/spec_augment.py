"""SpecAugment on the training device: masks random frequency bands and time spans of each clip's spectrogram.

A spectrogram model passes its front end's ``logmel_BFN`` through the module ``spec_augment``, which is
``nn.Identity()`` until ``put_spec_augment`` replaces it. Shapes: B clips, F mel bins, N frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.functional import mask_along_axis_iid

from genrescale.config.spec_augment import SpecMasks


class SpecAugment(nn.Module):
    """Mask ``logmel_BFN``, each clip with its own masks. In evaluation mode the input is returned unchanged.

    A mask's width is uniform in [0, widest), its start uniform among all positions that fit (Park et al. 2019, section
    2, without time warping). A mask is never wider than the input. Random numbers come from torch's generator. Masked
    cells get ``masked_value``: 0 is the mean of a normalised spectrogram, as in Park et al.; None means the clip's
    mean, for dB spectrograms that are normalised later (there 0 dB is loud).
    """

    def __init__(self, masks: SpecMasks, masked_value: float | None = 0.0) -> None:
        super().__init__()
        self.masks, self.masked_value = masks, masked_value

    def forward(self, logmel_BFN: Tensor) -> Tensor:
        if not self.training:
            return logmel_BFN
        if self.masked_value is None:
            mean_B11 = logmel_BFN.mean(dim=(1, 2), keepdim=True)
            return self._masked(logmel_BFN - mean_B11, 0.0) + mean_B11
        return self._masked(logmel_BFN, self.masked_value)

    def _masked(self, logmel_BFN: Tensor, value: float) -> Tensor:
        masks = self.masks
        for axis, count, width in ((1, masks.freq_masks, masks.freq_width), (2, masks.time_masks, masks.time_width)):
            for _ in range(count):
                widest = min(width, logmel_BFN.shape[axis])
                logmel_BFN = mask_along_axis_iid(logmel_BFN, widest, value, axis)
        return logmel_BFN

    def extra_repr(self) -> str:
        return f"{self.masks}, masked_value={self.masked_value}"


def put_spec_augment(model: nn.Module, masks: SpecMasks) -> None:
    """Make ``model`` train with ``masks``. Raises ValueError if the model has no spectrogram.

    If the model masks the spectrogram before it is normalised, its attribute ``masked_value`` says so.
    """
    if not isinstance(getattr(model, "spec_augment", None), nn.Module):
        raise ValueError(
            f"spec_augment masks spectrograms, and {type(model).__name__} has none: train it with spec_augment=none, "
            "or another model"
        )
    model.spec_augment = SpecAugment(masks, getattr(model, "masked_value", 0.0))


class _Reached(Exception):
    """Stops the forward pass after the front end, and carries the shape of the spectrogram."""


def check_masks(model: nn.Module, masks: SpecMasks, crop_len: int) -> None:
    """Raise ValueError if a mask is wider than the spectrogram that ``model`` makes of ``crop_len`` samples.

    Call ``put_spec_augment`` first. Only the front end runs, on silence.
    """

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _Reached(inputs[0].shape)

    handle = model.get_submodule("spec_augment").register_forward_pre_hook(stop)
    try:
        model(torch.zeros(1, crop_len))
    except _Reached as reached:
        _, bins, frames = reached.args[0]
    else:
        raise RuntimeError(f"{type(model).__name__} does not use its spec_augment")
    finally:
        handle.remove()
    wide_bins = masks.freq_masks > 0 and masks.freq_width > bins
    if wide_bins or (masks.time_masks > 0 and masks.time_width > frames):
        raise ValueError(
            f"spec_augment masks up to {masks.freq_width} mel bins and {masks.time_width} frames, but a crop has "
            f"{bins} bins and {frames} frames: use narrower masks (e.g. 1x{min(masks.freq_width, bins) // 2}/"
            f"1x{min(masks.time_width, frames) // 2}) or longer crops"
        )
