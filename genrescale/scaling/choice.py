"""The choice between laws: fitted on all smaller sizes, which one predicts the largest size best?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genrescale.scaling.fits import LawFit, fit_law, too_few_sizes
from genrescale.scaling.laws import LAWS, Law
from genrescale.scaling.points import SAME, Seeds, pooled_spread


@dataclass(frozen=True)
class HeldOut:
    """A law's prediction of a family's largest size from the smaller ones, beside the mean measured there.

    ``spreads`` is the error in standard deviations over seeds, None if nothing tells them. ``unknown`` says why there
    is no prediction; the numbers are then None.
    """

    size: int
    predicted: float | None
    measured: float | None
    spreads: float | None
    unknown: str = ""

    @property
    def error(self) -> float | None:
        return None if self.predicted is None or self.measured is None else self.predicted - self.measured


def held_out(law: Law, seeds: Seeds, higher_is_better: bool) -> HeldOut:
    """Predict the largest size from the smaller ones, of which there must be as many as the law has parameters."""
    largest, needed = max(seeds, default=0), len(law.names)
    smaller = {size: values for size, values in seeds.items() if size != largest}
    if len(smaller) < needed:
        return HeldOut(largest, None, None, None, f"needs {needed + 1} sizes")
    try:
        predicted = float(fit_law(law, smaller, higher_is_better).predict(largest))
    except ValueError as error:
        return HeldOut(largest, None, None, None, str(error))
    measured, spread = float(np.mean(seeds[largest])), pooled_spread(list(seeds.values()))
    spreads = abs(predicted - measured) / spread if spread and spread > SAME else None
    return HeldOut(largest, predicted, measured, spreads)


@dataclass(frozen=True, eq=False)
class Judged:
    """One law beside the others: for each family its held-out prediction, and its fit to all sizes.

    ``fits`` lacks a family whose points the law cannot be fitted to, ``reasons`` says why a family's points do not
    support it, "" if they do.
    """

    law: Law
    held_out: dict[str, HeldOut]
    fits: dict[str, LawFit]
    reasons: dict[str, str]

    @property
    def mean_error(self) -> float | None:
        """The mean of the absolute held-out errors over families; None unless all have one."""
        found = [of.error for of in self.held_out.values()]
        known = [abs(error) for error in found if error is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None

    @property
    def supported(self) -> int:
        """How many families' points support the law."""
        return sum(not reason for reason in self.reasons.values())


def judge(families: Mapping[str, Seeds], higher_is_better: bool, laws: Sequence[Law] = LAWS) -> list[Judged]:
    """Fit each law to each family, and let it predict the largest size."""
    judged = []
    for law in laws:
        fits, reasons = {}, {}
        for family, seeds in families.items():
            if reason := too_few_sizes(law, len(seeds)):
                reasons[family] = reason
                continue
            try:
                fits[family] = fit_law(law, seeds, higher_is_better)
                reasons[family] = fits[family].unsupported
            except ValueError as error:
                reasons[family] = str(error)
        errors = {family: held_out(law, seeds, higher_is_better) for family, seeds in families.items()}
        judged.append(Judged(law, errors, fits, reasons))
    return judged


def choose(judged: Sequence[Judged]) -> Judged | None:
    """The law that most families' points support; of these, that with the smallest mean held-out error.

    None if no family's points support any. Equal errors, and none: the first law, the paper's straight line.
    """
    most = max((law.supported for law in judged), default=0)
    best = [law for law in judged if law.supported == most and most]
    known = {law.law.key: law.mean_error for law in best}
    smallest = min((error for error in known.values() if error is not None), default=None)
    if smallest is None:
        return best[0] if best else None
    return next(law for law in best if (error := known[law.law.key]) is not None and error <= smallest + SAME)
