"""The training loop of one worker. It is handed its batches and its ``report``; it knows neither Ray nor storage.

Shapes: B clips of a group, T samples, K tags.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from genrescale.audio import Vocabulary
from genrescale.config import RunConfig
from genrescale.config.metrics import ROW_METRICS
from genrescale.config.numbers import ceil_div
from genrescale.data.reading.plan import SCORE_GROUP, GroupId, RunPlan, ScorePlan, score_items
from genrescale.data.reading.source import CropGroup
from genrescale.losses import Loss
from genrescale.metrics.overfitting import gap_curve, possible_steps, select_step
from genrescale.results.live import LiveRun
from genrescale.telemetry.stream_stats import StreamStats
from genrescale.training.checkpoint_files import check_seal, load_tensors, seal
from genrescale.training.engine import Engine, TrainGroup, written_layout
from genrescale.training.live import Moment, silent
from genrescale.training.observe import Unobserved, memory_bytes
from genrescale.training.outputs import outputs_of
from genrescale.training.prefetch import DeviceGroup, GroupsAhead
from genrescale.training.schedules import after_validation, check_finite, in_sgd_phase, learning_rate, selector
from genrescale.training.state import RunState
from genrescale.training.timed import TimedGroups


class ReportValidation(Protocol):
    """What the loop tells the world after each validation: a line of its curve, and the run's pace.

    ``save`` writes a checkpoint into the folder it is given.
    """

    def __call__(self, metrics: dict[str, float | None], save: Callable[[Path], None]) -> None: ...


@dataclass
class Outcome:
    """What a finished loop returns on every rank."""

    state: RunState
    first_step_at: float  # time.time() when this attempt's first step was done


@dataclass(frozen=True)
class SongScores:
    """Scored songs: row, windows averaged, labels and mean probabilities; ``loss_sum`` is over windows.

    K columns as ``genrescale.training.outputs`` has them: tags, or what a pretext task measures.
    """

    songs_N: np.ndarray
    windows_N: np.ndarray
    true_NK: np.ndarray
    score_NK: np.ndarray
    loss_sum: float

    @classmethod
    def none(cls, columns: int) -> SongScores:
        rows = np.zeros(0, np.int64)
        return cls(rows, rows, np.zeros((0, columns), np.float32), np.zeros((0, columns)), 0.0)


class TrainingLoop:
    """One run on one worker: train, validate every V steps, keep the best weights, report, and score."""

    def __init__(
        self,
        run: RunConfig,
        vocabulary: Vocabulary,
        plan: RunPlan,
        engine: Engine,
        loss: Loss,
        report: ReportValidation,
        read_tasks: int = 1,
        fresh_weights: Sequence[str] = (),
        real_N: np.ndarray | None = None,
        live: Callable[[Callable[[], Moment]], None] = silent,
        observer: Unobserved | None = None,
    ) -> None:
        self.run, self.vocabulary, self.plan, self.engine, self.report = run, vocabulary, plan, engine, report
        self._loss, self._read_tasks = loss, read_tasks
        self.outputs = outputs_of(run.loss, vocabulary)
        self.fresh_weights = list(fresh_weights)  # those that the run's parent did not give
        self._real_N = real_N  # which train songs are real, where the objective asks
        self._live, self.observer = live, observer or Unobserved()
        engine.clock = self.observer.clock
        self._began, self._losses = time.perf_counter(), list[torch.Tensor]()  # since the last validation
        self.state = self._before = RunState(lr=run.optim.lr)  # now, and when this attempt began
        self.best_weights: dict[str, Tensor] = engine.weights()
        self._candidates: dict[int, dict[str, Tensor]] = {}  # of best_by=gap: weights by step

    def train(self, groups: Iterator[CropGroup]) -> Outcome:
        """Train from ``self.state.step`` to the end on this rank's ``groups``, which start at that step.

        The stream's statistics are of training steps and validation passes, the last pass included: everything that
        takes groups. Saving and reporting a checkpoint takes none and is left out.
        """
        with GroupsAhead(groups, self.engine.device) as ahead:
            return self._train(TimedGroups(ahead, StreamStats(self.engine.rank, self._read_tasks)))

    def _train(self, timed: TimedGroups[DeviceGroup]) -> Outcome:
        self._before, first_step_at = replace(self.state), 0.0
        self.observer.begins(self.state)
        self._began, self._losses = time.perf_counter(), []
        self._tell("reading the first songs", timed)
        while self.state.step < self.run.optim.max_steps and not self.state.stopped_early:
            step = self.state.step
            self._losses.append(self._train_step(step, timed))
            first_step_at = first_step_at or time.time()
            self.state.step += 1
            self._tell("", timed)
            if self.plan.validates_after(step):
                self.observer.during("validate", timed.stats)
                items = list(score_items(self.plan.validation, self.engine.rank, self.engine.world_size, step))
                scores = join_songs(self.engine.gather(self._score(self.plan.validation, items, timed, "validating")))
                timed.stats.seconds += time.perf_counter() - self._began
                self.state.count(timed.stats, self.engine.gather(timed.stats), self._before)
                self._validated(scores, self._losses, timed)
                self._began, self._losses = time.perf_counter(), []
        return Outcome(self.state, first_step_at or time.time())

    def _tell(self, doing: str, timed: TimedGroups[DeviceGroup]) -> None:
        """Say where the loop stands, if that is due."""

        def moment() -> Moment:
            # a rank's loss is its part of the step's
            losses = torch.stack(self._losses).mean() * self.engine.world_size if self._losses else None
            own = replace(timed.stats, seconds=timed.stats.seconds + time.perf_counter() - self._began)
            live = self._stands(doing, None if losses is None else float(losses), own)
            self.observer.look(self.state, timed, live.train_loss)
            return Moment(live, [asdict(own), *self.state.streams[1:]])

        self._live(moment)

    def _stands(self, doing: str, train_loss: float | None, own: StreamStats) -> LiveRun:
        """Where the run stands. ``own`` is this rank's stream in this attempt."""
        return LiveRun(
            step=self.state.step,
            doing=doing,
            train_loss=train_loss,
            validation=dict(self.state.curve[-1]) if self.state.curve else {},
            lr=self.state.lr,
            clips_per_s=(self.state.clips - self._before.clips) / own.seconds if own.seconds else 0.0,
            wait_share=own.wait_share,
            memory_bytes=memory_bytes(self.engine.device),
        )

    def _train_step(self, step: int, groups: TimedGroups[DeviceGroup]) -> torch.Tensor:
        train = self.plan.train
        clips, count = train.num_clips(step), ceil_div(train.num_groups(step), self.engine.world_size)
        self.state.clips += clips
        optim = self.run.optim
        if step == optim.sgd_after > 0:
            self.engine.restart(self.best_weights)
        self.state.lr = learning_rate(optim, step, self.state.cuts)
        self.engine.set_lr(self.state.lr, in_sgd_phase(optim, step))
        return self.engine.train_step(step, self._mine(step, groups, clips, count), count)

    def _mine(self, step: int, groups: TimedGroups[DeviceGroup], clips: int, count: int) -> Iterator[TrainGroup]:
        """This rank's ``count`` groups of a step, each taken when the engine asks for it."""
        numbers = range(self.engine.rank, self.plan.train.num_groups(step), self.engine.world_size)
        for number in numbers:
            group = groups.take(GroupId("train", step, number))
            real_n = None if self._real_N is None else self._real_N[group.songs_n]
            yield TrainGroup(number, group.sent_nT, group.labels_nK, len(group) / clips, real_n)
        if len(numbers) < count:
            yield idle_group(self.plan.train.crop_len, len(self.vocabulary))

    def _validated(
        self, scores: SongScores, train_losses: Sequence[torch.Tensor], timed: TimedGroups[DeviceGroup]
    ) -> None:
        """What a validation pass changes: the curve, the best weights, the schedule; and the report of it."""
        mean_loss = float(np.mean(torch.stack(list(train_losses)).cpu().numpy()))
        train_loss = self.engine.sum_over_ranks(mean_loss)[0]
        val_loss = scores.loss_sum / int(scores.windows_N.sum())
        self.observer.checked(val_loss)
        check_finite(val_loss, self.state.step, self.state.lr)
        metrics = self.outputs.metrics(scores.true_NK, scores.score_NK)
        self.state.curve.append(
            {
                "step": float(self.state.step),
                "epoch": self.state.step / self.plan.train.steps_per_epoch,
                "lr": self.state.lr,
                "train_loss": train_loss,
                "val_loss": val_loss,
                **{f"val_{name}": metrics[name] for name in ROW_METRICS},
            }
        )
        if self.run.optim.best_by == "gap":
            self._choose_by_gap()
        elif after_validation(self.state, self.run.optim, val_loss, selector(self.run.optim, val_loss, metrics)):
            self.best_weights = self.engine.weights()
        self.observer.look(self.state, timed, train_loss)
        self.observer.during("checkpoint", timed.stats)
        stands = self._stands("", train_loss, timed.stats)
        self.report({**stands.validation, **stands.pace()}, self.save)
        self.observer.during("train")

    def _choose_by_gap(self) -> None:
        """Keep the weights of every validation that may still be the best, and of them the best by now."""
        lines_3V = np.array([[line[name] for line in self.state.curve] for name in ("step", "train_loss", "val_loss")])
        curve = gap_curve(*lines_3V)
        possible = possible_steps(curve)
        if self.state.step in possible:
            self._candidates[self.state.step] = self.engine.weights()
        self._candidates = {step: self._candidates[step] for step in possible}
        best = self.state.best_step = select_step(curve, "gap")
        self.state.best_loss = float(curve.val_loss_V[curve.step_V == best][0])
        self.best_weights = self._candidates[best]

    def _score(
        self, plan: ScorePlan, items: Sequence[GroupId], groups: TimedGroups[DeviceGroup], doing: str
    ) -> SongScores:
        """Scores of the songs in ``items``, this rank's part of a pass."""
        parts = []
        passes = sum(ceil_div(plan.group_windows(item.group), SCORE_GROUP) for item in items)
        idle = max(self.engine.gather(passes)) - passes if self.engine.gathers else 0
        for item in items:
            self._tell(doing, groups)
            group = groups.take(item)
            # a song is never divided between groups, so a long one comes as more windows than fit at once
            parts_BK = [self.engine.logits(wave_BT, item.group) for wave_BT in slices(group.sent_nT, SCORE_GROUP)]
            outputs_BK = torch.cat(parts_BK)
            tags_BK = torch.from_numpy(np.ascontiguousarray(group.labels_nK)).to(outputs_BK.device)
            loss_sum = float(self._loss(outputs_BK, tags_BK)) * len(group)
            true_nK, scores_BK = self.outputs.truth(group.labels_nK), self.outputs.scores(outputs_BK)
            parts.append(song_means(group.songs_n, scores_BK, true_nK, loss_sum))
        for _ in range(idle):  # for the other ranks' sake: their forward passes need this rank's weights
            self.engine.logits(np.zeros((1, plan.crop_len), np.int16), 0)
        return join_songs([SongScores.none(len(self.outputs.names)), *parts])

    def score_best(self, plan: ScorePlan, items: Sequence[GroupId], groups: Iterator[CropGroup]) -> SongScores:
        """Scores of this rank's songs of ``plan`` with the best weights. Training ends here."""
        self.observer.during("score")
        self.engine.load_weights(self.best_weights)
        with GroupsAhead(groups, self.engine.device) as ahead:
            self._began, self._losses = time.perf_counter(), []
            return self._score(plan, items, TimedGroups(ahead), "scoring the test songs")

    def save(self, folder: Path) -> None:
        """Write a checkpoint: the engine's state (all ranks), the best weights and the state (rank 0)."""
        self.engine.save(folder)
        if self.engine.rank == 0:
            torch.save(self._candidates or self.best_weights, folder / "best.pt")
            self.state.save(folder)
        seal(folder, self.engine.rank)
        self.observer.saved(folder)

    @staticmethod
    def saved_step(folder: Path) -> int:
        """The step that a checkpoint was written at: where its stream starts."""
        return RunState.load(folder).step

    def load(self, folder: Path) -> None:
        """Continue where ``save`` left off, on every rank. Raises CheckpointError if a file is not what was written."""
        check_seal(folder, written_layout(folder)[1])
        self.engine.load(folder)
        self.state = RunState.load(folder)
        kept = load_tensors(folder / "best.pt", map_location="cpu")
        by_gap = self.run.optim.best_by == "gap"
        self._candidates = kept if by_gap else {}
        self.best_weights = kept[self.state.best_step] if by_gap else kept
        self.state.resumed_at.append(self.state.step)


