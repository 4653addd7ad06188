"""Event files of TensorBoard, in the folder ``events`` of a run: what it was, how it went, and where it went wrong.

Rank 0 writes them while a run trains, the driver when it has ended, each a file of its own. A local store is written
to directly; for a bucket the files lie in a temporary folder and are uploaded at each validation. Nothing that goes
wrong here ends a run: it is said once, and no more is written.

Shapes: n clips of a group, T samples, F mel bins, N songs or frames, K tags.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from genrescale.audio import PCM_SCALE, SAMPLE_RATE, Vocabulary
from genrescale.config import RunConfig, science
from genrescale.data.reading.source import CropGroup
from genrescale.results import ScoreTable, run_folder
from genrescale.storage.store import Store
from genrescale.telemetry.stream_stats import StreamStats
from genrescale.telemetry.terminal import say

EVENTS = "events"
ReadSong = Callable[[int, float], np.ndarray]
"""The first seconds of a test song, as int16 samples: ``(song, seconds)``."""
_FLUSH_S = 10
_UPLOAD_SHARE = 100  # uploads take at most one part in so many of a run's time
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def events_folder(id: str, run: RunConfig) -> str:
    """The folder of a run's event files: its last part is the name that TensorBoard shows beside the run's id."""
    return f"{run_folder(id)}/{EVENTS}/{shown_name(run)}"


def shown_name(run: RunConfig) -> str:
    """What TensorBoard and Ray's dashboard show of a run beside its id. It is also a folder's name."""
    name = f"{run.model.name}-{run.data.size}-lr{run.optim.lr:g}-seed{run.seed}"
    return _NOT_IN_NAMES.sub("_", name)


def shown_groups(groups: Iterator[CropGroup], show: Callable[[CropGroup], None]) -> Iterator[CropGroup]:
    """Hand groups through, and the first one of training to ``show``."""
    shown = False
    for group in groups:
        if not shown and group.id.kind == "train":
            shown = True
            show(group)
        yield group


class RunEvents:
    """Writes one event file of a run; a context manager. With ``wanted`` false it writes nothing."""

    def __init__(self, files: Store, id: str, run: RunConfig, wanted: bool = True) -> None:
        self._files, self._run, self._start_step = files, run, 0
        self._folder, self._wanted = events_folder(id, run), wanted
        self._writer: Any = None
        self._upload_due_s = float("-inf")
        self._closing = ExitStack()

    def __enter__(self) -> RunEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._safely(self._upload)
        self._wanted = False
        with self._closing:
            if self._writer is not None:
                self._writer.close()

    def begin(self, start_step: int) -> None:
        """Set the step where an attempt begins: what an earlier one wrote of later steps no longer counts."""
        self._start_step = start_step

    def began(self, group: CropGroup) -> None:
        """The first group of training: the log-mel of some clips, and what augmentation makes of them."""
        self._safely(partial(self._clips, group))

    def live(self, step: int, train_loss: float | None, streams: Sequence[Mapping[str, float]]) -> None:
        """Where a run stands between validations."""
        values = {"live/train_loss": train_loss, **stream_values(streams, "live")}
        self._safely(partial(self._scalars, step, values))

    def validated(self, line: Mapping[str, float | None], streams: Sequence[Mapping[str, float]]) -> None:
        """A line of a run's curve; then a bucket gets all that was written."""
        self._safely(partial(self._scalars, int(line["step"] or 0), {**curve_values(line), **stream_values(streams)}))
        if time.monotonic() >= self._upload_due_s:
            began_s = time.monotonic()
            self._safely(self._upload)
            # the whole file each time, so less often as it grows
            self._upload_due_s = time.monotonic() + _UPLOAD_SHARE * (time.monotonic() - began_s)

    def outcome(
        self,
        step: int,
        metrics: Mapping[str, float | None],
        scores: ScoreTable,
        vocabulary: Vocabulary,
        read_song: ReadSong,
    ) -> None:
        """What the test songs say: scores beside settings, confusions, and the worst mistakes to hear."""
        self._safely(partial(self._outcome, step, metrics, scores, vocabulary, read_song))

    def _safely(self, write: Callable[[], object]) -> None:
        if not self._wanted:
            return
        try:
            write()
        except Exception as error:  # whatever it is: the run matters more
            self._wanted = False
            say(f"[events] no more event files of this run: {type(error).__name__}: {error}", sys.stderr)

    def _open(self) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter

            folder = self._files.local_path(self._folder)
            if folder is None:
                folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="genrescale-events-")))
            self._local = folder
            self._writer = SummaryWriter(
                str(folder),
                purge_step=self._start_step + 1 if self._start_step else None,
                flush_secs=_FLUSH_S,
                filename_suffix=f".{time.time_ns()}",  # files of one second are read in the order of their names
            )
        return self._writer

    def _scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                self._open().add_scalar(name, value, step)

    def _clips(self, group: CropGroup) -> None:
        from genrescale.training.event_pictures import clips_picture  # Matplotlib, which only rank 0 needs

        self._picture("clips", self._start_step, clips_picture(group, self._run))

    def _picture(self, tag: str, step: int, rgb_HWC: np.ndarray) -> None:
        self._open().add_image(tag, rgb_HWC, step, dataformats="HWC")

    def _settings(self, step: int, metrics: Mapping[str, float]) -> None:
        from tensorboardX.summary import hparams

        for summary in hparams(settings_of(self._run), dict(metrics)):
            self._open().file_writer.add_summary(summary)
        self._scalars(step, metrics)

    def _outcome(
        self,
        step: int,
        metrics: Mapping[str, float | None],
        scores: ScoreTable,
        vocabulary: Vocabulary,
        read_song: ReadSong,
    ) -> None:
        from genrescale.training.event_pictures import WORST_S, confusions_picture, mistakes_table, worst_songs

        self._settings(step, {f"test/{name}": value for name, value in metrics.items() if value is not None})
        if scores.true_NK.shape[1] != len(vocabulary):
            return  # of a pretext task: nothing is true of a song
        if vocabulary.exclusive:
            self._picture("test/confusion", step, confusions_picture(scores, vocabulary.names))
        songs = worst_songs(scores.true_NK, scores.score_NK, vocabulary.exclusive)
        self._open().add_text("worst/songs", mistakes_table(songs, scores, vocabulary.names), step)
        for place, song in enumerate(songs):
            wave_T = read_song(song, WORST_S) * PCM_SCALE
            self._open().add_audio(f"worst/{place + 1}", wave_T[:, None], step, SAMPLE_RATE)

    def _upload(self) -> None:
        if self._writer is None or self._files.local_path() is not None:
            return
        self._writer.flush()
        for path in self._local.iterdir():
            self._files.write_bytes(f"{self._folder}/{path.name}", path.read_bytes())


