"""Scaling of a metric with the number of training songs: laws, the choice between them, crossings, and intervals.

Conventions: ``sizes`` are numbers of training songs. ``values`` are metrics, one for each size, of one run or averaged
over several; a size may occur several times (one value per seed). ``seeds`` are the values by size. Intervals are
(low, high) at ``level``, by default 0.95. ``genrescale.scaling.compute`` is about parameters, data and operations.
"""

from genrescale.scaling.choice import HeldOut, Judged, choose, held_out, judge
from genrescale.scaling.draws import Curves, Measured, draw_curves
from genrescale.scaling.fits import (
    POWER_LAW_MIN_SIZES,
    LawFit,
    PowerLawFit,
    departure,
    fit_law,
    power_law_fit,
    too_few_sizes,
)
from genrescale.scaling.laws import LAWS, LINEAR, LOG, POWER, SATURATING, Law
from genrescale.scaling.leads import Expected, Reach, band, expected, leading_shares, passes, reach
from genrescale.scaling.lines import LinearFit, crossing, lead_changes, linear_fit
from genrescale.scaling.points import (
    LEVEL,
    SAME,
    Interval,
    Seeds,
    pooled_spread,
    smallest_difference,
    welch_interval,
)

__all__ = [
    "LAWS",
    "LEVEL",
    "LINEAR",
    "LOG",
    "POWER",
    "POWER_LAW_MIN_SIZES",
    "SAME",
    "SATURATING",
    "Curves",
    "Expected",
    "HeldOut",
    "Interval",
    "Judged",
    "Law",
    "LawFit",
    "LinearFit",
    "Measured",
    "PowerLawFit",
    "Reach",
    "Seeds",
    "band",
    "choose",
    "crossing",
    "departure",
    "draw_curves",
    "expected",
    "fit_law",
    "held_out",
    "judge",
    "lead_changes",
    "leading_shares",
    "linear_fit",
    "passes",
    "pooled_spread",
    "power_law_fit",
    "reach",
    "smallest_difference",
    "too_few_sizes",
    "welch_interval",
]
