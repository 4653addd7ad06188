"""The Kaldi filter bank against torchaudio's: ``python benchmarks/fbank.py [clips] [rounds]``.

A batch of 10 s clips on the device (a GPU where there is one), as a training step needs it: ours, all clips at once,
and ``torchaudio.compliance.kaldi.fbank``, which takes one clip at a time. Prints milliseconds a clip (the median
of the rounds) and the largest difference, then one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchaudio.compliance import kaldi

from genrescale.audio import SAMPLE_RATE
from genrescale.models.parts.fbank import NUM_MELS, KaldiFbank

SECONDS = 10


def torchaudio_fbank(wave_BT: Tensor) -> Tensor:
    """Each clip by torchaudio, (B, N, F), not normalised."""
    return torch.stack(
        [kaldi.fbank(wave_T[None], window_type="hanning", num_mel_bins=NUM_MELS, dither=0.0) for wave_T in wave_BT]
    )


def milliseconds(work: Callable[[], Tensor], rounds: int) -> float:
    """Median wall time of a call; the device is waited for."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Measures and prints."""
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    device = "cuda" if torch.cuda.is_available() else "cpu"
    noise_BT = torch.randn(clips, SECONDS * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    wave_BT = (0.1 * noise_BT).to(device)
    fbank = KaldiFbank().to(device)
    difference = (fbank.raw(wave_BT) - torchaudio_fbank(wave_BT)).abs()
    ours = milliseconds(lambda: fbank.raw(wave_BT), rounds) / clips
    theirs = milliseconds(lambda: torchaudio_fbank(wave_BT), rounds) / clips
    print(f"{clips} clips of {SECONDS} s on {device}, {torch.get_num_threads()} threads")
    print(f"ours {ours:.2f} ms a clip, torchaudio {theirs:.2f} ms; largest difference {difference.max():.1e}")
    figures = {"ours_ms": round(ours, 3), "torchaudio_ms": round(theirs, 3), "vs_torchaudio": round(theirs / ours, 2)}
    print(json.dumps({"benchmark": "fbank", "figures": figures}))


if __name__ == "__main__":
    main()
