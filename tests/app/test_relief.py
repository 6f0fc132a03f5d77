"""Late reprojection: from its own place a picture is what it was; from another, each point is where it belongs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from app.presenter import EglPresenter
from app.relief import COARSE_CELLS, Relief
from models.camera import Camera, Crop
from models.geometry import Pose, quaternion_from_euler
from renderer.messages import EyeView, RenderedFrame
from renderer.relief import CELLS
from tests.app.test_blit import SIZE, drawn, plate, soft_frame

SIDE = 192


@pytest.fixture(scope="module")
def egl() -> Iterator[EglPresenter]:
    presenter = EglPresenter(SIZE)
    yield presenter
    presenter.close()


def seen_from(egl: EglPresenter, eye: EyeView | None) -> np.ndarray:
    egl.draw(eye)
    out = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    egl.read(out)
    return out[::-1].astype(int)


def slanted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of a wall that is nearer on the right, by the tangents of a ray."""
    return 0.6 / (1 + 0.5 * x + 0.2 * y)


def wall(dots: np.ndarray) -> tuple[RenderedFrame, np.ndarray]:
    """White dots on that wall at tangents [N, 2], as the camera at the origin sees them, and where they are [N, 3]."""
    camera = Camera(300.0, 300.0, SIZE[0] / 2, SIZE[1] / 2, *SIZE)
    crop = Crop(160.0, 120.0, float(SIDE), SIDE)
    frame = soft_frame(crop)
    request = replace(frame.request, camera=camera, T_world_eye=Pose())
    at = (
        (np.arange(SIDE) + 0.5 + crop.left - camera.cx) / camera.fx,
        (camera.cy - np.arange(SIDE) - 0.5 - crop.top) / camera.fy,
    )
    rgba = np.zeros((SIDE, SIDE, 4))
    for x, y in dots:
        rgba += 255 * np.exp(-((at[0][None] - x) ** 2 + (at[1][:, None] - y) ** 2) / (2 * 0.008**2))[..., None]
    cell = (np.arange(CELLS) + 0.5) / CELLS * SIDE - 0.5
    x, y = np.interp(cell, np.arange(SIDE), at[0]), np.interp(cell, np.arange(SIDE), at[1])
    depth = slanted(x[None, :], y[:, None]).astype(np.float32)
    points = np.concatenate([dots, -np.ones((len(dots), 1))], axis=1) * slanted(*dots.T)[:, None]
    picture = np.clip(rgba, 0, 255).astype(np.uint8)
    return replace(frame, rgba=picture, crop=crop, request=request, depth=depth), points


def test_from_its_own_place_it_is_the_picture_whatever_its_depth(egl: EglPresenter) -> None:
    egl.set_background(plate())
    frame = soft_frame(Crop(150.5, 118.25, 180.0, 96))
    own = EyeView(frame.request.T_world_eye, frame.request.camera)
    head = -own.T_world_eye.inverse().apply(frame.request.head.T_world_head.position)[2]
    bumpy = (head + np.random.default_rng(0).uniform(-0.1, 0.1, (CELLS, CELLS))).astype(np.float32)
    for depth in (None, np.full((CELLS, CELLS), head, np.float32), bumpy):
        egl.upload(replace(frame, depth=depth))
        difference = np.abs(seen_from(egl, own) - seen_from(egl, None))
        assert difference.mean() < 0.3 and np.percentile(difference, 99.5) <= 3


@pytest.mark.parametrize(
    "eye",
    [
        Pose(np.array([0.03, 0.0, 0.0])),
        Pose(np.array([-0.05, 0.02, 0.04])),
        Pose(np.array([0.02, -0.03, -0.05]), quaternion_from_euler(0.1, -0.05, 0.2)),
    ],
)
def test_every_point_is_where_it_belongs(egl: EglPresenter, eye: Pose) -> None:
    egl.set_background(np.zeros((24, 32, 3), np.uint8))
    camera = Camera(320.0, 310.0, 150.0, 125.0, *SIZE)  # off-axis, and another one than it was taken by
    for dot in ((-0.15, 0.1), (0.0, 0.0), (0.2, -0.15)):
        frame, points = wall(np.array([dot]))
        egl.upload(frame)
        picture = seen_from(egl, EyeView(eye, camera))[..., 1].astype(float)
        row, column = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
        found = np.array([(column * picture).sum(), (row * picture).sum()]) / picture.sum()
        expected = camera.project(eye.inverse().apply(points))[0, :2]
        np.testing.assert_allclose(found, expected, atol=0.6)
        flat = EyeView(Pose(), camera).camera.project(points)[0, :2]
        assert np.linalg.norm(found - flat) > 4, "it has moved at all"


