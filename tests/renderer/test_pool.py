"""The pool with fake engines: order, books, failures, restarts, shutdown."""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.arkit import HeadState
from models.errors import UserError
from models.geometry import Pose
from renderer.auto import AUTO
from renderer.autopilot import DEDICATED, MOVING, TRYING, TURN, TURNS
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.messages import ViewRequest
from renderer.pool import CLOSED, INVALID, POOL_FULL, RendererPool
from renderer.schedule import NO_WORKER, WORKER_FAILED
from tests.renderer.pool_fakes import FakeEngine, Session, view


def pool_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("visavis-worker")]


@pytest.fixture
def session() -> Iterator[Callable[..., Session]]:
    opened: list[Session] = []

    def make(*args: int, **options: object) -> Session:
        opened.append(Session(*args, **options))
        return opened[-1]

    yield make
    for s in opened:
        s.close()
    assert not pool_threads(), "threads left behind"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_frames_come_in_order_and_none_is_lost(session: Callable[..., Session], workers: int) -> None:
    s = session(workers)
    s.run(120)
    s.check_books()
    assert [f.frame_id for f in s.frames] == s.accepted
    assert not s.pool.stats().dropped and not s.failures


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_automatic_warps_per_cache_lose_nothing(session: Callable[..., Session], workers: int) -> None:
    s = session(workers, warps_per_cache=AUTO)
    assert s.pool.warps_per_cache == s.pool.stats().warps_per_cache == AUTO
    s.run(60)
    s.pool.set_display_period(16_666_667)
    s.run(60)
    s.pool.set_warps_per_cache(2)
    assert s.pool.warps_per_cache == 2
    s.run(10)
    s.pool.set_warps_per_cache(AUTO)
    s.run(30)
    s.check_books()
    assert [f.frame_id for f in s.frames] == s.accepted
    assert not s.failures and s.pool.stats().caches > 3


def test_automatic_leaves_a_slow_device_out_until_it_has_to_stand_in(session: Callable[..., Session]) -> None:
    s = session(2, warps_per_cache=AUTO)
    s.engine(0).warp_s, s.engine(0).cache_s = 0.06, 0.06
    s.run(400)
    done = len(s.engine(0).jobs)
    s.run(40)
    assert len(s.engine(0).jobs) == done, "it has been measured, and is not used"
    assert {f.device for f in s.frames[-20:]} == {"fake:1"}
    s.engine(1).fault = "raise"
    s.run_until_failure()
    s.run(5)
    assert s.frames[-1].device == "fake:0"
    s.check_books()


@pytest.mark.parametrize(("others_s", "division"), [(0.001, DEDICATED), (0.02, MOVING)])
def test_where_memory_is_shared_the_faster_division_of_the_work_is_found(
    session: Callable[..., Session], others_s: float, division: str
) -> None:
    s = session(2, memory="one", warps_per_cache=AUTO)
    for engine in s.engines:
        engine.warp_s, engine.others_warp_s = 0.005, others_s
    for _ in range(80):
        s.run(5)
        if s.frames and s.pool.stats().division == division:
            break
    assert s.pool.stats().division == division
    caches = s.pool.stats().caches
    s.run(5)
    s.run(60)
    warpers = {f.device for f in s.frames[-60:]}
    assert len(warpers) == (1 if division == DEDICATED else 2)
    assert s.pool.stats().caches > caches + 5, "the other one caches"
    assert len({f.cache_frame_id for f in s.frames[-60:]}) > 5, "and what it makes is warped"
    s.check_books()
    assert [f.frame_id for f in s.frames] == s.accepted and not s.failures


def test_frames_of_a_k_by_hand_do_not_count_in_the_trial(session: Callable[..., Session]) -> None:
    s = session(2, memory="one", warps_per_cache=AUTO)
    while s.pool.stats().division != TRYING:
        s.run(1)
        assert len(s.frames) < 200
    s.pool.set_warps_per_cache(2)
    s.run(TURNS * TURN + 20)
    s.drain()
    s.pool.set_warps_per_cache(AUTO)
    assert s.pool.stats().division == TRYING, "as it was left"
    s.run(TURNS * TURN + 20)
    assert s.pool.stats().division in (MOVING, DEDICATED)
    s.check_books()


