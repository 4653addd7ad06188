"""The page of a tagged song in Chromium, from a file, without a network: it plays, and the playhead follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.job_runs import run
from helpers.pages import console, dark, opened, outside, screenshot
from helpers.tiny_models import undecided
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from genrescale.audio import SAMPLE_RATE, Vocabulary
from genrescale.export import ModelSpec, export_model
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.storage.store import Store
from genrescale.tagging import player

pytestmark = pytest.mark.browser
DIALS = {"frontend_width": 0.125, "backend_filters": 8, "backend_units": 8}
TAGS = ["rock", "a tag with a name that is too long for its column", "<b onclick=alert(1)>bold</b>"]
SECONDS = 12.4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of one song, an index of two, and a page that names its song's file."""
    torch.manual_seed(1)
    place = tmp_path_factory.mktemp("pages")
    spec = ModelSpec("spectrogram", DIALS, crop_s=2.0, scoring="consecutive", loss="bce")
    model = undecided(build_model("spectrogram", len(TAGS), **DIALS), len(TAGS))
    export_model(Store(f"{place}/model"), model, Vocabulary.of_classes(TAGS), spec, Origin("x", "nothing", "MIT"))
    (place / "music").mkdir()
    time_T = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    for name, hz in (("a <i>song<_i>.flac", 220), ("b.wav", 880)):
        wave_T = (0.3 * np.sin(2 * np.pi * hz * (1 + time_T) * time_T)).astype(np.float32)
        soundfile.write(place / "music" / name, wave_T, SAMPLE_RATE)
    song = str(place / "music" / "a <i>song<_i>.flac")
    assert run("tag", song, f"model={place}/model", f"html={place}/one.html").returncode == 0
    assert run("tag", f"{place}/music", f"model={place}/model", f"html={place}/all.html").returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(player, "MAX_EMBEDDED", 1000)
        assert run("tag", song, f"model={place}/model", f"html={place}/large.html").returncode == 0
    return place


@pytest.fixture(params=["one", "large"])
def page(request: pytest.FixtureRequest, folder: Path) -> str:
    return (folder / f"{request.param}.html").as_uri()


def _ready(browser: webdriver.Chrome) -> float:
    """Wait until the song can be played; returns its length."""
    load = (
        "const done = arguments[0], player = document.getElementById('player');"
        "const ready = () => player.error ? done(player.error.message) : player.duration ? done(player.duration)"
        " : setTimeout(ready, 20); ready();"
    )
    length = browser.execute_async_script(load)
    assert isinstance(length, float), length
    return length


def _left(browser: webdriver.Chrome) -> float:
    """Where the playhead is, as a share of the pictures' width."""
    stage, head = (browser.find_element(By.CSS_SELECTOR, css).rect for css in ("#stage", ".playhead"))
    return (head["x"] + head["width"] / 2 - stage["x"]) / stage["width"]


