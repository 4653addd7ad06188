"""State a report's findings in words, and no more than the numbers support.

A family "leads" if the 95 % interval of the difference excludes zero, over seeds (Welch) and over test songs; otherwise
it is only "ahead", with what cannot rule out chance. If a number is missing, the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genrescale.display.text import count_text, song_text
from genrescale.report.fits import Crossing, FamilyFit
from genrescale.report.laws import MetricScaling, curve_noun
from genrescale.report.songs import TestSongs
from genrescale.report.tables import Difference, Line, Metric
from genrescale.scaling import LINEAR, SAME, Curves, Interval, LawFit, Reach

PAPER_SMALLEST = 100_000  # songs, Pons et al. 2018, Table 1
MINUS = "\N{MINUS SIGN}"
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MOST = 0.99
_TIMES = {1: "once", 2: "twice"}


@dataclass(frozen=True)
class Answer:
    """``headline`` is the title, ``lead`` the sentence below it, ``points`` are sentences that qualify it."""

    headline: str
    lead: str
    points: tuple[str, ...]


def _amount(d: Difference) -> str:
    return f"{abs(d.value or 0):.4f} in {d.metric.label}"


def number_word(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else f"{number:,}"


def chance(d: Difference) -> str:
    """What cannot rule out that a difference is chance: ``two seeds``, ``6 test songs``, or both; "" if it is clear."""
    seeds = f"{number_word(d.num_seeds)} seed{'' if d.num_seeds == 1 else 's'}"
    reasons = [seeds] if d.few_seeds else []
    reasons += [count_text(d.test_songs, "test song")] if d.few_songs else []
    return " and ".join(reasons)


def _verdict(d: Difference) -> str:
    if d.missing:
        return "missing: a family has no finished run"
    if d.value is None:
        return "undefined"
    if d.leader is None:
        return "both families are equal"
    if d.clear:
        return f"{d.leader} leads by {_amount(d)}"
    return f"{d.leader} ahead by {_amount(d)}, but {chance(d)} cannot rule out chance"


def _short(value: float) -> str:
    """A difference as a headline has it: two decimals, or the first digits of a small one."""
    return f"{value:.2f}" if round(value, 2) else f"{value:.1g}"


def _headline(d: Difference, means: Mapping[str, float]) -> tuple[str, str]:
    """The answer in one plain sentence, and its figures with their intervals."""
    at = f"with {count_text(d.size, 'song')}"
    figures = ", ".join(f"{family} {means[family]:.4f}" for family in (d.first, d.second))
    if d.leader is None:
        return f"No difference {at}", f"{d.metric.label} {at}: {figures}."
    more = "higher" if d.metric.higher_is_better else "better"
    headline = f"{d.leader.capitalize()} scored {_short(abs(d.value or 0))} {more} {at}"
    headline += "" if d.clear else f", but {chance(d)} cannot rule out chance"
    return headline, f"{d.metric.label} {at}: {figures}. {interval_text(d)}"


def interval_text(d: Difference) -> str:
    """The 95 % intervals of a difference, as the leader's lead, over seeds and over test songs."""
    seeds = f"{number_word(d.num_seeds)} seed{'' if d.num_seeds == 1 else 's'} a family"
    if d.num_seeds == 1:
        text = "One seed a family tells nothing about other seeds"
    elif d.seeds_agree:
        text = f"The {seeds} agree to the last digit, which tells nothing about other seeds"
    else:
        text = f"The 95 % interval of the difference is {_ends(d, d.seed_interval)} over {seeds}"
    if d.song_interval is None:
        return f"{text}."
    songs = f"{_ends(d, d.song_interval)} over the {count_text(d.test_songs, 'test song')}"
    joined = ", and " if d.seed_interval else "; the 95 % interval of the difference is "
    return f"{text}{joined}{songs}."


def _ends(d: Difference, interval: Interval | None) -> str:
    low, high = interval or (0.0, 0.0)
    ends = (low, high) if (d.value or 0) > 0 else (-high, -low)
    return f"{ends[0]:.4f} to {ends[1]:.4f}".replace("-", MINUS)