@pytest.mark.parametrize("k", [2, AUTO])
def test_old_features_go_before_new_ones_are_made(k: int) -> None:
    """A card has room for one cache of a worker. With a memory that is shared, for the warper's and the maker's."""

    class Features:
        pass

    class Frugal(FakeEngine):
        def build_cache(self, request: ViewRequest) -> CacheEntry:
            super().build_cache(request)
            alive.append(sum(made() is not None for made in kept))
            features = Features()
            kept.append(weakref.ref(features))
            return CacheEntry(request, features)

        def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
            return super().warp(CacheEntry(cache.request, self), request)

    kept: list[weakref.ref[Features]] = []
    alive: list[int] = []
    pool = RendererPool([Frugal], warps_per_cache=k, max_in_flight=1)
    pool.start(10.0)
    try:
        for frame_id in range(20):
            assert pool.submit(view(frame_id)) and pool.wait(5.0)
            pool.poll()
    finally:
        pool.close(5.0)
    assert len(alive) > 3 and max(alive) == 0
    assert not any(made() is not None for made in kept), "and none is left when all is over"


@pytest.mark.parametrize("who", ["warper", "maker"])
def test_a_dedicated_warper_or_its_maker_fails_and_the_other_goes_on(session: Callable[..., Session], who: str) -> None:
    s = session(2, memory="one", warps_per_cache=AUTO)
    for engine in s.engines:
        engine.warp_s, engine.others_warp_s = 0.005, 0.001
    while s.pool.stats().division != DEDICATED:
        s.run(5)
        assert len(s.frames) < 400
    s.run(10)
    warper = int(s.frames[-1].device[-1])
    lost = warper if who == "warper" else 1 - warper
    s.engine(lost).fault = "raise"
    s.run_until_failure()
    s.run(20)
    assert {f.device for f in s.frames[-10:]} == {f"fake:{1 - lost}"}
    assert s.pool.stats().division == MOVING
    assert s.pool.restart_worker(lost)
    s.run(60)
    assert not s.failures[1:] and s.pool.stats().alive == 2
    s.check_books()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hundred_switches_between_1x_and_2x_under_load(session: Callable[..., Session], workers: int) -> None:
    s = session(workers, warps_per_cache=1)
    rng = random.Random(workers)
    for switch in range(100):
        s.pool.set_warps_per_cache(1 + switch % 2)
        assert s.pool.warps_per_cache == s.pool.stats().warps_per_cache == 1 + switch % 2
        for _ in range(rng.randrange(3)):
            s.step()
    s.run(20)
    s.check_books()
    assert [f.frame_id for f in s.frames] == s.accepted
    assert {f.warps_per_cache for f in s.frames} == {1, 2}


def test_a_frame_says_where_its_time_went(session: Callable[..., Session]) -> None:
    s = session(2)
    s.run(30)
    f = s.frames[-1]
    order = ["submitted", "dispatched", "worker_start", "worker_end", "delivered"]
    times = [f.stamps_ns[name] for name in order]
    assert times == sorted(times)
    assert f.stamps_ns["pose"] == f.request.pose_time_ns == 7 + f.frame_id
    assert f.stamps_ns["raster"] == f.stamps_ns["worker_start"] + 100
    assert f.stamps_ns["warp"] == f.stamps_ns["raster"] + 900
    assert f.durations_ns["raster"] == 100 and f.durations_ns["warp"] == 900
    assert f.durations_ns["queue"] == f.stamps_ns["worker_start"] - f.stamps_ns["submitted"]
    assert f.durations_ns["cache"] >= 4_000_000
    assert f.cache_age_ns == 1_000_000 * (f.frame_id - f.cache_frame_id)
    assert f.device.startswith("fake:") and f.warp_degrees == 1.5
    assert f.crop.side == 20


def test_stats_tell_of_every_worker(session: Callable[..., Session]) -> None:
    s = session(2)
    before = s.pool.stats()
    assert [w.role for w in before.workers] == ["idle", "idle"]
    assert before.workers[0].cache_ms is None and before.caches == 0
    s.run(40)
    after = s.pool.stats()
    assert [w.device for w in after.workers] == ["fake:0", "fake:1"]
    assert after.alive == 2
    assert all(w.cache_ms is not None and w.cache_ms >= 4 for w in after.workers)
    assert any(w.warp_ms is not None and w.warp_ms >= 1 for w in after.workers)
    assert after.caches >= len(after.cache_durations) > 10


