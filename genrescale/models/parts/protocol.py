"""What a class needs in order to be a model of ``MODELS``. Nothing inherits from these: they are checked by shape."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor


class ModelDials(Protocol):
    """A frozen dataclass of keyword arguments with defaults, which refuses impossible values by ValueError."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def min_input_len(self) -> int:
        """The shortest input, in samples at 16 kHz, that the model of these dials takes."""
        ...


@runtime_checkable
class FixedLength(Protocol):
    """Dials of a model that takes one length only, because its dense layer is as wide as its input is long."""

    @property
    def fixed_input_len(self) -> int:
        """That length, in samples at 16 kHz; equal to ``min_input_len``."""
        ...


class Tagger(Protocol):
    """A model: an ``nn.Module`` that maps ``wave_BT`` (float32 in [-1, 1], 16 kHz) to ``logits_BK``; no sigmoid inside.

    A model of mel spectrograms has an attribute ``spec_augment``, applied to ``logmel_BFN`` right after the front end:
    an ``nn.Identity`` until training replaces it.
    """

    Dials: type[Any]  # a class of ModelDials

    def __init__(self, num_tags: int, **dials: Any) -> None: ...

    def __call__(self, wave_BT: Tensor, /) -> Tensor: ...
