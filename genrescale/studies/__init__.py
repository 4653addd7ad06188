"""Studies: a paper's tables as runs, each number beside the paper's."""

from __future__ import annotations

from collections.abc import Callable

from genrescale.config.study import ScaleConfig
from genrescale.studies.pons2018 import pons2018
from genrescale.studies.study import Study

STUDIES: dict[str, Callable[[ScaleConfig], Study]] = {"pons2018": pons2018}
