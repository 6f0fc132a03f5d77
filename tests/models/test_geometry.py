"""One rotation by plain floats is the same as many by numpy."""

import numpy as np
import pytest

from models.camera import Camera
from models.geometry import quaternion_from_euler, quaternion_to_matrix


@pytest.mark.parametrize("seed", range(5))
def test_one_quaternion_is_a_row_of_many(seed: int) -> None:
    many = np.random.default_rng(seed).normal(size=(3, 4))  # not of unit length: both bring them to it
    for one, matrix in zip(many, quaternion_to_matrix(many), strict=True):
        np.testing.assert_allclose(quaternion_to_matrix(one), matrix, atol=1e-15)


def test_a_quaternion_that_is_none_gives_no_rotation() -> None:
    for none in (np.zeros(4), np.full(4, np.nan)):
        assert np.isnan(quaternion_to_matrix(none)).all()
    np.testing.assert_allclose(quaternion_to_matrix(quaternion_from_euler(0.3, 0.0))[0, 2], np.sin(0.3))


def test_a_pixel_of_known_depth_is_a_point() -> None:
    camera = Camera(fx=700.0, fy=680.0, cx=250.0, cy=190.0, width=512, height=384)
    points = np.random.default_rng(3).normal(size=(50, 3)) * 0.1 + [0, 0, -0.7]
    np.testing.assert_allclose(camera.unproject(*camera.project(points).T), points, atol=1e-12)
