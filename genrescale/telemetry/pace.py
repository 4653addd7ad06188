"""How long the rest of a stage takes, by how fast it moved; nothing is said while that says little."""

from __future__ import annotations

_MIN_MOVES, _MIN_S = 4, 10.0
_MAX_RATIO = 3.0
_KEPT = 512


class Pace:
    """The moments at which a stage moved, from the first one on: what came before was the start of something.

    A stage that began fast and goes on slowly, or that moves in leaps, has no pace yet. So the first and the second
    half of the time since must agree.
    """

    def __init__(self) -> None:
        self._moves: list[tuple[float, int]] = []

    def moved(self, now_s: float, done: int) -> None:
        """Note that ``done`` items are finished, in whole or in part."""
        if self._moves and done <= self._moves[-1][1]:
            return
        self._moves.append((now_s, done))
        if len(self._moves) > _KEPT:
            del self._moves[1:-1:2]

    def left_s(self, now_s: float, total: int) -> float | None:
        """Return the seconds until ``total`` items are finished; None while nobody can tell."""
        if len(self._moves) < _MIN_MOVES or now_s - self._moves[0][0] < _MIN_S:
            return None
        (began_s, first), (_, done) = self._moves[0], self._moves[-1]
        half_s = (now_s - began_s) / 2
        middle = self._at(now_s - half_s)
        early, late = middle - first, done - middle
        if min(early, late) <= 0 or max(early, late) > _MAX_RATIO * min(early, late):
            return None
        return (total - done) * half_s / late

    def _at(self, moment_s: float) -> float:
        """How many items were finished at a moment, between two moves in proportion."""
        before, *_ = (move for move in reversed(self._moves) if move[0] <= moment_s)
        after = next((move for move in self._moves if move[0] > moment_s), None)
        if after is None:
            return float(before[1])
        return before[1] + (after[1] - before[1]) * (moment_s - before[0]) / (after[0] - before[0])
