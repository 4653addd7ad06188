"""The recurrent networks of COMP-520 (Chang, Horne, Hughes 2025): RNN, GRU or LSTM over Kaldi's filter bank, pooled by
attention over time.

Shapes: B batch, T samples, N frames, F mel bins (128), H hidden units, K tags.

As the released code has it: the recurrent network's output goes through LayerNorm; a linear layer and a softmax over
time weigh the normalised outputs, whose weighted sum is classified by one or two linear layers. Defaults are the final
system's (LSTM, 2 layers of 128, two linear layers); the GRU rows of their tables had ``hidden=64``, no dropout and one
linear layer, the first LSTM rows ``hidden=64`` and ``recurrent_dropout=0.2``.

Lengths: their extractor cuts every clip to 1,024 frames, so of 30 s only the first 10.255 s were heard (the report says
that clips are not trimmed), and pads shorter ones: ``frames=1024``. ``frames=0`` takes any clip from 25 ms as it is.

Differs: logits come out, not log-probabilities (their loss took a second, idle log-softmax of them); their decoding
fed the header of a WAV file in as 22 to 39 samples, ours does not.
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
    """``layers`` recurrent layers (the report: 1, 2 and 16) of ``hidden`` units (64 and 128), ``linear_layers`` 1 or 2.

    ``recurrent_dropout`` stands between recurrent layers, ``dropout`` before each linear layer. ``frames`` and
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
        """Samples of one frame."""
        return min_samples(1)


class AttentionPool(nn.Module):
    """``h_BNH`` -> (B, H): the mean over time, weighted by a softmax over time of one linear score of each frame."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1)

    def forward(self, h_BNH: Tensor) -> Tensor:
        weight_BN1 = torch.softmax(self.score(h_BNH), dim=1)
        return (weight_BN1 * h_BNH).sum(dim=1)


class RecurrentTagger(nn.Module):
    """``wave_BT`` -> ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: RecurrentDials."""

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
            # Between layers only: of one layer there is no between, and torch warns.
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
    """With Elman's network (tanh)."""

    cell = nn.RNN


class GruTagger(RecurrentTagger):
    """With gated recurrent units."""

    cell = nn.GRU


class LstmTagger(RecurrentTagger):
    """With long short-term memory."""

    cell = nn.LSTM
