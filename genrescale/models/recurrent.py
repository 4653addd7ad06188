"""``rnn``, ``gru``, ``lstm``: the recurrent networks of COMP-520 (Chang, Horne, Hughes 2025), with attention over time.

Shapes: B batch, T samples, N frames, F mel bins (128), H hidden units, K tags.

As in the released code, Kaldi's filter bank feeds the recurrent network, and LayerNorm normalises its outputs. A linear
layer and a softmax over time give their weights; one or two linear layers classify the weighted sum. Defaults are those
of the final system (LSTM, 2 layers of 128, two linear layers). The GRU rows of their tables had ``hidden=64``, no
dropout and one linear layer; the first LSTM rows ``hidden=64`` and ``recurrent_dropout=0.2``.

Lengths: their feature extractor pads or cuts every clip to 1,024 frames, so of 30 s the model got only the first 10.255
s (the report says that clips are not trimmed): ``frames=1024``. ``frames=0`` keeps any clip of at least 25 ms as it is.

Differences: logits, not log-probabilities (their loss applied a second, redundant log-softmax); their decoder passed
the header of a WAV file on as 22 to 39 samples, ours does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from genrescale.models.parts.backend import check_length, check_whole
from genrescale.models.parts.fbank import NUM_MELS, KaldiFbank, check_fbank, min_samples


@dataclass(frozen=True, kw_only=True)
class RecurrentDials:
    """``layers`` recurrent layers (report: 1, 2, 16) of ``hidden`` units (64, 128), and ``linear_layers``, 1 or 2.

    ``recurrent_dropout`` applies between recurrent layers, ``dropout`` before each linear layer. ``frames`` and
    ``normalisation`` are those of ``KaldiFbank``.
    """

    layers: int = 2
    hidden: int = 128
    linear_layers: int = 2
    recurrent_dropout: float = 0.3
    dropout: float = 0.4
    frames: int = 1024
    normalisation: str = "audioset"

    def __post_init__(self) -> None:
        check_whole(layers=self.layers, hidden=self.hidden, linear_layers=self.linear_layers)
        check_fbank(self.normalisation, self.frames)
        if self.linear_layers > 2:
            raise ValueError(f"linear_layers={self.linear_layers} must be 1 or 2")
        for name, share in (("recurrent_dropout", self.recurrent_dropout), ("dropout", self.dropout)):
            if not 0 <= share < 1:
                raise ValueError(f"{name}={share!r} must be at least 0 and below 1")

    @property
    def min_input_len(self) -> int:
        """The number of samples of one frame."""
        return min_samples(1)


class AttentionPool(nn.Module):
    """Map ``h_BNH`` to (B, H): the mean over time, weighted by a softmax over one linear score per frame."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1)

    def forward(self, h_BNH: Tensor) -> Tensor:
        weight_BN1 = torch.softmax(self.score(h_BNH), dim=1)
        return (weight_BN1 * h_BNH).sum(dim=1)


class RecurrentTagger(nn.Module):
    """Map ``wave_BT`` to ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: RecurrentDials."""

    Dials = RecurrentDials
    cell: ClassVar[type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]]

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = RecurrentDials(**dials)
        hidden = self.dials.hidden
        self.fbank = KaldiFbank(self.dials.normalisation, self.dials.frames)
        self.spec_augment: nn.Module = nn.Identity()
        self.recurrent = self.cell(
            input_size=NUM_MELS,
            hidden_size=hidden,
            num_layers=self.dials.layers,
            batch_first=True,
            # Applies between layers only; torch warns if it is set for a single layer.
            dropout=self.dials.recurrent_dropout if self.dials.layers > 1 else 0.0,
        )
        self.norm = nn.LayerNorm(hidden)
        self.pool = AttentionPool(hidden)
        between = [nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(self.dials.dropout)]
        self.classify = nn.Sequential(
            nn.Dropout(self.dials.dropout),
            *(between if self.dials.linear_layers == 2 else []),
            nn.Linear(hidden, num_tags),
        )

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        h_BNH, _ = self.recurrent(self.fbank(wave_BT, self.spec_augment))
        return self.classify(self.pool(self.norm(h_BNH)))


class RnnTagger(RecurrentTagger):
    """RecurrentTagger with an Elman network (tanh)."""

    cell = nn.RNN


class GruTagger(RecurrentTagger):
    """RecurrentTagger with gated recurrent units."""

    cell = nn.GRU


class LstmTagger(RecurrentTagger):
    """RecurrentTagger with long short-term memory."""

    cell = nn.LSTM
