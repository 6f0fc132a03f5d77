from __future__ import annotations

import numpy as np
import pytest

from models.arkit import HeadState
from models.camera import CROP_EXTENT_M, CROP_RAISE_M
from models.geometry import Pose, quaternion_from_euler
from tracking.viewer import (
    HEAD_BEHIND_SCREEN_M,
    Screen,
    ViewLimits,
    limit_eye,
    magnification_to_fit,
    place_head,
    soft_limit,
    view_through_screen,
)

SCREEN = Screen(0.52, 0.32, 1280, 800)
WIDE = ViewLimits(yaw_deg=85, pitch_deg=80, knee=0.98)
EYES = [(0, 0, 0.6), (0.25, 0, 0.6), (-0.2, 0.15, 0.4), (0.1, -0.3, 0.9), (0.02, 0.01, 0.21)]


def pixels(
    eye: tuple[float, ...], point: np.ndarray, limits: ViewLimits = WIDE, magnification: float = 1.0
) -> np.ndarray:
    T_world_eye, camera = view_through_screen(Pose(np.array(eye, float)), SCREEN, limits, magnification)
    return camera.project(T_world_eye.inverse().apply(point))


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("magnification", [1.0, 0.5])
def test_a_point_of_the_screen_keeps_its_own_pixel(eye: tuple[float, ...], magnification: float) -> None:
    for x, y in [(0, 0), (-0.26, 0.16), (0.26, -0.16), (0.1, 0.05)]:
        expected = [(x / 0.52 + 0.5) * 1280, (0.5 - y / 0.32) * 800]
        point = np.array([x, y, 0.0]) / magnification
        assert pixels(eye, point, magnification=magnification)[:2] == pytest.approx(expected, abs=1e-6)


def test_what_lies_behind_the_screen_moves_with_the_eye() -> None:
    behind, before = np.array([0.0, 0.0, -0.2]), np.array([0.0, 0.0, 0.1])
    middle = pixels((0, 0, 0.6), behind)
    assert middle[:2] == pytest.approx([640, 400])
    right, above = pixels((0.1, 0, 0.6), behind), pixels((0, 0.1, 0.6), behind)
    assert right[0] > middle[0] + 20 and right[1] == pytest.approx(400)
    assert above[1] < middle[1] - 20 and above[0] == pytest.approx(640)
    assert pixels((0.1, 0, 0.6), before)[0] < 640  # what stands out of the screen goes the other way
    # by similar triangles: eye at 0.1, 0.6 before the screen, point 0.2 behind it -> 0.025 m on the screen
    assert right[0] - 640 == pytest.approx(0.025 / 0.52 * 1280)


def test_the_eye_is_upright_and_looks_along_minus_z() -> None:
    tilted = Pose(np.array([0.05, 0.0, 0.6]), quaternion_from_euler(0.4, -0.3, 0.2))
    T_world_eye, camera = view_through_screen(tilted, SCREEN)
    assert T_world_eye.orientation == pytest.approx([0, 0, 0, 1])
    assert (camera.width, camera.height) == (1280, 800)


def angles(eye: np.ndarray) -> tuple[float, float]:
    x, y, z = eye + np.array([0, 0, HEAD_BEHIND_SCREEN_M])
    return float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arctan2(y, np.hypot(x, z))))


def test_small_angles_are_left_alone_and_large_ones_stay_inside() -> None:
    limits = ViewLimits()
    for eye in ([0.0, 0.0, 0.6], [0.15, 0.05, 0.6], [-0.2, -0.1, 0.7]):
        assert limit_eye(np.array(eye), limits, HEAD_BEHIND_SCREEN_M) == pytest.approx(eye)
    for eye in ([3.0, 0.0, 0.5], [-0.9, 0.8, 0.3], [0.2, -2.0, 0.6], [0.5, 0.5, -0.4], [1e6, -1e6, 1.0]):
        limited = limit_eye(np.array(eye), limits, HEAD_BEHIND_SCREEN_M)
        yaw, pitch = angles(limited)
        assert abs(yaw) <= 30 + 1e-6 and abs(pitch) <= 20 + 1e-6
        assert np.sign(limited[:2]) == pytest.approx(np.sign(eye[:2]))
        assert limits.nearest_m - 1e-9 <= limited[2] <= limits.farthest_m + 1e-9


def test_the_limit_is_approached_without_a_jump_or_a_turn_back() -> None:
    values = np.linspace(-90, 90, 2001)
    out = soft_limit(values, 30.0)
    steps = np.diff(out) / np.diff(values)
    assert (steps >= 0).all() and steps.max() <= 1 + 1e-9
    assert np.abs(np.diff(steps)).max() < 0.01  # no kink at the knee
    assert np.abs(out).max() <= 30 and out == pytest.approx(-out[::-1])


@pytest.mark.parametrize("z", [0.0, 0.05, -1.0, 0.2])
def test_the_eye_comes_no_nearer_than_allowed(z: float) -> None:
    T_world_eye, camera = view_through_screen(Pose(np.array([0.0, 0.0, z])), SCREEN)
    assert T_world_eye.position[2] == pytest.approx(0.2)
    assert camera.fx == pytest.approx(0.2 * 1280 / 0.52)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        view_through_screen(Pose(np.array([0.0, np.nan, 0.6])), SCREEN)
    for sizes in ((0, 0.3, 100, 100), (0.5, float("nan"), 100, 100), (0.5, 0.3, 0, 100), (0.5, -1, 100, 100)):
        with pytest.raises(ValueError, match="screen"):
            Screen(*sizes)


def test_the_head_faces_the_viewer_in_the_middle_of_the_screen() -> None:
    placed = place_head(HeadState()).T_world_head
    middle = placed.apply(np.array([0.0, CROP_RAISE_M, 0.0]))
    assert pixels((0, 0, 0.6), middle)[:2] == pytest.approx([640, 400])
    assert placed.rotation[:, 2] == pytest.approx([0, 0, 1])  # out of the face, towards the viewer
    moved = HeadState(T_world_head=Pose(np.array([0.02, 0.0, 0.01]), quaternion_from_euler(0.3, 0.1)))
    world = place_head(moved, motion_scale=0.5).T_world_head
    assert world.position - placed.position == pytest.approx([0.01, 0.0, 0.005])
    assert world.orientation == pytest.approx(moved.T_world_head.orientation)


@pytest.mark.parametrize("size", [(0.3, 0.2), (0.2, 0.3), (0.12, 0.12)])
def test_a_small_window_shrinks_the_head_until_it_just_fits(size: tuple[float, float]) -> None:
    screen = Screen(*size, 1000, 1000)
    magnification = magnification_to_fit(screen)
    assert magnification < 1
    T_world_eye, camera = view_through_screen(Pose(np.array([0, 0, 0.6])), screen, magnification=magnification)
    top = T_world_eye.inverse().apply(np.array([CROP_EXTENT_M / 2, CROP_EXTENT_M / 2, -HEAD_BEHIND_SCREEN_M]))
    x, y, _ = camera.project(top)
    assert max(x - 500, 500 - y) == pytest.approx(500)
    assert magnification_to_fit(Screen(2.0, 2.0, 100, 100)) == 1.0
