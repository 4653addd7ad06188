"""A count in parts of one size: the last part may not be full, and nothing is left over."""

from __future__ import annotations

import numpy as np

from genrescale.config.numbers import ceil_div


def test_a_part_that_is_not_full_counts():
    assert [ceil_div(count, 4) for count in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]
    assert ceil_div(2**60 + 1, 2) == 2**59 + 1  # where a division of floats is off
    assert ceil_div(np.array([15_999, 16_000, 16_001]), 16_000).tolist() == [1, 1, 2]
