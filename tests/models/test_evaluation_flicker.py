"""Flicker: what stays on the surface is none, what jumps is as much as it jumps, hand-overs are where caches change."""

from __future__ import annotations

import pytest
import torch

from models.evaluation import flicker
from models.evaluation.flicker import Step, cache_frame, evaluate_flicker, is_hand_over, steps_of
from models.evaluation.offline import DrawnFrame, draw_frame
from models.network.avatar_network import AvatarNetwork
from models.network.config import NetworkConfig
from models.training.frames import FrameStore
from models.training.splits import BLOCK, Split, make_split
from renderer.raster import make_rasterizer
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film

SIZE = 64


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    track, video = film(tmp_path_factory.mktemp("film"), frames=2 * BLOCK, side=SIZE)
    return FrameStore(track, video, SIZE, make_rasterizer())


@pytest.fixture(scope="module")
def network(store: FrameStore) -> AvatarNetwork:
    return untrained_avatar(store.track, NetworkConfig(size=SIZE, width=8, texture_size=64, warp_width=8)).network


@pytest.fixture(scope="module")
def split(store: FrameStore) -> Split:
    return make_split("blocks", store.track.segment)


def test_caches_serve_the_k_frames_after_them() -> None:
    assert [cache_frame(n, 2) for n in range(1, 7)] == [0, 0, 2, 2, 4, 4]
    assert [n for n in range(2, 13) if is_hand_over(n, 4)] == [5, 9]
    assert all(is_hand_over(n, 1) for n in range(2, 9))


@torch.inference_mode()
def test_what_changes_as_the_truth_does_is_no_flicker(store: FrameStore, network: AvatarNetwork) -> None:
    before, after = draw_frame(network, store, 4), draw_frame(network, store, 5)
    step = Step(store, before, after)
    assert step.flicker(before.truth, after.truth) == (0, 0)
    assert max(step.flicker(before.truth + 0.1, after.truth + 0.1)) < 1e-3, "an error that stays is none"
    assert step.flicker(before.truth, after.truth + 0.1) == pytest.approx((25.5, 25.5), abs=1e-3)
    # the painted ball's surface keeps its colours: along its motion only resampling changes them, in place motion does
    later = draw_frame(network, store, 10)
    step = Step(store, before, later)
    assert step.mean(step.truth).frame < 0.6 * step.mean(later.truth - before.truth).frame


def test_every_phase_of_the_schedule_is_measured(
    store: FrameStore, network: AvatarNetwork, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warp that is the truth plus something of its cache: it flickers at hand-overs alone, by K times that much."""
    index: dict[int, int] = {}
    kept: list[DrawnFrame] = []

    def drawn(network_, store_, i):  # type: ignore[no-untyped-def]
        frame = draw_frame(network_, store_, i)
        index[id(frame)] = i
        kept.append(frame)  # an id stays taken
        return frame

    monkeypatch.setattr(flicker, "draw_frame", drawn)

    def warped(network_, store_, cached, target):  # type: ignore[no-untyped-def]
        return {"warp": target.truth + 0.002 * index[id(cached)], "mesh": target.truth}

    monkeypatch.setattr(flicker, "warp_frame", warped)
    rows = evaluate_flicker(network, store, split.test, split.block, (1, 2, 4))
    for k in (2, 4):
        row = rows[f"warp_{k}x"]
        steps = len(steps_of(split.test, split.block, k))
        assert steps == BLOCK - k - 1 and row["hand_over"]["steps"] == steps and row["steps"] == k * steps
        assert row["hand_over"]["face"] == pytest.approx(k * 0.51, abs=2e-3) and row["elsewhere"]["face"] < 2e-3
        assert row["jump"]["face"] == pytest.approx(k * 0.51, abs=2e-3)
        assert row["frame"] == pytest.approx(0.51, abs=2e-3), "the mean of a stream, in which one of K steps is one"
    assert rows["mesh_2x"]["jump"]["face"] == rows["mesh_2x"]["hand_over"]["face"] == 0, "each model by itself"
    assert rows["warp_1x"]["face"] == pytest.approx(0.51, abs=2e-3) and "ratio" not in rows["warp_1x"]


def test_real_warps_have_a_ratio(store: FrameStore, network: AvatarNetwork, split: Split) -> None:
    ticks: list[int] = []
    rows = evaluate_flicker(network, store, split.test[:8], split.block, (2,), lambda: ticks.append(1))
    row = rows["warp_2x"]
    for area in ("frame", "face"):
        assert row["ratio"][area] == pytest.approx(row["hand_over"][area] / row["elsewhere"][area], abs=2e-3)
        assert rows["truth"][area] > 0 and rows["G"][area] > 0
    assert len(ticks) == 8 - 3
    assert rows["mesh_2x"].keys() == row.keys() and rows["mesh_2x"]["jump"] != row["jump"]
    with pytest.raises(ValueError, match="long enough"):
        evaluate_flicker(network, store, split.test[:3], split.block, (2,))
