"""A tracker that cannot work is refused before anything starts, with what to do."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

from genrescale.config import TRACKERS, SiteConfig
from genrescale.training.checks import check_trackers


def test_an_unknown_tracker_is_refused():
    with pytest.raises(ValueError, match=r"track=\[neptune\] is none of mlflow, wandb, aim"):
        SiteConfig(track=["neptune"])


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=rf"pip install 'genrescale\[{name}\]'"):
        check_trackers(SiteConfig(out="/data", track=[name]))
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert name in project["optional-dependencies"]


def test_a_bucket_holds_no_files_of_trackers_but_a_server_takes_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in TRACKERS:
        with pytest.raises(ValueError, match="writes to a local folder"):
            check_trackers(SiteConfig(out="s3://music/sweep", track=[name]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    check_trackers(SiteConfig(out="s3://music/sweep", track=["mlflow"]))
