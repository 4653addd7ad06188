"""State a report's findings in words, and no more than the numbers support.

A family "leads" if Welch's 95 % interval of the difference over seeds excludes zero; otherwise it is only "ahead". If a
number is missing, the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genrescale.display.text import count_text, song_text
from genrescale.report.fits import Crossing, FamilyFit
from genrescale.report.tables import Difference

PAPER_SMALLEST = 100_000  # songs, Pons et al. 2018, Table 1
_TIMES = {1: "once", 2: "twice"}


@dataclass(frozen=True)
class Answer:
    """``headline`` is the title, ``lead`` the sentence below it, ``points`` are sentences that qualify it."""

    headline: str
    lead: str
    points: tuple[str, ...]


def _amount(d: Difference) -> str:
    return f"{abs(d.value or 0):.4f} in {d.metric.label}"


def _against_spread(d: Difference) -> str:
    if d.times_spread is None:
        return (
            "with one seed per family there is no spread to compare with" if d.spread is None else "seeds agree exactly"
        )
    return f"{d.times_spread:.1f} times the seed spread"


def _verdict(d: Difference) -> str:
    if d.missing:
        return "missing: a family has no finished run"
    if d.value is None:
        return "undefined"
    if d.leader is None:
        return "both families are equal"
    verb = "leads by" if d.clear else "ahead by"
    doubt = "" if d.clear or d.spread is None else ", not clear"
    return f"{d.leader} {verb} {_amount(d)} ({_against_spread(d)}{doubt})"


def _headline(d: Difference) -> tuple[str, str]:
    at = count_text(d.size, "song")
    if d.leader is None:
        return f"No difference at {at}", f"With {at} both families have the same mean {d.metric.label}."
    other = d.second if d.leader == d.first else d.first
    ahead = f"the {d.leader} model is ahead of the {other} model by {_amount(d)}"
    if d.clear and d.t_interval:
        low, high = sorted(abs(end) for end in d.t_interval)
        return (
            f"{d.leader.capitalize()} leads {other} at {at}",
            f"With {at} {ahead}, {_against_spread(d)} (95 % interval {low:.4f} to {high:.4f}).",
        )
    if d.spread is None:
        return (
            f"{d.leader.capitalize()} is ahead at {at}, with a single seed",
            f"With {at} {ahead}. Without a second seed, this cannot be told from chance.",
        )
    reason = "the seeds do not rule out chance"
    if d.t_interval:
        ends = sorted(d.t_interval if d.leader == d.first else (-end for end in d.t_interval))
        reason = f"but the 95 % interval of so few seeds ({ends[0]:.4f} to {ends[1]:.4f}) contains 0"
    return f"No clear leader at {at}", f"With {at} {ahead}, {_against_spread(d)}, {reason}."


def _growth(fit: FamilyFit) -> str | None:
    """Describe how one family's metric changes from the smallest to the largest measured size."""
    if len(fit.seeds_by_size) < 2:
        return None
    small, large = min(fit.seeds_by_size), max(fit.seeds_by_size)
    first, last = (sum(fit.seeds_by_size[size]) / len(fit.seeds_by_size[size]) for size in (small, large))
    times = f", {abs(last - first) / fit.spread:.1f} times its seed spread" if fit.spread else ""
    return (
        f"From {small:,} to {count_text(large, 'song')} the {fit.metric.label} of {fit.family} goes from {first:.4f} "
        f"to {last:.4f}, a change of {abs(last - first):.4f}{times}."
    )


def crossing_text(c: Crossing, brief: bool = False) -> str:
    """Describe where the fitted lines cross, with its interval (unless ``brief``), and the raw means' lead changes."""
    if not c.fitted:
        return "There are no fitted lines: each family needs finished runs at two sizes."
    measured = f"{c.smallest:,} to {count_text(c.largest, 'song')}"
    if c.at is None:
        text = "The fitted lines are parallel, so they do not cross."
    elif c.at <= 0:
        text = f"The fitted lines do not cross: the line of {c.ahead_above} is ahead at every size."
    elif c.inside:
        text = f"The fitted lines cross at about {song_text(c.at)}; above that the line of {c.ahead_above} is ahead."
    else:
        text = (
            f"The fitted lines would cross at about {song_text(c.at)}. That is outside the measured range, {measured}: "
            "an extrapolation, not a finding."
        )
    parts = (text, _caution_text(c), "" if brief else _interval_text(c), _raw_text(c))
    return " ".join(part for part in parts if part)


def _caution_text(c: Crossing) -> str:
    """State why the lines may be less reliable than they look."""
    if not c.evidence:
        return (
            "That is not evidence: each line is fitted to two sizes only, so it passes through both means exactly, "
            "whatever happens at other sizes."
        )
    if c.rough:
        return "This is a rough estimate: some means are further from the lines than the seed spread."
    if c.num_seeds < 2 and c.at is not None and c.at > 0:
        return "With one seed, its uncertainty is unknown."
    return ""


def _interval_text(c: Crossing) -> str:
    if c.interval is None or c.at is None or c.at <= 0:
        return ""
    high = "no crossing at all" if math.isinf(c.interval.high) else song_text(c.interval.high)
    low = "no crossing at all" if math.isinf(c.interval.low) else song_text(c.interval.low)
    return (
        f"The 95 % interval over resampled seeds is {low} to {high}; "
        f"{c.interval.share_inside:.0%} of the resamples cross within the measured sizes."
    )


def _raw_text(c: Crossing) -> str:
    if c.lead_changes is None:
        return "The raw means are incomplete."
    if not c.lead_changes:
        return "In the raw means the lead never changes."
    times, places = len(c.lead_changes), [f"{small:,} and {large:,}" for small, large in c.lead_changes]
    often = _TIMES.get(times, f"{times} times")
    return f"In the raw means the lead changes {often}, between {', and between '.join(places)} songs."


def answer(differences: Sequence[Difference], fits: Sequence[FamilyFit], crossed: Sequence[Crossing]) -> Answer:
    """State the answer by PR-AUC, or by the first metric that has values.

    PR-AUC says more about rare tags (section 5.1 of Pons et al. 2018). ``differences`` are sorted by size; the first
    pair of families in them is that of the headline.
    """
    known = [d for d in differences if d.value is not None]
    if not known:
        return Answer("No comparison yet", "No size has finished runs of two families.", _range_points(differences))
    metric = next((d.metric for d in known if d.metric.key == "pr_auc"), known[0].metric)
    pair = (known[0].first, known[0].second)
    chosen = [d for d in differences if (d.metric, d.first, d.second) == (metric, *pair)]
    top = [d for d in chosen if d.value is not None][-1]
    headline, lead = _headline(top)
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
    return Answer(headline, lead, (*points, *_range_points(differences)))


def _range_points(differences: Sequence[Difference]) -> tuple[str, ...]:
    largest = max((d.size for d in differences), default=0)
    if not 0 < largest < PAPER_SMALLEST:
        return ()
    return (
        f"The largest size is {count_text(largest, 'song')}; the paper compares 100,000 to 1,000,000. "
        "This report cannot tell what happens there.",
    )
