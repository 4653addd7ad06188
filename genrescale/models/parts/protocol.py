"""The interface of a model in ``MODELS``. These are typing protocols: no class inherits from them."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor


class ModelDials(Protocol):
    """A frozen dataclass of keyword arguments with defaults; it raises ValueError for invalid values."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def min_input_len(self) -> int:
        """The shortest input, in samples at 16 kHz, that a model with these dials accepts."""
        ...


@runtime_checkable
class FixedLength(Protocol):
    """Dials of a model that accepts one input length only, because the size of its dense layer depends on it."""

    @property
    def fixed_input_len(self) -> int:
        """That length in samples at 16 kHz; equal to ``min_input_len``."""
        ...


class Tagger(Protocol):
    """An ``nn.Module`` that maps ``wave_BT`` (float32 in [-1, 1], 16 kHz) to ``logits_BK``, without a sigmoid.

    A model of mel spectrograms has an attribute ``spec_augment``, applied to ``logmel_BFN`` right after the front end.
    It is an ``nn.Identity`` until training replaces it.
    """

    Dials: type[Any]  # a class of ModelDials

    def __init__(self, num_tags: int, **dials: Any) -> None: ...

    def __call__(self, wave_BT: Tensor, /) -> Tensor: ...
