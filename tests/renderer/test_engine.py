import copy
import threading
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.stage import bundled_avatar
from models.arkit import HeadState
from models.avatar_file import Avatar, load_avatar
from models.errors import UserError
from models.geometry import Pose, look_at, quaternion_from_euler
from models.track_file import Track
from renderer import engine_cpu
from renderer.bench.samples import request_at as performed_at
from renderer.cpu_bytes import has_byte_products
from renderer.engine import PlainEngine, engine_factories, make_engine
from renderer.engine_cpu import CpuEngine, CpuEngines, measured, sample_views
from renderer.engine_split import SplitEngine
from renderer.fade import bust_fade
from renderer.messages import ViewRequest
from tests.renderer.small import CONFIG, decibels
from tests.synthetic_avatar import untrained_avatar


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 65.0), (torch.bfloat16, 45.0)])
def test_fast_and_plain_engine_draw_the_same(
    avatar: Avatar, request_at: Callable[[int], ViewRequest], dtype: torch.dtype, least: float
) -> None:
    plain, fast = PlainEngine(avatar, "cpu"), CpuEngine(avatar, dtype=dtype)
    for cached, shown in ((3, 3), (3, 8), (12, 5)):
        a = plain.warp(plain.build_cache(request_at(cached)), request_at(shown))
        b = fast.warp(fast.build_cache(request_at(cached)), request_at(shown))
        assert decibels(a.rgba, b.rgba) > least
        assert astuple(a.crop) == pytest.approx(astuple(b.crop)) and a.finite and b.finite
        assert a.warp_degrees == pytest.approx(b.warp_degrees, abs=1e-3)  # the arc cosine of a float32
        assert a.rgba.std() > 5, "the picture is not empty"


def test_one_engine_warps_what_another_made_and_goes_on_while_the_next_is_made(
    avatar: Avatar, request_at: Callable[[int], ViewRequest]
) -> None:
    """What the pool does where a worker is dedicated to warping: not a bit differs from an engine that does both."""
    make = CpuEngines(avatar)
    maker, warper, both = make(), make(), make()
    assert maker.memory is warper.memory is not None and CpuEngines(avatar)().memory is not maker.memory
    expected = [both.warp(both.build_cache(request_at(3)), request_at(shown)).rgba for shown in range(12)]
    cache, stop = maker.build_cache(request_at(3)), threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            maker.build_cache(request_at(15))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        drawn = [warper.warp(cache, request_at(shown)).rgba for shown in range(12)]
    finally:
        stop.set()
        thread.join(30.0)
    assert all((a == b).all() for a, b in zip(drawn, expected, strict=True))