def _growth(fit: FamilyFit) -> str | None:
    """Describe how one family's metric changes from the smallest to the largest measured size."""
    if len(fit.seeds_by_size) < 2:
        return None
    small, large = min(fit.seeds_by_size), max(fit.seeds_by_size)
    first, last = (sum(fit.seeds_by_size[size]) / len(fit.seeds_by_size[size]) for size in (small, large))
    times = f", {abs(last - first) / fit.spread:.1f} times its seed spread" if fit.spread and fit.spread > SAME else ""
    return (
        f"From {small:,} to {count_text(large, 'song')} the {fit.metric.label} of {fit.family} goes from {first:.4f} "
        f"to {last:.4f}, a change of {abs(last - first):.4f}{times}."
    )


def crossing_text(c: Crossing, brief: bool = False) -> str:
    """Describe where the fitted lines cross, with its interval (unless ``brief``), and the raw means' lead changes.

    Where the points do not support it, no number of songs is told, only why.
    """
    if c.unsupported:
        return f"No crossing is fitted: {c.unsupported}. {_raw_text(c)}"
    measured = f"{c.smallest:,} to {count_text(c.largest, 'song')}"
    lines = curve_noun(c.law)
    one = lines.removesuffix("s")
    named = "" if c.law is LINEAR else f" (each a {c.law.label})"
    if c.at is None and c.law is LINEAR:
        text = "The fitted lines are parallel, so they do not cross."
    elif c.at is None or c.at <= 0:
        text = f"The fitted {lines}{named} do not cross: the {one} of {c.ahead_above} is ahead at every size."
    elif c.inside:
        text = (
            f"The fitted {lines}{named} cross at about {song_text(c.at)}; above that the {one} of {c.ahead_above} is "
            "ahead."
        )
    else:
        text = (
            f"The fitted {lines}{named} would cross at about {song_text(c.at)}. That is outside the measured range, "
            f"{measured}: an extrapolation, not a finding."
        )
    return " ".join(part for part in (text, "" if brief else _interval_text(c), _raw_text(c)) if part)


def _interval_text(c: Crossing) -> str:
    if c.interval is None or c.at is None or c.at <= 0:
        return ""
    inside = f"{c.interval.share_inside:.0%} of the draws cross within the measured sizes"
    return f"The 95 % interval over {c.over} is {ranges_text(c.interval, c.at)}. {inside}."


def ranges_text(found: Reach, near: float) -> str:
    """The range around a size (``3,000 to 21,000 songs``), and where the draws do not rule out another passage."""
    main = found.around(near)
    others = " or ".join(_range_text(*ends) for ends in found.ranges if ends != main)
    return _range_text(*main) + (f"; another one {others} is not ruled out" if others else "")


def _range_text(low: float, high: float) -> str:
    if low > 0 and math.isfinite(high):
        return f"{song_text(low).removesuffix(' songs')} to {song_text(high)}"
    if low > 0:
        return f"above {song_text(low)}, without a bound"
    return f"below {song_text(high)}" if math.isfinite(high) else "any number of songs"


def lead_text(found: Reach, law: MetricScaling) -> str:
    """From how many songs on the first family leads by so much, with its interval; or that it does not."""
    never = f"in {found.share_never:.0%} of the draws at none"
    if not found.at:
        text = f"the fitted lead of {found.first} over {found.second} passes {found.lead:g} at no number of songs"
        return f"{text}, {never}."
    at = found.at[-1]
    where = "from about {} on" if law.curves is not None and _rises(found, law.curves) else "up to about {}"
    text = f"{found.first} leads {found.second} by {found.lead:g} {where.format(song_text(at))}"
    extrapolated = "" if min(law.sizes) <= at <= max(law.sizes) else ", an extrapolation"
    return f"{text}{extrapolated}. The 95 % interval over {law.over} is {ranges_text(found, at)}; {never}."


def _rises(found: Reach, curves: Curves) -> bool:
    """Whether the first family leads by so much above the size, not below it."""
    first, second = (curves.fits[family].predict(found.at[-1] * 1.01) for family in (found.first, found.second))
    return float(first - second) * (1 if curves.higher_is_better else -1) > found.lead


def parameters_text(fit: LawFit) -> str:
    """A fit's parameters: ``E 0.3012, A 2.41, c 0.32``; a number of songs has no decimals."""
    parts = [f"{name} {value:,.0f}" if name == "h" else f"{name} {value:.4g}" for name, value in fit.parameters.items()]
    return ", ".join(parts).replace("-", MINUS)


