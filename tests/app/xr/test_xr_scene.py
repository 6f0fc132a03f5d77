"""What the room's GL draws, without any runtime: against the geometry, with alpha, and how it fades."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import moderngl
import numpy as np
import pytest

from app.presenter import EglPresenter
from app.relief import COARSE_PX, Relief
from app.xr.scene import STALE_NS, RoomScene, staleness_fade
from app.xr.sketch import Sketch
from models.arkit import HeadState
from models.camera import head_crop
from models.geometry import Pose, look_at
from renderer.messages import EyePicture, EyeView, RenderedFrame, ViewRequest
from tracking.room import Eye, Fov, look_at_head
from tracking.room_hands import Board

FOV = Fov(-0.7, 0.7, 0.7, -0.7)
SIZE = (256, 256)
LEFT, RIGHT = (-0.03, 0.0, 0.7), (0.03, 0.0, 0.7)


@pytest.fixture(scope="module")
def presenter() -> Iterator[EglPresenter]:
    presenter = EglPresenter(SIZE)
    yield presenter
    presenter.close()


@pytest.fixture
def scene(presenter: EglPresenter) -> Iterator[RoomScene]:
    assert isinstance(presenter.context, moderngl.Context)
    scene = RoomScene(presenter.context)
    yield scene
    scene.release()


def stereo_frame(value: tuple[int, int, int, int]) -> RenderedFrame:
    """One colour all over the crop, of a head at the origin; the second eye's has red and blue exchanged."""
    views = [look_at_head(np.array(place), np.zeros(3)) for place in (LEFT, RIGHT)]
    crops = [head_crop(camera, pose.inverse().position, 64) for pose, camera in views]
    rgba = np.full((64, 64, 4), value, np.uint8)
    request = ViewRequest(1, 10**9, 0, *views[0], HeadState(), EyeView(*views[1]))
    second = EyePicture(np.ascontiguousarray(rgba[..., [2, 1, 0, 3]]), crops[1])
    return RenderedFrame(1, request, rgba, crops[0], "fake", 2, 0, 0, 0.0, second=second)


def drawn(
    presenter: EglPresenter,
    scene: RoomScene,
    eye: int = 0,
    now_ns: int = 10**9,
    linear: bool = False,
    place: tuple[float, float, float] = LEFT,
) -> np.ndarray:
    presenter.use()
    scene.draw(eye, Eye(look_at(np.array(place), np.zeros(3)), FOV), SIZE, now_ns, linear)
    out = np.empty((256, 256, 3), np.uint8)
    presenter.read(out)
    return out[::-1].astype(int)


def test_each_eye_has_its_own_picture_at_life_size(presenter: EglPresenter, scene: RoomScene) -> None:
    empty = drawn(presenter, scene)
    scene.upload(stereo_frame((250, 0, 10, 255)))
    left, right = drawn(presenter, scene, 0), drawn(presenter, scene, 1, place=RIGHT)
    assert left[128, 128].tolist() == [250, 0, 10] and right[128, 128].tolist() == [10, 0, 250]
    rows = np.flatnonzero(left[:, 128, 0] > 200)
    assert len(rows) == pytest.approx(0.34 / np.hypot(0.7, 0.03) * FOV.camera(*SIZE).fy, abs=1.5)
    np.testing.assert_array_equal(left[:20], empty[:20])  # the room is untouched around it


def test_alpha_lets_the_room_through(presenter: EglPresenter, scene: RoomScene) -> None:
    empty = drawn(presenter, scene)
    scene.upload(stereo_frame((100, 0, 0, 128)))  # premultiplied
    expected = empty[128, 128] * (1 - 128 / 255) + [100, 0, 0]
    np.testing.assert_allclose(drawn(presenter, scene)[128, 128], expected, atol=1.5)


def test_a_target_with_linear_colours_gets_them(presenter: EglPresenter, scene: RoomScene) -> None:
    scene.upload(stereo_frame((128, 64, 0, 255)))
    expected = 255 * (np.array([128, 64, 0]) / 255) ** 2.2
    np.testing.assert_allclose(drawn(presenter, scene, linear=True)[128, 128], expected, atol=1.5)


def test_a_stalled_picture_fades_and_so_does_a_near_one(presenter: EglPresenter, scene: RoomScene) -> None:
    assert [staleness_fade(age) for age in (0, STALE_NS, 3 * STALE_NS // 2, 2 * STALE_NS)] == [1.0, 1.0, 0.5, 0.0]
    empty = drawn(presenter, scene)
    scene.upload(stereo_frame((250, 0, 10, 255)))
    np.testing.assert_array_equal(drawn(presenter, scene, now_ns=10**9 + 2 * STALE_NS), empty)
    middle = drawn(presenter, scene, now_ns=10**9 + 3 * STALE_NS // 2)[128, 128]
    np.testing.assert_allclose(middle, (empty[128, 128] + [250, 0, 10]) / 2, atol=2)
    assert drawn(presenter, scene, place=(0.0, 0.0, 0.1))[128, 128, 0] < 100, "too near to be seen"


def test_the_room_says_where_down_is(presenter: EglPresenter, scene: RoomScene) -> None:
    picture = drawn(presenter, scene)
    assert picture[10, 128].mean() < picture[120, 128].mean(), "dark above, lighter at the horizon"
    assert (picture[..., 2] >= picture[..., 0]).all(), "bluish grey everywhere"
    grid = picture[200:, :, 1]
    assert grid.max() - np.median(grid) > 4, "lines on the floor"


def test_head_and_board_hide_each_other_by_how_far_away_they_are(presenter: EglPresenter, scene: RoomScene) -> None:
    assert presenter.context is not None
    scene.upload(stereo_frame((250, 0, 10, 255)))
    sketch, white = Sketch(presenter.context), presenter.context.texture((4, 4), 4, b"\xff" * 64)
    eye = Eye(look_at(np.array(LEFT), np.zeros(3)), FOV)
    for distance, middle in ((0.4, [255, 255, 255]), (1.2, [250, 0, 10])):
        place = eye.T_world_eye @ Pose(np.array([0.0, 0.0, -distance]))
        board = Board(place, 1.0, 1.0)
        presenter.use()
        also = partial(sketch.draw_board, eye, board, white)
        scene.draw(0, eye, SIZE, 10**9, also=also)
        out = np.empty((256, 256, 3), np.uint8)
        presenter.read(out)
        assert out[128, 128].tolist() == middle and out[128, 70].tolist() == [255, 255, 255]
    sketch.release()
    white.release()


def test_the_head_is_drawn_with_as_many_cells_as_its_pixels_need(
    presenter: EglPresenter, scene: RoomScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(Relief, "draw", lambda self, clip, opacity, linear, pixels: told.append(pixels))
    scene.upload(stereo_frame((250, 0, 10, 255)))
    eye = Eye(look_at(np.array(LEFT), np.zeros(3)), FOV)
    for side in (256, 1024):
        scene.draw(0, eye, (side, side), 10**9)
    assert told[0] == pytest.approx(0.34 / np.hypot(0.7, 0.03) * FOV.camera(*SIZE).fx, rel=0.02)
    assert told[1] == pytest.approx(4 * told[0]) and told[0] < COARSE_PX < told[1]
