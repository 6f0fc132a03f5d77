"""The coarse depth of a view: its twin, what it is where mesh is and where none is, and that frames bring it along."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.arkit import HeadState
from models.geometry import Pose
from renderer.engine import PlainEngine
from renderer.engine_cpu import CpuEngine
from renderer.engine_protocol import Engine
from renderer.messages import ViewRequest
from renderer.relief import CELLS, relief, relief_plain
from tests.renderer.small import CONFIG
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film
from tracking.room import look_at_head


@pytest.mark.parametrize("size", [96, 100, 256])
def test_it_is_its_twin(size: int) -> None:
    rng = np.random.default_rng(size)
    depth = rng.uniform(0.4, 0.9, (size, size)).astype(np.float32)
    y, x = np.mgrid[:size, :size] / size - 0.5
    depth[(x**2 + y**2 > 0.1) | (rng.uniform(size=depth.shape) < 0.3)] = np.inf
    coarse, plain = relief(depth), relief_plain(depth)
    assert coarse is not None and plain is not None
    np.testing.assert_allclose(coarse, plain, atol=1e-5)


def test_means_where_mesh_is_and_its_neighbours_beyond() -> None:
    depth = np.full((2 * CELLS, 2 * CELLS), np.inf, np.float32)
    depth[20:60, 20:60] = 0.7
    depth[20:22, 20:22] = [[0.6, 0.7], [0.8, 0.9]]
    coarse = relief(depth)
    assert coarse is not None
    assert coarse[10, 10] == pytest.approx(0.75) and coarse[15, 15] == pytest.approx(0.7)
    assert np.isfinite(coarse).all() and np.abs(coarse - 0.7).max() < 0.06, "nothing far away is made up"
    assert relief(np.full((64, 64), np.inf, np.float32)) is None


@pytest.mark.parametrize("kind", ["fast", "plain"])
def test_frames_bring_the_depth_of_their_mesh(tmp_path: Path, kind: str) -> None:
    track, _ = film(tmp_path, frames=24, side=96)
    avatar = untrained_avatar(track, CONFIG)
    engine: Engine = CpuEngine(avatar, dtype=torch.float32) if kind == "fast" else PlainEngine(avatar, "cpu")
    head = HeadState(T_world_head=Pose(np.array([0.0, 0.0, -0.7])))
    for distance in (0.7, 1.0):
        T, camera = look_at_head(np.array([0.0, 0.0, distance - 0.7]), head.T_world_head.position)
        request = ViewRequest(1, 1, 1, T, camera, head)
        depth = engine.warp(engine.build_cache(request), request).depth
        assert depth is not None and depth.shape == (CELLS, CELLS)
        nearest = (
            -T.inverse()
            .apply(avatar.rig.vertices(head.expression, head.gaze, head.T_world_head).astype(np.float64))[:, 2]
            .max()
        )
        assert depth.min() == pytest.approx(nearest, abs=0.01)
    engine.close()
