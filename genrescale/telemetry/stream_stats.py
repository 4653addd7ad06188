"""StreamStats: how one worker's stream spends its time, and which stage limits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

READ_STAGES = ("fetch", "verify", "copy")


WAIT_SHARE = 0.05  # if a worker waits for data for more of its time, the stream limits it


_BUSY_SHARE = 0.5  # if read tasks are busy for more of their time, reading is the limit


@dataclass
class StreamStats:
    """Time spent by one worker's stream in one attempt: by its training loop and by its read tasks.

    ``seconds`` is the time of training steps and validation passes, without saving checkpoints; during ``wait_s`` of
    it, the loop waited for data. All other figures are for the groups consumed in that time: ``bytes_delivered`` of
    crops, ``bytes_fetched`` of the whole seconds that they touch, which are read and verified. ``fetch_s``,
    ``verify_s`` and ``copy_s`` are sums over read tasks, of which ``read_tasks`` run concurrently. ``ready_s`` is how
    long groups waited for the loop after they were read (also while it saved a checkpoint).
    """

    rank: int = 0
    read_tasks: int = 1
    seconds: float = 0.0
    wait_s: float = 0.0
    groups: int = 0
    clips: int = 0
    bytes_delivered: int = 0
    bytes_fetched: int = 0
    retries: int = 0
    fetch_s: float = 0.0
    verify_s: float = 0.0
    copy_s: float = 0.0
    ready_s: float = 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> StreamStats:
        """The inverse of ``asdict``; ``bytes_fetched`` may have its name of version 0.1.0, ``num_bytes``."""
        named = {"bytes_fetched" if name == "num_bytes" else name: value for name, value in values.items()}
        return cls(**named)  # type: ignore[arg-type]  (JSON kept whole numbers whole)

    @property
    def wait_share(self) -> float:
        """The share of training and validation time that the loop waited for data."""
        return self.wait_s / self.seconds if self.seconds else 0.0

    @property
    def queue_depth(self) -> float:
        """The mean number of groups that are read and wait for the loop (Little's law: arrival rate times wait)."""
        return self.ready_s / self.seconds if self.seconds else 0.0

    def clips_per_s(self, stage: str) -> float:
        """The throughput of one stage alone: ``train``, or one of READ_STAGES in one read task.

        It is 0 if the stage took no time.
        """
        spent = self.seconds - self.wait_s if stage == "train" else getattr(self, f"{stage}_s")
        return self.clips / spent if spent > 0 else 0.0

    def slow_stage(self) -> str:
        """The stage that limits the worker: ``train``, one of READ_STAGES, or ``deliver`` (Ray, between the two)."""
        if self.wait_share < WAIT_SHARE:
            return "train"
        spent = {stage: getattr(self, f"{stage}_s") for stage in READ_STAGES}
        if sum(spent.values()) < _BUSY_SHARE * self.read_tasks * self.seconds:
            return "deliver"
        return max(spent, key=lambda stage: spent[stage])
