"""The schedule under a simulated clock, and its laws under random events."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise

import pytest

from renderer.schedule import NO_WORKER, WORKER_FAILED, Cache, Command, Deliver, Drop, HandOver, Schedule, Warp


class Workers:
    """Carries the commands out, and holds the schedule to its promises while doing so."""

    def __init__(self, count: int, k: int) -> None:
        self.schedule = Schedule(count, k)
        self.jobs: dict[int, Cache | Warp] = {}
        self.caches: dict[int, int] = {}
        self.cached_frame: dict[int, int] = {}  # of each warp commanded
        self.uses: list[int] = []  # warps served by each cache built
        self._built: dict[int, int] = {}  # worker: index into uses
        self.delivered: list[int] = []
        self.dropped: dict[int, str] = {}
        self.requested: list[int] = []
        self.warped: set[int] = set()
        for w in range(count):
            self.apply(self.schedule.restored(w))

    def apply(self, commands: list[Command]) -> list[Cache | Warp]:
        started: list[Cache | Warp] = []
        for c in commands:
            match c:
                case Deliver(frame_id):
                    assert frame_id in self.warped
                    assert frame_id not in self.dropped
                    assert not self.delivered or frame_id > self.delivered[-1]
                    self.delivered.append(frame_id)
                case Drop(frame_id, reason):
                    assert frame_id not in self.dropped and frame_id not in self.delivered
                    self.dropped[frame_id] = reason
                case HandOver(worker, to):
                    assert self.caches[worker] >= self.caches.get(to, -1), "a newer cache gives way to an older one"
                    self.caches[to] = self.caches.pop(worker)
                    self._built[to] = self._built[worker]
                case Cache(worker) | Warp(worker):
                    assert worker not in self.jobs, "two jobs at a time"
                    assert self.schedule.role(worker) == ("caching" if isinstance(c, Cache) else "warping")
                    if isinstance(c, Warp):
                        assert self.caches.get(worker) == c.cache_frame_id, "a warp on an incomplete cache"
                        assert c.cache_frame_id == max(self.caches.values()), "a newer complete cache was there"
                        self.cached_frame[c.frame_id] = c.cache_frame_id
                        self.uses[self._built[worker]] += 1
                    else:
                        assert c.frame_id == self.requested[-1], "a cache of an old view"
                        self.caches.pop(worker, None)
                    self.jobs[worker] = c
                    started.append(c)
        return started

    def request(self, frame_id: int) -> list[Cache | Warp]:
        self.requested.append(frame_id)
        return self.apply(self.schedule.requested(frame_id))

    def finish(self, worker: int) -> list[Cache | Warp]:
        job = self.jobs.pop(worker)
        if isinstance(job, Cache):
            self.caches[worker] = job.frame_id
            self._built[worker] = len(self.uses)
            self.uses.append(0)
            return self.apply(self.schedule.cached(worker))
        self.warped.add(job.frame_id)
        return self.apply(self.schedule.warped(worker))

    def fail(self, worker: int) -> list[Cache | Warp]:
        self.jobs.pop(worker, None)
        self.caches.pop(worker, None)
        return self.apply(self.schedule.failed(worker))


def simulate(
    workers: int, k: int, cache_ms: float, warp_ms: float, frames: int = 400, in_flight: int = 2, period_ms: float = 0.0
) -> tuple[float, float, float, Workers]:
    """Frames a second, mean ms from request to delivery, warps per cache; as fast as possible or every `period_ms`."""
    run = Workers(workers, k)
    now, caches, frame_id, due = 0.0, 0, 0, 0.0
    ends: list[tuple[float, int]] = []
    born: dict[int, float] = {}
    latency: list[float] = []
    times: list[float] = []
    while len(run.delivered) < frames:
        while run.schedule.in_flight < in_flight and due <= now:
            born[frame_id] = now
            started = run.request(frame_id)
            frame_id += 1
            due = max(due + period_ms, now) if period_ms else now
            for job in started:
                heapq.heappush(ends, (now + (cache_ms if isinstance(job, Cache) else warp_ms), job.worker))
            caches += sum(isinstance(job, Cache) for job in started)
        upcoming = [ends[0][0]] if ends else []
        if period_ms and run.schedule.in_flight < in_flight:
            upcoming.append(due)
        assert upcoming, "a frame waits and nobody works"
        now = max(now, min(upcoming))
        while ends and ends[0][0] <= now:
            _, worker = heapq.heappop(ends)
            before = len(run.delivered)
            started = run.finish(worker)
            for done in run.delivered[before:]:
                latency.append(now - born[done])
                times.append(now)
            for job in started:
                heapq.heappush(ends, (now + (cache_ms if isinstance(job, Cache) else warp_ms), job.worker))
            caches += sum(isinstance(job, Cache) for job in started)
    half = frames // 2  # past the start
    fps = 1000 * (len(times) - 1 - half) / (times[-1] - times[half])
    return fps, sum(latency[half:]) / len(latency[half:]), frame_id / caches, run


# service times of the paper (RTX 2080, method.md section 7)
CACHE_MS, WARP_MS = 49.0, 14.9


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_worker_is_idle_while_frames_wait(workers: int, k: int) -> None:
    """The rate is what the work allows: K frames cost one cache and K warps."""
    fps, _, warps_per_cache, _ = simulate(workers, k, CACHE_MS, WARP_MS)
    bound = 1000 * workers * k / (CACHE_MS + k * WARP_MS)
    assert fps <= bound * 1.01
    assert fps >= bound * (0.99 if workers < 3 else 0.85)
    assert warps_per_cache <= k * 1.02


def test_twice_the_warps_per_cache_costs_less_than_half_a_cache_a_frame() -> None:
    once, twice = simulate(2, 1, CACHE_MS, WARP_MS)[0], simulate(2, 2, CACHE_MS, WARP_MS)[0]
    assert once > 28.5  # the paper's 1x on two devices
    assert twice > 1.5 * once


@pytest.mark.parametrize("workers", [1, 2])
def test_latency_is_one_warp_when_there_is_time_to_spare(workers: int) -> None:
    """Neither a cache nor another frame is on the way of a frame at a display's pace."""
    _, latency, warps_per_cache, _ = simulate(workers, 2, 12.0, 4.0, period_ms=16.7)
    assert latency == pytest.approx(4.0, abs=0.01)
    assert warps_per_cache == pytest.approx(2.0, rel=0.02)


