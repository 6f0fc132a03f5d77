"""What a pool whose K is AUTO knows of its workers, and the plans that come of it. Pure: no threads, no clock.

Who warps and who caches may move from worker to worker, as it must where each has a memory of its own. Where all share
one (the cores of a CPU), a worker that does nothing but warp keeps what it reads near its core, but reads caches that
others have written. Which is faster depends on the machine, so both are tried while frames are drawn anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean

from renderer.auto import Plan, Speed, plan

MOVING, DEDICATED, TRYING = "roles move", "dedicated warp", "trying both"
TURN = 40  # frames of one way to divide the work
LEFT_OUT = 8  # the first ones of a turn: caches and cores are still the other way's
TURNS = 4  # of both ways alternately, so that a machine that slows down or is disturbed once does not decide
COUNTED = 0.95  # of the frames: the slowest are other programs' doing
SAME_DISPLAY = 0.02  # of its period: headsets tell theirs anew for every frame, to the nanosecond
ASK_AGAIN = 256  # caches, after which who stays out of a plan is measured anew


class Trial:
    """Whether one worker of `team` should do nothing but warp: both ways in turns, then the faster one for good."""

    def __init__(self, team: frozenset[int]) -> None:
        self.team = team
        self._frames = 0
        self._moving: list[int] = []
        self._dedicated: list[int] = []

    @property
    def settled(self) -> bool:
        return self._frames >= TURNS * TURN

    @property
    def dedicated(self) -> bool:
        """The way that is taken now."""
        if self.settled:
            return _typical(self._dedicated) < _typical(self._moving)
        return self._frames // TURN % 2 == 1

    def add(self, latency_ns: int) -> bool:
        """A frame is done: from the request to the picture. Whether the way changes."""
        if self.settled:
            return False
        before = self.dedicated
        if self._frames % TURN >= LEFT_OUT:
            (self._dedicated if before else self._moving).append(latency_ns)
        self._frames += 1
        return self.dedicated != before


class Autopilot:
    """The plan that is followed while K is AUTO, and what it rests on. To be told of frames drawn under it alone."""

    def __init__(self, workers: int) -> None:
        self.team = frozenset(range(workers))
        self._period_ns = 0
        self._trial: Trial | None = None
        self._asked_again = 0  # how many caches there were when all were last measured anew

    def set_period(self, period_ns: int) -> None:
        """Of the display; 0: frames are drawn as fast as can be."""
        if abs(period_ns - self._period_ns) > SAME_DISPLAY * self._period_ns:
            self._trial = None
        self._period_ns = period_ns

    @property
    def division(self) -> str:
        """MOVING, DEDICATED or TRYING."""
        if self._trial is None:
            return MOVING
        return TRYING if not self._trial.settled else DEDICATED if self._trial.dedicated else MOVING

    def to_measure_anew(self, caches: int) -> bool:
        """Whether those outside of `team` should be measured anew, at this number of caches since the start."""
        if caches - self._asked_again < ASK_AGAIN:
            return False
        self._asked_again = caches
        return True

    def warped(self, latency_ns: int) -> bool:
        """As Trial.add: whether to plan anew."""
        return self._trial is not None and self._trial.add(latency_ns)

    def plan(self, speeds: Mapping[int, Speed | None], memories: Sequence[object | None]) -> Plan:
        """speeds: of each worker that may take part, at least one (see `renderer.auto.plan`); memories: of all workers,
        by index, as their engines have it."""
        measured = [speed for speed in speeds.values() if speed is not None]
        memory = memories[min(speeds)]
        alike = memory is not None and all(memories[worker] is memory for worker in speeds)
        if alike and len(measured) == len(speeds):
            # cores of one machine: their times differ by what they have been doing
            common = Speed(fmean(s.cache_ns for s in measured), fmean(s.warp_ns for s in measured))
            speeds = dict.fromkeys(speeds, common)
        chosen = plan(speeds, self._period_ns)
        self.team = chosen.team
        if not (alike and chosen.eager and len(measured) == len(speeds)):
            self._trial = None
            return chosen
        if self._trial is None or self._trial.team != chosen.team:
            self._trial = Trial(chosen.team)
        return dataclasses.replace(chosen, warper=min(chosen.team)) if self._trial.dedicated else chosen


def _typical(latencies: list[int]) -> float:
    return fmean(sorted(latencies)[: max(1, round(COUNTED * len(latencies)))])
