"""Two eyes from one cache: each is drawn as if it had been asked for alone, and costs no second cache."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.arkit import HeadState
from models.geometry import Pose
from renderer.engine import PlainEngine
from renderer.engine_cpu import CpuEngine
from renderer.engine_protocol import CacheEntry, Engine, WarpOutput
from renderer.messages import EyeView, RenderedFrame, ViewRequest
from renderer.pool import INVALID, RendererPool
from tests.renderer.pool_fakes import CAMERA, FakeEngine, view
from tests.renderer.small import CONFIG
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film
from tracking.room import look_at_head

HEAD = HeadState(T_world_head=Pose(np.array([0.0, 0.0, -0.7])))


def stereo(frame_id: int, x: float = 0.0) -> ViewRequest:
    (left, camera), (right, other) = (
        look_at_head(np.array([x + side, 0.0, 0.0]), HEAD.T_world_head.position) for side in (-0.032, 0.032)
    )
    return ViewRequest(frame_id, frame_id, frame_id, left, camera, HEAD, EyeView(right, other))


class Recorded:
    """An engine whose requests are kept."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.device, self.memory = engine, engine.device, engine.memory
        self.caches: list[ViewRequest] = []
        self.warps: list[ViewRequest] = []

    def build_cache(self, request: ViewRequest) -> CacheEntry:
        self.caches.append(request)
        return self.engine.build_cache(request)

    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        self.warps.append(request)
        return self.engine.warp(cache, request)

    def close(self) -> None:
        self.engine.close()


@pytest.fixture
def fake() -> Iterator[tuple[RendererPool, Recorded]]:
    engine = Recorded(FakeEngine())
    pool = RendererPool([lambda: engine], warps_per_cache=2, hang_timeout_s=60.0)
    pool.start(30.0)
    yield pool, engine
    pool.close(10.0)


def frame_of(pool: RendererPool, request: ViewRequest) -> RenderedFrame:
    assert pool.submit(request)
    assert pool.wait(60.0)
    (frame,) = pool.poll()
    assert isinstance(frame, RenderedFrame)
    return frame


def test_one_cache_between_the_eyes_serves_both(fake: tuple[RendererPool, Recorded]) -> None:
    pool, engine = fake
    frame = frame_of(pool, stereo(1, 0.1))
    assert frame.second is not None and frame.durations_ns["second eye"] == 1000
    assert frame.stamps_ns["second eye"] == frame.stamps_ns["warp"] + 1000
    frame_of(pool, stereo(2, 0.1))
    assert len(engine.warps) == 4 and len(engine.caches) <= 2
    np.testing.assert_allclose(engine.caches[0].T_world_eye.position, [0.1, 0, 0], atol=1e-9)
    assert engine.caches[0].second_eye is None
    xs = [r.T_world_eye.position[0] for r in engine.warps[:2]]
    assert xs == pytest.approx([0.068, 0.132])


def test_one_eye_stays_one_eye(fake: tuple[RendererPool, Recorded]) -> None:
    pool, engine = fake
    frame = frame_of(pool, view(1))
    assert frame.second is None and "second eye" not in frame.durations_ns and len(engine.warps) == 1


def test_an_eye_that_cannot_be_drawn_refuses_the_whole_request(fake: tuple[RendererPool, Recorded]) -> None:
    pool, _ = fake
    for eye in (Pose(np.array([0.0, np.nan, 0.0])), Pose(np.array([0.0, 0.0, -2.0]))):
        number = int(pool.stats().submitted) + 1
        assert not pool.submit(replace(stereo(number), second_eye=EyeView(eye, CAMERA)))
    assert pool.stats().dropped == {INVALID: 2}


def test_a_worker_whose_second_eye_is_nan_has_failed() -> None:
    class HalfBlind(FakeEngine):
        def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
            out = super().warp(cache, request)
            return replace(out, finite=request.T_world_eye.position[0] < 0)

    pool = RendererPool([HalfBlind])
    pool.start(30.0)
    try:
        pool.submit(stereo(1))
        assert pool.wait(60.0)
        (failure,) = pool.poll()
        assert "NaN" in getattr(failure, "reason", "")
    finally:
        pool.close(10.0)


@pytest.mark.parametrize("kind", ["fast", "plain"])
def test_each_eye_looks_as_it_would_alone(tmp_path: Path, kind: str) -> None:
    track, _ = film(tmp_path, frames=24, side=96)
    avatar = untrained_avatar(track, CONFIG)

    def make() -> Engine:
        return CpuEngine(avatar, dtype=torch.float32) if kind == "fast" else PlainEngine(avatar, "cpu")

    pool = RendererPool([make], hang_timeout_s=60.0)
    pool.start(120.0)
    try:
        request = stereo(1)
        frame = frame_of(pool, request)
    finally:
        pool.close(30.0)
    engine = make()
    cache = engine.build_cache(request.of_cache())
    alone = request.of_second_eye()
    assert alone is not None
    left, right = engine.warp(cache, request), engine.warp(cache, alone)
    assert frame.second is not None
    np.testing.assert_array_equal(frame.rgba, left.rgba)
    np.testing.assert_array_equal(frame.second.rgba, right.rgba)
    assert frame.crop == left.crop and frame.second.crop == right.crop
    assert np.abs(frame.rgba.astype(int) - frame.second.rgba).mean() > 0.2, "two eyes see two pictures"
    assert left.warp_degrees == pytest.approx(right.warp_degrees, abs=0.05) and left.warp_degrees > 2
