"""A page in Chromium: opened at a width, dark, with what it asked for and complained of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.keys import Keys

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def opened(browser: webdriver.Chrome, page: str, width: int = 1280) -> None:
    """Open ``page`` in a window of ``width``; a narrow one is a phone's."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page)


def console(browser: webdriver.Chrome) -> list[str]:
    """What the page wrote to the console since this was asked last."""
    return [entry["message"] for entry in browser.get_log("browser")]


def outside(browser: webdriver.Chrome, own: str = "file:") -> list[str]:
    """The addresses that were requested since this was asked last, but for ``own`` and data."""
    messages: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"] for entry in browser.get_log("performance")
    ]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith((own, "data:", "blob:"))]


@contextmanager
def dark(browser: webdriver.Chrome) -> Iterator[None]:
    """During the block, the reader prefers dark pages."""
    features = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Keep the window as ``build/screenshots/NAME.png``."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


def without_words(browser: webdriver.Chrome) -> list[str]:
    """The pictures that say nothing to somebody who does not see them."""
    return browser.execute_script(
        "return [...document.images].filter(image => !image.alt.trim()).map(image => image.outerHTML.slice(0, 200))"
    )


def unreached(browser: webdriver.Chrome) -> list[str]:
    """What can be clicked or played but is not reached with the tab key, from the start of the page on."""
    mark = (
        "const all = [...document.querySelectorAll('a[href], button, summary, audio[controls], input, select')]"
        ".filter(element => element.checkVisibility()); all.forEach((element, i) => element.dataset.stop = i);"
        "return all.map(element => element.outerHTML.slice(0, 200))"
    )
    wanted = dict(enumerate(browser.execute_script(mark)))
    for _ in range(12 * len(wanted) + 50):  # a player has several controls of its own
        browser.switch_to.active_element.send_keys(Keys.TAB)
        stop = browser.switch_to.active_element.get_attribute("data-stop")
        wanted.pop(int(stop) if stop else -1, None)
        if not wanted:
            break
    return list(wanted.values())
