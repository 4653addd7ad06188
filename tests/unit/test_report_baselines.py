"""A report shows the baselines beside the models, and says which family is below the linear floor."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.baseline_rows import VOCABULARY, write_floor
from helpers.scored_runs import single_label, write_scored
from helpers.sweeps import make_trial
from matplotlib.figure import Figure

from genrescale.report import build_report, format_table, table_csv
from genrescale.report.baselines import baseline_paths, floor_gaps, floor_words
from genrescale.report.figure import draw_scaling
from genrescale.report.songs import TestSongs
from genrescale.report.tables import ACCURACY
from genrescale.report.trials import STUDY, planned_of
from genrescale.results import read_planned, write_planned
from genrescale.results.baseline import (
    FLOOR,
    BaselineFailure,
    write_baseline_failures,
)
from genrescale.storage.store import Store


@pytest.fixture
def files(tmp_path: Path) -> Store:
    """Two families at 100 and 400 songs, of little skill and of some."""
    files, rows = Store(str(tmp_path)), []
    for model, skill, noise in (("waveform", 0.3, 1), ("spectrogram", 2.5, 2)):
        for size in (100, 400):
            for seed in (0, 1):
                table = single_label(skill=skill + size / 400, noise=10 * noise + seed)
                rows.append(write_scored(files, table, VOCABULARY, model, size, seed))
    write_planned(files, [planned_of(row) for row in rows])
    return files


def test_baselines_of_a_studys_other_tables_are_not_those_of_its_report(files: Store):
    """Its other tables may have other sizes and corpora, and their runs lie in the same folder."""
    planned = read_planned(files)
    other = replace(make_trial("waveform", 900, 5), axis=f"{STUDY}table2: Filters")
    write_planned(files, [*planned, other])
    for size in (100, 900):
        write_floor(files, single_label(skill=2.0, noise=9), size)
    assert [line.size for line in build_report(files).baselines] == [100]


def test_baselines_are_rows_beside_the_models_in_every_table(files: Store):
    rows = [write_floor(files, single_label(skill=2.0, noise=9), size) for size in (100, 400)]
    write_floor(files, single_label(skill=1.0, noise=8), 100, "ab" * 6, name="boosted trees")
    report = build_report(files)
    assert [(line.size, line.name) for line in report.baselines] == [
        (400, FLOOR), (100, FLOOR), (100, "boosted trees"),
    ]  # fmt: skip
    text = format_table(report)
    lines = [line for line in text.splitlines() if "linear floor" in line and "│" in line]
    assert [f"{row.accuracy:.4f}" in line for row, line in zip(reversed(rows), lines, strict=True)] == [True, True]
    table = list(csv.DictReader(io.StringIO(table_csv(report).decode())))
    of_floor = [row for row in table if row["family"] == FLOOR]
    assert [(row["size"], float(row["accuracy_mean"])) for row in of_floor] == [
        (str(row.size), row.accuracy) for row in reversed(rows)
    ]
    assert [row["family"] for row in table][:4] == ["waveform", "spectrogram"] * 2


def test_the_page_has_them_after_the_models_of_their_size(files: Store):
    row = write_floor(files, single_label(skill=2.0, noise=9))
    from genrescale.report.page import render_page

    page = render_page(build_report(files))
    rows = [part for part in page.split("<tr") if 'data-size="100"' in part and "data-family" in part]
    families = [part.split('data-family="')[1].split('"')[0] for part in rows if "data-metric" in part]
    assert families[:3] == ["waveform", "spectrogram", FLOOR]
    assert f"{row.accuracy:.4f}" in rows[2]
    assert "Grey rows: baselines" in page


def test_the_answer_says_which_family_is_below_the_floor_with_its_interval(files: Store):
    write_floor(files, single_label(skill=2.6, noise=9), 400)
    report = build_report(files)
    (line,) = [line for line in report.lines if (line.family, line.size) == ("waveform", 400)]
    means = line.cells["accuracy"].mean, report.baselines[0].value(ACCURACY)
    said = f"Waveform is below the linear floor ({means[0]:.2f} against {means[1]:.2f})."
    assert said in report.answer.lead
    assert "Spectrogram is below" not in report.answer.lead
    gap = next(gap for gap in floor_gaps(report.lines, report.baselines, ACCURACY, TestSongs(files)))
    assert gap.interval
    assert gap.interval[0] < gap.mean - gap.floor < gap.interval[1] < 0
    assert "95 % interval of the difference over test songs" in report.answer.points[0]
    assert "cannot rule out chance" not in report.answer.points[0]


def test_a_small_gap_is_told_as_one_that_other_songs_may_turn(files: Store):
    report = build_report(files)
    table = single_label(skill=1.3, noise=11)
    (gap, *_) = floor_gaps(report.lines, [], ACCURACY, TestSongs(files)) or [None]
    assert gap is None
    write_floor(files, table, 400)
    report = build_report(files)
    gap = floor_gaps(report.lines, report.baselines, ACCURACY, TestSongs(files))[0]
    near = replace(gap, mean=0.30, floor=0.31, interval=(-0.05, 0.03))
    lead, points = floor_words([near])
    assert lead == "Waveform is below the linear floor (0.30 against 0.31)."
    assert points == [
        "With 400 songs waveform is below the linear floor in Accuracy: 0.3000 against 0.3100 (95 % interval of the "
        "difference over test songs: \N{MINUS SIGN}0.0500 to 0.0300), but 200 test songs cannot rule out chance."
    ]


def test_families_above_the_floor_are_told_too_and_nothing_without_a_floor(files: Store):
    assert "floor" not in str(build_report(files).answer)
    write_floor(files, single_label(skill=0.0, noise=9), 400)
    answer = build_report(files).answer
    assert "floor" not in answer.lead
    assert answer.points[0].startswith("Above the linear floor in Accuracy with 400 songs: waveform ")


def test_baselines_of_other_songs_sizes_or_rows_are_left_out_and_told(files: Store):
    write_floor(files, single_label(), 100, data_digest="other")
    write_floor(files, single_label(), 999)
    (Path(files.uri) / "baselines" / ("f" * 12)).mkdir()
    (Path(files.uri) / "baselines" / ("f" * 12) / "result.json").write_text("{}")
    write_baseline_failures(files, [BaselineFailure("boosted trees", size, "no room") for size in (100, 400, 999)])
    report = build_report(files)
    assert report.baselines == []
    told = " ".join(report.notes)
    assert "1 baseline left out: of other songs" in told
    assert "A baseline left out that cannot be read" in told
    assert "No boosted trees at 100, 400 songs: it failed (no room)." in told


def test_the_last_of_two_floors_of_a_size_stands(files: Store):
    write_floor(files, single_label(skill=1.0), 100, "a" * 12, finished_at="2026-01-02T03:04:05Z")
    last = write_floor(files, single_label(skill=2.0), 100, "b" * 12, finished_at="2026-02-02T03:04:05Z")
    assert [line.row for line in build_report(files).baselines] == [last]


def test_a_folder_with_baselines_alone_has_a_report(tmp_path: Path):
    files = Store(str(tmp_path))
    row = write_floor(files, single_label(skill=2.0), 400)
    write_floor(files, single_label(skill=1.0), 100)
    report = build_report(files)
    assert report.answer.headline == "Baselines, and no model yet"
    assert report.answer.lead == f"Accuracy with 400 songs: linear floor {row.accuracy:.4f}."
    assert "linear floor" in format_table(report)


def test_the_figure_draws_a_floor_within_its_frame(files: Store):
    write_floor(files, single_label(skill=9.0), 100)
    write_floor(files, single_label(skill=9.0), 400)
    report = build_report(files)
    axes, fits = Figure().subplots(), [fit for fit in report.fits if fit.metric == ACCURACY]
    draw_scaling(axes, fits, [], baseline_paths(report.baselines, ACCURACY))
    low, high = axes.get_ylim()
    (floor,) = [line for line in axes.get_lines() if line.get_marker() == "_"]
    assert np.all((low < np.asarray(floor.get_ydata())) & (np.asarray(floor.get_ydata()) < high))
    assert [text.get_text() for text in axes.texts] == [FLOOR]


def test_a_floor_of_shuffled_labels_is_named_so_and_is_no_floor(files: Store):
    write_floor(files, single_label(skill=5.0), 400, labels="shuffled")
    report = build_report(files)
    assert [line.name for line in report.baselines] == ["linear floor (shuffled labels)"]
    assert "floor" not in str(report.answer)


def test_a_planned_sweep_without_a_finished_run_shows_its_floor(tmp_path: Path):
    files = Store(str(tmp_path))
    write_planned(files, [make_trial("waveform", 100, 0)])
    row = write_floor(files, single_label())
    report = build_report(files)
    assert [line.row for line in report.baselines] == [row]
    assert ACCURACY in report.metrics
