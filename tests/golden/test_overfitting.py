"""The COMP-520 report's overfit scores, from its own tables, and gaps worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from genrescale.metrics.overfitting import gap_curve, overfit_ratio, overfit_score, select_step

ROW = re.compile(r"^\d+ Ep\. (?:GRU|LSTM) - [\d.]+ LR - \d+ HL\t([\d.]+)\t([\d.]+)\t([\d.]+)$", re.MULTILINE)


@pytest.fixture
def rows(shared_data: Path) -> list[tuple[float, float, float]]:
    """Training loss, validation accuracy (%) and "Overfit" of Tables I, III and IV; Table II repeats two rows."""
    text = (shared_data.parent / "papers" / "comp520_rnn.txt").read_text()
    tables = text[: text.index("TABLE II\n")] + text[text.index("TABLE III\n") :]
    return [(float(loss), float(valid), float(overfit)) for loss, valid, overfit in ROW.findall(tables)]


def test_the_tables_hold_the_ratio_and_not_the_printed_formula(rows: list[tuple[float, float, float]]):
    assert len(rows) == 19
    ratios = [abs(overfit_ratio(loss) - overfit) for loss, _, overfit in rows]
    assert max(ratios) <= 0.01
    assert sum(difference <= 0.005 + 1e-9 for difference in ratios) == 16
    assert all(abs(overfit_score(loss, valid / 100) - overfit) > 0.015 for loss, valid, overfit in rows)


def test_every_accuracy_is_a_number_of_1600_songs(rows: list[tuple[float, float, float]]):
    for _, valid, _ in rows:
        songs = round(valid * 16)
        assert songs / 16 == pytest.approx(valid, abs=0.005 + 1e-9), valid


def test_the_printed_formula_by_hand():
    assert overfit_score(1.0, 0.25) == pytest.approx(0.375)
    assert overfit_score(0.0, 0.0) == 0
    with pytest.raises(ValueError, match="divide percent by 100"):
        overfit_score(1.0, 50.06)
    with pytest.raises(ValueError, match="at least 0"):
        overfit_ratio(-0.1)


def test_the_gap_and_what_the_selectors_choose():
    curve = gap_curve([10, 20, 30, 40], [2.0, 0.9, 0.5, 0.2], [2.0, 1.1, 1.0, 1.2])
    assert curve.gap_V.tolist() == pytest.approx([0, 0.2, 0.5, 1.0])
    assert select_step(curve) == 30
    assert select_step(curve, "gap") == 20, "step 10 knows nothing, so its gap of 0 does not count"
    assert select_step(curve, "gap", tolerance=0) == 30
    assert select_step(curve, "gap", tolerance=1.0) == 10


def test_a_gap_below_zero_is_as_far_from_zero_as_one_above():
    """Strong augmentation makes training songs the harder ones: the GTZAN project's "regularization gap"."""
    curve = gap_curve([1, 2, 3], [1.4, 1.1, 0.8], [1.1, 1.05, 1.0])
    assert select_step(curve, "gap") == 2
    assert select_step(gap_curve([1, 2], [1.25, 0.75], [1.125, 0.875]), "gap", tolerance=1) == 2, (
        "the lower loss of equals"
    )


@pytest.mark.parametrize(
    ("train_loss", "message"), [([1.0], "one training and validation loss"), ([1.0, float("nan")], "finite")]
)
def test_a_curve_with_holes_is_refused(train_loss: list[float], message: str):
    with pytest.raises(ValueError, match=message):
        gap_curve([1, 2], train_loss, [1.0, 1.0])
    with pytest.raises(ValueError, match="none of"):
        select_step(gap_curve([1], [1.0], [1.0]), "accuracy")
