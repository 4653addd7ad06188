"""A progress line is never silent, and says what runs, how far it is and how long is left."""

from __future__ import annotations

import io
import time

import pytest

from genrescale import telemetry
from genrescale.telemetry import Progress, format_duration


@pytest.mark.parametrize(("seconds", "text"), [(8.25, "8s"), (75.2, "1m15s"), (3_660, "1h01m")])
def test_durations_are_short(seconds: float, text: str):
    assert format_duration(seconds) == text


def test_lines_come_while_one_item_takes_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telemetry, "HEARTBEAT_S", 0.02)
    stream = io.StringIO()
    with Progress("sharding", 4, "songs", stream) as progress:
        progress.advance(1, "a.mp3")
        time.sleep(0.2)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 4
    assert lines[0].startswith("[sharding] 1/4 songs · about ")
    assert "left" in lines[0]
    assert lines[-1].endswith("a.mp3")


def test_an_error_ends_the_line_with_stopped():
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress("x", 2, "songs", stream):
        _ = 1 / 0
    assert stream.getvalue().rstrip().endswith("stopped")
