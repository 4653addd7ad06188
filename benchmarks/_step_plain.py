"""The models of benchmarks/step.py as one writes them with PyTorch's layers, one after the other in the papers' order.

Parameters are made in the order of ours, so that ours can be copied over. Shapes: B batch, T samples, C channels,
F mel bins, N frames, K tags.
"""

from __future__ import annotations

import warnings
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

EPS, MOMENTUM = 1e-3, 0.01


class Residual(nn.Module):
    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(filters, filters, 7, padding=3)
        self.norm = nn.BatchNorm2d(1, eps=EPS, momentum=MOMENTUM)

    def forward(self, h_BCN: Tensor) -> Tensor:
        return h_BCN + self.norm(F.relu(self.conv(h_BCN))[:, None])[:, 0]


class Backend(nn.Module):
    def __init__(self, features: int, num_tags: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(features, 512, 7)
        self.norm = nn.BatchNorm1d(512, eps=EPS, momentum=MOMENTUM)
        self.residuals = nn.ModuleList([Residual(512), Residual(512)])
        self.dense = nn.Linear(1024, 500)
        self.dense_norm = nn.BatchNorm1d(500, eps=EPS, momentum=MOMENTUM)
        self.output = nn.Linear(500, num_tags)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h_BCN: Tensor) -> Tensor:
        h_BCN = self.norm(F.relu(self.conv(h_BCN)))
        h_BCN = self.residuals[1](F.max_pool1d(self.residuals[0](h_BCN), 2))
        pooled = self.dropout(torch.cat([h_BCN.max(dim=2).values, h_BCN.mean(dim=2)], dim=1))
        return self.output(self.dropout(self.dense_norm(F.relu(self.dense(pooled)))))


class Waveform(nn.Module):
    def __init__(self, num_tags: int, dropout: float) -> None:
        super().__init__()
        channels = (1, 64, 64, 64, 128, 128, 128, 256)
        self.convs = nn.ModuleList(
            nn.Conv1d(before, after, 3, stride=3 if before == 1 else 1) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(after, eps=EPS, momentum=MOMENTUM) for after in channels[1:])
        self.backend = Backend(256, num_tags, dropout)

    def forward(self, wave_BT: Tensor) -> Tensor:
        h_BCN = wave_BT[:, None]
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h_BCN = norm(F.relu(conv(h_BCN)))
            if i > 0:
                h_BCN = F.max_pool1d(h_BCN, 3)
        return self.backend(h_BCN)


class Timbral(nn.Module):
    def __init__(self, height: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(1, filters, (height, span), padding=(0, span // 2))
            for span, filters in ((7, 16), (3, 32), (1, 64))
        )
        self.norm = nn.BatchNorm2d(112, eps=EPS, momentum=MOMENTUM)

    def forward(self, h_B1FN: Tensor) -> Tensor:
        h_BCFN = self.norm(F.relu(torch.cat([conv(h_B1FN) for conv in self.convs], dim=1)))
        return F.max_pool2d(h_BCFN, (h_BCFN.shape[2], 1))[:, :, 0]


class Temporal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(1, filters, span, padding="same") for span, filters in ((165, 16), (128, 32), (64, 64), (32, 128))
        )
        self.norm = nn.BatchNorm1d(240, eps=EPS, momentum=MOMENTUM)

    def forward(self, h_BFN: Tensor) -> Tensor:
        envelope_B1N = h_BFN.mean(dim=1, keepdim=True)
        return self.norm(F.relu(torch.cat([conv(envelope_B1N) for conv in self.convs], dim=1)))


class Spectrogram(nn.Module):
    def __init__(self, num_tags: int, dropout: float) -> None:
        super().__init__()
        self.mel = MelSpectrogram(16_000, n_fft=512, hop_length=256, n_mels=96, norm="slaney", mel_scale="slaney")
        self.timbral = nn.ModuleList([Timbral(86), Timbral(38)])
        self.temporal = Temporal()
        self.backend = Backend(464, num_tags, dropout)

    def forward(self, wave_BT: Tensor) -> Tensor:
        h_BFN = torch.log10(10_000 * self.mel(wave_BT) + 1)
        banks = [bank(h_BFN[:, None]) for bank in self.timbral]
        return self.backend(torch.cat([*banks, self.temporal(h_BFN)], dim=1))


class ResidualBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv_1, self.bn_1 = nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after)
        self.conv_2, self.bn_2 = nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after)
        self.conv_3, self.bn_3 = nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after)

    def forward(self, h_BCFN: Tensor) -> Tensor:
        branch = self.bn_2(self.conv_2(F.relu(self.bn_1(self.conv_1(h_BCFN)))))
        return F.relu(branch + self.bn_3(self.conv_3(h_BCFN)))


class ShortChunkRes(nn.Module):
    def __init__(self, num_tags: int, dropout: float) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.mel = nn.Sequential(
                MelSpectrogram(16_000, n_fft=512, hop_length=256, n_mels=128), AmplitudeToDB(top_db=None)
            )
        self.spec_bn = nn.BatchNorm2d(1)
        channels = (1, 128, 128, 256, 256, 256, 256, 512)
        self.layers = nn.Sequential(*(ResidualBlock(before, after) for before, after in pairwise(channels)))
        self.dense1, self.bn, self.dense2 = nn.Linear(512, 512), nn.BatchNorm1d(512), nn.Linear(512, num_tags)
        self.dropout = nn.Dropout(dropout)

    def forward(self, wave_BT: Tensor) -> Tensor:
        h_BCFN = self.layers(self.spec_bn(self.mel(wave_BT)[:, None]))
        return self.dense2(self.dropout(F.relu(self.bn(self.dense1(h_BCFN.amax(dim=(2, 3)))))))


PLAIN: dict[str, type[nn.Module]] = {
    "waveform": Waveform,
    "spectrogram": Spectrogram,
    "short_chunk_res": ShortChunkRes,
}


def plain_copy(name: str, ours: nn.Module, num_tags: int, dropout: float) -> nn.Module:
    """The plain model with the weights of ``ours``."""
    plain = PLAIN[name](num_tags, dropout)
    with torch.no_grad():
        for to, weight in zip(plain.parameters(), ours.parameters(), strict=True):
            to.copy_(weight.reshape(to.shape))
    return plain