def test_the_playhead_follows_the_player(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    assert _ready(browser) == pytest.approx(SECONDS, abs=0.05)
    assert _left(browser) == pytest.approx(0, abs=0.01)
    shown = browser.find_elements(By.CSS_SELECTOR, "[data-now]")
    scores = browser.execute_script("return JSON.parse(document.getElementById('scores').textContent)")
    for at in (9.3, 3.1):
        seek = (
            "const [at, done] = arguments; player.addEventListener('seeked', () => done(player.currentTime),"
            " {once: true}); player.currentTime = at;"
        )
        assert browser.execute_async_script(seek, at) == pytest.approx(at)
        assert _left(browser) == pytest.approx(at / SECONDS, abs=0.01)
        assert [cell.text for cell in shown] == [f"{score / 100:.2f}" for score in scores[int(at)]]


def test_the_space_key_plays_and_the_playhead_moves_with_it(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    _ready(browser)
    browser.execute_script("player.muted = true")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.SPACE)
    moved = (
        "const done = arguments[0]; player.addEventListener('timeupdate', () => {"
        "if (player.currentTime > 0.5) { player.pause(); done(player.currentTime); } });"
    )
    assert browser.execute_async_script(moved) > 0.5
    assert _left(browser) > 0.5 / SECONDS - 0.01


def test_a_click_and_the_arrow_keys_seek(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    _ready(browser)
    ActionChains(browser).move_to_element(browser.find_element(By.ID, "stage")).click().perform()  # its middle
    assert browser.execute_script("return player.currentTime") == pytest.approx(SECONDS / 2, abs=0.1)
    slider = browser.find_element(By.ID, "seek")
    slider.send_keys(Keys.END)
    assert browser.execute_script("return player.currentTime") == pytest.approx(SECONDS, abs=0.1)
    slider.send_keys(Keys.HOME)
    assert browser.execute_script("return player.currentTime") == 0
    assert slider.get_attribute("aria-valuetext") == "0:00 of 0:12"


def test_everything_is_reached_with_the_tab_key(browser: webdriver.Chrome, folder: Path) -> None:
    opened(browser, (folder / "one.html").as_uri())
    reached = []
    for _ in range(12):  # the player has several controls of its own
        browser.switch_to.active_element.send_keys(Keys.TAB)
        active = browser.switch_to.active_element
        reached.append(active.get_attribute("id") or active.get_attribute("aria-label"))
    assert list(dict.fromkeys(reached))[:3] == ["player", "seek", "Tags by part"]


@pytest.mark.parametrize("name", ["one", "large", "all"])
def test_no_console_message_and_no_request(browser: webdriver.Chrome, folder: Path, name: str) -> None:
    browser.get_log("performance")
    opened(browser, (folder / f"{name}.html").as_uri())
    assert console(browser) == []
    assert outside(browser) == []
    for image in browser.find_elements(By.TAG_NAME, "img"):
        assert browser.execute_script("return arguments[0].naturalWidth", image) > 0
        assert image.get_attribute("alt")


@pytest.fixture
def dark_mode(browser: webdriver.Chrome) -> Iterator[None]:
    with dark(browser):
        yield


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["one", "all"])
def test_page_is_never_wider_than_the_window(browser: webdriver.Chrome, folder: Path, width: int, name: str) -> None:
    opened(browser, (folder / f"{name}.html").as_uri(), width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    screenshot(browser, f"song-{name}-{width}")
    if name == "one":
        rows = browser.find_elements(By.CSS_SELECTOR, ".names li")
        heat = browser.find_element(By.CSS_SELECTOR, ".heat").rect
        assert heat["width"] > 150
        assert rows[0].rect["y"] == pytest.approx(heat["y"], abs=2)
        assert rows[-1].rect["y"] + rows[-1].rect["height"] == pytest.approx(heat["y"] + heat["height"], abs=2)


def test_dark_mode_has_other_pictures_and_light_text(browser: webdriver.Chrome, folder: Path, dark_mode: None) -> None:
    opened(browser, (folder / "one.html").as_uri())
    screenshot(browser, "song-one-dark")
    shown = browser.execute_script("return document.querySelector('.heat img').currentSrc")
    assert shown != browser.find_element(By.CSS_SELECTOR, ".heat img").get_attribute("src")
    style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    ink, paper = (
        sum(map(int, color.removeprefix("rgb(").rstrip(")").split(","))) for color in browser.execute_script(style)
    )
    assert ink - paper > 450


def test_the_index_leads_to_each_song_and_back(browser: webdriver.Chrome, folder: Path) -> None:
    opened(browser, (folder / "all.html").as_uri())
    links = [link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "#song-table a")]
    assert len(links) == 2
    for link in links:
        browser.get(str(link))
        assert _ready(browser) == pytest.approx(SECONDS, abs=0.05)
        browser.find_element(By.LINK_TEXT, "All songs").click()
        assert browser.find_element(By.TAG_NAME, "h1").text == "2 tagged songs"
