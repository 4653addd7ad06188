from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from threading import Event
from time import sleep
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.sweeps import FAMILIES, SEEDS, SIZES, TAGS, make_plan, make_row, make_trial, write_run
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, mean_squared_error, roc_auc_score

from genrescale import report, results
from genrescale.report import page, songs
from genrescale.report.figure import draw_scaling
from genrescale.report.fits import crossings, family_fit
from genrescale.report.live import LiveReport
from genrescale.report.tables import PR_AUC, comparison_lines, differences
from genrescale.report.trials import TrialOutcome, find_runs
from genrescale.report.words import answer, crossing_text
from genrescale.results import PlannedTrial, ScoreTable
from genrescale.results.stream_stats import format_streams, read_streams
from genrescale.storage.store import Store
from genrescale.telemetry.stream_stats import StreamStats


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep: three axes, every run done."""
    folder = tmp_path_factory.mktemp("finished")
    files = Store(str(folder))
    results.write_planned(files, plan := make_plan())
    for trial in plan:
        write_run(files, trial)
    return folder


@pytest.fixture
def sweep(finished: Path, tmp_path: Path) -> Store:
    """A copy of the finished sweep, to change."""
    shutil.copytree(finished, tmp_path / "sweep")
    return Store(str(tmp_path / "sweep"))


@pytest.fixture(autouse=True)
def _quick_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a second per page: only tests that ask for ``drawn`` pay it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(page, "panel_svg", lambda *_: b"<svg/>")
        monkeypatch.setattr(report, "scaling_png", lambda *_: b"")


@pytest.fixture
def drawn() -> None:
    """Figures are drawn in this test."""


class Page(HTMLParser):
    """The page's tables as cell texts by table id, and every attribute that could load or lead somewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.links: list[str] = []
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self._table, self._open, self._stack = "", False, []
        self.feed(html)
        self.close()
        assert not self._stack, f"unclosed elements: {self._stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "img":
            self.images.append(found)
        if tag not in ("meta", "img", "source", "link", "br"):
            self._stack.append(tag)
        if tag == "table":
            self._table = found["id"] or ""
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        assert self._stack.pop() == tag
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.tables[self._table][-1][-1] += data


def page_of(files: Store) -> Page:
    report.write_report(files)
    return Page(files.read_bytes("report.html").decode())


def read_csv(files: Store, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files.read_bytes(name).decode())))


def result_path(trial: PlannedTrial) -> str:
    return f"runs/{trial.run_id}/result.json"


def test_comparison_equals_pandas_over_the_result_files(sweep: Store) -> None:
    report.write_report(sweep)
    grid = {trial.run_id for trial in make_plan() if trial.axis == "grid"}
    rows = pd.DataFrame([json.loads(sweep.read_bytes(f"runs/{name}/result.json")) for name in grid])
    expected = rows.groupby(["model", "size"])[["roc_auc", "pr_auc", "rmse"]].agg(["mean", "std", "count"])
    lines = read_csv(sweep, "table.csv")
    assert len(lines) == 6
    for line in lines:
        for metric in ("roc_auc", "pr_auc", "rmse"):
            found = expected.loc[(line["family"], int(line["size"])), metric]
            assert float(line[f"{metric}_mean"]) == pytest.approx(found["mean"], rel=1e-12)
            assert float(line[f"{metric}_sd"]) == pytest.approx(found["std"], rel=1e-9)
            assert int(line[f"{metric}_seeds"]) == found["count"] == 3


def test_page_and_terminal_show_the_cells_of_the_csv_in_the_papers_order(sweep: Store) -> None:
    page = page_of(sweep)
    lines = read_csv(sweep, "table.csv")
    assert [(line["family"], int(line["size"])) for line in lines] == [
        (family, size) for size in reversed(SIZES) for family in FAMILIES
    ]
    expected = [
        [line["family"], f"{int(line['size']):,}"]
        + [
            f"{float(line[f'{key}_mean']):.4f} ± {float(line[f'{key}_sd']):.4f}"
            for key in ("roc_auc", "pr_auc", "rmse")
        ]
        + ["3"]
        for line in lines
    ]
    assert page.tables["comparison-table"][1:] == expected
    terminal = report.format_table(report.build_report(sweep))
    for text in itertools.chain.from_iterable(expected):
        assert text in terminal
    assert max(map(len, terminal.splitlines())) <= report.TERMINAL_WIDTH


def _scores(rng: np.random.Generator, skill: float) -> ScoreTable:
    true_NK = np.column_stack([rng.random((80, 2)) < 0.3, rng.random(80)]).astype(float)
    score_NK = np.clip(skill * true_NK + (1 - skill) * rng.random((80, 3)), 0, 1)
    return ScoreTable([f"song-{i}" for i in range(80)], [2] * 80, [False] * 80, true_NK, score_NK)


