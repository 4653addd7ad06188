"""One Chromium for the tests of a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.chromium import chromium
from selenium import webdriver


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver
