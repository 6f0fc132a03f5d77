"""A track is pulled to where its clip has the head, by an avatar that drew the clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.avatar_file import Avatar
from models.track_file import Mattes, Track
from models.training.frames import FrameStore
from renderer.raster import make_rasterizer
from tests.drawn_clip import put_wrong
from tracking.video.refine import drawn_alike, mean_view, moved_px, refine_track
from tracking.video.stabilise import stabilised_crops


def errors(track: Track, right: Track) -> NDArray[np.float64]:
    """Means over the frames: degrees, metres across the sight, and along it."""
    between = [track.pose(k).rotation.T @ right.pose(k).rotation for k in range(len(track))]
    angle = np.degrees(np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    shift = track.position - right.position
    across, along = np.linalg.norm(shift[:, :2], axis=1), np.abs(shift[:, 2])
    return np.stack([angle, across, along]).mean(axis=1)


def off(name: str, track: Track, right: Track) -> float:
    return float(np.abs(getattr(track, name) - getattr(right, name)).mean())


def test_a_drifting_track_is_pulled_to_its_clip(avatar: Avatar, drawn: Track) -> None:
    wrong, told = put_wrong(drawn), []
    found = refine_track(
        wrong,
        Path(drawn.video.path),
        avatar.network,
        avatar.rig,
        make_rasterizer(),
        lambda *done: told.append(done),
        rounds=1,
    )
    assert (errors(found, drawn) < 0.6 * errors(wrong, drawn)).all()
    assert off("expression", found, drawn) < 0.85 * off("expression", wrong, drawn)
    assert off("gaze", found, drawn) < 0.03
    assert moved_px(wrong, drawn)[0] > 1.5 and max(moved_px(found, drawn)) < 0.8
    # what was not to be found stays, and the window follows the head
    assert np.array_equal(found.rig.neutral, avatar.rig.neutral), "these mattes have no edge"
    for name in ("landmarks", "mattes", "plate", "camera", "video"):
        assert getattr(found, name) is getattr(wrong, name)
    assert np.array_equal(found.crop, stabilised_crops(found.camera, found.position, found.segment))
    assert [row for row in told if row[0] == "round 1"] == [("round 1", k + 1, len(drawn)) for k in range(len(drawn))]


def test_the_loft_is_fitted_to_the_mattes_again(avatar: Avatar, drawn: Track) -> None:
    rig, camera, rasterize = avatar.rig, drawn.camera, make_rasterizer()
    loft = rig.regions["cranium"]
    neutral = rig.neutral.copy()
    neutral[loft, 0] *= 0.95  # what the head is in truth
    slim = replace(rig, neutral=neutral)
    mattes = []
    for k in range(len(drawn)):
        head = drawn.head(k)
        pixels = camera.project(slim.vertices(head.expression, head.gaze, head.T_world_head).astype(np.float64))
        shown = rasterize(pixels.astype(np.float32), rig.triangles, rig.uv, camera.height, camera.width)
        mattes.append(shown.coverage.astype(np.uint8) * 255)
    filmed = replace(drawn, mattes=Mattes.pack(mattes, camera.width, camera.height))
    found = refine_track(filmed, Path(drawn.video.path), avatar.network, rig, rasterize, lambda *done: None, rounds=0)
    wide = rig.head_weight[loft] == 1
    before, after = (np.abs(of.neutral[loft, 0] - neutral[loft, 0])[wide].mean() for of in (rig, found.rig))
    assert after < 0.6 * before, (before, after)


def test_nothing_but_the_mesh_tells_frames_apart(avatar: Avatar, drawn: Track) -> None:
    store = FrameStore(drawn, Path(drawn.video.path), avatar.network.config.size, make_rasterizer())
    still = mean_view(drawn, avatar.network)
    told: list[torch.Tensor] = []
    draw = avatar.network.draw

    def spy(view, sampled):  # type: ignore[no-untyped-def]
        told.append(torch.cat([view.sh, view.state[:, :52]], dim=1))
        return draw(view, sampled)

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(avatar.network, "draw", spy)
        first, last = (drawn_alike(store, avatar.network, still, k, drawn.head(k)).drawn for k in (0, len(drawn) - 1))
    assert torch.equal(told[0], told[1]) and not torch.equal(first, last)
    torch.testing.assert_close(told[0][0, 9:], torch.from_numpy(drawn.expression.mean(axis=0)))


def test_how_far_a_track_was_moved(drawn: Track) -> None:
    aside = replace(drawn, position=drawn.position + [0.001, 0, 0])
    mm = drawn.camera.fx / -drawn.position[:, 2].mean() / 1000
    assert moved_px(drawn, aside) == pytest.approx((mm, mm), rel=0.2) and moved_px(drawn, drawn) == (0, 0)
