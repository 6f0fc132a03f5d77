"""One small picture of the performer. Runs where Blender is, the environment of assets/performer/README.md, with
pytest and pytest-timeout added: python -m pytest -o filterwarnings=error tests/assets/test_performer_render.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assets.performer.performer import Performer
from models.arkit import HeadState
from models.camera import Camera
from models.geometry import Pose, look_at, quaternion_from_euler
from tests.shared_material import require_shared

pytestmark = pytest.mark.needs("bpy")

# off-axis on purpose: the principal point must arrive in Blender's shifts with the right signs
CAMERA = Camera(200.0, 200.0, 70.0, 44.0, 128, 96)
T_WORLD_CAMERA = look_at(np.array([0.25, 0.05, 0.9]), np.zeros(3))


@pytest.mark.timeout(1200)
def test_alpha_is_where_the_geometry_projects(tmp_path: Path) -> None:
    performer = Performer(require_shared("data/heads/ict_facekit.npz"), bake_size=128, hairs=2000, work=tmp_path)
    state = HeadState(T_world_head=Pose(np.array([0.02, 0.0, 0.0]), quaternion_from_euler(0.3, 0.1)))
    rgba = performer.render(state, CAMERA, T_WORLD_CAMERA, 128, samples=4, seed=0)
    assert rgba.shape == (96, 128, 4) and rgba.dtype == np.float32 and np.isfinite(rgba).all()
    assert rgba.min() >= 0 and rgba[..., 3].max() <= 1
    assert (rgba[..., :3].max(-1) <= 0.02)[rgba[..., 3] == 0].all()  # premultiplied

    mask = np.zeros((96, 128), bool)
    corners = performer.vertices(state)[performer.topology.triangles]
    share = np.random.default_rng(0).dirichlet([1, 1, 1], 12)
    points = np.einsum("sk,fkc->sfc", share, corners).reshape(-1, 3)
    x, y, _ = np.floor(CAMERA.project(T_WORLD_CAMERA.inverse().apply(points))).astype(int).T
    seen = (x >= 0) & (x < 128) & (y >= 0) & (y < 96)
    mask[y[seen], x[seen]] = True
    alpha = rgba[..., 3] > 0.5
    assert alpha[mask].mean() > 0.97  # all that is modelled is seen; hair reaches beyond it
    assert 0.85 < mask.sum() / alpha.sum() < 1.05

    again = performer.render(state, CAMERA, T_WORLD_CAMERA, 128, samples=4, seed=0)
    np.testing.assert_array_equal(again, rgba)
    other = performer.render(HeadState(), CAMERA, T_WORLD_CAMERA, 128, samples=4, seed=0)
    assert np.abs(other - rgba).max() > 0.1
