"""Settings of SpecAugment: how many masks and how wide; those of the papers by name. Plain Python."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class SpecMasks:
    """What SpecAugment hides of a clip: ``freq_masks`` bands of up to ``freq_width`` mel bins, and as many stretches
    of time, in frames. A mask's width is drawn evenly from 0 on.
    """

    freq_masks: int
    freq_width: int
    time_masks: int
    time_width: int


# The GTZAN study's settings (section 4.1): with the hard one it did not learn, with the easy one it overfitted.
SPEC_AUGMENTS = {
    "none": SpecMasks(0, 0, 0, 0),
    "median": SpecMasks(1, 36, 1, 144),
    "hard": SpecMasks(1, 48, 1, 192),
    "easy": SpecMasks(1, 24, 1, 96),
}
_SPEC_MASKS = re.compile(r"(\d+)x(\d+)/(\d+)x(\d+)")


def parse_spec_augment(text: str) -> SpecMasks:
    """The masks of a name of SPEC_AUGMENTS, or of ``1x36/1x144``: masks x widest, of mel bins, then of frames.

    Raises ValueError for any other text.
    """
    if text in SPEC_AUGMENTS:
        return SPEC_AUGMENTS[text]
    numbers = _SPEC_MASKS.fullmatch(text)
    if numbers is None:
        raise ValueError(
            f"spec_augment={text!r} is neither one of {list(SPEC_AUGMENTS)} nor masks x widest of mel bins and of "
            "frames, e.g. '2x24/2x96'"
        )
    return SpecMasks(*(int(number) for number in numbers.groups()))
