"""A model of the pool and of who uses it: service times in, frames per second and latency out.

The real `renderer.schedule.Schedule` (and `renderer.auto`) among workers that are nothing but durations, asked as
`visavis run` asks: as fast as it goes (the next pose is sampled when the last picture has been presented), or once a
display period. Durations are numbers, or samples that are drawn from, so that what varies shows in p95.

Workers on one machine take from each other: memory, and where cores share their units, arithmetic. A job then goes on
at the pace that belongs to the number of workers that are busy at the moment (`Sharing`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from models.errors import UserError
from renderer.auto import AUTO, Speed, plan
from renderer.schedule import Cache, Command, Deliver, Schedule, Warp
from renderer.simulation import MAX_WORKERS

WARM_UP = 40  # frames that the figures leave out


@dataclass(frozen=True, slots=True)
class Durations:
    """Of one worker's jobs, ns; one number, or as many as were measured. warp_ns: of one eye."""

    cache_ns: tuple[int, ...]
    warp_ns: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.cache_ns or not self.warp_ns or min(self.cache_ns + self.warp_ns) < 1:
            raise UserError("a worker's service times must be given and lie above 0")

    @staticmethod
    def of_ms(cache: float, warp: float) -> Durations:
        return Durations((round(cache * 1e6),), (round(warp * 1e6),))


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many times longer a job takes while `all_busy` workers (2 or more) work at once; in between, in proportion,
    and 1 for a worker alone."""

    all_busy: int
    cache: float
    warp: float

    def pace(self, command: Cache | Warp, busy: int) -> float:
        longest = self.cache if isinstance(command, Cache) else self.warp
        return 1 / (1 + (longest - 1) * (busy - 1) / (self.all_busy - 1))


@dataclass(frozen=True, slots=True)
class Asking:
    """How frames are asked for. present_ns: what the main thread does between a picture and the next request; hand_ns:
    from a request to a worker and back (queues and threads); period_ns: of the display, 0 as fast as it goes."""

    in_flight: int = 1
    present_ns: int = 0
    hand_ns: int = 0
    period_ns: int = 0
    eyes: int = 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """latency_ms: from the request (when the pose is sampled) to the finished picture; on_time: share of the display's
    periods whose frame came within its period (1 where there is no display); age: display frames between a picture and
    the cache that it was warped from; caches: per second."""

    fps: float
    latency_p50_ms: float
    latency_p95_ms: float
    on_time: float
    age_frames: float
    caches: float


@dataclass(slots=True)
class _Job:
    command: Cache | Warp
    left: float  # ns, at a lone worker's pace


class _Machine:
    """Schedule, workers and clock."""

    def __init__(
        self,
        workers: Sequence[Durations],
        warps_per_cache: int,
        asking: Asking,
        source: random.Random,
        sharing: Sharing | None,
        dedicated: bool,
    ) -> None:
        self.workers, self.asking, self.source, self.sharing = workers, asking, source, sharing
        self.schedule = Schedule(len(workers), warps_per_cache or 1)
        self.now = 0
        self.jobs: dict[int, _Job] = {}
        self.cache_of: dict[int, int] = {}
        self.done: list[tuple[int, int]] = []  # (frame, when), in order
        self.caches: list[int] = []  # when
        for worker in range(len(workers)):
            self.carry_out(self.schedule.restored(worker))
        if warps_per_cache == AUTO:
            speeds: dict[int, Speed | None] = {
                i: Speed(median(w.cache_ns), asking.eyes * median(w.warp_ns)) for i, w in enumerate(workers)
            }
            chosen = plan(speeds, asking.period_ns)
            if dedicated and chosen.eager:
                chosen = replace(chosen, warper=min(chosen.team))
            self.carry_out(self.schedule.follow(chosen))

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Cache(worker):
                    self.jobs[worker] = _Job(command, self.source.choice(self.workers[worker].cache_ns))
                case Warp(worker, frame, cache):
                    self.cache_of[frame] = cache
                    each = [self.source.choice(self.workers[worker].warp_ns) for _ in range(self.asking.eyes)]
                    self.jobs[worker] = _Job(command, sum(each) + self.asking.hand_ns)
                case Deliver(frame):
                    self.done.append((frame, self.now))

    def _pace(self, job: _Job) -> float:
        return 1.0 if self.sharing is None else self.sharing.pace(job.command, len(self.jobs))

    def _next(self) -> tuple[int, int] | None:
        """When which worker will be done if nothing changes."""
        return min(((self.now + round(job.left / self._pace(job)), w) for w, job in self.jobs.items()), default=None)

    def _work_until(self, now: int) -> None:
        for job in self.jobs.values():
            job.left = max(0.0, job.left - (now - self.now) * self._pace(job))
        self.now = now

    def advance(self) -> None:
        """To the next end of a job; there must be one."""
        end = self._next()
        assert end is not None, "nobody works"
        now, worker = end
        self._work_until(now)
        if isinstance(self.jobs.pop(worker).command, Cache):
            self.caches.append(now)
            self.carry_out(self.schedule.cached(worker))
        else:
            self.carry_out(self.schedule.warped(worker))

    def until(self, now: int) -> None:
        while (end := self._next()) is not None and end[0] <= now:
            self.advance()
        self._work_until(now)


def predict(
    workers: Sequence[Durations],
    warps_per_cache: int,
    asking: Asking | None = None,
    frames: int = 600,
    seed: int = 0,
    sharing: Sharing | None = None,
    dedicated: bool = False,
) -> Prediction:
    """workers: what each takes alone. warps_per_cache: K, or `renderer.auto.AUTO`. sharing: None for workers that do
    not touch each other, such as GPUs. dedicated: AUTO found that one worker should do nothing but warp. Raises
    UserError for no worker, too many, or too few frames."""
    asking = asking or Asking()
    if not 1 <= len(workers) <= MAX_WORKERS or frames <= 2 * WARM_UP:
        raise UserError(
            f"the model takes 1 to {MAX_WORKERS} workers and more than {2 * WARM_UP} frames, not {len(workers)} and "
            f"{frames}"
        )
    machine = _Machine(workers, warps_per_cache, asking, random.Random(seed), sharing, dedicated)
    asked = _paced(machine, frames) if asking.period_ns else _free(machine, frames)
    return _summary(machine, asked, frames)


def _free(machine: _Machine, frames: int) -> dict[int, int]:
    """As `app.live` does offscreen: ask where there is room, wait for the newest picture, present it. Returns when each
    frame was asked for."""
    asked: dict[int, int] = {}
    now, shown = 0, 0
    while len(machine.done) < frames:
        machine.until(now)
        if machine.schedule.in_flight < machine.asking.in_flight:
            asked[len(asked)] = now
            machine.carry_out(machine.schedule.requested(len(asked) - 1))
        while len(machine.done) <= shown:
            machine.advance()
        now = max(now, machine.done[shown][1]) + machine.asking.present_ns
        shown = len(machine.done)
    return asked


def _paced(machine: _Machine, frames: int) -> dict[int, int]:
    """Once a period, where there is room."""
    asked: dict[int, int] = {}
    for tick in range(frames):
        now = tick * machine.asking.period_ns
        machine.until(now)
        if machine.schedule.in_flight < machine.asking.in_flight:
            asked[tick] = now
            machine.carry_out(machine.schedule.requested(tick))
    while machine.schedule.in_flight:
        machine.advance()
    return asked


def _summary(machine: _Machine, asked: dict[int, int], frames: int) -> Prediction:
    steady = machine.done[WARM_UP:]
    span = max(steady[-1][1] - machine.done[WARM_UP - 1][1], 1) if len(steady) > 1 else 1
    latency = sorted(when - asked[frame] for frame, when in steady)
    period = machine.asking.period_ns
    on_time = sum(took <= period for took in latency) / max(frames - WARM_UP, 1) if period else 1.0
    ages = [frame - machine.cache_of[frame] for frame, _ in steady]
    first = machine.done[WARM_UP - 1][1]
    return Prediction(
        fps=1e9 * len(steady) / span,
        latency_p50_ms=latency[len(latency) // 2] / 1e6,
        latency_p95_ms=latency[min(len(latency) - 1, int(0.95 * len(latency)))] / 1e6,
        on_time=min(on_time, 1.0),
        age_frames=sum(ages) / len(ages),
        caches=1e9 * sum(first < t <= steady[-1][1] for t in machine.caches) / span,
    )
