"""Pons et al. 2018, Table 1 and Figure 3: the paper's claim about its own numbers, recomputed."""

from __future__ import annotations

import numpy as np
import pytest

from genrescale.scaling import crossing, lead_changes, linear_fit

# Table 1 of the paper: mean of three runs at 100k, 500k and 1M training songs.
SIZES = [100_000, 500_000, 1_000_000]
TABLE_1 = {
    "roc_auc": {"waveform": [0.9027, 0.9116, 0.9250], "spectrogram": [0.9014, 0.9161, 0.9217]},
    "pr_auc": {"waveform": [0.5276, 0.5642, 0.6120], "spectrogram": [0.5267, 0.5818, 0.5992]},
    "rmse": {"waveform": [0.1554, 0.1504, 0.1465], "spectrogram": [0.1542, 0.1493, 0.1473]},
}
# Where numpy.polyfit's lines through the same numbers meet, in songs.
CROSSINGS = {"roc_auc": 521_301.775, "pr_auc": 619_016.748, "rmse": 751_971.326}


@pytest.mark.parametrize("metric", list(TABLE_1))
def test_lines_cross_between_100k_and_1m_songs(metric: str) -> None:
    wave, spec = (linear_fit(SIZES, TABLE_1[metric][family]) for family in ("waveform", "spectrogram"))
    meet = crossing(wave, spec)
    assert meet == pytest.approx(CROSSINGS[metric], abs=0.01)
    assert 100_000 < CROSSINGS[metric] < 1_000_000


@pytest.mark.parametrize("metric", list(TABLE_1))
@pytest.mark.parametrize("family", ["waveform", "spectrogram"])
def test_fit_equals_numpy_polyfit(metric: str, family: str) -> None:
    fit = linear_fit(SIZES, TABLE_1[metric][family])
    slope, intercept = np.polyfit(SIZES, TABLE_1[metric][family], 1)
    assert fit.slope == pytest.approx(slope, rel=1e-9)
    assert fit.intercept == pytest.approx(intercept, rel=1e-9)
    assert fit.residuals.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("metric", "sign"), [("roc_auc", 1), ("pr_auc", 1), ("rmse", -1)])
def test_trend_lines_favour_spectrograms_at_100k_and_waveforms_at_1m(metric: str, sign: int) -> None:
    """Section 5.1: "trend lines show that spectrogram models tend to perform better" at 100k, waveforms at 1M."""
    wave, spec = (linear_fit(SIZES, TABLE_1[metric][family]) for family in ("waveform", "spectrogram"))
    ahead = sign * (wave.predict(SIZES) - spec.predict(SIZES))
    assert ahead[0] < 0 < ahead[-1]


@pytest.mark.parametrize(("metric", "changes"), [("roc_auc", [0, 1]), ("pr_auc", [0, 1]), ("rmse", [1])])
def test_raw_values_change_the_lead_more_often_than_the_lines(metric: str, changes: list[int]) -> None:
    """Waveforms lead at 100k too on ROC-AUC and PR-AUC: three points are three points. RMSE crosses once."""
    raw = np.subtract(TABLE_1[metric]["waveform"], TABLE_1[metric]["spectrogram"])
    gaps = [(SIZES[0], SIZES[1]), (SIZES[1], SIZES[2])]
    assert lead_changes(SIZES, raw.tolist()) == [gaps[i] for i in changes]
