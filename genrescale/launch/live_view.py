"""The picture of a sweep on a terminal: the runs that train, those that ended last, the best scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genrescale.results.live import LiveRun
from genrescale.telemetry.pace import Pace
from genrescale.telemetry.progress import format_duration
from genrescale.telemetry.terminal import printable

_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 12
_ENDED_SHOWN = 4
_LOSSES_KEPT = 256
# from how wide a terminal on a column is shown, and how wide it is itself; "run" takes the rest
_COLUMNS = {"id": 100, "run": 0, "bar": 70, "step": 0, "clips/s": 85, "wait": 70, "left": 60, "loss": 60, "end": 50}
_WIDTHS = {"id": 8, "bar": 10, "step": 7, "clips/s": 8, "wait": 4, "left": 6, "loss": 7, "end": 16}
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
        if live.train_loss is not None and (self.live is None or live.step > self.live.step):
            self.losses.append(live.train_loss)
            if len(self.losses) > _LOSSES_KEPT:  # half of them, so that the bars show all of the run
                del self.losses[1:-1:2]
        self.live = live

    def end_as(self, state: str, how: str) -> None:
        self.state, self.end = state, how
        self.losses.clear()


def sparkline(values: Sequence[float], width: int = _SPARK_WIDTH) -> str:
    """Values as small bars between their smallest and largest: ``width`` of them, from the first to the last."""
    last = len(values) - 1
    places = sorted({round(i * last / max(1, width - 1)) for i in range(width)}) if values else []
    shown = [values[place] for place in places]
    if len(shown) < 2 or max(shown) == min(shown):
        return _SPARKS[0] * len(shown)
    low, high = min(shown), max(shown)
    return "".join(_SPARKS[round((value - low) / (high - low) * (len(_SPARKS) - 1))] for value in shown)


def sweep_picture(
    runs: Sequence[RunView], waiting: int, best: Mapping[str, Mapping[int, str]], now_s: float, width: int
) -> RenderableType:
    """The picture, ``width`` columns wide: ``runs`` that have begun, in the order in which they changed, how many are
    ``waiting``, and the ``best`` score by family and size so far.
    """
    ended = [run for run in runs if run.state != "running"]
    counts = {state: sum(run.state == state for run in runs) for state in _STYLES} | {"waiting": waiting}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state != "stopped")
    lines: list[RenderableType] = [Text(told, no_wrap=True, overflow="ellipsis")]
    lines.append(_table([*(run for run in runs if run.state == "running"), *ended[-_ENDED_SHOWN:]], now_s, width))
    lines += [_line("best", f"{family}: {_scores(sizes)}") for family, sizes in sorted(best.items())]
    return Group(*lines)


def _table(runs: Sequence[RunView], now_s: float, width: int) -> Table:
    """A line for each run. The names of runs take the room that the other columns leave."""
    columns = [name for name, wanted in _COLUMNS.items() if width >= wanted]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=True)
    for name in columns:
        numbers = name in ("step", "clips/s", "wait", "left", "loss")
        shown: dict[str, Any] = {"ratio": 1} if name == "run" else {"width": _WIDTHS[name]}
        table.add_column(
            name if numbers else "", justify="right" if numbers else "left", no_wrap=True, overflow="ellipsis", **shown
        )
    for run in runs:
        cells = _cells(run, now_s)
        table.add_row(*(cells[name] for name in columns), style=_STYLES[run.state])
    return table


def _cells(run: RunView, now_s: float) -> dict[str, RenderableType]:
    cells: dict[str, RenderableType] = dict.fromkeys(_COLUMNS, "")
    cells |= {"id": run.id[:8], "run": Text(printable(run.label)), "step": f"{run.step:,}"}
    if run.state != "running":
        return cells | {"bar": run.state, "end": Text(printable(run.end))}
    cells["bar"] = ProgressBar(run.max_steps, run.step, _WIDTHS["bar"])
    live, left_s = run.live, run.pace.left_s(now_s, run.max_steps)
    if live is None or not live.clips_per_s:
        return cells | {"end": Text(live.doing if live and live.doing else "starting")}
    return cells | {
        "clips/s": f"{live.clips_per_s:,.1f}",
        "wait": f"{live.wait_share:.0%}",
        "left": "-" if left_s is None else format_duration(left_s),
        "loss": "-" if live.train_loss is None else f"{live.train_loss:.4f}",
        "end": live.doing or sparkline(run.losses),
    }


def _scores(sizes: Mapping[int, str]) -> str:
    return ", ".join(f"{size:,} songs {score}" for size, score in sorted(sizes.items()))


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name}  ", "dim"), printable(text), no_wrap=True, overflow="ellipsis")
