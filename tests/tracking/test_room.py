"""The head in the room: laws of the geometry that puts an eye's picture where its rays come from."""

import numpy as np
import pytest

from models.arkit import HeadState
from models.camera import head_crop
from models.geometry import Pose, quaternion_from_euler
from tracking.room import (
    EYES_ABOVE_ORIGIN_M,
    NEAREST_M,
    Eye,
    Fov,
    before_viewer,
    look_at_head,
    nearness_fade,
    place_at_anchor,
)

SKEWED = Fov(-0.9, 0.7, 0.6, -0.8)


def test_projection_and_pinhole_are_one_camera() -> None:
    points = np.random.default_rng(0).normal([0, 0, -2], 0.5, (20, 3))
    pixels = SKEWED.camera(640, 480).project(points)
    clip = np.c_[points, np.ones(20)] @ SKEWED.projection(0.05, 100.0).T
    ndc = clip[:, :3] / clip[:, 3:]
    np.testing.assert_allclose((ndc[:, 0] + 1) / 2 * 640, pixels[:, 0], atol=1e-9)
    np.testing.assert_allclose((1 - ndc[:, 1]) / 2 * 480, pixels[:, 1], atol=1e-9)
    near_far = SKEWED.projection(0.05, 100.0) @ np.array([[0, 0, -0.05, 1], [0, 0, -100.0, 1]]).T
    np.testing.assert_allclose(near_far[2] / near_far[3], [-1, 1], atol=1e-9)


@pytest.mark.parametrize(
    "angles", [(0.3, 0.3, 0.5, -0.5), (-0.5, 0.5, -0.2, 0.2), (np.nan, 1, 1, -1), (-1.6, 1, 1, -1)]
)
def test_no_field_of_view_is_no_camera(angles: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="field of view"):
        Fov(*angles)


def test_the_camera_that_looks_at_the_head_is_filled_by_its_window() -> None:
    head, eye = np.array([0.1, 1.5, -0.7]), np.array([0.4, 1.6, 0.0])
    T, camera = look_at_head(eye, head)
    crop = head_crop(camera, T.inverse().apply(head), 256)
    assert crop.side == pytest.approx(camera.width) and crop.center_x == pytest.approx(camera.cx)


@pytest.mark.parametrize("pitch", [0.0, -1.2, 1.4])
def test_recentred_it_stands_upright_before_the_viewer_at_eye_height(pitch: float) -> None:
    viewer = Pose(np.array([0.3, 1.7, 0.2]), quaternion_from_euler(np.radians(90), pitch))  # looks along -x
    anchor = before_viewer(viewer, 0.7)
    np.testing.assert_allclose(anchor.position, [0.3 - 0.7, 1.7, 0.2], atol=1e-9)
    np.testing.assert_allclose(anchor.rotation @ [0, 0, 1], [1, 0, 0], atol=1e-9)  # faces the viewer
    np.testing.assert_allclose(anchor.rotation @ [0, 1, 0], [0, 1, 0], atol=1e-9)
    placed = anchor @ place_at_anchor(HeadState()).T_world_head
    assert placed.position[1] == pytest.approx(1.7 - EYES_ABOVE_ORIGIN_M, abs=0.006)


def test_a_viewer_lying_on_the_side_still_gets_an_upright_head() -> None:
    viewer = Pose(np.zeros(3), quaternion_from_euler(0.0, 0.0, np.radians(90)))
    anchor = before_viewer(viewer, 1.0)
    np.testing.assert_allclose(anchor.position, [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(anchor.rotation[:, 1], [0, 1, 0], atol=1e-9)


def test_the_performers_motion_goes_with_the_anchor() -> None:
    anchor = before_viewer(Pose(np.zeros(3), quaternion_from_euler(np.radians(90), 0.0)), 0.7)
    moved = HeadState(T_world_head=Pose(np.array([0.0, 0.0, 0.1])))  # 10 cm towards the viewer
    there, rest = (anchor @ place_at_anchor(head).T_world_head for head in (moved, HeadState()))
    np.testing.assert_allclose(there.position - rest.position, [0.1, 0, 0], atol=1e-9)


def test_an_eye_seen_from_the_anchor() -> None:
    anchor = before_viewer(Pose(np.array([0.2, 1.5, 0.1]), quaternion_from_euler(np.radians(90), 0.0)), 0.7)
    eye = Eye(Pose(np.array([0.2, 1.5, 0.1]), quaternion_from_euler(np.radians(90), 0.0)), SKEWED)
    seen = eye.seen_from(anchor)
    np.testing.assert_allclose(seen.T_world_eye.position, [0, 0, 0.7], atol=1e-9)
    np.testing.assert_allclose(seen.T_world_eye.rotation, np.eye(3), atol=1e-9)
    assert seen.fov == SKEWED


def test_nearer_than_can_be_drawn_it_has_faded() -> None:
    head = np.array([0.0, 1.0, 0.0])
    assert nearness_fade(head + [0, 0, NEAREST_M], head) == 0.0 and nearness_fade(head + [0, 0, 0.3], head) == 1.0
    with pytest.raises(ValueError, match="middle of the head"):
        look_at_head(head + [0, 0, 0.1], head)
    with pytest.raises(ValueError, match="middle of the head"):
        look_at_head(head + [0, np.nan, 0.1], head)
