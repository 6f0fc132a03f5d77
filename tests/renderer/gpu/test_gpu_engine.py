"""The GPU's engine on CPU tensors: against the plain engine, and what it does when a card fails it.

What only a card has (graphs, streams, pinned memory) is tested where there is one.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.arkit import HeadState
from models.avatar_file import Avatar
from models.errors import UserError
from models.geometry import Pose, look_at, quaternion_from_euler
from models.track_file import Track
from models.view import head_view, head_window
from renderer import service
from renderer.engine import PlainEngine
from renderer.gpu import factory
from renderer.gpu.engine import GpuEngine
from renderer.gpu.frames import PictureBuffers
from renderer.gpu.kernels import Kernels, plain_kernels, triton_kernels
from renderer.gpu.mesh import DeviceMesh, Row, row_of
from renderer.messages import RenderedFrame, ViewRequest, WorkerFailed
from renderer.pool import RendererPool
from tests.renderer.small import CONFIG, decibels
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import ball_rig

HALF = torch.float16


def turned(track: Track) -> tuple[ViewRequest, ViewRequest]:
    """A frontal view, and one from so far aside that the cache saw little of it."""
    head = HeadState(T_world_head=Pose(np.array([0, 0, -0.6])))
    front = ViewRequest(0, 0, 0, Pose(), track.camera, head)
    eye = head.T_world_head.position + 0.6 * np.array([np.sin(0.7), 0, np.cos(0.7)])
    return front, replace(front, frame_id=1, T_world_eye=look_at(eye, head.T_world_head.position))


def agrees(kernels: Kernels, dtype: torch.dtype, least: float, avatar: Avatar, pairs: Any, device: str = "cpu") -> None:
    plain, fast = PlainEngine(avatar, device), GpuEngine(avatar, device, kernels, dtype=dtype)
    for cached, shown in pairs:
        a, b = plain.warp(plain.build_cache(cached), shown), fast.warp(fast.build_cache(cached), shown)
        assert decibels(a.rgba, b.rgba) > least
        assert a.crop == b.crop and a.warp_degrees == pytest.approx(b.warp_degrees, abs=1e-4)
        assert a.finite and b.finite and not fast.fell_back
        assert a.rgba.std() > 5, "the picture is not empty"
        assert a.depth is not None and b.depth is not None
        np.testing.assert_allclose(a.depth, b.depth, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 75.0), (HALF, 60.0), (torch.bfloat16, 50.0)])
def test_draws_what_the_plain_engine_draws(
    avatar: Avatar, track: Track, request_at: Callable[[int], ViewRequest], dtype: torch.dtype, least: float
) -> None:
    pairs = [(request_at(a), request_at(b)) for a, b in ((3, 3), (3, 8), (12, 5))]
    agrees(plain_kernels(), dtype, least, avatar, [*pairs, turned(track)])


@pytest.mark.needs("triton")
def test_draws_it_with_tritons_kernels_too(avatar: Avatar, track: Track) -> None:
    card = torch.cuda.is_available()  # elsewhere Triton's interpreter
    agrees(triton_kernels(), HALF, 50.0 if card else 60.0, avatar, [turned(track)], "cuda:0" if card else "cpu")


@pytest.mark.parametrize(
    "told",
    [{}, {"warp_texture": False}, {"warp_sparse": True}, {"cache_f3": False}, {"warp_hidden": False}],
    ids=str,
)
def test_the_papers_g_with_few_channels(
    track: Track, request_at: Callable[[int], ViewRequest], told: dict[str, bool]
) -> None:
    config = replace(CONFIG, width=16, norm="instance", detail=False, expression_code=0, warp_width=16)
    avatar = untrained_avatar(track, replace(config, **told))
    agrees(plain_kernels(), torch.float32, 70.0, avatar, [(request_at(3), request_at(8))])


def test_mesh_on_the_device_is_the_mesh(track: Track) -> None:
    rng = np.random.default_rng(0)
    rig = ball_rig()
    eyes = (rng.random((2, len(rig.uv))) * (rng.random(len(rig.uv)) < 0.2)).astype(np.float32)
    rig = replace(rig, eye_weight=eyes, head_weight=rng.random(len(rig.uv)).astype(np.float32))
    expression = (rng.random(52) * 0.8).astype(np.float32)
    pose = Pose(np.array([0.05, -0.02, -0.55]), quaternion_from_euler(0.4, -0.2, 0.1))
    head = HeadState(expression, np.array([0.2, -0.1, 0.3, 0.15], np.float32), pose)
    eye = Pose(np.array([0.03, 0.01, 0.05]), quaternion_from_euler(0.05, 0.02))
    request = ViewRequest(0, 0, 0, eye, track.camera, head)
    window = head_window(head, eye, track.camera, 96)
    row, out = Row(torch.device("cpu")), torch.zeros(len(rig.uv), 3)
    row.all.copy_(torch.from_numpy(row_of(request, window, torch.zeros(9))))
    DeviceMesh(rig, torch.device("cpu")).project(row, out)
    expected = head_view(rig, head, eye, track.camera, 96).pixels
    np.testing.assert_allclose(out, expected, atol=2e-4)


def test_caches_do_not_disturb_each_other(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    engine = GpuEngine(avatar, "cpu", plain_kernels())
    first = engine.build_cache(request_at(2))
    before = engine.warp(first, request_at(4)).rgba
    kept = before.copy()
    second = engine.warp(engine.build_cache(request_at(15)), request_at(17)).rgba
    alone = GpuEngine(avatar, "cpu", plain_kernels())
    np.testing.assert_array_equal(second, alone.warp(alone.build_cache(request_at(15)), request_at(17)).rgba)
    np.testing.assert_array_equal(engine.warp(first, request_at(4)).rgba, kept)
    np.testing.assert_array_equal(before, kept, "a picture that somebody holds is not drawn into")


def test_pictures_memory_is_used_again_when_nobody_looks_at_it() -> None:
    buffers = PictureBuffers(8, pinned=False)
    for _ in range(5):
        buffer, picture = buffers.take()
        del buffer, picture
        gc.collect()
    assert buffers.made == 2
    held = [buffers.take()[1][2:4] for _ in range(3)]  # views of pictures
    assert buffers.made == 3
    assert len({view.__array_interface__["data"][0] for view in held}) == 3


def test_a_pose_that_is_no_number_is_refused(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    engine = GpuEngine(avatar, "cpu", plain_kernels())
    lost = replace(request_at(1), T_world_eye=Pose(np.array([np.nan, 0, 0])))
    with pytest.raises((FloatingPointError, ValueError)):
        engine.build_cache(lost)


# --- what a card may do to us ----------------------------------------------------------------------------------------


def test_what_half_precision_cannot_hold_is_drawn_in_single(
    track: Track, request_at: Callable[[int], ViewRequest], caplog: pytest.LogCaptureFixture
) -> None:
    large = untrained_avatar(track, CONFIG)
    with torch.no_grad():
        large.network.generator.down[0].conv.weight.mul_(1e6)  # type: ignore[union-attr]
    with caplog.at_level(logging.WARNING):
        engine = GpuEngine(large, "cpu", plain_kernels(), dtype=HALF)
    assert engine.device.endswith(", float32: NaN in half precision") and "going on in float32" in caplog.text
    plain = PlainEngine(large, "cpu")
    a = plain.warp(plain.build_cache(request_at(3)), request_at(8))
    b = engine.warp(engine.build_cache(request_at(3)), request_at(8))
    assert b.finite and decibels(a.rgba, b.rgba) > 60


def test_nan_in_the_middle_of_a_session_is_mended_from_the_same_cache(
    avatar: Avatar, request_at: Callable[[int], ViewRequest]
) -> None:
    engine = GpuEngine(avatar, "cpu", plain_kernels(), dtype=HALF)
    cache = engine.build_cache(request_at(3))
    before = engine.warp(cache, request_at(8)).rgba
    assert "float32" not in engine.device
    with torch.inference_mode():
        engine.warp_pass._corrector._residual.bias.fill_(torch.nan)
    for _ in range(2):
        after = engine.warp(cache, request_at(8))
        assert after.finite and decibels(before, after.rgba) > 60
    assert "float32" in engine.device


def test_weights_that_are_no_numbers_are_noticed_before_the_first_frame(track: Track) -> None:
    broken = untrained_avatar(track, CONFIG)
    with torch.no_grad():
        broken.network.warp.residual.bias.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(FloatingPointError, match="warp"):
        GpuEngine(broken, "cpu", plain_kernels())


def test_out_of_memory_draws_smaller_and_says_so(
    avatar: Avatar, request_at: Callable[[int], ViewRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Card(GpuEngine):
        room = 64

        def _build(self, dtype: torch.dtype) -> None:
            if self.size > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
            super()._build(dtype)

    monkeypatch.setattr("renderer.gpu.engine.GpuEngine", Card)
    engine = factory.largest_that_fits(avatar, "cpu", plain_kernels())
    assert engine.device.endswith(", 64 px: out of memory at 96")
    assert engine.warp(engine.build_cache(request_at(3)), request_at(4)).rgba.shape == (64, 64, 4)
    Card.room = 0
    with pytest.raises(UserError, match="too little free memory"):
        factory.largest_that_fits(avatar, "cpu", plain_kernels())
    assert factory.smaller_sizes(512) == [512, 384, 288, 192, 128, 96, 64]


def test_networks_that_the_kernels_do_not_know_are_drawn_plainly(track: Track) -> None:
    published = untrained_avatar(track, replace(CONFIG, warp="published"))
    engine = factory.make_gpu_engine(published, "cpu")
    assert isinstance(engine, PlainEngine) and engine.device.endswith(", slow: warp published")
    with pytest.raises(ValueError, match="published"):
        GpuEngine(published, "cpu", plain_kernels())


def test_a_card_without_triton_draws_plainly_and_says_so(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "has_triton", lambda: False)
    engine = factory.make_gpu_engine(avatar, "cpu")
    assert isinstance(engine, PlainEngine) and engine.device.endswith(", slow: Triton is not installed")


def frames_of(pool: RendererPool, requests: list[ViewRequest]) -> tuple[list[RenderedFrame], list[WorkerFailed]]:
    frames: list[RenderedFrame] = []
    failures: list[WorkerFailed] = []
    for request in requests:
        for _ in range(100):
            if pool.submit(request):
                break
            pool.wait(1.0)
            for item in pool.poll():
                (frames if isinstance(item, RenderedFrame) else failures).append(item)  # type: ignore[arg-type]
            request = replace(request, frame_id=request.frame_id + 1)
    for _ in range(100):
        for item in pool.poll():
            (frames if isinstance(item, RenderedFrame) else failures).append(item)  # type: ignore[arg-type]
        if not pool.stats().in_flight:
            break
        pool.wait(1.0)
    return frames, failures


def test_a_card_that_goes_away_costs_its_worker_only(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    engines: list[GpuEngine] = []

    def make() -> GpuEngine:
        engines.append(GpuEngine(avatar, "cpu", plain_kernels()))
        return engines[-1]

    pool = RendererPool([make, make], warps_per_cache=1, hang_timeout_s=30.0)
    try:
        pool.start(60.0)
        ids = iter(range(1, 10_000, 100))
        ask = lambda n: [replace(request_at(3 + k), frame_id=next(ids)) for k in range(n)]  # noqa: E731
        frames, failures = frames_of(pool, ask(4))
        assert frames and not failures

        def gone() -> None:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")

        engines[0]._draw_warp = engines[0]._draw_cache = gone
        frames, failures = frames_of(pool, ask(8))
        assert [f.reason for f in failures] == ["raised: AcceleratorError: CUDA error: unspecified launch failure"]
        assert len(frames) >= 4 and all(np.any(f.rgba) for f in frames[-2:])
    finally:
        pool.close(10.0)


def test_frames_tell_that_their_engine_fell_back(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    engines: list[GpuEngine] = []

    def make() -> GpuEngine:
        engines.append(GpuEngine(avatar, "cpu", plain_kernels(), dtype=HALF))
        return engines[-1]

    pool = RendererPool([make], warps_per_cache=1, hang_timeout_s=30.0)
    try:
        pool.start(60.0)
        before, _ = frames_of(pool, [replace(request_at(3), frame_id=1)])
        with torch.inference_mode():
            engines[0].warp_pass._corrector._residual.bias.fill_(torch.nan)
        after, failures = frames_of(pool, [replace(request_at(3 + k), frame_id=100 * k) for k in (1, 2, 3)])
    finally:
        pool.close(10.0)
    assert not failures and "float32" not in before[0].device
    assert after[-1].device.endswith("float32: NaN in half precision")


def test_service_times_of_a_pass_that_has_its_geometry_inside(
    avatar: Avatar, request_at: Callable[[int], ViewRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "make_engine", lambda *_: GpuEngine(avatar, "cpu", plain_kernels()))
    times = service.measure_service(avatar, "cpu", [request_at(i) for i in range(6)], passes=2)
    assert times.cache_networks == times.cache > 0 and times.warp_networks == times.warp > 0


# --- where there is a card -------------------------------------------------------------------------------------------


@pytest.mark.needs("cuda")
@pytest.mark.needs("triton")
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 60.0), (HALF, 50.0)])
def test_on_a_card(
    avatar: Avatar, track: Track, request_at: Callable[[int], ViewRequest], dtype: torch.dtype, least: float
) -> None:
    pairs = [(request_at(a), request_at(b)) for a, b in ((3, 3), (3, 8), (12, 5))]
    agrees(triton_kernels(), dtype, least, avatar, [*pairs, turned(track)], "cuda:0")


@pytest.mark.needs("cuda")
@pytest.mark.needs("triton")
def test_two_workers_on_one_card(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    plain = PlainEngine(avatar, "cpu")
    make = lambda: factory.make_gpu_engine(avatar, "cuda:0")  # noqa: E731
    pool = RendererPool([make, make], warps_per_cache=1, hang_timeout_s=30.0)
    try:
        pool.start(120.0)
        requests = [replace(request_at(k % 20), frame_id=1 + 100 * k) for k in range(40)]
        frames, failures = frames_of(pool, requests)
    finally:
        pool.close(10.0)
    assert not failures and len(frames) == len(requests)
    for frame in frames:
        cached = request_at((frame.cache_frame_id - 1) // 100 % 20)
        expected = plain.warp(plain.build_cache(cached), frame.request).rgba
        assert decibels(frame.rgba, expected) > 45
