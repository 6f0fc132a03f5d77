"""The compiled view of a head against its plain twin."""

import numpy as np
import pytest
import torch

from assets import BUNDLED_AVATAR, asset_path
from models.arkit import HeadState
from models.avatar_file import load_avatar
from models.camera import Camera
from models.geometry import Pose, quaternion_from_euler
from models.head.rig import HeadRig
from models.network.harmonics import harmonics, nearest_seen
from models.view import head_view
from renderer import cpu_view
from renderer.cpu_view import ViewStage
from renderer.engine import angle_degrees
from renderer.messages import ViewRequest

CAMERA = Camera(700, 710, 256, 240, 512, 480)  # whole numbers as well must not stay whole


@pytest.fixture(scope="module")
def rig() -> HeadRig:
    return load_avatar(asset_path(BUNDLED_AVATAR)).rig


def request(seed: int) -> ViewRequest:
    random = np.random.default_rng(seed)
    expression = random.uniform(0, 1, 52).astype(np.float32) * (random.uniform(0, 1, 52) < 0.4)
    gaze = random.uniform(-0.4, 0.4, 4).astype(np.float32) * (seed % 2)
    turn = quaternion_from_euler(*random.uniform(-1, 1, 3)) * (-1 if seed % 3 == 0 else 1)
    head = HeadState(expression, gaze, Pose(random.uniform(-0.1, 0.1, 3), turn))
    eye = Pose(
        np.array([0, 0, 0.6]) + random.uniform(-0.1, 0.1, 3), quaternion_from_euler(*random.uniform(-0.2, 0.2, 3))
    )
    return ViewRequest(1, 0, 0, eye, CAMERA, head)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_its_twin(rig: HeadRig, seed: int) -> None:
    r = request(seed)
    plain, fast = head_view(rig, r.head, r.T_world_eye, r.camera, 256), ViewStage(rig)(r, 256)
    np.testing.assert_allclose(fast.pixels, plain.pixels, atol=2e-3)
    np.testing.assert_allclose(fast.direction, plain.direction, atol=1e-6)
    np.testing.assert_allclose(fast.state, plain.state, atol=1e-6)
    for name in ("center_x", "center_y", "side", "size"):
        assert getattr(fast.crop, name) == pytest.approx(getattr(plain.crop, name), rel=1e-9)


def test_a_head_behind_the_camera_or_nowhere_is_refused(rig: HeadRig) -> None:
    r = request(1)
    for z in (1.0, np.nan):
        there = HeadState(T_world_head=Pose(np.array([0.0, 0.0, z])))
        behind = ViewRequest(1, 0, 0, r.T_world_eye, CAMERA, there)
        with pytest.raises(ValueError, match="behind"):
            ViewStage(rig)(behind, 256)


def test_numbers_that_are_too_few_are_refused(rig: HeadRig) -> None:
    r = request(1)
    few = HeadState(np.zeros(51, np.float32), r.head.gaze, r.head.T_world_head)
    with pytest.raises(ValueError, match="expression"):
        ViewStage(rig)(ViewRequest(1, 0, 0, r.T_world_eye, CAMERA, few), 256)


@pytest.mark.parametrize("limits", [None, ((-0.4, 0.3), (-0.2, 0.1))])
def test_harmonics_are_their_twin(limits: tuple[tuple[float, float], tuple[float, float]] | None) -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        d = random.normal(size=3).astype(np.float32)
        d /= np.linalg.norm(d)
        out, seen = np.empty(9, np.float32), torch.from_numpy(d)
        cpu_view.harmonics(d, cpu_view.limits_of(limits), out)
        expected = harmonics(seen if limits is None else nearest_seen(seen, limits))
        np.testing.assert_allclose(out, expected.numpy(), atol=2e-6)


def test_angle_is_its_twin(rig: HeadRig) -> None:
    a, b = (ViewStage(rig)(request(seed), 64) for seed in (1, 2))
    assert cpu_view.angle_degrees(a, b) == pytest.approx(angle_degrees(a, b), abs=1e-3)
    assert cpu_view.angle_degrees(a, a) == pytest.approx(0, abs=0.05)
