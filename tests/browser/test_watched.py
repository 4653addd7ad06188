"""What is watched while a sweep runs, in Chromium: the report that refreshes, and TensorBoard's scalars."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers.pages import console, opened, outside, screenshot
from helpers.sweeps import make_row, make_trial
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from genrescale import results
from genrescale.config import DataConfig, ModelConfig, RunConfig
from genrescale.report import build_report
from genrescale.report.page import render_page
from genrescale.report.served import WatchedPage, served
from genrescale.storage.store import Store
from genrescale.training.events import RunEvents

pytestmark = pytest.mark.browser
WAIT_S = 60


@pytest.fixture
def sweep(tmp_path: Path) -> Store:
    """Two runs, one of them finished."""
    files = Store(str(tmp_path / "sweep"))
    trials = [make_trial("waveform", 100, 0), make_trial("spectrogram", 100, 0)]
    results.write_planned(files, trials)
    results.write_result(files, make_row(trials[0]))
    return files


@pytest.fixture
def address(sweep: Store) -> Iterator[str]:
    """The report of the sweep, served and looked at often."""
    with served(sweep, lambda: render_page(build_report(sweep)), look_s=0.2) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_watched_report_shows_a_run_that_finishes_meanwhile(
    browser: webdriver.Chrome, sweep: Store, address: str
) -> None:
    browser.get_log("performance")
    opened(browser, address)
    cell = "#comparison-table tr[data-family=spectrogram] td[data-metric=pr_auc]"
    assert "missing" in browser.find_element(By.CSS_SELECTOR, "#run-table").text
    before = browser.execute_script("return document.body.dataset.version")
    results.write_result(sweep, make_row(make_trial("spectrogram", 100, 0)))
    WebDriverWait(browser, WAIT_S).until(
        lambda driver: driver.execute_script("return document.body.dataset.version") not in (before, None)
    )
    assert browser.find_elements(By.CSS_SELECTOR, cell)[0].text not in ("", "missing")
    assert "missing" not in browser.find_element(By.CSS_SELECTOR, "#run-table").text
    assert console(browser) == []
    assert outside(browser, own=address) == []
    screenshot(browser, "watched-report")
    assert not Path(sweep.uri, "report.html").exists()  # who watches writes nothing


def test_only_this_machine_is_answered_and_only_two_pages(address: str) -> None:
    """A site elsewhere could give its own name the address 127.0.0.1 and read the report."""
    for headers, path, status in (({"Host": "evil.example"}, "", 403), ({}, "etc/passwd", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=10)
        assert refused.value.code == status
    assert len(urllib.request.urlopen(f"{address}version", timeout=10).read()) == 16


def test_a_page_allows_its_own_script_and_no_other() -> None:
    page = WatchedPage()
    page.show("<meta content=\"default-src 'none'; img-src data:\"><body><p>1</p></body>")
    text = page.data.decode()
    assert text.count("<script>") == 1
    assert "default-src 'none'; script-src 'sha256-" in text
    assert "unsafe-inline" not in text.partition("script-src")[2].partition(";")[0]
    first = page.version
    page.show("<body><p>2</p></body>")
    assert page.version != first


@pytest.fixture
def tensorboard(tmp_path: Path) -> Iterator[str]:
    """TensorBoard on loopback over the event files of one run."""
    run = RunConfig(ModelConfig("spectrogram"), DataConfig(size=100))
    with RunEvents(Store(str(tmp_path)), "0a1b2c3d4e5f", run) as events:
        for step in (10, 20, 30):
            events.validated({"step": step, "train_loss": 1 / step, "val_loss": 2 / step, "lr": 0.1}, [])
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path / "runs"), "--host", "127.0.0.1"]
    log = tmp_path / "log"
    with log.open("wb") as told:
        process = subprocess.Popen([*command, "--port", str(port), "--load_fast=false"], stdout=told, stderr=told)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(10 * WAIT_S):
            assert process.poll() is None, log.read_text()
            try:
                tags = urllib.request.urlopen(f"{address}data/plugin/scalars/tags", timeout=5).read()
                if b"loss/train" in tags:
                    break
            except OSError:
                pass
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def test_tensorboard_shows_a_runs_loss(browser: webdriver.Chrome, tensorboard: str) -> None:
    console(browser)
    outside(browser)
    opened(browser, f"{tensorboard}#scalars")
    find = (
        "const texts = []; const walk = (node) => { if (node.shadowRoot) walk(node.shadowRoot);"
        "for (const child of node.childNodes) { if (child.nodeType === 3) texts.push(child.textContent);"
        "walk(child); } };"
        "walk(document.body); return texts.join(' ');"
    )
    WebDriverWait(browser, WAIT_S).until(
        lambda driver: "loss/train" in (text := driver.execute_script(find)) and "spectrogram-100-lr" in text
    )
    screenshot(browser, "tensorboard-scalars")
    assert [message for message in console(browser) if "SEVERE" in message or "rror" in message] == []
    assert [url for url in outside(browser, own=tensorboard) if not url.startswith("chrome")] == []
