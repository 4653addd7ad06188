"""The report as a reader sees it: in Chromium, from a file, without a network."""

from __future__ import annotations

import base64
import itertools
from dataclasses import asdict

import pytest
from helpers.pages import console, dark, opened, outside, screenshot, unreached, without_words
from selenium import webdriver
from selenium.webdriver.common.by import By

from genrescale import report, results
from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from genrescale.results import PlannedTrial, ResultRow
from genrescale.storage.store import Store
from genrescale.telemetry.stream_stats import StreamStats

pytestmark = pytest.mark.browser
STREAMS = [
    StreamStats(0, 2, 100.0, 2.0, groups=99, clips=16_000, fetch_s=20.0, verify_s=8.0, copy_s=4.0),
    StreamStats(
        rank=1,
        read_tasks=2,
        seconds=100.0,
        wait_s=60.0,
        groups=99,
        clips=15_000,
        fetch_s=180.0,
        retries=3,
        ready_s=250.0,
    ),
]


def _row(trial: PlannedTrial) -> ResultRow:
    pr_auc = 0.3 + 0.0001 * trial.size + 0.01 * trial.seed + (0.05 if trial.model == "waveform" else 0.0)
    return ResultRow(
        run_id=trial.run_id, model=trial.model, dials={}, size=trial.size, seed=trial.seed, lr=trial.lr, labels="true",
        num_params=412_345, roc_auc=0.8, pr_auc=pr_auc, rmse=0.2, accuracy=None, test_songs=300, padded_songs=0,
        unscored_tags=[], val_loss=0.4, best_step=500, steps=600, max_steps=600, stopped_early=False, epochs=12.0,
        seconds_total=41.5, seconds_to_first_step=12.3, seconds_training=25.0, clips_per_s=768.4, data_wait_share=0.03,
        bytes_delivered=123_456_789, bytes_fetched=150_000_000, resumed_at=[], storage_retries=0, fresh_weights=[],
        workers=1, nodes=1, device="cpu", corpus="synthetic", corpus_version="1",
        data_digest="digest", streams=[asdict(stream) for stream in STREAMS],
        config=trial.config, finished_at="2026-01-02T03:04:05Z", code_version="0.1.0",
    )  # fmt: skip


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two families, two sizes, two seeds, a learning-rate axis; one run missing."""
    places = [("grid", *place, 1e-3) for place in itertools.product(("waveform", "spectrogram"), (100, 1600), (0, 1))]
    places += [("lr", "waveform", 100, 0, 1e-4), ("lr", "waveform", 100, 0, 1e-2)]
    plan = []
    for i, (axis, model, size, seed, lr) in enumerate(places):
        config = RunConfig(ModelConfig(model), DataConfig(size=size), OptimConfig(lr=lr), seed=seed)
        plan.append(PlannedTrial(f"run{i:09d}", axis, model, size, seed, lr, {}, asdict(config)))
    files = Store(str(tmp_path_factory.mktemp("sweep")))
    results.write_planned(files, plan)
    for trial in plan[1:]:
        curve = [{"step": step, "val_loss": 50 / step, "val_pr_auc": step / 1000} for step in (100, 300, 600)]
        results.write_curve(files, trial.run_id, curve)
        results.write_result(files, _row(trial))
    error = "RuntimeError: " + "a_word_without_any_place_to_break_" * 8
    files.write_bytes("failures.json", f'[{{"run_id": "run000000000", "error": "{error}"}}]'.encode())
    report.write_report(files)
    return files


def _open(browser: webdriver.Chrome, files: Store, width: int = 1280) -> None:
    path = files.local_path("report.html")
    assert path is not None
    opened(browser, path.as_uri(), width)


def test_opens_offline_without_a_console_message_or_a_request(browser: webdriver.Chrome, sweep: Store) -> None:
    outside(browser)
    _open(browser, sweep)
    assert browser.title == f"{report.build_report(sweep).answer.headline} – genrescale"  # noqa: RUF001
    assert console(browser) == []
    assert outside(browser) == []


def test_every_picture_has_words_and_every_control_is_reached_by_keyboard(
    browser: webdriver.Chrome, sweep: Store
) -> None:
    _open(browser, sweep)
    assert without_words(browser) == []
    assert unreached(browser) == []


def test_every_figure_is_drawn(browser: webdriver.Chrome, sweep: Store) -> None:
    _open(browser, sweep)
    images = browser.find_elements(By.CSS_SELECTOR, "figure img")
    assert len(images) == 3 + 4
    for image in images:
        natural = browser.execute_script("return [arguments[0].naturalWidth, arguments[0].naturalHeight]", image)
        assert min(natural) > 100
        assert image.is_displayed()
        assert image.size["width"] > 200
        assert image.size["height"] / image.size["width"] == pytest.approx(natural[1] / natural[0], rel=0.1)


def test_tables_show_the_cells_of_the_report(browser: webdriver.Chrome, sweep: Store) -> None:
    _open(browser, sweep)
    for line in report.build_report(sweep).lines:
        row = f"#comparison-table tr[data-family={line.family}][data-size='{line.size}']"
        for key, cell in line.cells.items():
            found = browser.find_element(By.CSS_SELECTOR, f"{row} td[data-metric={key}]")
            assert found.text == f"{cell.text} {cell.spread_text}".strip()
    missing = browser.find_element(By.CSS_SELECTOR, "#run-table tr[data-run=run000000000]").text
    assert "missing: RuntimeError" in missing
    assert len(browser.find_elements(By.CSS_SELECTOR, "#lr-table tbody tr")) == 3


@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_never_wider_than_the_window(browser: webdriver.Chrome, sweep: Store, width: int) -> None:
    _open(browser, sweep, width)
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    screenshot(browser, f"report-{width}")


@pytest.mark.parametrize("width", [390, 1280])
def test_streams_are_folded_by_run_and_open_to_a_line_for_each_worker(
    browser: webdriver.Chrome, sweep: Store, width: int
) -> None:
    _open(browser, sweep, width)
    folds = browser.find_elements(By.CSS_SELECTOR, "details.stream")
    assert len(folds) == len(results.read_results(sweep))
    fold = next(f for f in folds if f.find_elements(By.ID, "streams-run000000001"))
    table = fold.find_element(By.TAG_NAME, "table")
    assert "slow stage: fetch (the object store" in fold.text
    assert not table.is_displayed()
    fold.find_element(By.TAG_NAME, "summary").click()
    assert table.is_displayed()
    names, first, second = (row.text.split() for row in table.find_elements(By.TAG_NAME, "tr"))
    assert names == ["worker", "clips/s", "waiting", "ahead", "tries", "fetch", "verify", "copy", "train"]
    assert first == ["0", "160.0", "2.0%", "0.0", "0", "800", "2,000", "4,000", "163"]
    assert second == ["1", "150.0", "60.0%", "2.5", "3", "83", "-", "-", "375"]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_wide_tables_scroll_on_a_phone(browser: webdriver.Chrome, sweep: Store) -> None:
    _open(browser, sweep, 390)
    box = browser.find_element(By.CSS_SELECTOR, ".scroll:has(#run-table)")
    reached = "arguments[0].scrollLeft = 10000; return arguments[0].scrollLeft > 100"
    assert browser.execute_script(reached, box)


@pytest.mark.parametrize(("width", "beside"), [(390, False), (1280, True)])
def test_the_first_screen_shows_the_figure_beside_the_answer(
    browser: webdriver.Chrome, sweep: Store, width: int, beside: bool
) -> None:
    _open(browser, sweep, width)
    title, figure = (browser.find_element(By.CSS_SELECTOR, css).rect for css in ("h1", "header figure"))
    assert (figure["x"] >= title["x"] + title["width"]) is beside
    assert (figure["y"] < title["y"] + title["height"]) is beside
    points = browser.find_element(By.CSS_SELECTOR, "ul.points").rect
    assert points["y"] > title["y"] + title["height"]
    if beside:
        assert figure["y"] + figure["height"] < 900


def test_tables_of_runs_start_with_the_id(browser: webdriver.Chrome, sweep: Store) -> None:
    _open(browser, sweep)
    for table in ("run-table", "cost-table"):
        cells = browser.find_elements(By.CSS_SELECTOR, f"#{table} tbody tr > :first-child")
        assert sorted(cell.text for cell in cells) == sorted(
            {t.planned.run_id for t in report.build_report(sweep).trials}
        )


def test_figures_follow_dark_mode(browser: webdriver.Chrome, sweep: Store) -> None:
    shown = "return [...document.querySelectorAll('figure img')].map(image => image.currentSrc)"
    _open(browser, sweep)
    light = browser.execute_script(shown)
    with dark(browser):
        _open(browser, sweep)
        turned = browser.execute_script(shown)
        screenshot(browser, "report-dark")
    for before, after in zip(light, turned, strict=True):
        svg, dark_svg = (base64.b64decode(uri.partition(",")[2]).decode() for uri in (before, after))
        assert "fill: #ffffff" in svg
        assert "fill: #ffffff" not in dark_svg
        assert "fill: #171717" in dark_svg


def test_text_is_readable_in_dark_mode(browser: webdriver.Chrome, sweep: Store) -> None:
    with dark(browser):
        _open(browser, sweep)
        style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        ink, paper = (
            sum(map(int, color.removeprefix("rgb(").rstrip(")").split(","))) for color in browser.execute_script(style)
        )
    assert ink - paper > 450
