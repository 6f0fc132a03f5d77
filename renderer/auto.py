"""K = auto: as many warps per cache as keep the display on time, as fresh a cache as the devices can make.

Pure: measured speeds in, a plan for the schedule out. Where two workers or more are fit for it, one warps and the
others cache without pause, so that no frame ever waits for a cache and a cache is as young as its own making allows. A
single worker does both in turn, with as few warps per cache as its spare time pays for. A worker that is too slow to
warp in time, or whose cache would be old before it is done, stays out: a cache never leaves its worker, so whoever
caches warps next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

AUTO = 0  # in the place of a number of warps per cache
MOST_WARPS = 16  # per cache, of a single worker that can't be on time however seldom it caches
ON_TIME = 0.9  # of the display's period: the rest is for what varies
SLOWER_WARP = 2.0  # times the fastest worker's: where no display sets the pace, slower ones stay out
SLOWER_CACHE = 4.0  # times the fastest worker's: a slower one's cache is old when it is done


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one worker, as measured. warp_ns: of all eyes."""

    cache_ns: float
    warp_ns: float


@dataclass(frozen=True, slots=True)
class Plan:
    """team: the workers that take part. eager: no frame waits for a cache; whoever does not warp begins one, at most
    with every `warps_per_cache`-th view, so that they come evenly. Else, and with a single worker left in the team, a
    cache serves `warps_per_cache` warps. warper: of an eager team whose memory is one, the worker that does nothing but
    warp, from the others' caches; None: roles move."""

    team: frozenset[int]
    warps_per_cache: int
    eager: bool
    warper: int | None = None


def plan(speeds: Mapping[int, Speed | None], period_ns: int = 0) -> Plan:
    """speeds: of each worker that is alive; None: not measured yet, it takes part so that it will be. period_ns: of the
    display, 0 where frames are drawn as fast as can be. Raises ValueError without workers."""
    if not speeds:
        raise ValueError("a plan needs a worker")
    known = {worker: speed for worker, speed in speeds.items() if speed is not None}
    unknown = speeds.keys() - known.keys()
    if not known:
        return Plan(frozenset(speeds), 1, eager=len(speeds) > 1)
    fastest = min(known, key=lambda worker: (known[worker].warp_ns, known[worker].cache_ns, worker))
    best = known[fastest]
    budget = ON_TIME * period_ns
    if not unknown and period_ns and best.cache_ns + best.warp_ns <= budget:
        return Plan(frozenset({fastest}), 1, eager=False)  # a fresh cache for every frame, made while nobody waits
    slowest_warp = budget if best.warp_ns <= budget else SLOWER_WARP * best.warp_ns
    oldest = SLOWER_CACHE * min(speed.cache_ns for speed in known.values())
    able = {w for w, speed in known.items() if speed.warp_ns <= slowest_warp and speed.cache_ns <= oldest}
    team = frozenset(able | {fastest} | unknown)
    if len(team) == 1:
        return Plan(team, _alone(best, budget), eager=False)
    measured = [speed.cache_ns for worker, speed in known.items() if worker in team]
    interval = sum(measured) / len(measured) / (len(team) - 1)  # between two caches that are complete
    return Plan(team, max(1, min(MOST_WARPS, round(interval / max(period_ns, best.warp_ns)))), eager=True)


def _alone(speed: Speed, budget_ns: float) -> int:
    """Warps per cache of one worker: its spare time pays for the cache; without a display to be on time for, half of
    its time does."""
    spare = budget_ns - speed.warp_ns if budget_ns else speed.warp_ns
    return MOST_WARPS if spare <= 0 else max(1, min(MOST_WARPS, ceil(speed.cache_ns / spare)))