def test_the_caching_role_alternates() -> None:
    run = Workers(2, 2)
    builders: list[int] = []
    for frame_id in range(12):
        jobs = run.request(frame_id)
        while jobs or run.jobs:
            builders += [j.worker for j in jobs if isinstance(j, Cache)]
            jobs = run.finish(min(run.jobs))
    assert all(a != b for a, b in pairwise(builders))
    assert len(builders) >= 6


def test_warps_go_on_while_the_next_cache_is_being_built() -> None:
    run = Workers(2, 3)
    run.request(0)
    run.finish(0)  # the first cache, which frame 0 had to wait for: so the next one is asked for at once
    run.finish(0)
    for frame_id in (1, 2):
        run.request(frame_id)
        assert run.jobs == {0: Warp(0, frame_id, 0), 1: Cache(1, 0)}
        run.finish(0)
    assert run.delivered == [0, 1, 2]


def test_frames_overtaking_each_other_on_two_workers_are_delivered_in_order() -> None:
    run = Workers(2, 1)
    run.request(0)
    run.request(1)
    for _ in range(50):  # always finish the worker whose job began last
        if not run.jobs:
            break
        run.finish(list(run.jobs)[-1])
    assert run.delivered == [0, 1]


def test_changing_k_neither_loses_nor_reorders() -> None:
    rng = random.Random(1)
    run = Workers(2, 1)
    frame_id = 0
    for switch in range(100):
        run.schedule.warps_per_cache = 1 + switch % 2
        for _ in range(rng.randrange(6)):
            if run.schedule.in_flight < 3:
                run.request(frame_id)
                frame_id += 1
            if run.jobs:
                run.finish(rng.choice(list(run.jobs)))
    while run.jobs:
        run.finish(min(run.jobs))
    assert run.delivered == list(range(frame_id)) and frame_id > 100
    assert not run.dropped


