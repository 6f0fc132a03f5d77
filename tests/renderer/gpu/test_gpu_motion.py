"""The motion field on the device against the CPU's: a head that turns by more and less, and one that is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models import motion as cpu
from models.camera import Camera
from models.geometry import Pose, quaternion_from_euler
from renderer.gpu import motion
from renderer.raster import make_rasterizer
from renderer.relief import relief
from tests.synthetic_subject import ball_rig

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def views(size: int, yaw: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attributes and coverage of the ball turned by `yaw`, and what was seen of it before."""
    rig, draw = ball_rig(), make_rasterizer()
    camera = Camera(1.9 * size, 1.9 * size, size / 2, size / 2, size, size)
    expression, gaze = np.zeros(52, np.float32), np.zeros(4, np.float32)

    def pixels(angle: float) -> np.ndarray:
        pose = Pose(np.array([0.01 * angle, 0, -0.6]), quaternion_from_euler(angle, 0.1 * angle))
        return camera.project(rig.vertices(expression, gaze, pose).astype(np.float64)).astype(np.float32)

    before = pixels(0.0)
    cached = draw(before, rig.triangles, rig.uv, size, size)
    new = draw(pixels(yaw), rig.triangles, np.concatenate([rig.uv, before[:, :2]], axis=1), size, size)
    return new.attributes, new.coverage, cpu.seen_uv(cached.attributes, cached.coverage)


@pytest.mark.parametrize(("size", "yaw"), [(64, 0.0), (96, 0.6), (160, 1.2), (224, -0.8)])
def test_motion_field_as_on_the_cpu(size: int, yaw: float) -> None:
    attributes, covered, seen = views(size, yaw)
    expected = cpu.motion_field(attributes, covered, seen)
    source, hidden = torch.full((size, size, 2), 9.0, device=DEVICE), torch.full((size, size), 9.0, device=DEVICE)
    a, b, c = (torch.from_numpy(x).to(DEVICE) for x in (attributes, covered, seen))
    motion.motion_field(a, b, c, source, hidden)
    assert (expected.hidden.sum() > 50) == (abs(yaw) > 0.1), "what turns away hides something, what keeps still nothing"
    np.testing.assert_array_equal(hidden.cpu(), expected.hidden)
    np.testing.assert_allclose(source.cpu(), expected.source, atol=2e-6)


def test_seen_uv_as_on_the_cpu() -> None:
    attributes, covered, _ = views(96, 0.3)
    out = torch.empty(96, 96, 4, device=DEVICE)
    motion.seen_uv(torch.from_numpy(attributes).to(DEVICE), torch.from_numpy(covered).to(DEVICE), out)
    np.testing.assert_allclose(out.cpu(), cpu.seen_uv(attributes, covered), atol=1e-6)


def test_where_no_head_is_nothing_moves() -> None:
    covered = torch.zeros(64, 64, dtype=torch.bool, device=DEVICE)
    nothing = torch.zeros(64, 64, 4, device=DEVICE)
    source, hidden = torch.empty(64, 64, 2, device=DEVICE), torch.empty(64, 64, device=DEVICE)
    motion.motion_field(nothing, covered, nothing, source, hidden)
    still = (np.arange(64) + 0.5) / 64
    np.testing.assert_allclose(source[7, :, 0].cpu(), still, atol=1e-6)
    np.testing.assert_allclose(source[:, 7, 1].cpu(), still, atol=1e-6)
    assert not hidden.any()


def test_coarse_depth_as_on_the_cpu() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.4, 0.8, (96, 96)).astype(np.float32)
    depth[:, :31] = depth[50:, 60:] = np.inf
    out = torch.empty(32, 32, device=DEVICE)
    motion.relief(torch.from_numpy(depth).to(DEVICE), out)
    expected = relief(depth)
    assert expected is not None
    np.testing.assert_allclose(out.cpu(), expected, atol=1e-6)
    motion.relief(torch.full((96, 96), torch.inf, device=DEVICE), out)
    assert not out.any()
