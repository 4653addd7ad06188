"""A headless Chromium without a network but for one address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-dev-shm-usage --disable-background-networking "
    "--disable-component-update --disable-sync --host-resolver-rules=MAP*~NOTFOUND"
)


@contextmanager
def chromium(reached: str = "127.0.0.1") -> Iterator[webdriver.Chrome]:
    """Start it for the block, with no other address ``reached``. Without it the test is skipped; in CI it fails."""
    absent = [path for path in (CHROMIUM, DRIVER) if not Path(path).exists()]
    if absent:
        reason = f"{' and '.join(absent)} not found: apt-get install chromium chromium-driver"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag.replace("MAP*~NOTFOUND", f"MAP * ~NOTFOUND, EXCLUDE {reached}"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
