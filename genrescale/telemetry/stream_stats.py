"""StreamStats: what one worker's stream spends its time on, and which stage is slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

READ_STAGES = ("fetch", "verify", "copy")


WAIT_SHARE = 0.05  # of its time that a worker may wait for data before the stream is what is slow


_BUSY_SHARE = 0.5  # of their time that read tasks work, above which reading is what is slow


@dataclass
class StreamStats:
    """One worker's stream in one attempt: what its loop and its read tasks did with their seconds.

    ``seconds`` are those of training steps and validation passes, without saving checkpoints; ``wait_s`` of them the
    loop waited for data. All other figures are of the groups taken in the same time: ``bytes_delivered`` of crops,
    ``bytes_fetched`` of the whole seconds that they touch, which are read and verified. ``fetch_s``, ``verify_s`` and
    ``copy_s`` are of all its read tasks, of which ``read_tasks`` run at a time; ``ready_s`` is how long groups, once
    read, waited for the loop (also while it saved a checkpoint).
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
        """The part of training steps and validation passes that the loop waited for data."""
        return self.wait_s / self.seconds if self.seconds else 0.0

    @property
    def queue_depth(self) -> float:
        """Groups that are read and wait for the loop, on average (Little's law: arrivals per second times wait)."""
        return self.ready_s / self.seconds if self.seconds else 0.0

    def clips_per_s(self, stage: str) -> float:
        """What one stage would do alone: one of READ_STAGES in one read task, or ``train``. 0: it took no time."""
        spent = self.seconds - self.wait_s if stage == "train" else getattr(self, f"{stage}_s")
        return self.clips / spent if spent > 0 else 0.0

    def slow_stage(self) -> str:
        """What the worker's clips/s hang on: ``train``, one of READ_STAGES, or ``deliver`` (Ray, between the two)."""
        if self.wait_share < WAIT_SHARE:
            return "train"
        spent = {stage: getattr(self, f"{stage}_s") for stage in READ_STAGES}
        if sum(spent.values()) < _BUSY_SHARE * self.read_tasks * self.seconds:
            return "deliver"
        return max(spent, key=lambda stage: spent[stage])
