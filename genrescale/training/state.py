"""RunState: where a run stands. A checkpoint holds it; the loop's part of the result row follows from it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genrescale.results.row import LoopSummary
from genrescale.telemetry.stream_stats import StreamStats
from genrescale.training.checkpoint_files import CheckpointError

_FILE = "progress.json"


@dataclass
class RunState:
    """Where a run stands: what, besides the engine's state, a checkpoint holds."""

    step: int = 0  # steps done
    best_step: int = 0
    best_loss: float = math.inf  # the validation loss of the best checkpoint
    best_rank: float = math.inf  # what ``best_by`` made of it: lower is better
    validated_step: int = 0
    stale_steps: int = 0  # without improvement, as a plateau counts them
    cuts: int = 0  # plateaus so far
    lr: float = 0.0  # of the last step
    stopped_early: bool = False
    seconds: float = 0.0  # of training steps and validation passes, over all attempts
    wait_s: float = 0.0  # of these, waiting for data
    clips: int = 0
    bytes_delivered: int = 0
    bytes_fetched: int = 0
    storage_retries: int = 0
    streams: list[dict[str, float]] = field(default_factory=list)  # StreamStats by rank, of this attempt
    resumed_at: list[int] = field(default_factory=list)  # steps at which an attempt continued
    curve: list[dict[str, float | None]] = field(default_factory=list)

    def count(self, own: StreamStats, streams: Sequence[StreamStats], before: RunState) -> None:
        """Take over what the streams of this attempt counted: this rank's own, and all of them by rank.

        ``before`` is the state that the attempt began with.
        """
        self.seconds, self.wait_s = before.seconds + own.seconds, before.wait_s + own.wait_s
        self.bytes_delivered = before.bytes_delivered + sum(stream.bytes_delivered for stream in streams)
        self.bytes_fetched = before.bytes_fetched + sum(stream.bytes_fetched for stream in streams)
        self.storage_retries = before.storage_retries + sum(stream.retries for stream in streams)
        self.streams = [asdict(stream) for stream in streams]

    def save(self, folder: Path) -> None:
        (folder / _FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> RunState:
        """The state of a checkpoint. Raises CheckpointError where the file holds no such state.

        Version 0.1.0 called the delivered bytes ``bytes_read`` and did not add up the fetched ones: they count from it.
        """
        try:
            values = json.loads((folder / _FILE).read_text())
            values["streams"] = [asdict(StreamStats.from_dict(stream)) for stream in values["streams"]]
            return cls(**{"bytes_delivered" if name == "bytes_read" else name: value for name, value in values.items()})
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"the checkpoint is refused: its {_FILE} cannot be read ({error!r})") from None


def loop_summary(state: RunState, **measured: Any) -> LoopSummary:
    """The summary of a run: what its loop knows, and what else its worker ``measured``."""
    return LoopSummary(
        best_step=state.best_step,
        steps=state.step,
        stopped_early=state.stopped_early,
        resumed_at=state.resumed_at,
        val_loss=state.best_loss,
        seconds_training=state.seconds,
        clips_per_s=state.clips / state.seconds if state.seconds else 0.0,
        bytes_delivered=state.bytes_delivered,
        bytes_fetched=state.bytes_fetched,
        storage_retries=state.storage_retries,
        streams=state.streams,
        data_wait_share=state.wait_s / state.seconds if state.seconds else 0.0,
        **measured,
    )