def curve_values(line: Mapping[str, float | None]) -> dict[str, float | None]:
    """A line of a curve by the names that TensorBoard groups: ``loss/train``, ``validation/pr_auc``, ..."""
    names = {"train_loss": "loss/train", "val_loss": "loss/validation", "lr": "schedule/lr", "epoch": "schedule/epoch"}
    scores = {name: f"validation/{name.removeprefix('val_')}" for name in line if name.startswith("val_")}
    return {(scores | names)[name]: value for name, value in line.items() if name in scores | names}


def stream_values(streams: Sequence[Mapping[str, float]], group: str = "stream") -> dict[str, float | None]:
    """Clips a second of all workers, and the share of its time that a worker waits for data, on average."""
    stats = [StreamStats.from_dict(stream) for stream in streams if stream.get("seconds")]
    if not stats:
        return {}
    return {
        f"{group}/clips_per_s": sum(of.clips / of.seconds for of in stats),
        f"{group}/wait_share": sum(of.wait_share for of in stats) / len(stats),
    }


def settings_of(run: RunConfig) -> dict[str, str | float | int | bool]:
    """A run's settings by dotted names, as TensorBoard's table of hyper-parameters has them."""
    found: dict[str, str | float | int | bool] = {}

    def add(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                add(f"{prefix}{name}.", value)
            else:
                found[f"{prefix}{name}"] = value if isinstance(value, (str, int, float)) else str(value)

    add("", science(run))
    return found
