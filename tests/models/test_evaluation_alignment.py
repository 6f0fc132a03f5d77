"""Truth and rig in one frame: similarity, weights, and geometry of a shoot for a rig of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.arkit import HeadState
from models.evaluation.alignment import (
    FACE,
    exact_geometry,
    nearest_weights,
    placed_geometry,
    robust_similarity,
)
from models.geometry import Pose, quaternion_from_euler, quaternion_to_matrix, rotation_angle
from models.head.rig import HeadRig
from models.head.visavis_head import default_head
from models.shoot_file import Shoot
from tests.assets.stand_in_shoot import exact_track, film_stand_in


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    return film_stand_in(tmp_path_factory.mktemp("stand-in"))


def test_a_similarity_is_found_among_outliers() -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(0, 0.1, (300, 3))
    rotation = quaternion_to_matrix(quaternion_from_euler(0.7, -0.4, 1.9))
    target = 1.3 * source @ rotation.T + [0.1, -0.2, 0.9]
    target[:60] += rng.uniform(0.05, 0.2, (60, 3))
    found = robust_similarity(source, target)
    assert found.scale == pytest.approx(1.3, rel=2e-3)
    np.testing.assert_allclose(found.rotation, rotation, atol=3e-3)
    np.testing.assert_allclose(found.apply(source[60:]), target[60:], atol=1e-3)
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    mirrored = robust_similarity(source, source * [-1, 1, 1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)  # never a reflection
    with pytest.raises(ValueError):
        robust_similarity(source[:3], target[:3])


def test_weights_are_found_and_bounded() -> None:
    rig = default_head().mean
    index = rig.landmark_vertices[:FACE]
    neutral, basis = rig.neutral[index].astype(float), rig.expression_deltas[:, index].astype(float)
    true = np.zeros(52)
    true[[0, 17, 23, 24, 43]] = [0.9, 0.6, 0.5, 0.2, 0.8]
    found = nearest_weights(neutral, basis, neutral + np.tensordot(true, basis, 1), np.full(52, 0.1))
    # the prior of 0.1 pulls a little, most where a shape hardly moves a landmark
    assert np.abs(found[[0, 17, 23, 24, 43]] - true[[0, 17, 23, 24, 43]]).max() < 0.1
    shape = neutral + np.tensordot(found, basis, 1)
    assert np.linalg.norm(shape - neutral - np.tensordot(true, basis, 1), axis=1).mean() < 4e-4
    beyond = nearest_weights(neutral, basis, neutral + 3 * basis[17], np.zeros(52))
    assert beyond.min() >= 0 and beyond.max() <= 1 and beyond[17] == pytest.approx(1, abs=1e-6)


def moved_rig(rig: HeadRig, scale: float, turn: Pose) -> HeadRig:
    """The same head in another frame and unit: what a tracker's head is to the truth's."""
    rotation = turn.rotation

    def points(a: np.ndarray) -> np.ndarray:
        return (scale * turn.apply(a.astype(float))).astype(np.float32)

    deltas = (scale * rig.expression_deltas @ rotation.T.astype(np.float32)).astype(np.float32)
    return dataclasses.replace(
        rig, neutral=points(rig.neutral), expression_deltas=deltas, eye_centers=points(rig.eye_centers),
        neck_pivot=points(rig.neck_pivot),
    )  # fmt: skip


def test_exact_geometry_is_exact_for_the_same_head_in_another_frame(made: Shoot) -> None:
    own = exact_track(made).rig
    rig = moved_rig(own, 0.8, Pose(np.array([0.01, -0.02, 0.005]), quaternion_from_euler(0.1, -0.05, 0.02)))
    geometry = exact_geometry(made, rig)
    assert geometry.scale == pytest.approx(1 / 0.8, rel=3e-3)
    assert len(geometry.heads) == len(made)
    for camera in made.cameras:
        eye = geometry.eye(camera.T_world_camera)
        for i in (0, 5, 11):
            head = geometry.heads[i]
            local = rig.local(head.expression, np.zeros(4, np.float32))[rig.landmark_vertices[:FACE]]
            world = head.T_world_head.apply(local.astype(float))
            pixels = camera.camera.project(eye.inverse().apply(world))[:, :2]
            true = camera.project(made.landmarks(i)[:FACE])[:, :2]
            assert np.linalg.norm(pixels - true, axis=1).mean() < 0.25
    error = np.abs(np.stack([h.expression for h in geometry.heads]) - made.expression)
    assert error.mean() < 0.02


def test_tracked_heads_get_their_scale_and_nothing_else(made: Shoot) -> None:
    """A tracker that takes the head for 20 % smaller and nearer, and is wrong by a degree, stays wrong by a degree."""
    track = exact_track(made)
    camera = made.cameras[0]
    small = moved_rig(track.rig, 0.8, Pose())
    wrong = Pose(np.zeros(3), quaternion_from_euler(np.radians(1.0), 0.0))
    heads = [
        HeadState(
            track.expression[i],
            track.gaze[i],
            Pose(0.8 * track.position[i], track.orientation[i]) @ wrong,
        )
        for i in range(len(track))
    ]
    geometry = placed_geometry(made, small, heads, np.arange(len(track)), camera.T_world_camera)
    assert geometry.scale == pytest.approx(1 / 0.8, rel=0.01)
    for i in (0, 7):
        true = made.head(i).T_world_head
        assert np.degrees(rotation_angle(geometry.heads[i].T_world_head, true)) == pytest.approx(1.0, abs=1e-3)
        np.testing.assert_allclose(geometry.heads[i].T_world_head.position * geometry.scale, true.position, atol=8e-3)