def test_a_full_pool_refuses_at_once_and_counts_it(session: Callable[..., Session]) -> None:
    s = session(1, max_in_flight=2)
    s.engines[0].fault = "hang"
    assert s.submit() and s.submit()
    for _ in range(1000):
        assert not s.submit()
    stats = s.pool.stats()
    assert stats.dropped == {POOL_FULL: 1000}
    assert stats.in_flight == 2
    # nothing is kept for frames that were refused
    assert len(s.pool._requests) == 2
    s.engines[0].release.set()
    s.check_books()


def test_frames_that_nobody_polls_fill_the_pool(session: Callable[..., Session]) -> None:
    s = session(2, max_in_flight=3)
    taken = 0
    for _ in range(200):
        taken += s.submit()
        threading.Event().wait(0.001)
    assert taken == 3 == s.pool.stats().in_flight
    s.drain()
    assert len(s.frames) == 3


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "raised: RuntimeError: the device has gone"),
        ("nan", "returned NaN"),
        ("nan cache", "returned NaN"),
        ("hang", "hung for "),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_worker_fails_and_the_others_go_on(
    session: Callable[..., Session], workers: int, fault: str, reason: str, seed: int
) -> None:
    s = session(workers, hang_timeout_s=0.4)
    rng = random.Random(seed)
    s.run(10 + rng.randrange(20))
    victim = rng.randrange(workers)
    s.engine(victim).fault = fault
    failure = s.run_until_failure()
    assert failure.worker == victim and failure.device == f"fake:{victim}"
    assert failure.reason.startswith(reason)
    status = s.pool.stats().workers[victim]
    assert not status.alive and status.role == "failed" and status.last_error == failure.reason
    if workers == 1:
        assert not s.submit()
        s.check_books()
        assert s.pool.stats().alive == 0
        assert s.pool.stats().dropped[NO_WORKER] >= 1
    else:
        s.run(30)
        s.check_books()
        assert set(s.pool.stats().dropped) <= {WORKER_FAILED}
        assert s.pool.stats().dropped.get(WORKER_FAILED, 0) <= 1
        assert all(f.device != f"fake:{victim}" for f in s.frames[-20:])
    assert len(s.failures) == 1


@pytest.mark.parametrize("fault", ["raise", "hang", "nan"])
def test_a_failed_worker_is_restarted_while_the_old_one_may_still_hang(
    session: Callable[..., Session], fault: str
) -> None:
    s = session(1, hang_timeout_s=0.4)
    s.run(5)
    old = s.engine(0)
    old.fault = fault
    s.run_until_failure()
    assert s.pool.restart_worker(0)
    for _ in range(500):
        if s.pool.stats().alive:
            break
        threading.Event().wait(0.01)
    s.run(20)
    count = len(old.jobs)
    old.release.set()  # its late result must change nothing
    s.run(20)
    s.check_books()
    assert len(old.jobs) == count and s.engine(0) is not old
    assert s.pool.stats().workers[0].restarts == 1
    assert not s.pool.restart_worker(0), "a healthy worker is left alone"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_was_only_slow_comes_back_without_its_late_result(
    session: Callable[..., Session], workers: int
) -> None:
    s = session(workers, hang_timeout_s=0.4)
    s.run(10)
    slow = s.engine(0)
    slow.fault = "hang"
    assert s.run_until_failure().worker == 0
    assert s.pool.stats().workers[0].hangs
    slow.fault = None
    slow.release.set()
    for _ in range(500):
        if s.pool.stats().workers[0].alive:
            break
        threading.Event().wait(0.01)
    count = len(slow.jobs)
    s.run(40)
    s.check_books()
    assert len(slow.jobs) > count and s.engine(0) is slow
    status = s.pool.stats().workers[0]
    assert status.alive and status.restarts == 0 and not status.hangs
    assert status.last_error is not None and status.last_error.startswith("hung")


