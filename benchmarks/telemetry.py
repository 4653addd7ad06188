"""What recording metrics costs a training step: ``python benchmarks/telemetry.py [rounds=15] [steps=400] [threads=1]``.

A small model, a narrow one of Dieleman's on 4 clips of 1.5 s, whose steps take 10 ms or less, is trained by the loop's
own steps without Ray: groups from memory, DeepSpeed's engine, and a moment for the display every three seconds as in
every run. One loop is recorded, and a thread packs its reports as Ray would; the other is not. They take turns of
``steps`` steps in one process, and the order changes from round to round. ``step_overhead`` is the median of the ratios
of neighbours, less 1; the aim is 0.01 at most. ``noise`` is the same figure of two turns of the loop that is not
recorded.

``from_parts`` is the sum of what recording does in the loop's own thread, each part measured alone, as a share of a
step: ``marks_us`` of a step, ``causes_us`` of a group, and ``look_us`` every three seconds. Noise hardly touches it.
"""

from __future__ import annotations

import json
import os
import pickle
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

SETTINGS = {"rounds": "15", "steps": "400", "threads": "1"}
CROP_S, CLIPS, NUM_TAGS, SONGS = 1.5, 4, 10, 64
MODEL, NARROW = "dieleman", {"first_filters": 8, "filters": 8, "units": 10, "input_len": 24_000}
CALLS = 20_000


def plan_of(crop_len: int) -> Any:
    """A plan of one group to a step, and no validation on the way."""
    import numpy as np

    from genrescale.data.reading.plan import RunPlan, ScorePlan, TrainPlan
    from genrescale.data.reading.samplers import Uniform

    len_N = np.full(SONGS, crop_len)
    train = TrainPlan(len_N, 0, CLIPS, CLIPS, crop_len, Uniform(SONGS))
    return RunPlan(train, ScorePlan(len_N[:2], crop_len, "consecutive", "validation"), 10**9, 10**9)


def groups_of(plan: Any) -> Iterator[Any]:
    """The groups of the plan, all of the same noise."""
    import numpy as np

    from genrescale.data.reading.source import CropGroup

    rng = np.random.default_rng(0)
    wave_nT = (3000 * rng.standard_normal((CLIPS, plan.train.crop_len))).astype(np.int16)
    labels_nK = (rng.random((CLIPS, NUM_TAGS)) < 0.3).astype(np.float32)
    for id in plan.items(0, 1):
        yield CropGroup(id, np.arange(CLIPS), np.zeros(CLIPS, np.int64), wave_nT, labels_nK, ready_at=time.time())


def packed(report: object) -> None:
    """What sending a report costs the thread that does it."""
    pickle.dumps(report)


class Side:
    """A loop that takes its steps in turns with another one."""

    def __init__(self, recorded: bool, threads: int, closing: ExitStack) -> None:
        from genrescale.audio import Tag, Vocabulary, seconds_to_len
        from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig
        from genrescale.telemetry.metric_table import run_labels
        from genrescale.telemetry.recorder import Recorder, Silent, recording
        from genrescale.telemetry.reporting import Reporting
        from genrescale.telemetry.stream_stats import StreamStats
        from genrescale.training.assemble import build_loop
        from genrescale.training.live import LiveProgress
        from genrescale.training.prefetch import GroupsAhead
        from genrescale.training.timed import TimedGroups

        run = RunConfig(
            model=ModelConfig(MODEL, dict(NARROW)),
            data=DataConfig(size=SONGS, crop_s=CROP_S, batch=CLIPS, group=CLIPS),
            optim=OptimConfig(max_steps=10**9, validate_every=10**9),
        )
        vocabulary = Vocabulary(tuple(Tag(f"t{k}") for k in range(NUM_TAGS)))
        plan = plan_of(seconds_to_len(CROP_S))
        own = Recorder("a", {**run_labels("0123456789ab", MODEL, SONGS), "rank": "0"}) if recorded else Silent()
        live = closing.enter_context(LiveProgress(lambda moment: None))
        with recording(own):
            site = SiteConfig(threads=threads)
            self.loop = build_loop(run, site, vocabulary, plan, lambda *_: None, live=live)
        if recorded:
            closing.enter_context(Reporting(own, lambda report, last: packed(report)))
        ahead = closing.enter_context(GroupsAhead(groups_of(plan), self.loop.engine.device))
        self.timed: Any = TimedGroups(ahead, StreamStats())
        self.loop.observer.begins(self.loop.state)

    def steps(self, count: int) -> float:
        """Seconds of so many steps, as the loop takes them."""
        loop, began = self.loop, time.perf_counter()
        loop._losses = []
        for _ in range(count):
            loop._losses.append(loop._train_step(loop.state.step, self.timed))
            loop.state.step += 1
            loop._tell("", self.timed)
        return time.perf_counter() - began


def call_s(work: Callable[[], Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - began) / calls


def main() -> None:
    settings = SETTINGS | dict(argument.split("=", 1) for argument in sys.argv[1:])
    rounds, steps, threads = (int(settings[name]) for name in SETTINGS)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    from genrescale.data.reading.spans import ReadStats
    from genrescale.telemetry.metric_table import STEP_PARTS
    from genrescale.telemetry.reporting import EVERY_S
    from genrescale.training.engine import single_process_group
    from genrescale.training.step_clock import HostClock
    from genrescale.training.timed import wait_causes

    with single_process_group(), ExitStack() as closing:
        recorded, plain = (Side(wanted, threads, closing) for wanted in (True, False))
        for side in (recorded, plain):
            side.steps(50)
        ratios, noise, plain_s = [], [], []
        for turn in range(rounds):
            order = (recorded, plain, plain) if turn % 2 else (plain, plain, recorded)
            times = [(side, side.steps(steps)) for side in order]
            (ours,) = (seconds for side, seconds in times if side is recorded)
            first, second = (seconds for side, seconds in times if side is plain)
            nearest = first if turn % 2 else second
            ratios.append(ours / nearest)
            noise.append(first / second)
            plain_s += [first, second]
        step_s = statistics.median(plain_s) / steps
        clock, read = HostClock(), ReadStats(0.1, 0.1, 0.1)

        def marks() -> None:
            clock.begin()
            for part in STEP_PARTS:
                clock.mark(part)

        marks_s = call_s(marks, CALLS)
        causes_s = call_s(lambda: wait_causes(0.01, time.time(), time.time() - 0.005, read), CALLS)
        look_s = call_s(lambda: recorded.loop.observer.look(recorded.loop.state, recorded.timed, 0.5), CALLS // 20)
    from_parts = (marks_s + causes_s) / step_s + look_s / EVERY_S
    figures = {
        "step_overhead": round(statistics.median(ratios) - 1, 4),
        "noise": round(statistics.median(noise) - 1, 4),
        "from_parts": round(from_parts, 5),
        "steps_per_s": round(1 / step_s, 1),
        "marks_us": round(1e6 * marks_s, 2),
        "causes_us": round(1e6 * causes_s, 2),
        "look_us": round(1e6 * look_s, 1),
    }
    for name, value in figures.items():
        print(f"{name:>14} {value}")
    print(json.dumps({"benchmark": "telemetry", "figures": figures}))


if __name__ == "__main__":
    main()