def test_cells_recompute_with_sklearn_from_the_score_tables(tmp_path: Path) -> None:
    """End to end: score tables -> rows -> report, against sklearn on the score tables that lie on disk."""
    files = Store(str(tmp_path))
    plan = [make_trial(*place) for place in itertools.product(FAMILIES, (100, 400), (0, 1))]
    results.write_planned(files, plan)

    def measure(name: str) -> dict[str, float]:
        scores, _ = results.read_scores(files, f"runs/{name}/scores.parquet")
        true_NK, score_NK = scores.true_NK, scores.score_NK
        return {
            "roc_auc": float(roc_auc_score(true_NK[:, :2], score_NK[:, :2], average="macro")),
            "pr_auc": float(average_precision_score(true_NK[:, :2], score_NK[:, :2], average="macro")),
            "rmse": float(mean_squared_error(true_NK[:, 2], score_NK[:, 2]) ** 0.5),
        }

    for i, trial in enumerate(plan):
        scores = _scores(np.random.default_rng(i), 0.3 + 0.02 * i)
        results.write_scores(files, f"runs/{trial.run_id}/scores.parquet", scores, TAGS)
        write_run(files, trial, **measure(trial.run_id))
    page = page_of(files)
    *rows, baseline = page.tables["comparison-table"][1:]
    assert baseline[0] == "same answer for all"
    for row in rows:
        members = [t for t in plan if (t.model, f"{t.size:,}") == (row[0], row[1])]
        for text, metric in zip(row[2:5], ("roc_auc", "pr_auc", "rmse"), strict=True):
            values = [measure(trial.run_id)[metric] for trial in members]
            assert text == f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


def test_a_deleted_result_shows_as_missing_everywhere(sweep: Store) -> None:
    plan = make_plan()
    for trial in plan:
        if (trial.model, trial.size, trial.axis) == ("waveform", 1600, "grid"):
            sweep.delete(result_path(trial))
    page = page_of(sweep)
    first = page.tables["comparison-table"][1]
    assert first == ["waveform", "1,600", "missing", "missing", "missing", "0 of 3 (3 missing)"]
    assert [row[2] for row in page.tables["difference-table"] if row[1] == "1,600"] == ["missing"] * 3
    for table in ("run-table", "cost-table"):
        assert sum("not finished" in row[5] for row in page.tables[table]) == 3
    line = read_csv(sweep, "table.csv")[0]
    assert (line["pr_auc_mean"], line["pr_auc_sd"], line["seeds_finished"]) == ("missing", "", "0")
    assert [run["status"] for run in read_csv(sweep, "runs.csv")].count("missing") == 3
    built = report.build_report(sweep)
    assert "missing" in report.format_table(built)
    assert built.notes[0] == "3 of 26 planned runs missing. Means are over the others."
    assert "400 songs" in built.answer.headline


def test_one_missing_seed_leaves_the_mean_of_the_others_and_says_so(sweep: Store) -> None:
    gone = make_trial("waveform", 1600, 1)
    sweep.delete(result_path(gone))
    kept = [make_row(make_trial("waveform", 1600, seed)).pr_auc for seed in (0, 2)]
    row = page_of(sweep).tables["comparison-table"][1]
    assert row[3].startswith(f"{np.mean(kept):.4f} ±")  # type: ignore[arg-type]
    assert row[-1] == "2 of 3 (1 missing)"


def test_missing_points_of_the_small_axes_are_shown_and_never_best(sweep: Store) -> None:
    for trial in make_plan():
        if trial.axis in ("lr", "layers") and trial.model == "waveform":
            sweep.delete(result_path(trial))
    page = page_of(sweep)
    for table in ("lr-table", "layers-table"):
        waveform = [row for row in page.tables[table] if row[0] == "waveform"]
        assert sum(row[3] == "missing" for row in waveform) == 2
        assert not any(row[-1].startswith("best") for row in waveform)
        spectrogram = [row for row in page.tables[table] if row[0] == "spectrogram"]
        assert sum(row[-1].startswith("best") for row in spectrogram) == 1


def test_axis_takes_in_the_grid_run_that_differs_in_nothing_else_and_chooses_by_validation(sweep: Store) -> None:
    low = make_trial("waveform", 100, 0, "lr", 3e-4)
    write_run(sweep, low, val_loss=0.01, pr_auc=0.05)
    lines = [line for line in report.build_report(sweep).lr_lines if line.family == "waveform"]
    assert [line.value for line in lines] == [(("lr", 3e-4),), (("lr", 1e-3),), (("lr", 3e-3),)]
    assert [line.best for line in lines] == [True, False, False]
    assert lines[0].at_edge
    assert [trial.planned.seed for trial in lines[1].trials] == [0]
    layers = [line.value_text for line in report.build_report(sweep).layer_lines if line.family == "spectrogram"]
    assert layers == ["backend_layers 1", "backend_layers 2", "backend_layers 3"]


