"""What a log-mel front end costs, ours against torchaudio's: ``python benchmarks/frontend.py [rounds] [device]``.

A batch of 16 clips of 3 s through each published system's front end, from waveform to log-mel, without gradients (no
training asks for the waveform's). Both are timed in turns, each as often as the other, so that a busy machine slows
both. Prints milliseconds of a batch (median of the rounds) and how many times as fast ours is (median of the ratios of
neighbours), then one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram, Resample

from genrescale.models.mtg_fcn import HOP_LEN, N_FFT, NUM_MELS, RATE, MtgMel
from genrescale.models.parts.frontend import GTZAN_MEL, PONS_MEL, WON_MEL, WON_MEL_128, MelSettings, RawLogMel

CLIPS, SAMPLES = 16, 48_000
VARIANTS = {"pons": PONS_MEL, "won": WON_MEL, "won_128": WON_MEL_128, "gtzan": GTZAN_MEL}


class LogGain(nn.Module):
    """log10(10000 x + 1), which torchaudio has no transform for."""

    def forward(self, power_BFN: Tensor) -> Tensor:
        return torch.log10(10_000.0 * power_BFN + 1.0)


def torchaudios(settings: MelSettings) -> nn.Module:
    """The same front end as one writes it with torchaudio."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mel = MelSpectrogram(
            16_000,
            n_fft=settings.n_fft,
            win_length=settings.win_len,
            hop_length=settings.hop_len,
            f_min=settings.f_min,
            f_max=settings.f_max,
            n_mels=settings.num_mels,
            norm="slaney" if settings.scale == "slaney" else None,
            mel_scale=settings.scale,
        )
    return nn.Sequential(mel, AmplitudeToDB() if settings.compression == "db" else LogGain())


class TwiceDecibels(nn.Module):
    """20 log10 of the power, as MTG-Jamendo has it."""

    def forward(self, power_BFN: Tensor) -> Tensor:
        return 20 * power_BFN.clamp(min=1e-10).log10()


def torchaudios_mtg() -> nn.Module:
    """MTG-Jamendo's front end as one writes it with torchaudio: to 12 kHz, then its mel spectrogram."""
    mel = MelSpectrogram(
        RATE,
        n_fft=N_FFT,
        hop_length=HOP_LEN,
        n_mels=NUM_MELS,
        wkwargs={"periodic": False},
        pad_mode="constant",
        norm="slaney",
        mel_scale="slaney",
    )
    return nn.Sequential(Resample(16_000, RATE), mel, TwiceDecibels())


def front_ends() -> dict[str, tuple[nn.Module, nn.Module]]:
    """Ours and torchaudio's of each system."""
    variants = {name: (RawLogMel(settings), torchaudios(settings)) for name, settings in VARIANTS.items()}
    return {**variants, "mtg": (MtgMel(), torchaudios_mtg())}


def elapsed_ms(work: Callable[[], Tensor], device: str) -> float:
    """Wall time of one call, all of its kernels ended."""
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


@torch.no_grad()
def main() -> None:
    """Measures and prints."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    device = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    wave_BT = 0.1 * torch.randn(CLIPS, SAMPLES, generator=torch.Generator().manual_seed(0))
    wave_BT = wave_BT.to(device)
    print(f"{CLIPS} clips of {SAMPLES / 16_000:g} s, {device}, {torch.get_num_threads()} threads, {rounds} rounds")
    print(f"{'front end':<12}{'ours ms':>9}{'torchaudio ms':>15}{'vs_torchaudio':>15}")
    figures = {}
    for name, (ours, theirs) in front_ends().items():
        ours, theirs = ours.to(device), theirs.to(device)
        torch.testing.assert_close(ours(wave_BT), theirs(wave_BT), rtol=0, atol=1e-2)
        pairs = []
        for turn in range(2 * rounds):
            order = (ours, theirs) if turn % 2 else (theirs, ours)
            times = {model: elapsed_ms(lambda m=model: m(wave_BT), device) for model in order}
            pairs.append((times[ours], times[theirs]))
        ours_ms, theirs_ms = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{name:<12}{ours_ms:>9.2f}{theirs_ms:>15.2f}{ratio:>15.2f}")
        figures |= {f"{name}_ms": round(ours_ms, 3), f"{name}_vs_torchaudio": round(ratio, 3)}
    print(json.dumps({"benchmark": "frontend", "figures": figures}))


if __name__ == "__main__":
    main()
