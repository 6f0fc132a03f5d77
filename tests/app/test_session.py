"""The session's laws: order, counting, live switches; with a pool that does what the test says."""

from __future__ import annotations

import dataclasses
import itertools
import random

import numpy as np
import pytest

from app.latency import Rolling
from app.session import GIVE_UP_NS, WARM_UP_FRAMES, LiveSession
from app.stage import view_limits
from models.camera import head_crop
from models.errors import UserError
from models.performance import Performance
from tests.app.fakes import FakePool, rendered, worker
from tracking.sources.face import PerformanceSource, StillSource
from tracking.sources.mouse import MouseSource
from tracking.sources.sway import SwaySource
from tracking.viewer import Screen, ViewLimits

SCREEN = Screen(0.3, 0.2, 640, 480)


class Clock:
    """Monotonic time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now


def make(pool: FakePool, clock: Clock) -> LiveSession:
    return LiveSession(pool, SwaySource(), StillSource(), SCREEN, clock_ns=clock)


def test_random_order_of_events_never_shows_backwards_and_counts_every_frame() -> None:
    rng, clock = random.Random(5), Clock()
    pool = FakePool(instant=False)
    session = make(pool, clock)
    shown: list[int] = []
    for _ in range(4000):
        clock.now += rng.randrange(100_000, 9_000_000)
        event = rng.random()
        if event < 0.45:
            session.request(clock.now + 10_000_000)
        elif event < 0.8 and pool.pending:
            pool.finish()
        elif (frame := session.collect()) is not None:
            session.shown(frame, 1000, 1000)
            shown.append(frame.frame_id)
    assert len(shown) > 500
    assert all(a < b for a, b in itertools.pairwise(shown))
    totals = session.totals()
    waiting = len(pool.pending) + len(pool.out)
    assert totals.shown == len(shown) and totals.dropped["superseded"] > 0 and totals.dropped["pool full"] > 0
    assert totals.frames + waiting == len(pool.submitted) + pool.dropped["pool full"]


def test_frame_ids_and_display_times_increase_even_if_the_wish_does_not() -> None:
    clock, pool = Clock(), FakePool(limit=100)
    session = make(pool, clock)
    for wish in (50, 20, 20, 80, 10):
        session.request(clock.now + wish * 1_000_000)
    ids, times = zip(*((r.frame_id, r.display_time_ns) for r in pool.submitted), strict=True)
    assert all(a < b for a, b in itertools.pairwise(ids)) and all(a < b for a, b in itertools.pairwise(times))


def test_a_frame_that_comes_after_a_newer_one_was_shown_is_dropped_as_late() -> None:
    clock, pool = Clock(), FakePool()
    session = make(pool, clock)
    session.request(clock.now)
    session.request(clock.now)
    first, second = pool.poll()
    pool.out = [second]
    frame = session.collect()
    assert frame is not None
    session.shown(frame, 0, 0)
    pool.out = [first]
    assert session.collect() is None
    assert session.totals().dropped == {"late": 1}


def test_a_held_frame_is_replaced_by_a_newer_one_and_counted() -> None:
    clock, pool = Clock(), FakePool()
    session = make(pool, clock)
    session.request(clock.now)
    held = session.collect()
    assert held is not None and session.collect(held) is None
    session.request(clock.now)
    newer = session.collect(held)
    assert newer is not None and newer.frame_id == held.frame_id + 1
    assert session.totals().dropped == {"superseded": 1}


def test_latency_counts_from_the_pose_and_leaves_the_warm_up_out() -> None:
    clock, pool = Clock(), FakePool()
    session = make(pool, clock)
    for i in range(WARM_UP_FRAMES + 80):
        session.request(clock.now + 20_000_000)
        clock.now += 200_000_000 if i < WARM_UP_FRAMES - 1 else 12_000_000
        frame = session.collect()
        assert frame is not None
        session.shown(frame, 300_000, 2_000_000)
        clock.now += 4_000_000
    stages = {name: rolling.percentiles() for name, rolling in session.stages.items() if len(rolling)}
    assert stages["pose_to_frame"] == pytest.approx((12.0, 12.0, 12.0))
    assert stages["upload"] == pytest.approx((0.3, 0.3, 0.3)) and stages["warp"] == pytest.approx((8.0, 8.0, 8.0))
    assert session.fps() == pytest.approx(1000 / 16, rel=1e-3)
    assert session.recent_fps() == pytest.approx(1000 / 16, rel=1e-3)
    assert session.latency_ns == pytest.approx(12_000_000, rel=0.05)


def test_sources_switch_between_two_frames() -> None:
    clock, pool = Clock(), FakePool()
    session = make(pool, clock)
    mouse = MouseSource()
    mouse.on_mouse(1.0, 0.5)
    for n in range(40):
        if n == 20:
            session.pose_source = mouse
        clock.now += 16_000_000
        assert session.request(clock.now)
        frame = session.collect()
        assert frame is not None
        session.shown(frame, 0, 0)
    assert [r.frame_id for r in pool.submitted] == list(range(1, 41))
    assert pool.submitted[-1].T_world_eye.position[0] > 5 * abs(pool.submitted[2].T_world_eye.position[0])


def test_another_avatars_pool_continues_the_count() -> None:
    clock, old, new = Clock(), FakePool(limit=0), FakePool()
    session = make(old, clock)
    assert not session.request(clock.now)
    session.replace_pool(new, 1.0)
    assert old.closed and session.request(clock.now)
    frame = session.collect()
    assert frame is not None and frame.frame_id == 2
    assert session.totals().dropped == {"pool full": 1}


def test_workers_that_hang_may_come_back_and_dead_ones_may_not() -> None:
    pool, clock = FakePool(), Clock()
    session = make(pool, clock)
    session.require_workers()
    for index in (0, 1):
        pool.fail(index, "hung for 378 ms")
    hanging = [dataclasses.replace(w, hangs=True) for w in pool.workers]
    pool.workers[:] = [hanging[0], pool.workers[1]]
    for _ in range(3):  # each time almost too long, and then a frame comes
        session.require_workers()
        clock.now += GIVE_UP_NS - 1
        session.require_workers()
        pool.workers[0] = worker(0)
        session.request(clock.now)
        pool.workers[0] = hanging[0]
        assert session.collect() is not None
    session.require_workers()
    pool.workers[0] = worker(0)
    clock.now += GIVE_UP_NS
    session.require_workers()
    pool.workers[0] = hanging[0]
    session.require_workers()
    clock.now += GIVE_UP_NS
    with pytest.raises(UserError, match="every worker has failed .hung for 378 ms.") as raised:
        session.require_workers()
    assert raised.value.exit_code == 1
    pool.workers[0] = dataclasses.replace(hanging[0], hangs=False)
    session.collect()
    with pytest.raises(UserError, match="every worker"):
        make(pool, clock).require_workers()


def test_a_failed_worker_is_kept_with_its_reason() -> None:
    clock, pool = Clock(), FakePool()
    session = make(pool, clock)
    pool.fail(1, "returned NaN")
    assert session.collect() is None
    assert session.failures[-1].reason == "returned NaN" and session.totals().workers_failed == 1
    assert session.request(clock.now), "the other worker goes on"


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (500, 900)])
def test_the_heads_window_fills_any_viewport(size: tuple[int, int]) -> None:
    clock, pool = Clock(), FakePool(limit=1000)
    width, height = size
    for metres in (0.1, 0.4, 0.8):
        session = make(pool, clock)
        session.pose_source = MouseSource()
        session.set_screen(Screen(metres, metres * height / width, width, height))
        session.request(clock.now)
        request = pool.submitted[-1]
        head = (request.T_world_eye.inverse() @ request.head.T_world_head).position
        crop = head_crop(request.camera, head, 256)
        assert crop.side == pytest.approx(min(height, 2 * width), rel=0.01)
        assert crop.center_x == pytest.approx(width / 2, abs=2) and crop.center_y == pytest.approx(height / 2, abs=2)


def test_views_that_the_avatar_never_saw_are_kept_away() -> None:
    narrow = view_limits({"ranges": {"view_yaw_degrees": [-12.0, 4.0], "view_pitch_degrees": [-1.0, 2.0]}})
    assert (narrow.yaw_deg, narrow.pitch_deg) == (15.0, 6.0)
    for manifest in ({}, {"ranges": None}, {"ranges": {"view_yaw_degrees": ["far"]}}):
        assert view_limits(manifest) == ViewLimits()
    clock, pool = Clock(), FakePool(limit=1000)
    session = LiveSession(pool, MouseSource(), StillSource(), SCREEN, limits=narrow, clock_ns=clock)
    assert isinstance(session.pose_source, MouseSource)
    session.pose_source.on_mouse(1.0, 0.5)
    for _ in range(60):
        clock.now += 16_000_000
        session.request(clock.now)
    x, _, z = pool.submitted[-1].T_world_eye.position
    assert 11 < np.degrees(np.arctan2(x, z + 0.12)) < 15


def test_performance_plays_in_display_time() -> None:
    clock, pool, n = Clock(), FakePool(), 40
    expression = np.zeros((n, 52), np.float32)
    expression[:, 17] = np.linspace(0, 1, n)
    performance = Performance(
        np.arange(n, dtype=np.int64) * 10_000_000, expression, np.zeros((n, 4), np.float32), np.zeros((n, 3)),
        np.tile([0.0, 0.0, 0.0, 1.0], (n, 1)),
    )  # fmt: skip
    session = make(pool, clock)
    session.face_source = PerformanceSource(performance)
    for t in (0, 100_000_000, 200_000_000):
        session.request(clock.now + t)
    jaw = [float(r.head.expression[17]) for r in pool.submitted]
    np.testing.assert_allclose(jaw, [0.0, 10 / 39, 20 / 39], atol=1e-3)


def test_rolling_window_keeps_the_newest() -> None:
    rolling = Rolling(4)
    assert rolling.percentiles() is None
    for value in range(7):
        rolling.add(value)
    assert rolling.last(10).tolist() == [3, 4, 5, 6] and rolling.last(2).tolist() == [5, 6]
    assert rolling.percentiles() == pytest.approx((4.5, 5.85, 5.97))
    rolling.clear()
    assert len(rolling) == 0 and rolling.last(3).tolist() == []


def test_fake_frames_are_what_engines_give() -> None:
    pool = FakePool()
    make(pool, Clock()).request(0)
    frame = rendered(pool.submitted[0])
    assert (frame.rgba[..., :3] <= frame.rgba[..., 3:]).all(), "premultiplied"
