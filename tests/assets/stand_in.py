"""A performer without Blender: our own head drawn by the rasteriser, with noise that falls with the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.performer.contract import Topology, picture_camera
from models.arkit import HeadState
from models.camera import Camera
from models.errors import UserError
from models.geometry import Pose, SurfacePoints
from models.head.visavis_head import default_head
from renderer.raster import make_rasterizer


class StandIn:
    """The contract of assets.performer.contract.PerformerLike. `poison`: the number of pictures after which it dies
    as a worker might: 0 never; `refuse`: a UserError in place of the first picture."""

    def __init__(
        self, work: Path, seed: int = 1, poison: int = 0, refuse: str = "", head_file: Path | None = None
    ) -> None:
        self.rig = default_head().rig(np.random.default_rng(seed).normal(0, 0.5, 20).astype(np.float32))
        self.poison, self.refuse, self.drawn = poison, refuse, 0
        work.mkdir(parents=True, exist_ok=True)

    @property
    def topology(self) -> Topology:
        n = len(self.rig.neutral)
        return Topology(
            self.rig.triangles,
            self.rig.uv[self.rig.triangles],
            {"head": (0, n)},
            {"head": (0, len(self.rig.triangles))},
        )

    @property
    def landmarks(self) -> SurfacePoints:
        corners = np.repeat(self.rig.landmark_vertices[:, None], 3, axis=1)
        return SurfacePoints(corners, np.tile(np.array([1, 0, 0], np.float32), (len(corners), 1)))

    def vertices(self, state: HeadState) -> NDArray[np.float64]:
        return self.rig.vertices(state.expression, state.gaze, state.T_world_head).astype(np.float64)

    def render(
        self, state: HeadState, camera: Camera, T_world_camera: Pose, size: int, samples: int, seed: int
    ) -> NDArray[np.float32]:
        self.drawn += 1
        if self.refuse:
            raise UserError(self.refuse)
        if self.poison and self.drawn > self.poison:
            raise SystemExit(9)  # not an Exception: the worker is simply gone
        camera = picture_camera(camera, size)
        pixels = camera.project(T_world_camera.inverse().apply(self.vertices(state))).astype(np.float32)
        drawn = make_rasterizer()(pixels, self.rig.triangles, self.rig.uv, camera.height, camera.width)
        u, v = np.moveaxis(drawn.attributes, 2, 0)
        rgb = 0.25 + 0.2 * np.stack([np.sin(25 * u), np.sin(31 * v), np.sin(17 * (u + v))], axis=2)
        rgb += np.random.default_rng(seed).normal(0, 0.1 / np.sqrt(samples), rgb.shape)
        alpha = drawn.coverage[..., None].astype(np.float32)
        return np.concatenate([np.clip(rgb, 0, None) * alpha, alpha], axis=2).astype(np.float32)

    def plate(self, camera: Camera, T_world_camera: Pose, size: int) -> NDArray[np.float32]:
        camera = picture_camera(camera, size)
        y, x = np.mgrid[: camera.height, : camera.width] / size
        return np.stack([0.1 + 0.2 * x, 0.2 + 0.1 * y, 0.4 - 0.1 * x], axis=2).astype(np.float32)