def test_a_hang_is_noticed_by_a_clock_alone() -> None:
    """No real waiting: the limit is what the documentation says, on an injected clock."""
    now = [10**9]
    engine = FakeEngine(cache_s=0.0, warp_s=0.0)
    pool = RendererPool([lambda: engine], hang_timeout_s=0.2, warmup_timeout_s=60.0, clock=lambda: now[0])
    pool.start(10.0)
    try:
        assert pool.submit(view(1))
        assert pool.wait(10.0) and len(pool.poll()) == 1  # warmed up: one cache, one warp
        engine.fault = "hang"
        assert pool.submit(view(2))
        assert engine.hanging.wait(10.0)
        now[0] += 199_000_000
        assert pool.poll() == []
        now[0] += 2_000_000
        (failure,) = pool.poll()
        assert getattr(failure, "reason", "") == "hung for 201 ms"
        assert pool.stats().in_flight == 0
    finally:
        engine.release.set()
        pool.close(5.0)


def test_a_waiting_request_is_given_a_newer_view_until_a_worker_takes_it_up() -> None:
    now = [10**9]
    engine = FakeEngine(cache_s=0.0, warp_s=0.0)
    pool = RendererPool([lambda: engine], warps_per_cache=4, clock=lambda: now[0])
    pool.start(10.0)
    try:
        assert pool.submit(view(1))
        assert pool.wait(10.0) and len(pool.poll()) == 1
        engine.fault = "hang"
        assert pool.submit(view(2)) and engine.hanging.wait(10.0) and pool.submit(view(3))
        engine.fault = None
        assert not pool.waits(1) and not pool.waits(2) and pool.waits(3)
        there = Pose(np.array([0.2, 0.0, 0.6]))
        for frame_id in (1, 2, 4):  # shown, in hand, never asked for
            assert not pool.amend(view(frame_id, T_world_eye=there, pose_time_ns=99))
        assert pool.amend(view(3, pose_time_ns=50))
        assert pool.amend(view(3, T_world_eye=there, pose_time_ns=99))
        assert not pool.amend(view(3, T_world_eye=Pose(np.full(3, np.nan)))), "and what cannot be drawn is not taken"
        now[0] += 5_000_000
        engine.release.set()
        frames = []
        while len(frames) < 2:
            assert pool.wait(10.0)
            frames += pool.poll()
        assert [(f.frame_id, f.request.pose_time_ns) for f in frames] == [(2, 9), (3, 99)]
        assert frames[1].request.T_world_eye is there
        assert not pool.stats().dropped and pool.stats().submitted == 3
    finally:
        engine.release.set()
        pool.close(5.0)


def test_a_new_cache_shows_the_newer_view_as_well() -> None:
    seen: list[int] = []

    class Watched(FakeEngine):
        def build_cache(self, request: ViewRequest) -> CacheEntry:
            seen.append(request.pose_time_ns)
            return super().build_cache(request)

    engine = Watched(cache_s=0.0, warp_s=0.0)
    pool = RendererPool([lambda: engine], warps_per_cache=1)
    pool.start(10.0)
    try:
        assert pool.submit(view(1))
        assert pool.wait(10.0) and len(pool.poll()) == 1
        engine.fault = "hang"
        assert pool.submit(view(2)) and engine.hanging.wait(10.0) and pool.submit(view(3))
        engine.fault = None
        assert pool.amend(view(3, pose_time_ns=99))
        engine.release.set()
        while pool.stats().delivered < 3:
            assert pool.wait(10.0)
            pool.poll()
        assert seen[-1] == 99
    finally:
        engine.release.set()
        pool.close(5.0)


@pytest.mark.parametrize("k", [2, AUTO])
def test_only_so_many_workers_take_part(session: Callable[..., Session], k: int) -> None:
    s = session(2, warps_per_cache=k)
    s.run(20)
    s.pool.set_at_work(1)
    s.run(6)  # what was begun is used up
    rested = len(s.engine(1).jobs)
    s.run(20)
    assert len(s.engine(1).jobs) == rested
    s.engine(0).fault = "raise"
    s.run_until_failure()
    s.run(10)
    assert len(s.engine(1).jobs) > rested, "it stands in"
    s.pool.set_at_work(None)
    assert s.pool.restart_worker(0)
    s.engine(1).fault = None
    for _ in range(20):
        s.run(5)
    assert len(s.engine(0).jobs) > 1
    s.check_books()


