"""A stream as its consumer sees it: the plan's order insisted on, waiting and reading counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Generic, TypeVar

from genrescale.data.reading.plan import GroupId
from genrescale.data.reading.source import CropGroup
from genrescale.telemetry.stream_stats import StreamStats

Group = TypeVar("Group", bound=CropGroup)


class TimedGroups(Generic[Group]):
    """The stream as the loop sees it: groups in the plan's order, and what they took (``stats``)."""

    def __init__(self, groups: Iterator[Group], stats: StreamStats | None = None) -> None:
        self._groups = groups
        self.stats = stats or StreamStats()

    def take(self, expected: GroupId) -> Group:
        """Raises RuntimeError if the stream's next group is another than the plan's."""
        started = time.perf_counter()
        group = next(self._groups, None)
        self.stats.wait_s += time.perf_counter() - started
        if group is None or group.id != expected:
            raise RuntimeError(f"the plan's next group is {expected}, the stream delivered {group and group.id}")
        self._count(group)
        return group

    def _count(self, group: Group) -> None:
        self.stats.groups += 1
        self.stats.clips += len(group)
        self.stats.bytes_delivered += group.wave_nT.nbytes
        for name, value in asdict(group.read).items():
            setattr(self.stats, name, getattr(self.stats, name) + value)
        if group.ready_at:
            self.stats.ready_s += max(0.0, time.time() - group.ready_at)  # two nodes' clocks may disagree