@pytest.mark.parametrize("undefined", [None, float("nan")])
def test_a_metric_that_no_run_defines_is_nowhere(sweep: Store, undefined: float | None) -> None:
    for trial in make_plan():
        text = json.dumps(make_row(trial, rmse=undefined).to_dict())
        sweep.write_bytes(result_path(trial), text.encode())
    report.write_report(sweep)
    html = sweep.read_bytes("report.html").decode()
    assert "RMSE" not in html
    assert "undefined" not in html
    assert "rmse_mean" not in read_csv(sweep, "table.csv")[0]
    assert "missing" not in report.format_table(report.build_report(sweep))


def test_a_metric_that_one_run_does_not_define_is_a_dash_there(sweep: Store) -> None:
    for seed in SEEDS:
        write_run(sweep, make_trial("waveform", 1600, seed), rmse=None)
    assert page_of(sweep).tables["comparison-table"][1][4] == "–"  # noqa: RUF001


def test_one_seed_has_no_spread_and_the_answer_says_that_nothing_judges_it(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    results.write_planned(files, plan := [make_trial(*place, 0) for place in itertools.product(FAMILIES, SIZES)])
    for trial in plan:
        write_run(files, trial)
    page = page_of(files)
    assert not any("±" in text for row in page.tables["comparison-table"] for text in row)
    assert {line["pr_auc_sd"] for line in read_csv(files, "table.csv")} == {""}
    built = report.build_report(files)
    assert built.answer.headline.endswith("with 1,600 songs, but one seed cannot rule out chance")
    assert all(d.seed_interval is None and not d.clear for d in built.differences)


def test_a_lead_is_claimed_only_beyond_what_seeds_explain(tmp_path: Path) -> None:
    def headline(gap: float) -> str:
        files = Store(str(tmp_path / str(gap)))
        results.write_planned(files, plan := [make_trial(m, 100, seed) for m in FAMILIES for seed in SEEDS])
        for trial in plan:
            base = 0.4 + gap if trial.model == "waveform" else 0.4
            write_run(files, trial, pr_auc=base + 0.01 * trial.seed)
        return report.build_report(files).answer.headline

    assert headline(0.1) == "Waveform scored 0.10 higher with 100 songs"
    assert headline(-0.1) == "Spectrogram scored 0.10 higher with 100 songs"
    doubtful = "Waveform scored 0.01 higher with 100 songs, but three seeds cannot rule out chance"
    assert headline(0.014) == doubtful
    assert headline(0.0) == "No difference with 100 songs"


def test_seeds_that_agree_by_chance_are_no_evidence(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    results.write_planned(files, plan := [make_trial(m, 100, seed) for m in FAMILIES for seed in (0, 1)])
    for trial in plan:
        write_run(files, trial, accuracy=0.5427 if trial.model == "waveform" else 0.5, test_songs=48)
    built = report.build_report(files)
    (found,) = [d for d in built.differences if d.metric.key == "accuracy"]
    assert (found.seed_interval, found.clear) == (None, False)
    doubt = "two seeds and 48 test songs cannot rule out chance"  # less than 48 songs can show, without score tables
    assert built.answer.headline == f"Waveform scored 0.04 higher with 100 songs, but {doubt}"
    assert "agree to the last digit, which tells nothing about other seeds" in built.answer.lead
    assert "0.0427 to" not in built.answer.lead
    assert any(
        note.startswith("Seeds agree to the last digit (waveform at 100, spectrogram at") for note in built.notes
    )
    assert any(note.startswith("Two seeds at 100 songs") for note in built.notes)
    assert any("Only 48 test songs: two runs must differ by about 0.20" in note for note in built.notes)


def _single_label(files: Store, num_songs: int, seeds: Sequence[int] = SEEDS) -> report.Report:
    """A waveform that is right more often than the spectrogram, scored on so many songs of one label each."""
    results.write_planned(files, plan := [make_trial(m, 100, seed) for m in FAMILIES for seed in seeds])
    for trial in plan:
        rng = np.random.default_rng([trial.seed, len(trial.model)])
        true_NK = np.eye(3)[np.arange(num_songs) % 3]
        right_N = np.arange(num_songs) % 6 < (4 if trial.model == "waveform" else 2)
        guess_N = np.where(right_N, np.arange(num_songs), np.arange(num_songs) + 1) % 3
        score_NK = np.eye(3)[guess_N] * 0.5 + rng.random((num_songs, 3)) * 0.1
        keys = [f"song-{i}" for i in range(num_songs)]
        table = ScoreTable(keys, [1] * num_songs, [False] * num_songs, true_NK, score_NK)
        results.write_scores(files, f"runs/{trial.run_id}/scores.parquet", table, TAGS)
        jitter = 0.002 * trial.seed
        write_run(files, trial, accuracy=float(right_N.mean()) + jitter, rmse=None, test_songs=num_songs)
    return report.build_report(files)


def test_songs_that_are_all_wrong_have_no_interval(tmp_path: Path) -> None:
    """Any choice of them scores the same, which says nothing about other songs."""
    files, trial = Store(str(tmp_path)), make_trial("waveform", 100, 0)
    results.write_planned(files, [trial])
    true_NK = np.eye(3)[np.arange(4) % 3]
    table = ScoreTable([f"song-{i}" for i in range(4)], [1] * 4, [False] * 4, true_NK, np.roll(true_NK, 1, axis=1))
    results.write_scores(files, f"runs/{trial.run_id}/scores.parquet", table, TAGS)
    write_run(files, trial, accuracy=0.0, rmse=None, test_songs=4)
    built = report.build_report(files)
    assert built.answer.lead == "Accuracy with 100 songs, one seed: 0.0000."
    assert any(note.startswith("Only 4 test songs") for note in built.notes)


def test_few_test_songs_give_no_verdict_and_many_do(tmp_path: Path) -> None:
    few, many = (_single_label(Store(str(tmp_path / str(number))), number) for number in (6, 600))
    assert few.answer.headline.endswith("with 100 songs, but 6 test songs cannot rule out chance")
    assert many.answer.headline == "Waveform scored 0.33 higher with 100 songs"
    assert "over the 600 test songs" in many.answer.lead
    assert any(note.startswith("Only 6 test songs: two runs must differ by about 0.57") for note in few.notes)
    assert not any("test songs" in note for note in many.notes)
    (few_d, many_d) = (next(d for d in r.differences if d.metric.key == "accuracy") for r in (few, many))
    assert few_d.song_interval
    assert few_d.song_interval[0] < 0 < few_d.song_interval[1]
    # the songs on which exactly one family is right: a third, so the standard error is sqrt(p (1 - p) / n)
    assert many_d.song_interval == pytest.approx((1 / 3 - 1.96 * 0.01925, 1 / 3 + 1.96 * 0.01925), abs=0.005)


def test_one_label_a_song_shows_accuracy_first_and_the_majority_class_below(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    _single_label(files, 30)
    table = page_of(files).tables["comparison-table"]
    assert [name.split()[0] for name in table[0]] == ["Family", "Songs", "Accuracy", "ROC-AUC", "PR-AUC", "Seeds"]
    assert table[-1] == ["majority class", "", "0.3333", "0.5000", "0.3333", ""]
    assert "majority class" in report.format_table(report.build_report(files))


def test_runs_of_no_sweep_are_compared_by_their_settings(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    for trial in (
        low := make_trial("waveform", 100, 0, lr=1e-4),
        make_trial("waveform", 100, 0),
        make_trial("waveform", 400, 1),
    ):
        write_run(files, trial)
    names = [low.run_id[:5], make_trial("waveform", 100, 0).run_id]
    chosen = find_runs(files, names)
    folder = report.comparison_folder(chosen)
    built = report.write_report(files, chosen, folder)
    assert built.families == ["waveform, lr 0.0001", "waveform, lr 0.001"]
    assert "with 100 songs" in built.answer.headline
    assert folder == report.comparison_folder(chosen[::-1])
    assert {path.rpartition("/")[2] for path in files.list(folder)} == set(report.REPORT_FILES)
    assert len(report.build_report(files).trials) == 3  # without a plan: all that have finished
    with pytest.raises(ValueError, match=r"run 'nothing' in .* is none of those that have finished: [0-9a-f]{12}, "):
        find_runs(files, ["nothing"])


def test_one_run_has_a_report_that_says_what_it_scored(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    write_run(files, make_trial("waveform", 400, 1), pr_auc=0.3456)
    built = report.build_report(files)
    assert built.answer.headline == "Waveform scored 0.35 with 400 songs"
    assert built.answer.lead.startswith("PR-AUC with 400 songs, one seed: 0.3456.")


def test_the_live_report_is_written_for_news_only_and_survives_a_store_that_fails(tmp_path: Path) -> None:
    files, trials = Store(str(tmp_path)), [make_trial("waveform", 400, seed) for seed in SEEDS]
    write_run(files, trials[0])
    written, asked = Event(), []

    def write() -> None:
        asked.append(len(files.list("runs")))
        if len(asked) == 1:
            raise OSError("the store does not answer")
        written.set()

    with LiveReport(files, "report.html", write, look_s=0.01) as live:
        while not live._seen:  # the run from before
            sleep(0.001)
        write_run(files, trials[1])
        assert written.wait(60)
    assert asked[0] > 2


def test_the_live_report_rests_for_twenty_times_what_it_waited_for_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, clock = Store(str(tmp_path)), [1000.0]
    write_run(files, make_trial("waveform", 400, 1))
    monkeypatch.setattr("genrescale.report.live.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def write() -> None:
        clock[0] += 3.0  # no work of the processor

    live = LiveReport(files, "report.html", write)
    assert live.look()
    assert live._rest_until == 1003 + 20 * 3


def test_the_live_report_reads_the_scores_of_a_finished_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, read, whole = Store(str(tmp_path)), [], songs.read_scores
    _single_label(files, 6, seeds=(0,))

    def reads(files: Store, path: str) -> Any:
        read.append(path)
        return whole(files, path)

    def again(trial: PlannedTrial, second: int) -> None:
        ended = f"2026-01-03T03:04:{second:02d}Z"
        write_run(files, trial, finished_at=ended, seconds_total=10.0**second, accuracy=0.5, rmse=None)
        assert live.look()

    monkeypatch.setattr(songs, "read_scores", reads)
    live = report.live_report(files)
    assert live.look()
    first, second = (make_trial(family, 100, 0) for family in FAMILIES)
    scores = [f"runs/{trial.run_id}/scores.parquet" for trial in (first, second)]
    assert sorted(read) == sorted(scores)
    again(first, 3)  # with other scores, maybe
    assert read[2:] == scores[:1]
    sound = files.read_bytes(scores[1])
    files.write_bytes(scores[1], b"half")
    again(second, 4)
    files.write_bytes(scores[1], sound)
    write_run(files, make_trial("waveform", 400, 1))
    assert live.look()
    assert read[3:] == [scores[1]] * 2
    write_run(files, make_trial("waveform", 400, 2))
    assert live.look()
    assert len(read) == 5


def test_a_run_that_trains_shows_how_far_it_is_with_its_curve(tmp_path: Path) -> None:
    files, trial = Store(str(tmp_path)), make_trial("waveform", 400, 1)
    results.write_planned(files, [trial])
    live = report.live_report(files)
    curve: list[dict[str, float | None]] = [
        {"step": float(step), "train_loss": 0.5, "val_loss": 0.25} for step in (100, 200)
    ]
    results.write_curve(files, trial.run_id, curve)
    assert live.look()
    assert not live.look()
    (row,) = Page(files.read_bytes("report.html").decode()).tables["run-table"][1:]
    assert row[0] == trial.run_id
    assert "not finished: step 200 of 600, validation loss 0.2500" in row
    (line,) = report.build_report(files).curves["val_loss"]
    assert (line.steps, line.values, line.train_values) == ((100, 200), (0.25, 0.25), (0.5, 0.5))
    write_run(files, trial)
    assert live.look()
    assert "not finished" not in files.read_bytes("report.html").decode()


@pytest.mark.parametrize("loss", [float("inf"), float("-inf"), float("nan")])
def test_a_loss_that_is_not_finite_is_left_out_of_a_curve_and_of_its_limits(tmp_path: Path, loss: float) -> None:
    files, trial = Store(str(tmp_path)), make_trial("waveform", 400, 1)
    results.write_planned(files, [trial])
    curve: list[dict[str, float | None]] = [
        {"step": 100.0, "train_loss": loss, "val_loss": 0.5},
        {"step": 200.0, "train_loss": 0.75, "val_loss": 0.25},
    ]
    results.write_curve(files, trial.run_id, curve)
    (line,) = report.build_report(files).curves["val_loss"]
    assert (line.values, line.train_steps, line.train_values) == ((0.5, 0.25), (200,), (0.75,))
    limits = page._curve_limits([line])
    assert limits == page._curve_limits([replace(line, train_values=(0.75, loss))]) == pytest.approx((0.22, 0.78))


def test_lower_rmse_leads(sweep: Store) -> None:
    for d in report.build_report(sweep).differences:
        if d.metric.key == "rmse" and d.value is not None:
            assert d.leader == (d.first if d.value < 0 else d.second)


def _crossing_at(
    slope: float, sizes: Sequence[int] = SIZES, seeds: Sequence[int] = SEEDS
) -> tuple[report.Crossing, str, list[report.FamilyFit]]:
    """Two families whose lines start 0.1 apart; the first gains ``slope`` per song on the second."""
    values = {"waveform": lambda n: 0.3 + (1e-5 + slope) * n, "spectrogram": lambda n: 0.4 + 1e-5 * n}
    plan = [make_trial(*place) for place in itertools.product(FAMILIES, sizes, seeds)]
    trials = [TrialOutcome(t, make_row(t, pr_auc=values[t.model](t.size))) for t in plan]
    lines = comparison_lines(trials, [PR_AUC])
    found = differences(lines, [PR_AUC])
    fits = [family_fit(family, PR_AUC, lines) for family in FAMILIES]
    (crossed,) = crossings(fits, found)
    points = answer(found, fits, [crossed], PR_AUC).points  # type: ignore[union-attr]
    return crossed, " ".join([crossing_text(crossed), *points]), fits


def test_crossing_inside_is_stated_and_outside_is_called_an_extrapolation() -> None:
    inside, text, _ = _crossing_at(0.1 / 800)
    assert inside.at == pytest.approx(800)
    assert "cross at about 800 songs; above that the line of waveform is ahead" in text
    assert "the lead changes once, between 400 and 1,600 songs" in text
    outside, text, _ = _crossing_at(0.1 / 5000)
    assert outside.at == pytest.approx(5000)
    assert "outside the measured range, 100 to 1,600 songs: an extrapolation" in text
    assert "the lead never changes" in text
    never, text, _ = _crossing_at(-5e-6)
    assert never.at is not None
    assert "do not cross: the line of spectrogram is ahead at every size" in text


def _drawn(crossed: report.Crossing, fits: list[report.FamilyFit]) -> tuple[int, str]:
    """The number of fitted lines and crossings in a figure, and all its words; bars at the means are short lines."""
    axes = Figure().add_subplot()
    draw_scaling(axes, fits, [crossed])
    lines = [line for line in axes.lines if line.get_linestyle() != "None" and line.get_linewidth() < 2]
    return len(lines), " ".join(note.get_text() for note in axes.texts)


@pytest.mark.parametrize("seeds", [(0,), SEEDS])
@pytest.mark.parametrize("slope", [0.1 / 800, 0.1 / 5000])
def test_two_sizes_draw_no_line_and_no_crossing_and_say_why(slope: float, seeds: tuple[int, ...]) -> None:
    crossed, text, fits = _crossing_at(slope, (100, 1600), seeds)
    assert text.count("No crossing is fitted: waveform: a line needs 3 sizes, because one fits any two.") == 2
    assert "about" not in text
    assert _drawn(crossed, fits) == (0, "")


def test_one_seed_supports_lines_and_no_crossing() -> None:
    crossed, text, fits = _crossing_at(0.1 / 800, seeds=(0,))
    assert text.count("a size has one seed only, so nothing tells how far seeds move the crossing") == 2
    assert "about" not in text
    assert _drawn(crossed, fits) == (2, "")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        # 0.25 at 400 songs: far above the line from 0.1 to 0.3
        ({100: (0.100, 0.101), 400: (0.250, 0.251), 1600: (0.300, 0.301)}, "more than seeds differ"),
        ({100: (0.10, 0.30), 400: (0.11, 0.28), 1600: (0.12, 0.29)}, "its slope cannot be told from 0"),
        ({100: (0.1,), 400: (0.2,), 1600: (0.15,)}, "its slope cannot be told from 0"),
    ],
)
def test_points_that_do_not_support_a_line_draw_none(values: dict[int, tuple[float, ...]], reason: str) -> None:
    plan = [make_trial(model, size, seed) for model in FAMILIES for size in SIZES for seed in range(len(values[100]))]
    trials = [
        TrialOutcome(t, make_row(t, pr_auc=values[t.size][t.seed] + (t.model == "waveform") * 1e-3)) for t in plan
    ]
    lines = comparison_lines(trials, [PR_AUC])
    fits = [family_fit(family, PR_AUC, lines) for family in FAMILIES]
    (crossed,) = crossings(fits, differences(lines, [PR_AUC]))
    assert all(reason in fit.unsupported for fit in fits)
    assert reason in crossing_text(crossed)
    assert "about" not in crossing_text(crossed)
    assert _drawn(crossed, fits) == (0, "")


def test_figure_draws_every_seed_the_fitted_lines_and_the_crossing_only_inside() -> None:
    for slope, inside in ((0.1 / 800, True), (0.1 / 5000, False)):
        crossed, _, fits = _crossing_at(slope)
        axes = Figure().add_subplot()
        draw_scaling(axes, fits, [crossed])
        points = [line.get_ydata() for line in axes.lines if line.get_linestyle() == "None"]
        assert [sorted(found) for found in points] == [sorted(v for _, v in fit.points) for fit in fits]  # type: ignore[type-var]
        lines = [line for line in axes.lines if line.get_linestyle() != "None" and line.get_linewidth() < 2]
        assert len(lines) == len(fits) + inside
        for fit, line in zip(fits, lines, strict=False):
            assert fit.line is not None
            assert np.asarray(line.get_ydata()) == pytest.approx(fit.line.predict(line.get_xdata()))
        assert axes.get_xscale() == "log"
        assert [note.get_text() for note in axes.texts] == ["lines cross at\nabout 800 songs"] * inside


def _power_law_sweep(files: Store, seeds_at_largest: Sequence[int] = (0,)) -> None:
    """Five sizes of two power laws that cross at about 900 songs, with score tables; one seed at the largest size."""
    sizes = (100, 400, 1600, 6400, 25_600)
    plan = [
        make_trial(*p) for p in itertools.product(FAMILIES, sizes, SEEDS) if p[1] < 25_600 or p[2] in seeds_at_largest
    ]
    results.write_planned(files, plan)
    for trial in plan:
        rng = np.random.default_rng([trial.seed, trial.size, len(trial.model)])
        gained = 0.9 * trial.size**-0.25 if trial.model == "waveform" else 0.68 * trial.size**-0.31
        table = _scores(rng, 0.5)
        results.write_scores(files, f"runs/{trial.run_id}/scores.parquet", table, TAGS)
        error = (0.40 if trial.model == "waveform" else 0.48) + gained + 0.002 * rng.normal()
        write_run(files, trial, pr_auc=1 - error, roc_auc=None, rmse=None)


def test_the_page_shows_the_laws_the_chosen_one_and_what_it_expects(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    _power_law_sweep(files)
    page = page_of(files)
    laws = page.tables["law-table"][1:]
    assert len(laws) == 4 * 2
    assert {row[1] for row in laws if "chosen" in row[1]} == {"power law chosen"}
    assert all(row[-1].startswith("E 0.") for row in laws if "chosen" in row[1])
    assert all("not drawn: a mean lies" in row[-1] for row in laws if row[1] == "straight line in songs")
    for row in page.tables["expected-table"][1:]:
        low, high = map(float, row[6].split(" to "))
        truth = 1 - (0.40 + 0.9 * 256_000**-0.25 if row[2] == "waveform" else 0.48 + 0.68 * 256_000**-0.31)
        assert low < truth < high
        assert low < float(row[5]) < high
    leading = {row[1]: row[2:] for row in page.tables["leading-table"][1:]}
    assert leading["100"] == ["< 1 %", "> 99 %"]
    assert leading["25,600"] == ["> 99 %", "< 1 %"]
    html = files.read_bytes("report.html").decode()
    assert "PR-AUC: waveform leads spectrogram by 0.01 from about" in html
    (crossed,) = report.build_report(files).crossings
    assert crossed.over == "seeds and test songs"


def test_three_sizes_say_that_a_power_law_needs_more(sweep: Store) -> None:
    rows = [row for row in page_of(sweep).tables["law-table"][1:] if row[1].startswith("power law")]
    assert {row[-1] for row in rows} == {"not drawn: a power law needs 4 sizes, because one fits any three"}
    assert {row[3] for row in rows} == {"needs 4 sizes"}


def test_a_line_that_leaves_the_range_of_its_metric_expects_nothing_there(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    plan = [make_trial(*place) for place in itertools.product(FAMILIES, SIZES, SEEDS)]
    results.write_planned(files, plan)
    for trial in plan:
        write_run(files, trial, pr_auc=0.3 + 2e-4 * trial.size + 0.002 * trial.seed, roc_auc=None, rmse=None)
    for row in page_of(files).tables["expected-table"][1:]:
        assert row[-1] == "none: the straight line in songs leaves the range of the metric before 16,000 songs"


def test_one_seed_a_size_has_no_interval_and_no_probability(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    results.write_planned(files, plan := [make_trial(*place, 0) for place in itertools.product(FAMILIES, SIZES)])
    for trial in plan:
        write_run(files, trial)
    page = page_of(files)
    assert not {"leading-table", "expected-table"} & set(page.tables)
    assert "no interval. waveform: each size has one seed only" in files.read_bytes("report.html").decode()


def test_failures_are_shown_with_their_error_and_escaped(sweep: Store) -> None:
    failed = make_trial("waveform", 1600, 1)
    sweep.delete(result_path(failed))
    error = "RuntimeError: <script>alert(1)</script>"
    sweep.write_bytes("failures.json", json.dumps([{"run_id": failed.run_id, "error": error}]).encode())
    page = page_of(sweep)
    assert [failed.run_id, error] in page.tables["failure-table"]
    assert "script" not in page.tags
    (row,) = [run for run in read_csv(sweep, "runs.csv") if run["run_id"] == failed.run_id]
    assert (row["status"], row["error"]) == ("missing", error)
    assert "1 of 26 planned runs missing, 1 of them failed." in report.build_report(sweep).notes[0]


def test_changed_config_keys_are_named_and_axes_are_not(sweep: Store) -> None:
    assert report.build_report(sweep).config_differences == []
    trial = make_trial("waveform", 400, 1)
    changed = json.loads(json.dumps(trial.config))
    changed["precision"], changed["model"]["dials"]["backend_layers"] = "bf16", 9
    write_run(sweep, trial, config=changed)
    built = report.build_report(sweep)
    assert [change.key for change in built.config_differences] == [
        "model.dials.backend_layers of waveform",
        "precision",
    ]
    assert ('"bf16"', "waveform, 400 songs (1 run)") in built.config_differences[1].values
    assert any("precision" in note for note in built.notes)
    assert '"bf16"' in [row[1] for row in page_of(sweep).tables["config-table"]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"corpus_version": "2"}, "different corpus versions (1, 2)"),
        ({"test_songs": 299}, "different numbers of test songs (299, 300)"),
        ({"data_digest": "other"}, "At 400 songs the runs did not use the same data"),
        ({"device": "cuda"}, "different devices"),
        ({"steps": 300, "stopped_early": True}, "In 25 of 26 finished runs validation still improved"),
    ],
)
def test_what_limits_the_comparison_is_said(sweep: Store, changed: dict[str, Any], said: str) -> None:
    write_run(sweep, make_trial("waveform", 400, 1), **changed)
    assert any(said in note for note in report.build_report(sweep).notes)


def test_a_row_outside_the_plan_is_listed_and_in_no_mean(sweep: Store) -> None:
    before = report.table_csv(report.build_report(sweep))
    write_run(sweep, make_trial("waveform", 400, 99), pr_auc=0.99)
    built = report.build_report(sweep)
    assert report.table_csv(built) == before
    assert any("1 finished run outside the plan" in note for note in built.notes)
    assert [run["axes"] for run in read_csv_of(built)].count("unplanned") == 1


def read_csv_of(built: report.Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report.runs_csv(built).decode())))


def test_shuffled_labels_are_a_family_of_their_own(sweep: Store) -> None:
    control = make_trial("waveform", 100, 7)
    config = json.loads(json.dumps(control.config)) | {"data": control.config["data"] | {"labels": "shuffled"}}
    control = replace(control, config=config)
    results.write_planned(sweep, [*make_plan(), control])
    write_run(sweep, control, labels="shuffled", pr_auc=0.1)
    lines = {(line.family, line.size): line for line in report.build_report(sweep).lines}
    assert len(lines["waveform", 100].trials) == 3
    assert lines["waveform (shuffled labels)", 100].cells["pr_auc"].mean == 0.1


@pytest.mark.usefixtures("drawn")
def test_page_is_one_file_that_asks_for_nothing_and_the_same_rows_give_the_same_bytes(sweep: Store) -> None:
    page = page_of(sweep)
    before = {name: sweep.read_bytes(name) for name in report.REPORT_FILES}
    assert len(page.images) == 3 + 4
    for image in page.images:
        assert str(image["src"]).startswith("data:image/svg+xml;base64,")
        assert len(str(image["alt"])) > 40
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    html = sweep.read_bytes("report.html").decode()
    assert "url(" not in html
    assert "@import" not in html
    assert html.startswith("<!doctype html>")
    assert html.count('<source media="(prefers-color-scheme: dark)" srcset="data:image/svg+xml;base64,') == 3 + 4
    assert sweep.read_bytes("figure.png").startswith(b"\x89PNG")
    report.write_report(sweep)
    assert {name: sweep.read_bytes(name) for name in report.REPORT_FILES} == before


def test_each_worker_of_each_run_is_on_the_page_as_jobs_streams_prints_it(sweep: Store) -> None:
    trial = make_trial("waveform", 400, 1)
    streams = [StreamStats(0, 2, 100.0, 3.0, 99, 1000, fetch_s=4.0), StreamStats(1, 2, 100.0, 70.0, 99, 900)]
    write_run(sweep, trial, streams=[asdict(stream) for stream in streams])
    page = page_of(sweep)
    assert [name for name in page.tables if name.startswith("streams-")] == [f"streams-{trial.run_id}"]
    header, *lines = page.tables[f"streams-{trial.run_id}"]
    printed = format_streams(read_streams(sweep)).splitlines()
    assert printed[0].split() == ["run", *header]
    assert [line.split() for line in printed[1:3]] == [[trial.run_id, *cells] for cells in lines]
    html = sweep.read_bytes("report.html").decode()
    assert "waveform, 400 songs, seed 1, grid: slow stage: deliver (Ray, between reading and training" in html
    assert "No finished run has recorded its streams" not in html


def test_runs_csv_holds_every_field_of_every_row_once(sweep: Store) -> None:
    report.write_report(sweep)
    runs = {run["run_id"]: run for run in read_csv(sweep, "runs.csv")}
    assert len(runs) == 26 == len(read_csv(sweep, "runs.csv"))
    row = make_row(make_trial("spectrogram", 400, 2))
    run = runs[row.run_id]
    for name, value in row.to_dict().items():
        if name in ("model", "config"):
            continue
        text = (
            json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else "" if value is None else str(value)
        )
        assert run[name] == text, name


def test_accuracy_is_a_column_where_a_run_has_it(sweep: Store) -> None:
    assert "Accuracy" not in page_of(sweep).tables["comparison-table"][0]
    write_run(sweep, make_trial("waveform", 400, 1), accuracy=0.625)
    assert page_of(sweep).tables["comparison-table"][3][2] == "0.6250"


def test_a_sweep_without_a_finished_run_has_a_report(tmp_path: Path) -> None:
    files = Store(str(tmp_path))
    results.write_planned(files, make_plan())
    page = page_of(files)
    assert all(row[2:5] == ["missing"] * 3 for row in page.tables["comparison-table"][1:])
    assert report.build_report(files).answer.headline == "No comparison yet"


def test_a_folder_without_a_plan_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished run and no sweep"):
        report.build_report(Store(str(tmp_path)))