@pytest.mark.parametrize("seed", range(150))
def test_laws_under_random_events(seed: int) -> None:
    """In order, none lost, one job at a time, never a warp on an incomplete or outdated cache, never stuck."""
    rng = random.Random(seed)
    count = rng.randint(1, 4)
    run = Workers(count, rng.randint(1, 4))
    frame_id = rng.randrange(5)
    fail_rate = rng.choice([0.0, 0.02, 0.1])
    for _ in range(400):
        dead = [w for w in range(count) if run.schedule.role(w) == "dead"]
        dice = rng.random()
        if dice < fail_rate and len(dead) < count:
            run.fail(rng.choice([w for w in range(count) if w not in dead]))
        elif dice < 2 * fail_rate and dead:
            run.apply(run.schedule.restored(rng.choice(dead)))
        elif dice < 0.25:
            run.schedule.warps_per_cache = rng.randint(1, 4)
        elif dice < 0.3:
            run.apply(run.schedule.rest(frozenset(w for w in range(count) if rng.random() < 0.5)))
        elif dice < 0.6 and run.schedule.in_flight < 5:
            run.request(frame_id)
            frame_id += rng.randint(1, 3)
        elif run.jobs:
            run.finish(rng.choice(list(run.jobs)))
        if run.schedule.in_flight:
            assert run.jobs, "a frame waits and nobody works"
    while run.jobs:
        run.finish(rng.choice(list(run.jobs)))
    assert run.schedule.in_flight == 0
    assert sorted([*run.delivered, *run.dropped]) == run.requested
    assert set(run.dropped.values()) <= {WORKER_FAILED, NO_WORKER}
    assert fail_rate or not run.dropped


def test_who_rests_takes_no_cache_on_while_another_one_lives() -> None:
    run = Workers(2, 2)
    run.apply(run.schedule.rest(frozenset({1})))
    for frame_id in range(6):
        run.request(frame_id)
        assert set(run.jobs) == {0}
        while run.jobs:
            run.finish(0)
    run.request(6)
    run.fail(0)
    assert set(run.jobs) == {1}, "it stands in"
    run.finish(1)
    run.apply(run.schedule.restored(0))
    run.apply(run.schedule.rest(frozenset()))
    for frame_id in range(7, 20):
        run.request(frame_id)
        while len(run.jobs) == 1 and run.schedule.in_flight:
            run.finish(next(iter(run.jobs)))
        if len(run.jobs) == 2:
            return
    raise AssertionError("both work again")


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_cache_serves_k_warps_at_the_most(k: int) -> None:
    run = simulate(2, k, CACHE_MS, WARP_MS)[3]
    assert max(run.uses) == k


def test_the_cached_view_never_goes_back_in_time() -> None:
    run = simulate(3, 2, CACHE_MS, WARP_MS)[3]
    shown = [run.cached_frame[f] for f in run.delivered]
    assert shown == sorted(shown)


def test_a_worker_stuck_in_its_cache_does_not_stop_the_other() -> None:
    """Before anyone has noticed that worker 1 hangs, worker 0 goes on alone."""
    run = Workers(2, 2)
    for frame_id in range(20):
        run.request(frame_id)
        while 0 in run.jobs:
            run.finish(0)
    assert isinstance(run.jobs[1], Cache)
    assert run.delivered == list(range(20))


def test_a_failed_workers_frame_is_dropped_and_the_others_go_on() -> None:
    run = Workers(2, 1)
    run.request(0)
    run.finish(0)
    run.request(1)
    assert isinstance(run.jobs[0], Warp)
    run.fail(0)
    while run.jobs:
        run.finish(min(run.jobs))
    assert run.dropped == {0: WORKER_FAILED}
    assert run.delivered == [1]
    assert run.schedule.alive == 1


def test_without_workers_frames_are_dropped_with_that_reason_until_one_is_restored() -> None:
    run = Workers(1, 1)
    run.request(0)
    run.request(1)
    run.fail(0)
    run.request(2)
    assert run.dropped == {0: NO_WORKER, 1: NO_WORKER, 2: NO_WORKER}
    run.apply(run.schedule.restored(0))
    assert run.jobs == {0: Cache(0, 2)}  # the newest view that it knows
    run.request(3)
    while run.jobs:
        run.finish(0)
    assert run.delivered == [3]


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="worker"):
        Schedule(0, 1)
    with pytest.raises(ValueError, match="warp"):
        Schedule(1, 0)
    schedule = Schedule(1, 1)
    schedule.restored(0)
    schedule.requested(4)
    with pytest.raises(ValueError, match="increase"):
        schedule.requested(4)
