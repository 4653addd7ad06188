"""The picture of a sweep on a terminal: the runs that train, those that ended last, the best scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genrescale.results.live import LiveRun
from genrescale.telemetry.pace import Pace
from genrescale.telemetry.progress import format_duration
from genrescale.telemetry.terminal import printable

_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH, _BAR_WIDTH = 12, 10
_ENDED_SHOWN = 4
_STYLES = {"running": "", "finished": "green", "failed": "bold red", "stopped": "dim"}


@dataclass
class RunView:
    """One run as the picture shows it. ``losses`` are those of training as they were seen, ``end`` how it ended."""

    id: str
    label: str
    max_steps: int
    state: str = "running"
    step: int = 0
    live: LiveRun | None = None
    losses: list[float] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    end: str = ""

    def moved(self, now_s: float, step: int) -> int:
        """Take over a step; returns how many more than before."""
        more = max(0, step - self.step)
        self.step += more
        self.pace.moved(now_s, self.step)
        return more

    def saw(self, live: LiveRun) -> None:
        self.live = live
        if live.train_loss is not None:
            self.losses.append(live.train_loss)


def sparkline(values: Sequence[float], width: int = _SPARK_WIDTH) -> str:
    """The last values as small bars between their smallest and largest."""
    shown = list(values[-width:])
    if len(shown) < 2 or max(shown) == min(shown):
        return _SPARKS[0] * len(shown)
    low, high = min(shown), max(shown)
    return "".join(_SPARKS[round((value - low) / (high - low) * (len(_SPARKS) - 1))] for value in shown)


def sweep_picture(
    runs: Sequence[RunView], waiting: int, best: Mapping[str, Mapping[int, str]], now_s: float
) -> RenderableType:
    """The picture: ``runs`` that have begun, in the order in which they changed, how many are ``waiting``, and the
    ``best`` score by family and size so far.
    """
    ended = [run for run in runs if run.state != "running"]
    counts = [f"{sum(run.state == state for run in runs)} {state}" for state in _STYLES if state != "stopped"]
    stopped = sum(run.state == "stopped" for run in runs)
    parts = [*counts, *([f"{stopped} stopped"] if stopped else []), f"{waiting} waiting"]
    counted = Text(", ".join(parts), no_wrap=True, overflow="ellipsis")
    lines: list[RenderableType] = [counted, _table(runs, ended[-_ENDED_SHOWN:], now_s)]
    lines += [_line("best", f"{family}: {_scores(sizes)}") for family, sizes in sorted(best.items())]
    return Group(*lines)


def _table(runs: Sequence[RunView], ended: Sequence[RunView], now_s: float) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("", min_width=_BAR_WIDTH, max_width=_BAR_WIDTH)
    for name in ("step", "clips/s", "wait", "left", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=_SPARK_WIDTH)
    for run in [*(run for run in runs if run.state == "running"), *ended]:
        table.add_row(*_cells(run, now_s), style=_STYLES[run.state])
    return table


def _cells(run: RunView, now_s: float) -> list[RenderableType]:
    name: list[RenderableType] = [run.id[:8], Text(printable(run.label))]
    if run.state != "running":
        bar = Text(run.state)
        return [*name, bar, f"{run.step:,}", "", "", "", "", Text(printable(run.end), overflow="ellipsis")]
    live, left_s = run.live, run.pace.left_s(now_s, run.max_steps)
    bar = ProgressBar(run.max_steps, run.step, _BAR_WIDTH)
    if live is None or not live.clips_per_s:
        doing = live.doing if live and live.doing else "starting"
        return [*name, bar, f"{run.step:,}", "", "", "", "", Text(doing)]
    pace = (f"{live.clips_per_s:,.1f}", f"{live.wait_share:.0%}", "-" if left_s is None else format_duration(left_s))
    loss = "-" if live.train_loss is None else f"{live.train_loss:.4f}"
    return [*name, bar, f"{run.step:,}", *pace, loss, live.doing or sparkline(run.losses)]


def _scores(sizes: Mapping[int, str]) -> str:
    return ", ".join(f"{size:,} songs {score}" for size, score in sorted(sizes.items()))


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name}  ", "dim"), printable(text), no_wrap=True, overflow="ellipsis")
