"""A study's page as a reader sees it: in Chromium, from a file, at two widths, switched, hidden and dark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.pages import console, dark, opened, outside, screenshot, without_words
from helpers.sweeps import make_row
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from genrescale.audio import Vocabulary
from genrescale.config import DataConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.results import ScoreTable, write_result
from genrescale.storage.store import Store
from genrescale.studies.plan import plan_study
from genrescale.studies.songs import compare_songs, render_songs
from genrescale.studies.study import CorpusNeed, Group, Row, Study, StudyRun, StudyTable
from genrescale.studies.writing import write_study

pytestmark = pytest.mark.browser
PHONE = 390


@pytest.fixture(scope="module")
def study(corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two families at three sizes with two seeds, a run missing, and a table without its corpus."""
    out = tmp_path_factory.mktemp("study")

    def runs(family: str, size: int) -> tuple[StudyRun, ...]:
        data = DataConfig(crop_s=3.0, batch=4, group=2)
        configs = [RunConfig(ModelConfig(family), data, seed=seed) for seed in (0, 1)]
        return tuple(StudyRun("a", config, size, 10) for config in configs)

    rows = [
        Row(f"{family}, {size} songs", runs(family, size), {"roc_auc": 0.9, "pr_auc": 0.3 + size / 400}, "5.5M")
        for family in ("waveform", "spectrogram")
        for size in (10, 20, 40)
    ]
    none = Row("Not trained", paper={"roc_auc": 0.8})
    scaling = StudyTable(
        "one", "By size", "Table 1", "a", ("roc_auc", "pr_auc", "rmse"), (Group("Models", (*rows, none)),), scaling=True
    )
    other = StudyTable(
        "two", "Elsewhere", "Table 2", "b", ("pr_auc",), (Group("", (Row("Other", runs("waveform", 5)),)),)
    )
    needs = tuple(CorpusNeed(key, f"corpus {key}", "its files", "jobs/shard_corpus.py", 10, 1.0) for key in "ab")
    made = Study("small", "A small study", "Nobody 2026", "Is it?", needs, (scaling, other), ("One reading.",))
    plan = plan_study(made, {"a": corpus.uri}, SiteConfig(out=str(out)))
    files = Store(str(out))
    for trial in list(plan.trials.values())[1:]:
        planned = trial.planned[0]
        dials = {"backend_layers": 3}
        row = make_row(replace(planned, config={**planned.config, "model": {"name": planned.model, "dials": dials}}))
        write_result(files, replace(row, config=planned.config))
    write_study(plan, "demo")
    return files


def _page(study: Store, name: str = "study.html") -> str:
    path = study.local_path(name)
    assert path is not None
    return path.as_uri()


def test_opens_offline_and_silent_with_words_for_every_figure(browser: webdriver.Chrome, study: Store):
    outside(browser)
    opened(browser, _page(study))
    assert outside(browser) == []
    assert console(browser) == []
    assert without_words(browser) == []
    unnamed = "return [...document.querySelectorAll('.plot svg')].filter(svg => !svg.getAttribute('aria-label')).length"
    assert browser.execute_script(unnamed) == 0
    screenshot(browser, "study")


def test_metric_axis_and_families_can_be_switched(browser: webdriver.Chrome, study: Store):
    opened(browser, _page(study))

    def shown() -> list[tuple[str | None, str | None]]:
        plots = [plot for plot in browser.find_elements(By.CSS_SELECTOR, ".plot") if plot.is_displayed()]
        return [(plot.get_attribute("data-metric"), plot.get_attribute("data-axis")) for plot in plots]

    assert shown() == [("roc_auc", "log")]
    browser.find_element(By.CSS_SELECTOR, "input[value=rmse]").click()
    browser.find_element(By.CSS_SELECTOR, "input[value=linear]").click()
    assert shown() == [("rmse", "linear")]
    marks = "return [...document.querySelectorAll('#rmse-linear-family0-seeds')].map(m => getComputedStyle(m).display)"
    assert browser.execute_script(marks) == ["inline"]
    browser.find_element(By.CSS_SELECTOR, "input[data-family='0']").send_keys(Keys.SPACE)  # by the keyboard
    assert browser.execute_script(marks) == ["none"]
    titles = browser.execute_script(
        "return [...document.querySelectorAll('#rmse-linear-family1-seeds title')].map(t => t.textContent)"
    )
    assert len(titles) == 6
    assert all("spectrogram" in title and "RMSE 0." in title for title in titles)


def test_a_number_leads_to_its_run_by_keyboard(browser: webdriver.Chrome, study: Store):
    opened(browser, _page(study))
    link = browser.find_element(By.CSS_SELECTOR, "#one-table tbody td a")
    link.send_keys(Keys.ENTER)
    target = browser.execute_script("return document.querySelector(':target').id")
    assert target == (link.get_attribute("href") or "").partition("#")[2]
    assert browser.execute_script("return document.querySelector(':target').innerText").count("code 0.1.0") == 1


def test_a_phone_needs_no_sideways_scrolling_and_dark_pages_are_dark(browser: webdriver.Chrome, study: Store):
    opened(browser, _page(study), PHONE)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE
    screenshot(browser, "study-phone")
    with dark(browser):
        opened(browser, _page(study))
        assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(23, 23, 21)"
        assert "invert" in browser.execute_script("return getComputedStyle(document.querySelector('.plot svg')).filter")
        screenshot(browser, "study-dark")


def test_songs_can_be_played_on_the_page_of_songs(browser: webdriver.Chrome, study: Store, corpus: Manifest):
    rows = corpus.select("test")
    true_NK = corpus.labels_NK[rows].astype(float)
    keys = corpus.songs["key"].take(rows).to_pylist()
    rng = np.random.default_rng(0)
    deep, trees = (
        ScoreTable(
            keys,
            [1] * len(keys),
            [False] * len(keys),
            true_NK,
            np.clip(true_NK + rng.normal(0, s, true_NK.shape), 0, 1),
        )
        for s in (0.2, 0.6)
    )
    found = compare_songs(corpus, deep, trees, "waveform", "boosted trees")
    vocabulary: Vocabulary = corpus.vocabulary
    study.write_bytes("songs.html", render_songs(found, "A small study", vocabulary).encode())
    outside(browser)
    opened(browser, _page(study, "songs.html"), PHONE)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE
    played = """
        const done = arguments[0], audio = document.querySelector("audio");
        audio.onloadedmetadata = () => done(audio.duration);
        audio.onerror = () => done(audio.error.message);
        audio.load();
    """
    assert browser.execute_async_script(played) > 2
    assert outside(browser) == []
    assert console(browser) == []
    opened(browser, _page(study, "songs.html"))
    screenshot(browser, "study-songs")
