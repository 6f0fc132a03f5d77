"""The schedule on a clock of its own: when would which frame be finished, given how long a job takes.

Pure: the real `renderer.schedule.Schedule` among workers that are nothing but durations. Uploading and presenting are
not in it, nor what a job's duration varies by.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.errors import UserError
from renderer.schedule import MAX_IN_FLIGHT, Cache, Command, Deliver, Schedule, Warp

MAX_WORKERS = 64


@dataclass(frozen=True, slots=True)
class Service:
    """How long the jobs take, and how many workers there are. A complete pass of G counts as a cache."""

    cache_ns: int
    warp_ns: int
    workers: int

    def __post_init__(self) -> None:
        if self.cache_ns < 1 or self.warp_ns < 1 or not 1 <= self.workers <= MAX_WORKERS:
            raise UserError(
                f"service times must be above 0 and workers between 1 and {MAX_WORKERS}, not cache="
                f"{self.cache_ns / 1e6:g}ms,warp={self.warp_ns / 1e6:g}ms,workers={self.workers}"
            )


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture of frame `frame`, warped from the cache of frame `cache` (None: drawn by G)."""

    frame: int
    cache: int | None
    asked_ns: int
    done_ns: int


@dataclass(frozen=True, slots=True)
class Run:
    """finished: in order of time and of frames. dropped: frames that nobody drew."""

    finished: tuple[Finished, ...]
    dropped: int

    def on_display(self, instants_ns: Iterable[int]) -> list[Finished | None]:
        """The newest finished picture at each instant; None before the first."""
        done = [f.done_ns for f in self.finished]
        return [self.finished[k - 1] if (k := bisect_right(done, t)) else None for t in instants_ns]


def simulate(
    arrivals_ns: Sequence[int], service: Service, warps_per_cache: int, max_in_flight: int = MAX_IN_FLIGHT
) -> Run:
    """Frame i of the source arrives at arrivals_ns[i] (increasing) and is asked for at once; the pool refuses it while
    `max_in_flight` are on their way."""
    schedule = Schedule(service.workers, warps_per_cache)
    ends: list[tuple[int, int]] = []  # when which worker will be done
    jobs: dict[int, Cache | Warp] = {}
    cache_of: dict[int, int] = {}
    finished: list[Finished] = []
    dropped = 0

    def carry_out(commands: list[Command], now: int) -> None:
        for command in commands:
            match command:
                case Cache(worker):
                    jobs[worker] = command
                    heapq.heappush(ends, (now + service.cache_ns, worker))
                case Warp(worker, frame, cache):
                    jobs[worker] = command
                    cache_of[frame] = cache
                    heapq.heappush(ends, (now + service.warp_ns, worker))
                case Deliver(frame):
                    finished.append(Finished(frame, cache_of.pop(frame), arrivals_ns[frame], now))

    def work_until(end: int | None) -> None:
        while ends and (end is None or ends[0][0] <= end):
            now, worker = heapq.heappop(ends)
            done = schedule.cached if isinstance(jobs.pop(worker), Cache) else schedule.warped
            carry_out(done(worker), now)

    for worker in range(service.workers):
        schedule.restored(worker)
    for frame, now in enumerate(arrivals_ns):
        work_until(now)
        if schedule.in_flight >= max_in_flight:
            dropped += 1
        else:
            carry_out(schedule.requested(frame), now)
    work_until(None)
    return Run(tuple(finished), dropped)


def simulate_complete(arrivals_ns: Sequence[int], pass_ns: int, workers: int) -> Run:
    """Without a warp: whoever is free draws the newest frame completely; a frame that waits is replaced by a newer."""
    free = [0] * workers  # since when
    finished: list[Finished] = []
    waiting: int | None = None
    dropped = 0

    def start(frame: int, now: int) -> None:
        free[free.index(min(free))] = now + pass_ns
        finished.append(Finished(frame, None, arrivals_ns[frame], now + pass_ns))

    for frame, now in enumerate(arrivals_ns):
        if waiting is not None and min(free) <= now:
            start(waiting, min(free))
            waiting = None
        if min(free) <= now:
            start(frame, now)
        else:
            dropped += waiting is not None
            waiting = frame
    if waiting is not None:
        start(waiting, min(free))
    return Run(tuple(finished), dropped)
