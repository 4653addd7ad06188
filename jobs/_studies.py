"""What jobs/study.py does before a study is planned: list the studies, and choose a scale of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from _cli import CONF, compose_settings

from genrescale.config.checks import one_of
from genrescale.config.study import SCALES, ScaleConfig
from genrescale.telemetry.terminal import say

LIST = "list"


def chosen_scale(name: str, scale: str, scales: Mapping[str, ScaleConfig]) -> ScaleConfig:
    """The settings of a scale of the study. Raises ValueError where no study is named, or no such scale."""
    one_of("scale", scale, SCALES)
    if name not in _names() or scale not in scales:
        known = ", ".join(_names())
        raise ValueError(f"study=NAME is needed, one of {known}; jobs/study.py list tells what each needs")
    return scales[scale]


class _Study(Protocol):
    scale: str


def refuse_other_scale(job: _Study, typed: Sequence[str]) -> None:
    """Raise ValueError for a setting that was typed of a scale that is not chosen, where it would have no effect."""
    for name in typed:
        if name.startswith("scales.") and not name.startswith(f"scales.{job.scale}."):
            raise ValueError(f"{name} has no effect with scale={job.scale}; give scale={name.split('.')[1]}")


def list_studies(schema: type, ask: Sequence[str]) -> int:
    """Print every study with its tables, corpora and scales. Raises ValueError for another word than ``list``."""
    from genrescale.studies import STUDIES
    from genrescale.studies.listing import format_studies

    if list(ask) != [LIST]:
        raise ValueError(
            f"{' '.join(ask)!r} is no setting; settings are NAME=VALUE, and the word {LIST} alone lists studies"
        )
    found = {name: compose_settings(schema, "study", [f"study={name}"]).scales for name in _names()}
    say(format_studies([(STUDIES[name](scales["paper"]), scales) for name, scales in found.items()]))
    return 0


def _names() -> list[str]:
    return sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
