"""Eyes are turned to where the picture has their irises."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.arkit import HeadState
from models.avatar_file import Avatar
from models.track_file import Track
from models.training.frames import FrameStore
from renderer.raster import make_rasterizer
from tracking.video.direct import Drawing
from tracking.video.gaze import BLINK, LIMIT, through_blinks
from tracking.video.irises import looked
from tracking.video.refine import drawn_alike, mean_view

Draw = Callable[[int, HeadState], Drawing]


@pytest.fixture(scope="module")
def draw(avatar: Avatar, drawn: Track) -> Draw:
    store = FrameStore(drawn, Path(drawn.video.path), avatar.network.config.size, make_rasterizer())
    still = mean_view(drawn, avatar.network.eval())
    return functools.partial(drawn_alike, store, avatar.network, still)


@torch.inference_mode()
def test_eyes_look_where_the_pictures_do(avatar: Avatar, drawn: Track, draw: Draw) -> None:
    rng, after = np.random.default_rng(2), []
    wide = np.flatnonzero((drawn.expression[:, list(BLINK)] < 0.3).all(axis=1))
    assert len(wide) > 5
    for k in wide[:: max(1, len(wide) // 8)].tolist():
        right = drawn.head(k)
        off = rng.choice([-1, 1], 4) * np.array([0.07, 0.05, 0.07, 0.05])
        wrong = replace(right, gaze=(right.gaze + off).astype(np.float32))
        found = looked(avatar.rig, drawn.camera, wrong, functools.partial(draw, k), 3)
        assert found.T_world_head is wrong.T_world_head and found.expression is wrong.expression
        after.append(np.abs(found.gaze - right.gaze))
    assert (np.median(after, axis=0) < [0.015, 0.025, 0.015, 0.025]).all(), np.median(after, axis=0)


@torch.inference_mode()
def test_what_is_not_seen_keeps_its_gaze(avatar: Avatar, drawn: Track, draw: Draw) -> None:
    """Shut eyes do, and what lies beyond the camera's picture."""
    head = drawn.head(0)
    shut = head.expression.copy()
    shut[list(BLINK)] = 1
    blind = replace(head, expression=shut, gaze=head.gaze + np.float32(0.05))
    found = looked(avatar.rig, drawn.camera, blind, functools.partial(draw, 0), 1)
    np.testing.assert_array_equal(found.gaze, blind.gaze)

    def unseen(head: HeadState) -> Drawing:
        drawing = draw(0, head)
        return drawing._replace(sample=replace(drawing.sample, inside=np.zeros_like(drawing.sample.inside)))

    open_eyed = replace(head, gaze=head.gaze + np.float32(0.05))
    found = looked(avatar.rig, drawn.camera, open_eyed, unseen, 1)
    np.testing.assert_array_equal(found.gaze, open_eyed.gaze)
    found = looked(avatar.rig, drawn.camera, open_eyed, functools.partial(draw, 0), 1)
    assert (found.gaze != open_eyed.gaze).all()


@torch.inference_mode()
def test_nothing_turns_an_eye_over(avatar: Avatar, drawn: Track, draw: Draw) -> None:
    """Noise for a picture, from an eye at the end of its way."""
    head = replace(drawn.head(0), gaze=np.tile(LIMIT, 2).astype(np.float32))

    def noise(head: HeadState) -> Drawing:
        drawing = draw(0, head)
        return drawing._replace(picture=torch.rand(drawing.picture.shape, generator=torch.Generator().manual_seed(3)))

    found = looked(avatar.rig, drawn.camera, head, noise, 3)
    assert np.isfinite(found.gaze).all() and (np.abs(found.gaze) <= np.tile(LIMIT, 2) + 1e-6).all()
    assert np.abs(found.gaze - head.gaze).max() < 0.3


def test_gaze_is_carried_through_a_blink() -> None:
    gaze = np.arange(20.0).reshape(5, 4) / 100
    weights = np.zeros((5, 52))
    weights[2, BLINK[0]] = 1
    times = np.array([0, 10, 20, 30, 50], np.int64)
    wild = gaze.copy()
    wild[2] = 9
    found = through_blinks(wild, weights, times)
    np.testing.assert_allclose(found[2, :2], gaze[2, :2], rtol=1e-6)
    assert (found[2, 2:] == 9).all(), "the other eye was open"
    np.testing.assert_allclose(found[[0, 1, 3, 4]], gaze[[0, 1, 3, 4]], rtol=1e-6)
    weights[:, BLINK[0]] = 1
    np.testing.assert_allclose(through_blinks(wild, weights, times), wild, rtol=1e-6)  # never open: as it was
