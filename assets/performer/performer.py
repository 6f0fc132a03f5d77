"""The performer: one made-up person who can be posed without Blender and rendered with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.performer import backdrop, clothes, hair
from assets.performer.contract import PerformerState, Topology
from assets.performer.head import PerformerHead
from assets.performer.parts import topology
from assets.performer.skin import load_or_paint
from models.camera import Camera
from models.geometry import Array, Pose
from models.head.ict import NECK_PIVOT

SEED = 5
HAIRS = 18_000


class Performer:
    """See contract.PerformerLike. `head_file`: ICT-FaceKit's npz; `seed` chooses the person; `bake_size`: texels to a
    side of the skin's tiles; `hairs`: strands on the scalp; `work`: where the painted skin is kept between runs;
    `lights_follow`: the lights go round with the camera.

    Raises UserError for a head file that is not the kit's, and in `render` where Blender is not installed.
    """

    def __init__(
        self,
        head_file: Path,
        seed: int = SEED,
        bake_size: int = 1024,
        hairs: int = HAIRS,
        work: Path = Path("runs/performer"),
        threads: int = 1,
        lights_follow: bool = False,
    ) -> None:
        self.head = PerformerHead(head_file, seed)
        self.garments = clothes.sweater(self.head.neutral, seed)
        self._topology = topology(self.head, self.garments)
        self._seed, self._bake_size, self._hairs, self._work, self._threads = seed, bake_size, hairs, work, threads
        self._lights_follow = lights_follow
        self._scene: Any = None

    @property
    def topology(self) -> Topology:
        return self._topology

    def vertices(self, state: PerformerState) -> NDArray[np.float64]:
        """[V, 3] world metres: the kit's vertices, then the clothes'. Needs no Blender."""
        torso = PerformerHead.torso_origin(state)
        worn: list[Array] = [(g.vertices - NECK_PIVOT) / 100 + torso for g in self.garments.values()]
        return np.vstack([self.head.vertices(state), *worn])

    def render(
        self, state: PerformerState, camera: Camera, T_world_camera: Pose, size: int, samples: int, seed: int
    ) -> NDArray[np.float32]:
        """[H, W, 4] linear RGB premultiplied by alpha, the performer alone; `size` is W. The first call builds the
        scene, and Blender has room for one performer at a time. Raises UserError where Blender is not installed."""
        from assets.performer.scene import Scene

        if self._scene is None or not self._scene.alive():
            self._work.mkdir(parents=True, exist_ok=True)
            atlas = load_or_paint(self.head.kit, self._seed, self._bake_size, self._work)
            strands = hair.grow(self.head, self._hairs, self._seed)
            self._scene = Scene(
                self.head, self.garments, atlas, strands, self._work, self._threads, self._lights_follow
            )
        vertices = self.vertices(state)
        self._scene.pose(vertices, self.head.wrinkles(state.expression))
        return self._scene.render(camera, T_world_camera, size, samples, seed)

    def plate(self, camera: Camera, T_world_camera: Pose, size: int) -> NDArray[np.float32]:
        """[H, W, 3] linear: the room behind the performer, without noise."""
        return backdrop.plate(camera, T_world_camera, size)
