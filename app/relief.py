"""A rendered picture with its depth, drawn with GL as another eye sees it: what late reprojection is.

From the place that it was taken from it looks as it was taken, whatever its depth. Knows nothing of windows: it draws
into whatever framebuffer is bound, with depth where that has any.
"""

from __future__ import annotations

import moderngl
import numpy as np
from numpy.typing import NDArray

from assets import asset_path
from models.camera import Crop
from models.geometry import Array
from renderer.messages import EyeView
from renderer.relief import CELLS

Floats = NDArray[np.float32]


def edges(view: EyeView, crop: Crop) -> tuple[float, float, float, float]:
    """Tangents of the crop's left, right, upper and lower edge in the camera that took it."""
    camera = view.camera
    return (
        (crop.left - camera.cx) / camera.fx,
        (crop.left + crop.side - camera.cx) / camera.fx,
        (camera.cy - crop.top) / camera.fy,
        (camera.cy - crop.top - crop.side) / camera.fy,
    )


def _program(ctx: moderngl.Context, linear: bool) -> moderngl.Program:
    shaders = asset_path("shaders")
    fragment = (shaders / "relief.frag").read_text(encoding="utf-8")
    if linear:
        version, _, rest = fragment.partition("\n")
        fragment = f"{version}\n#define LINEAR\n{rest}"
    program = ctx.program(vertex_shader=(shaders / "relief.vert").read_text(encoding="utf-8"), fragment_shader=fragment)
    program["image"], program["depths"] = 0, 1
    return program


class Relief:
    """The newest picture of one eye. Use from the context's thread only."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        self._programs = {linear: _program(ctx, linear) for linear in (False, True)}
        n = CELLS + 1
        v, u = np.mgrid[:n, :n].astype(np.float32) / CELLS
        corner = np.arange(n * n, dtype=np.uint32).reshape(n, n)
        a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
        self._places = ctx.buffer(np.stack([u, v], axis=-1).tobytes())
        self._index = ctx.buffer(np.stack([a, c, b, b, c, d], axis=-1).tobytes())
        self._meshes = {
            linear: ctx.vertex_array(program, [(self._places, "2f", "place")], self._index)
            for linear, program in self._programs.items()
        }
        self._depths = ctx.texture((CELLS, CELLS), 1, dtype="f4")
        self._depths.repeat_x = self._depths.repeat_y = False
        self._image: moderngl.Texture | None = None
        self._view: EyeView | None = None

    def upload(self, view: EyeView, crop: Crop, image: moderngl.Texture, depth: Floats | None, head: Array) -> None:
        """image: the picture, premultiplied, row 0 first; its owner keeps it while it is drawn. depth: [CELLS, CELLS]
        metres, or None for a plane through `head` [3]."""
        if depth is None:
            depth = np.full((CELLS, CELLS), -view.T_world_eye.inverse().apply(head)[2], np.float32)
        self._depths.write(np.ascontiguousarray(depth, np.float32))
        self._image, self._view, self._tangents = image, view, edges(view, crop)

    def draw(self, projection_world: Array, opacity: float = 1.0, linear: bool = False) -> None:
        """Nothing before the first upload. projection_world: [4, 4] from the world to clip space. linear: the target
        holds linear colours."""
        if self._view is None or self._image is None:
            return
        matrix = projection_world @ self._view.T_world_eye.matrix()
        program = self._programs[linear]
        program["projection_camera"] = tuple(matrix.T.ravel())
        program["tangents"] = self._tangents
        program["opacity"] = opacity
        self._image.use(0)
        self._depths.use(1)
        ctx = self._ctx
        ctx.enable(moderngl.BLEND | moderngl.DEPTH_TEST)
        ctx.blend_func = (moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA)
        self._meshes[linear].render(moderngl.TRIANGLES)
        ctx.disable(moderngl.BLEND | moderngl.DEPTH_TEST)

    def release(self) -> None:
        for item in (*self._meshes.values(), self._places, self._index, self._depths, *self._programs.values()):
            item.release()
