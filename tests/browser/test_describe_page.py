"""The page of a corpus in Chromium, from a file, without a network."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from helpers.pages import console, dark, opened, outside, screenshot, unreached, without_words
from selenium import webdriver
from selenium.webdriver.common.by import By

from genrescale.data.manifest import Manifest
from genrescale.describe.page import render_page, write_page
from genrescale.describe.reading import DescribeSettings, choose_clips, choose_loudness, hear_shard, plan_reads
from genrescale.storage.store import Store

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> str:
    settings = DescribeSettings(labels=5, clip_s=1.0)
    loudness, clips = choose_loudness(corpus, settings), choose_clips(corpus, settings)
    heard = [hear_shard(request) for request in plan_reads(corpus, loudness, clips, settings)]
    text = render_page(corpus, settings, loudness, clips, heard)
    return Path(write_page(Store(str(tmp_path_factory.mktemp("page"))), text, corpus)).as_uri()


def test_every_picture_is_drawn_and_nothing_is_refused(browser: webdriver.Chrome, page: str) -> None:
    outside(browser)
    opened(browser, page)
    assert console(browser) == []
    assert outside(browser) == []
    images = browser.find_elements(By.CSS_SELECTOR, "figure img")
    assert len(images) == 3 + 10
    for image in images:
        assert browser.execute_script("return arguments[0].naturalWidth", image) > 50
        assert image.size["width"] > 200


def test_every_picture_has_words_and_every_control_is_reached_by_keyboard(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    assert without_words(browser) == []
    assert unreached(browser) == []


def test_clips_play(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    load = (
        "const [player, done] = arguments; player.onloadedmetadata = () => done(player.duration);"
        "player.onerror = () => done(player.error.message); player.preload = 'metadata'; player.load();"
    )
    player = browser.find_element(By.TAG_NAME, "audio")
    assert browser.execute_async_script(load, player) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_never_wider_than_the_window(browser: webdriver.Chrome, page: str, width: int) -> None:
    opened(browser, page, width)
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    screenshot(browser, f"describe-{width}")


def test_figures_follow_dark_mode(browser: webdriver.Chrome, page: str) -> None:
    shown = "return [...document.querySelectorAll('picture img')].map(image => image.currentSrc)"
    opened(browser, page)
    light = browser.execute_script(shown)
    with dark(browser):
        opened(browser, page)
        turned = browser.execute_script(shown)
        screenshot(browser, "describe-dark")
    assert len(light) == 3
    for before, after in zip(light, turned, strict=True):
        svg, dark_svg = (base64.b64decode(uri.partition(",")[2]).decode() for uri in (before, after))
        assert "fill: #ffffff" in svg
        assert "fill: #ffffff" not in dark_svg