@pytest.mark.needs("int8")
def test_int8_draws_what_the_plain_engine_draws(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    """On this avatar's noise it has little to win; the bundled one comes out at 55 dB (tests.benchmarks.bench_engine).
    Runs on any CPU that torch has oneDNN for, fast or not."""
    plain, half = PlainEngine(avatar, "cpu"), CpuEngine(avatar, dtype=torch.bfloat16)
    largest = measured(half, sample_views(avatar))
    assert largest is not None
    fast = CpuEngine(avatar, dtype=torch.bfloat16, largest=largest)
    assert fast.device.endswith(", int8")
    # what is between two layers only where products are our own (renderer.cpu_dot)
    assert all(given.in_bytes for name, given in fast.inputs.items() if name != "between")
    for cached, shown in ((3, 3), (3, 8), (12, 5)):
        a = plain.warp(plain.build_cache(request_at(cached)), request_at(shown))
        b = fast.warp(fast.build_cache(request_at(cached)), request_at(shown))
        assert decibels(a.rgba, b.rgba) > 40 and b.finite
        assert a.rgba.std() > 5, "the picture is not empty"


@pytest.mark.needs("vnni")
def test_int8_holds_for_moments_that_were_not_measured() -> None:
    """A lively face brings larger numbers than a calm one. Measured on four views, this avatar came to 43 dB here."""
    avatar = load_avatar(bundled_avatar())
    plain, half = CpuEngine(avatar, 256, torch.float32), CpuEngine(avatar, 256, torch.bfloat16)
    fast = CpuEngine(avatar, 256, torch.bfloat16, largest=measured(half, sample_views(avatar)))
    assert all(given.in_bytes for given in fast.inputs.values())
    for i in range(0, 900, 30):
        a, b = (e.warp(e.build_cache(performed_at(avatar, i)), performed_at(avatar, i + 2)) for e in (plain, fast))
        assert decibels(a.rgba, b.rgba) > 46, i


def test_the_bundled_warps_units_live() -> None:
    """Of plain ReLUs two or three in sixteen were left after training, at one pixel in fifty: W drew what was moved."""
    avatar = load_avatar(bundled_avatar())
    engine = CpuEngine(avatar, 256, torch.float32)
    shares = []
    for i in (40, 300, 520):
        engine.warp(engine.build_cache(performed_at(avatar, i)), performed_at(avatar, i + 4))
        shares.append((engine.inputs["joined"].bits > 0).mean(axis=(0, 1)))
    assert (np.mean(shares, axis=0) > 0.01).sum() >= 10


def test_where_a_warp_does_not_draw_nothing_is_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    avatar, size = load_avatar(bundled_avatar()), 256
    engine, left_out = CpuEngine(avatar, size, torch.float32), []
    for i, ahead in ((40, 1), (300, 4), (520, 8), (800, 2)):
        cache, request = engine.build_cache(performed_at(avatar, i)), performed_at(avatar, i + ahead)
        part = engine.warp(cache, request).rgba.astype(int)
        left_out.append(1 - np.ptp(engine.spans, axis=1).mean() / size)
        with monkeypatch.context() as patch:
            patch.setattr(engine_cpu, "drawn_spans", lambda *given: given[-1].__setitem__(slice(None), (0, size)))
            all_of_it = engine.warp(cache, request).rgba.astype(int)
        assert np.abs(part - all_of_it).max() <= 3 and decibels(part, all_of_it) > 55
    assert min(left_out) > 0.2 and max(left_out) < 0.6


def test_numbers_that_are_not_finite_are_not_put_into_bytes(track: Track) -> None:
    for layer in ("up.2.conv.weight", "down.0.conv.bias"):
        broken = untrained_avatar(track, CONFIG)
        with torch.no_grad():
            broken.network.generator.get_parameter(layer).fill_(float("nan"))
        assert measured(CpuEngine(broken, dtype=torch.bfloat16), sample_views(broken)) is None
        engine = CpuEngines(broken)()
        assert "int8" not in engine.device
        with pytest.raises(FloatingPointError):
            engine.build_cache(sample_views(broken)[0])


def test_engines_of_one_avatar_measure_it_once(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[CpuEngine] = []
    monkeypatch.setattr(engine_cpu, "has_fast_bfloat16", lambda: True)
    monkeypatch.setattr(engine_cpu, "can_multiply_bytes", lambda: True)
    monkeypatch.setattr(engine_cpu, "measured", lambda engine, views: calls.append(engine))
    factories = engine_factories(avatar, ["cpu", "cpu"])
    assert all(isinstance(make(), CpuEngine) for make in factories) and len(calls) == 1


def test_fast_and_plain_engine_paint_the_same_where_the_cache_saw_nothing(avatar: Avatar, track: Track) -> None:
    plain, fast = PlainEngine(avatar, "cpu"), CpuEngine(avatar, dtype=torch.float32)
    head = HeadState(T_world_head=Pose(np.array([0, 0, -0.6])))
    front = ViewRequest(0, 0, 0, Pose(), track.camera, head)
    eye = head.T_world_head.position + 0.6 * np.array([np.sin(0.7), 0, np.cos(0.7)])
    side = replace(front, frame_id=1, T_world_eye=look_at(eye, head.T_world_head.position))
    a = plain.warp(plain.build_cache(front), side)
    b = fast.warp(fast.build_cache(front), side)
    assert fast._field.hidden.sum() > 100
    assert decibels(a.rgba, b.rgba) > 65


def test_networks_are_told_of_no_side_that_training_did_not_show(avatar: Avatar, track: Track) -> None:
    seen = {"view_yaw_degrees": [-20.0, 20.0], "view_pitch_degrees": [-10.0, 10.0]}
    network = copy.deepcopy(avatar.network)
    network.view_limits = ((-0.4, 0.4), (-0.2, 0.2))
    limited = replace(avatar, network=network, manifest={**avatar.manifest, "ranges": seen})

    def pictures(of: Avatar, yaw: float) -> list[np.ndarray]:
        pose = Pose(np.array([0, 0, -0.6]), quaternion_from_euler(yaw, 0.0))
        request = ViewRequest(0, 0, 0, Pose(), track.camera, HeadState(T_world_head=pose))
        engines = PlainEngine(of, "cpu"), CpuEngine(of, dtype=torch.float32)
        return [engine.warp(engine.build_cache(request), request).rgba for engine in engines]

    for within, beyond in zip(pictures(avatar, 0.2), pictures(limited, 0.2), strict=True):
        assert decibels(within, beyond) > 60, "what training saw stays as it was"
    free, (plain, fast) = pictures(avatar, 0.9), pictures(limited, 0.9)
    assert decibels(free[0], plain) < 60 and decibels(plain, fast) > 65


def test_caches_do_not_disturb_each_other(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    """Buffers are reused: a cache made later, or a warp in between, must not change what an older cache draws."""
    engine = CpuEngine(avatar)
    first = engine.build_cache(request_at(2))
    before = engine.warp(first, request_at(4)).rgba.copy()
    engine.warp(engine.build_cache(request_at(15)), request_at(17))
    np.testing.assert_array_equal(engine.warp(first, request_at(4)).rgba, before)


def test_colour_is_premultiplied(avatar: Avatar, request_at: Callable[[int], ViewRequest]) -> None:
    rgba = (
        make_engine(avatar, "cpu")
        .warp((e := make_engine(avatar, "cpu")).build_cache(request_at(1)), request_at(2))
        .rgba
    )
    assert e.device.startswith("cpu")
    assert (rgba[..., :3].max(axis=2) <= rgba[..., 3].astype(int) + 1).all()


def test_the_viewer_moving_is_the_head_turning(avatar: Avatar, track: Track) -> None:
    """A camera that circles the head by 10 degrees is reported as a warp of 10 degrees, and keeps the head centred."""
    engine = make_engine(avatar, "cpu")
    head = HeadState(T_world_head=Pose(np.array([0, 0, -0.6])))
    front = ViewRequest(0, 0, 0, Pose(), track.camera, head)
    angle = np.radians(10)
    eye = head.T_world_head.position + 0.6 * np.array([np.sin(angle), 0, np.cos(angle)])
    side = replace(front, frame_id=1, T_world_eye=look_at(eye, head.T_world_head.position))
    out = engine.warp(engine.build_cache(front), side)
    assert out.warp_degrees == pytest.approx(10, abs=1e-3)
    assert out.crop.center_x == pytest.approx(track.camera.cx, abs=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        {"warp": "past"}, {"warp": "none"}, {"backbone": "resnet"},
        {"upsampling": "transposed"}, {"warp_residual": False}, {"warp_fill": False},
        {"warp_change": False}, {"cache_f4": False}, {"cache_f5": False},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_kernels_do_not_know_runs_on_the_plain_engine_which_says_so(
    track: Track, request_at: Callable[[int], ViewRequest], other: dict[str, Any]
) -> None:
    avatar = untrained_avatar(track, replace(CONFIG, **other))
    (factory,) = engine_factories(avatar, ["cpu"])
    engine = factory()
    assert isinstance(engine, PlainEngine)
    ((name, value),) = other.items()
    assert engine.device.endswith(f", slow: {name} {value}")
    with pytest.raises(ValueError, match=name):
        CpuEngine(avatar)
    out = engine.warp(engine.build_cache(request_at(1)), request_at(4))
    assert out.finite and out.rgba.shape == (96, 96, 4) and out.rgba.std() > 5


@pytest.mark.parametrize(
    "other",
    [
        {}, {"warp": "explicit"}, {"warp_norm": "group", "warp_rgb_residual": True}, {"backbone": "resnet"},
        {"warp_skips": "plain"}, {"width": 16, "norm": "instance", "detail": False, "expression_code": 0},
    ],
    ids=str,
)  # fmt: skip
def test_the_papers_warp_is_split_and_draws_what_the_plain_engine_draws(
    track: Track, request_at: Callable[[int], ViewRequest], other: dict[str, Any]
) -> None:
    avatar = untrained_avatar(track, replace(CONFIG, **{"warp": "published", "warp_width": 16, **other}))
    (factory,) = engine_factories(avatar, ["cpu"])
    plain, fast = PlainEngine(avatar, "cpu"), factory()
    assert isinstance(fast, SplitEngine) and fast.device.endswith(", slow: G as trained")
    cached, twin = fast.build_cache(request_at(3)), plain.build_cache(request_at(3))
    for shown in (3, 8, 20):  # one presum, several warps
        a, b = plain.warp(twin, request_at(shown)), fast.warp(cached, request_at(shown))
        assert decibels(a.rgba, b.rgba) > 70 and a.crop == b.crop and a.finite and b.finite
        assert a.rgba.std() > 5, "the picture is not empty"


def test_the_split_engine_refuses_other_warps(avatar: Avatar) -> None:
    with pytest.raises(ValueError, match="warp motion"):
        SplitEngine(avatar, "cpu")


def test_sizes_and_the_papers_g_stay_on_the_fast_engine(track: Track) -> None:
    known = replace(CONFIG, width=16, norm="instance", detail=False, expression_code=0, texture_levels=2)
    engine = make_engine(untrained_avatar(track, known), "cpu")
    assert isinstance(engine, CpuEngine) and "slow" not in engine.device


@pytest.mark.parametrize(
    "told",
    [
        {"warp_texture": False}, {"warp_sparse": True}, {"cache_f3": False}, {"warp_hidden": False},
        {"warp_sparse": True, "cache_f3": False, "warp_hidden": False},
    ],
    ids=str,
)  # fmt: skip
def test_a_warp_that_is_told_less_is_drawn_fast(
    track: Track, request_at: Callable[[int], ViewRequest], told: dict[str, bool]
) -> None:
    untold = untrained_avatar(track, replace(CONFIG, **told))
    plain, half = PlainEngine(untold, "cpu"), CpuEngine(untold, dtype=torch.bfloat16)
    engines = {60.0: CpuEngine(untold, dtype=torch.float32)}
    if has_byte_products():
        engines[40.0] = CpuEngine(untold, dtype=torch.bfloat16, largest=measured(half, sample_views(untold)))
    wanted = plain.warp(plain.build_cache(request_at(3)), request_at(8)).rgba
    for least, engine in engines.items():
        assert decibels(wanted, engine.warp(engine.build_cache(request_at(3)), request_at(8)).rgba) > least


def test_not_a_number_is_noticed(avatar: Avatar, track: Track, request_at: Callable[[int], ViewRequest]) -> None:
    broken = untrained_avatar(track, CONFIG)
    with torch.no_grad():
        broken.network.warp.residual.bias.fill_(float("nan"))  # type: ignore[union-attr]
    for engine in (CpuEngine(broken), PlainEngine(broken, "cpu")):
        assert not engine.warp(engine.build_cache(request_at(1)), request_at(2)).finite
    with torch.no_grad():
        for parameter in broken.network.generator.up[4].parameters():  # type: ignore[union-attr]
            parameter.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        CpuEngine(broken).build_cache(request_at(1))
    lost = replace(request_at(1), T_world_eye=Pose(np.array([np.nan, 0, 0])))
    with pytest.raises((FloatingPointError, ValueError)):
        make_engine(avatar, "cpu").build_cache(lost)


def test_devices_that_are_not_there(avatar: Avatar) -> None:
    for device in ("cuda:99", "toaster"):
        with pytest.raises(UserError, match=device):
            engine_factories(avatar, [device])


def test_a_smaller_or_larger_picture_on_demand(
    avatar: Avatar, request_at: Callable[[int], ViewRequest], tmp_path: Path
) -> None:
    for size in (64, 128):
        engine = make_engine(avatar, "cpu", size)
        assert engine.warp(engine.build_cache(request_at(1)), request_at(2)).rgba.shape == (size, size, 4)


def test_the_picture_fades_out_where_the_shoulders_are_cut(
    avatar: Avatar, request_at: Callable[[int], ViewRequest]
) -> None:
    engine = make_engine(avatar, "cpu")
    alpha = engine.warp(engine.build_cache(request_at(1)), request_at(2)).rgba[..., 3]
    assert not alpha[0].any() and not alpha[-1].any() and not alpha[:, 0].any() and not alpha[:, -1].any()
    fade = bust_fade(96)
    assert fade[48, 48] == 1 and (np.diff(fade[48, :48]) >= 0).all() and (np.diff(fade[48:, 48]) <= 0).all()
