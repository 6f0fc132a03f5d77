"""The performer as Blender objects: built once, then only moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.performer import materials, stage
from assets.performer.blender import add_mesh, add_strands, as_units, require_blender, set_attribute, set_uv
from assets.performer.clothes import Garment
from assets.performer.fields import smoothstep
from assets.performer.head import PerformerHead
from assets.performer.parts import SKIN_PARTS, head_faces
from assets.performer.skin import SkinAtlas, skin_uv
from assets.performer.strands import CardStrands, Strands
from models.camera import Camera
from models.geometry import Array, Pose
from models.head.ict import PARTS

_CM = 0.01
_EYE_AXIS = np.array([3.2375, 3.611])  # x (mirrored for the right eye) and y of the optical axes on the mean head, cm


class Scene:
    """One performer in Blender's one scene. Raises UserError where Blender is not installed."""

    def __init__(
        self,
        head: PerformerHead,
        garments: dict[str, Garment],
        atlas: SkinAtlas,
        strands: dict[str, Strands | CardStrands],
        work: Path,
        threads: int,
        lights_follow: bool = False,
    ) -> None:
        self._lights_follow = lights_follow
        self._bpy = require_blender()
        stage.empty_scene()
        stage.configure(threads)
        self._work = work
        self._meshes: dict[str, tuple[Any, NDArray[np.int64]]] = {}
        self._strands: dict[str, tuple[Any, Strands | CardStrands]] = {}
        self._metres = head.neutral * _CM
        self._build_head(head, atlas)
        first = len(head.neutral)
        for name, garment in garments.items():
            item = add_mesh(name, garment.vertices * _CM, garment.quads.tolist(), materials.wool(name, _RIBS[name]))
            set_uv(item, garment.uv.reshape(-1, 2))
            self._meshes[name] = (item, np.arange(first, first + len(garment.vertices)))
            first += len(garment.vertices)
        for name, grown in strands.items():
            material = materials.hair(name, *_HAIR[name])
            item = add_strands(name, grown.points(self._metres, _CM), grown.radius * _CM, grown.tint, material)
            self._strands[name] = (item, grown)

    def _build_head(self, head: PerformerHead, atlas: SkinAtlas) -> None:
        faces = head_faces(head)
        skin = np.concatenate([faces[p] for p in SKIN_PARTS])
        item = self._add(head, "skin", skin, materials.skin(atlas))
        uv = skin_uv(head.kit)
        set_uv(item, np.concatenate([uv[c[c >= 0]] for c in head.kit.faces_uv[skin]]))
        slots = np.repeat(np.array([0, 0, 1, 2, 2]), [len(faces[p]) for p in SKIN_PARTS])
        item.data.materials.append(materials.mouth_lining())
        item.data.materials.append(materials.eye_lining())
        item.data.polygons.foreach_set("material_index", slots.astype(np.int32))
        depth = np.maximum(10.9 - head.rest[:, 2], 0)  # centimetres behind the lips
        self._attribute("skin", "depth", depth)
        self._attribute("skin", "wrinkle", np.zeros(len(head.rest)))
        self._add(head, "gums", faces["gums_tongue"], materials.gums())
        self._attribute("gums", "depth", depth)
        self._add(head, "teeth", faces["teeth"], materials.teeth())
        self._attribute("teeth", "depth", depth)
        # upper and lower teeth meet near y = -3.3 cm; towards the gums they are warmer
        self._attribute("teeth", "root", smoothstep(0.2, 1.2, np.abs(head.rest[:, 1] + 3.35)))
        sclera, iris, tears = materials.sclera(), materials.iris(), materials.tears()
        for side, sign in (("L", 1.0), ("R", -1.0)):
            offset = head.rest - np.array([sign * _EYE_AXIS[0], _EYE_AXIS[1], 0])
            behind = head.rest[:, 2] < 7.9
            offset[:, 2] = 0
            offset[behind] *= 3
            for name, material in (("sclera", sclera), ("iris", iris)):
                self._add(head, f"{name}_{side}", faces[f"{name}_{side}"], material)
                self._attribute(f"{name}_{side}", "eye", offset)
            first, last = PARTS[f"lacrimal_{side}"][2:]
            self._add(head, f"tears_{side}", np.arange(first, last), tears)

    def _add(self, head: PerformerHead, name: str, faces: NDArray[np.int64], material: Any) -> Any:
        corners = head.kit.faces[faces]
        used = np.unique(corners[corners >= 0])
        place = np.full(len(head.rest), -1)
        place[used] = np.arange(len(used))
        item = add_mesh(name, self._metres[used], [[int(place[i]) for i in c if i >= 0] for c in corners], material)
        self._meshes[name] = (item, used)
        return item

    def _attribute(self, mesh: str, name: str, values: Array) -> None:
        item, used = self._meshes[mesh]
        set_attribute(item, name, values[used])

    def alive(self) -> bool:
        """Whether Blender's scene is still this one: another performer's replaces it."""
        try:
            return all(item.name in self._bpy.data.objects for item, _ in self._meshes.values())
        except ReferenceError:
            return False

    def pose(self, vertices: Array, wrinkles: Array) -> None:
        """Move everything to world vertices [V, 3] metres, with folds [N] as deep as given."""
        self._attribute("skin", "wrinkle", wrinkles)
        for item, used in self._meshes.values():
            item.data.vertices.foreach_set("co", as_units(vertices[used]))
            item.data.update()
        for item, grown in self._strands.values():
            points = grown.points(vertices, _CM)
            item.data.attributes["position"].data.foreach_set("vector", as_units(points))
            item.data.update_tag()

    def render(self, camera: Camera, T_world_camera: Pose, size: int, samples: int, seed: int) -> NDArray[np.float32]:
        stage.aim(camera, T_world_camera, size)
        if self._lights_follow:
            stage.light_from(T_world_camera)
        return stage.shoot(samples, seed, self._work)


_RIBS = {"shirt": 0.0, "collar": 110.0}
_HAIR: dict[str, tuple[Any, ...]] = {
    "scalp": ((0.018, 0.010, 0.006), (0.21, 0.115, 0.060), (0.42, 0.32, 0.23), 0.35),
    "brow": ((0.045, 0.027, 0.017), (0.13, 0.080, 0.050), (0.12, 0.09, 0.07), 0.2),
    "stubble": ((0.050, 0.032, 0.022), (0.12, 0.08, 0.055), (0.10, 0.08, 0.06), 0.1),
    "lash": ((0.008, 0.006, 0.005), (0.016, 0.011, 0.009), (0.05, 0.04, 0.03), 0.2),
}
