"""Do frames come within the display tick that asks for them? A pure judgement of how long the last ones took."""

from __future__ import annotations

from collections import deque

HISTORY = 32  # frames: half a second on a desktop display
MISSES = 2  # of these that may be too late before a steady display one tick behind is the better one


class Pace:
    """A frame that misses its tick leaves a gap, and the one that the next tick asks for makes it superfluous."""

    def __init__(self) -> None:
        self._took: deque[int] = deque(maxlen=HISTORY)

    def add(self, took_ns: int) -> None:
        """From the sampled pose to the finished frame, without any wait for the display."""
        self._took.append(took_ns)

    def within(self, budget_ns: int) -> bool:
        """Whether a frame asked for now can be expected in time. Nothing known: yes."""
        return sum(took > budget_ns for took in self._took) <= MISSES