def test_what_is_nearer_hides_what_is_farther(egl: EglPresenter) -> None:
    """A strip that stands out covers the wall behind it, in whatever order they are drawn."""
    egl.set_background(np.zeros((24, 32, 3), np.uint8))
    frame, _ = wall(np.zeros((0, 2)))
    depth = np.full((CELLS, CELLS), 0.9, np.float32)
    depth[:, 20:28] = 0.5
    rgba = np.full((SIDE, SIDE, 4), 255, np.uint8)
    rgba[..., 0] = 0  # the wall is cyan
    rgba[:, SIDE * 21 // CELLS : SIDE * 27 // CELLS] = [255, 0, 0, 255]  # the strip is red
    egl.upload(replace(frame, rgba=rgba, depth=depth))
    for x in (-0.12, 0.12):
        camera = Camera(300.0, 300.0, SIZE[0] / 2, SIZE[1] / 2, *SIZE)
        eye = EyeView(Pose(np.array([x, 0.0, 0.0])), camera)
        row = seen_from(egl, eye)[120]
        left = camera.project(eye.T_world_eye.inverse().apply(strip_edges(frame)))[:, 0]
        middle = row[int(left[0]) + 3 : int(left[1]) - 3]
        assert len(middle) > 15 and (middle[:, 0] > 200).all() and (middle[:, 1] < 60).all()


def test_what_is_transparent_hides_nothing(egl: EglPresenter) -> None:
    egl.set_background(np.zeros((24, 32, 3), np.uint8))
    frame, _ = wall(np.zeros((0, 2)))
    depth = np.full((CELLS, CELLS), 0.9, np.float32)
    near = slice(CELLS * 5 // 12, CELLS * 7 // 12)
    depth[:, near] = 0.5
    rgba = np.full((SIDE, SIDE, 4), 255, np.uint8)
    rgba[:, SIDE * 9 // 24 : SIDE * 15 // 24] = 0  # all that is near, and the slopes to it
    egl.upload(replace(frame, rgba=rgba, depth=depth))
    camera = Camera(300.0, 300.0, SIZE[0] / 2, SIZE[1] / 2, *SIZE)
    for x in (-0.15, 0.15):
        row = seen_from(egl, EyeView(Pose(np.array([x, 0.0, 0.0])), camera))[120, :, 0]
        shift = -x * 300 / 0.9  # of the wall
        hole = SIDE * 6 / 24  # what is missing of it
        shown = (row > 200).sum()
        inside = np.clip([160 + shift - SIDE / 2, 160 + shift + SIDE / 2], 0, SIZE[0])
        assert shown == pytest.approx(inside[1] - inside[0] - hole, abs=8)


def strip_edges(frame: RenderedFrame) -> np.ndarray:
    """[2, 3]: the red strip's edges at depth 0.5."""
    camera = frame.request.camera
    x = np.array([21, 27]) * SIDE / CELLS + frame.crop.left
    return np.stack([(x - camera.cx) / camera.fx * 0.5, np.zeros(2), np.full(2, -0.5)], axis=1)


def test_the_plate_stays_where_it_is(egl: EglPresenter) -> None:
    egl.set_background(plate())
    egl.upload(replace(soft_frame(Crop(160, 120, 120.0, 64)), depth=np.full((CELLS, CELLS), 0.7, np.float32)))
    before = drawn(egl).astype(int)
    frame = egl._scene._frame
    assert frame is not None
    T, camera = frame.request.T_world_eye, frame.request.camera
    moved = seen_from(egl, EyeView(Pose(T.position + [0.02, 0, 0], T.orientation), camera))
    assert np.abs(moved[100:140, 100:220] - before[100:140, 100:220]).max() > 5
    np.testing.assert_array_equal(moved[:30], before[:30])


def test_a_small_picture_is_the_same_with_fewer_cells(egl: EglPresenter) -> None:
    """A ball with hair before a wall, 5 cm from where it was taken, 60 pixels wide."""
    ctx = egl.context
    assert ctx is not None
    frame, _ = wall(np.array([(-0.15, 0.1), (0.0, 0.0), (0.2, -0.15), (0.1, 0.1)]))
    y, x = np.mgrid[-1:1:33j, -1:1:33j][:, :CELLS, :CELLS]
    ball = (0.6 - 0.08 * np.sqrt(np.clip(1 - 1.5 * (x**2 + y**2), 0, 1))).astype(np.float32)
    texture = ctx.texture((SIDE, SIDE), 4, np.ascontiguousarray(frame.rgba))
    texture.build_mipmaps()
    relief = Relief(ctx)
    view = EyeView(frame.request.T_world_eye, frame.request.camera)
    relief.upload(view, frame.crop, texture, ball, np.array([0.0, 0.0, -0.6]))
    camera = Camera(95.0, 95.0, 64.0, 64.0, 128, 128)
    assert relief.width * camera.fx == pytest.approx(60, abs=2)
    clip = camera.projection(0.05, 10.0) @ Pose(np.array([0.05, 0.0, 0.0])).inverse().matrix()
    target = ctx.framebuffer([ctx.texture((128, 128), 4)], ctx.depth_renderbuffer((128, 128)))
    pictures, triangles = [], []
    for pixels in (math.inf, relief.width * camera.fx):
        target.use()
        target.clear(depth=1.0)
        with ctx.query(primitives=True) as query:
            relief.draw(clip, pixels=pixels)
        triangles.append(query.primitives)
        pictures.append(np.frombuffer(target.read(components=3), np.uint8).astype(int))
    fine, coarse = pictures
    assert triangles == [2 * CELLS**2, 2 * COARSE_CELLS**2]
    assert fine.max() > 100 and np.abs(fine - coarse).max() <= 30 and np.abs(fine - coarse).mean() < 0.1
    relief.release()