def probability_text(share: float) -> str:
    """A share of draws: no draw without a lead does not make it certain."""
    return "> 99 %" if share > _MOST else "< 1 %" if share < 1 - _MOST else f"{100 * share:.0f} %"


def _raw_text(c: Crossing) -> str:
    if c.lead_changes is None:
        return "The raw means are incomplete."
    if not c.lead_changes:
        return "In the raw means the lead never changes."
    times, places = len(c.lead_changes), [f"{small:,} and {large:,}" for small, large in c.lead_changes]
    often = _TIMES.get(times, f"{times} times")
    return f"In the raw means the lead changes {often}, between {', and between '.join(places)} songs."


def main_metric(metrics: Sequence[Metric]) -> Metric:
    """The metric of the headline: accuracy where each song has one label, else PR-AUC, else the first that there is.

    PR-AUC says more about rare tags (section 5.1 of Pons et al. 2018).
    """
    by_key = {metric.key: metric for metric in metrics}
    return by_key.get("accuracy") or by_key.get("pr_auc") or metrics[0]


def answer(
    differences: Sequence[Difference],
    fits: Sequence[FamilyFit],
    crossed: Sequence[Crossing],
    metric: Metric,
) -> Answer | None:
    """State the answer by ``metric``; None if no two families can be compared.

    ``differences`` are sorted by size; the first pair of families in them is that of the headline.
    """
    known = [d for d in differences if d.value is not None and d.metric == metric]
    if not known:
        return None
    pair = (known[0].first, known[0].second)
    chosen = [d for d in differences if (d.metric, d.first, d.second) == (metric, *pair)]
    top = [d for d in chosen if d.value is not None][-1]
    means = {
        fit.family: sum(values) / len(values)
        for fit in fits
        if fit.metric == metric and (values := fit.seeds_by_size.get(top.size, ()))
    }
    headline, lead = _headline(top, means)
    rest = [d for d in differences if d.size == top.size and d.metric != metric and (d.first, d.second) == pair]
    points = [f"At {count_text(d.size, 'song')}: {_verdict(d)}." for d in reversed(chosen) if d is not top]
    others = "; ".join(_verdict(d) for d in rest if d.value is not None or d.missing)
    points += [f"Other metrics at {count_text(top.size, 'song')}: {others}."] if others else []
    points += [text for fit in fits if fit.metric == metric and (text := _growth(fit))]
    points += [
        f"{metric.label}: {crossing_text(c, brief=True)}"
        for c in crossed
        if (c.metric, c.first, c.second) == (metric, *pair)
    ]
    return Answer(headline, lead, (*points, *_range_points(fits)))


def answer_alone(lines: Sequence[Line], metric: Metric, songs: TestSongs) -> Answer:
    """State what the largest finished size scored, where no two families can be compared."""
    known = [line for line in lines if line.cells[metric.key].mean is not None]
    if not known:
        return Answer("No comparison yet", "No run has finished that a metric is defined for.", ())
    top = max(known, key=lambda line: line.size)
    cell = top.cells[metric.key]
    at = f"with {count_text(top.size, 'song')}"
    seeds = f"{number_word(len(cell.values))} seed{'' if len(cell.values) == 1 else 's'}"
    lead = f"{metric.label} {at}, {seeds}: {cell.mean:.4f}."
    num_songs = max(trial.row.test_songs for trial in top.trials if trial.row)
    if interval := songs.interval(metric, top.trials):
        ends = f"{interval[0]:.4f} to {interval[1]:.4f}"
        lead += f" Other {num_songs:,} test songs would have given {ends} (95 % interval)."
    points = [f"At {count_text(line.size, 'song')}, {line.family}: {line.cells[metric.key].text}." for line in known]
    return Answer(f"{top.family.capitalize()} scored {cell.mean:.2f} {at}", lead, tuple(points) if points[1:] else ())


def _range_points(fits: Sequence[FamilyFit]) -> tuple[str, ...]:
    largest = max((size for fit in fits for size in fit.seeds_by_size), default=0)
    if not 0 < largest < PAPER_SMALLEST:
        return ()
    return (
        f"The largest size is {count_text(largest, 'song')}; the paper compares 100,000 to 1,000,000. "
        "This report cannot tell what happens there.",
    )
