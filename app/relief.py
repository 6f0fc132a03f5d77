"""A rendered picture with its depth, drawn with GL as another eye sees it: what late reprojection is.

From the place that it was taken from it looks as it was taken, whatever its depth. Knows nothing of windows: it draws
into whatever framebuffer is bound, with depth where that has any.
"""

from __future__ import annotations

import math

import moderngl
import numpy as np
from numpy.typing import NDArray

from app.shaders import load_program
from models.camera import Crop
from models.geometry import Array
from renderer.messages import EyeView
from renderer.relief import CELLS

Floats = NDArray[np.float32]
COARSE_CELLS = CELLS // 2
COARSE_PX = 128  # where the picture covers no more of the viewport than that, coarse cells have 8 pixels each


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
    program = load_program(ctx, "relief.vert", "relief.frag", linear)
    program["image"], program["depths"] = 0, 1
    return program


def _grid(cells: int) -> tuple[Floats, NDArray[np.uint32]]:
    """Corners [n, n, 2] in [0, 1], and the two triangles of each cell as indices into them."""
    n = cells + 1
    v, u = np.mgrid[:n, :n].astype(np.float32) / cells
    corner = np.arange(n * n, dtype=np.uint32).reshape(n, n)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    return np.stack([u, v], axis=-1), np.stack([a, c, b, b, c, d], axis=-1)


class Relief:
    """The newest picture of one eye. Use from the context's thread only."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        self._programs = {linear: _program(ctx, linear) for linear in (False, True)}
        self._buffers: list[moderngl.Buffer] = []
        self._meshes: dict[tuple[bool, bool], moderngl.VertexArray] = {}  # by: linear, coarse
        for coarse, cells in ((False, CELLS), (True, COARSE_CELLS)):
            places, index = (ctx.buffer(array.tobytes()) for array in _grid(cells))
            self._buffers += [places, index]
            for linear, program in self._programs.items():
                self._meshes[linear, coarse] = ctx.vertex_array(program, [(places, "2f", "place")], index)
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

    @property
    def width(self) -> float:
        """Of the newest picture, as a tangent."""
        return 0.0 if self._view is None else self._tangents[1] - self._tangents[0]

    def draw(
        self, projection_world: Array, opacity: float = 1.0, linear: bool = False, pixels: float = math.inf
    ) -> None:
        """Nothing before the first upload. projection_world: [4, 4] from the world to clip space. linear: the target
        holds linear colours. pixels: about so many the picture is wide there; a small one needs fewer cells."""
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
        self._meshes[linear, pixels <= COARSE_PX].render(moderngl.TRIANGLES)
        ctx.disable(moderngl.BLEND | moderngl.DEPTH_TEST)

    def release(self) -> None:
        for item in (*self._meshes.values(), *self._buffers, self._depths, *self._programs.values()):
            item.release()