def idle_group(crop_len: int, num_tags: int) -> TrainGroup:
    """Two clips of silence without weight, for a rank that has no group left in a step."""
    return TrainGroup(-1, np.zeros((2, crop_len), np.int16), np.zeros((2, num_tags), np.float32), 0.0)


def slices(wave_nT: np.ndarray | Tensor, size: int) -> Iterator[np.ndarray | Tensor]:
    """At most ``size`` clips at a time."""
    for start in range(0, len(wave_nT), size):
        yield wave_nT[start : start + size]


def song_means(songs_n: np.ndarray, scores_nK: np.ndarray, labels_nK: np.ndarray, loss_sum: float) -> SongScores:
    """The songs of a scored group, each with the mean of its windows' probabilities (windows lie side by side)."""
    songs_N, first_N, windows_N = np.unique(songs_n, return_index=True, return_counts=True)
    sums_NK = np.add.reduceat(scores_nK, first_N, axis=0)
    return SongScores(songs_N, windows_N, labels_nK[first_N], sums_NK / windows_N[:, None], loss_sum)


def join_songs(parts: Sequence[SongScores]) -> SongScores:
    """The parts as one, ordered by song, so that what follows does not depend on who scored what."""
    order = np.argsort(np.concatenate([part.songs_N for part in parts]), kind="stable")
    columns = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("songs_N", "windows_N", "true_NK", "score_NK")
    )
    return SongScores(*columns, loss_sum=math.fsum(part.loss_sum for part in parts))