def test_the_first_job_may_take_its_time() -> None:
    now = [10**9]
    engine = FakeEngine(fault="hang")
    pool = RendererPool([lambda: engine], hang_timeout_s=0.2, warmup_timeout_s=60.0, clock=lambda: now[0])
    pool.start(10.0)
    try:
        pool.submit(view(1))
        assert engine.hanging.wait(10.0)
        now[0] += 59_000_000_000
        assert pool.poll() == []
        now[0] += 2_000_000_000
        assert len(pool.poll()) == 1
    finally:
        engine.release.set()
        pool.close(5.0)


def test_an_engine_that_cannot_be_made_leaves_the_others_to_work() -> None:
    def broken() -> FakeEngine:
        raise MemoryError("no room on cuda:1")

    pool = RendererPool([broken, FakeEngine])
    pool.start(10.0)
    try:
        (failure,) = pool.poll()
        assert getattr(failure, "reason", "") == "raised: MemoryError: no room on cuda:1"
        assert pool.submit(view(1))
        assert pool.wait(10.0)
        assert [getattr(f, "frame_id", None) for f in pool.poll()] == [1]
    finally:
        pool.close(5.0)


def test_a_pool_without_any_engine_says_why() -> None:
    def broken() -> FakeEngine:
        raise OSError("weights missing")

    with pytest.raises(UserError, match="no rendering worker came up.*weights missing"):
        RendererPool([broken]).start(10.0)
    with pytest.raises(ValueError, match="worker"):
        RendererPool([])
    assert not pool_threads()


@pytest.mark.parametrize(
    "changes",
    [
        {"T_world_eye": Pose(np.array([0.0, np.nan, 0.0]))},
        {"T_world_eye": Pose(np.array([0.0, 0.0, -0.6]))},  # the head lies behind
        {"head": HeadState(expression=np.full(52, np.inf, np.float32))},
        {"head": HeadState(gaze=np.full(4, np.nan, np.float32))},
    ],
)
def test_a_request_that_cannot_be_drawn_is_refused_before_it_breaks_a_worker(
    session: Callable[..., Session], changes: dict[str, object]
) -> None:
    s = session(1)
    assert not s.pool.submit(view(1, **changes))
    assert s.pool.stats().dropped == {INVALID: 1}
    s.frame_id = 1
    s.run(3)
    assert not s.failures


def test_frame_ids_must_increase(session: Callable[..., Session]) -> None:
    s = session(1)
    assert s.pool.submit(view(5))
    with pytest.raises(ValueError, match="increase"):
        s.pool.submit(view(5))


@pytest.mark.parametrize("workers", [1, 2])
def test_closing_while_busy_ends_every_thread_and_engine(session: Callable[..., Session], workers: int) -> None:
    s = session(workers)
    s.run(5)
    s.submit()
    s.pool.close(5.0)
    s.pool.close(5.0)
    assert not pool_threads()
    assert all(e.closed for e in s.engines)
    assert not s.submit() and s.pool.stats().dropped[CLOSED] >= 1
    s.check_books()


def test_closing_leaves_a_hanging_worker_behind(session: Callable[..., Session]) -> None:
    s = session(2)
    s.run(5)
    s.engine(0).fault = "hang"
    for _ in range(200):
        s.submit()
        if s.engine(0).hanging.wait(0.005):
            break
        s.poll()
    s.pool.close(0.1)
    assert [t.daemon for t in pool_threads()] == [True]
    s.engine(0).release.set()
    for thread in pool_threads():
        thread.join(5.0)


def test_a_pool_that_never_started_can_be_closed_and_polled() -> None:
    pool = RendererPool([FakeEngine])
    assert pool.poll() == []
    assert not pool.submit(view(1)) and pool.stats().dropped == {NO_WORKER: 1}
    pool.close(1.0)


def test_waiting_ends_when_the_time_is_up_or_something_happens(session: Callable[..., Session]) -> None:
    s = session(1)
    assert not s.pool.wait(0.0)
    assert not s.pool.wait(0.01)
    s.submit()
    assert s.pool.wait(10.0)
    s.poll()
    assert len(s.frames) == 1
