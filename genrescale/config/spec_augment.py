"""Settings of SpecAugment: number and maximal width of masks, and the papers' settings by name. Plain Python."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class SpecMasks:
    """The masks of a clip: ``freq_masks`` bands of at most ``freq_width`` mel bins, ``time_masks`` spans of frames.

    Time masks are at most ``time_width`` frames long. Widths are drawn uniformly from 0 up.
    """

    freq_masks: int
    freq_width: int
    time_masks: int
    time_width: int


# The GTZAN study's settings (section 4.1): with "hard" its model did not learn, with "easy" it overfitted.
SPEC_AUGMENTS = {
    "none": SpecMasks(0, 0, 0, 0),
    "median": SpecMasks(1, 36, 1, 144),
    "hard": SpecMasks(1, 48, 1, 192),
    "easy": SpecMasks(1, 24, 1, 96),
}
_SPEC_MASKS = re.compile(r"(\d+)x(\d+)/(\d+)x(\d+)")


def parse_spec_augment(text: str) -> SpecMasks:
    """Parse a name in SPEC_AUGMENTS, or a text like ``1x36/1x144``: masks x width in mel bins, then in frames.

    Raises ValueError for any other text.
    """
    if text in SPEC_AUGMENTS:
        return SPEC_AUGMENTS[text]
    numbers = _SPEC_MASKS.fullmatch(text)
    if numbers is None:
        raise ValueError(
            f"spec_augment={text!r} must be one of {list(SPEC_AUGMENTS)}, or masks x width in mel bins and in "
            "frames, e.g. '2x24/2x96'"
        )
    return SpecMasks(*(int(number) for number in numbers.groups()))
