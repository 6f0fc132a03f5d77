"""The room as an eye sees it, drawn with GL: a quiet environment, and each eye's newest picture hung up in it.

Knows nothing of OpenXR or windows: it draws into whatever framebuffer is bound.
"""

from __future__ import annotations

import moderngl
import numpy as np
from numpy.typing import NDArray

from assets import asset_path
from models.geometry import Array
from renderer.messages import EyeView, RenderedFrame
from tracking.room import Eye, nearness_fade, picture_corners

NEAR_M, FAR_M = 0.05, 100.0
FLOOR_BELOW_HEAD_M = 1.3  # nobody has told us of the real one
STALE_NS = 1_000_000_000  # a picture that is older than this fades, in as long again, rather than freeze


def staleness_fade(age_ns: int) -> float:
    """Opacity of a picture whose moment was so long ago."""
    return float(np.clip(2.0 - age_ns / STALE_NS, 0.0, 1.0))


class RoomScene:
    """Newest pictures of one GL context. Use from that context's thread only."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        self._room = self._program("room")
        self._picture = self._program("picture")
        self._room_strip = ctx.vertex_array(self._room, [])
        self._picture_strip = ctx.vertex_array(self._picture, [])
        self._textures: list[moderngl.Texture] = []
        self._corners: list[Array] = []
        self._head: Array | None = None
        self._time_ns = 0  # when the pictures were to be seen
        self._size = (0, 0)

    def _program(self, name: str) -> moderngl.Program:
        shaders = asset_path("shaders")
        return self._ctx.program(
            vertex_shader=(shaders / f"{name}.vert").read_text(encoding="utf-8"),
            fragment_shader=(shaders / f"{name}.frag").read_text(encoding="utf-8"),
        )

    def upload(self, frame: RenderedFrame) -> None:
        """From now on both eyes see this stereo frame's pictures, drawn in the anchor's frame, where they belong."""
        request, second = frame.request, frame.second
        assert second is not None and request.second_eye is not None, "a frame for one eye does not belong in a room"
        head = request.head.T_world_head.position
        first = EyeView(request.T_world_eye, request.camera)
        pairs = ((first, frame.crop, frame.rgba), (request.second_eye, second.crop, second.rgba))
        self._allocate(frame.rgba)
        self._corners = [picture_corners(eye.T_world_eye, eye.camera, crop, head) for eye, crop, _ in pairs]
        for texture, (_, _, rgba) in zip(self._textures, pairs, strict=True):
            texture.write(np.ascontiguousarray(rgba))
            texture.build_mipmaps()
        self._head, self._time_ns = head, request.display_time_ns

    def _allocate(self, rgba: NDArray[np.uint8]) -> None:
        size = (rgba.shape[1], rgba.shape[0])
        if size == self._size:
            return
        for texture in self._textures:
            texture.release()
        self._textures = [self._ctx.texture(size, 4) for _ in range(2)]
        for texture in self._textures:
            texture.repeat_x = texture.repeat_y = False
        self._size = size

    def draw(
        self, index: int, eye: Eye, viewport: tuple[int, int], now_ns: int, linear: bool = False, left: int = 0
    ) -> None:
        """What eye `index` (0 left, 1 right) sees from `eye`, into the bound framebuffer, all of it.

        eye: in the anchor's frame, as the pictures are. now_ns: when it will be seen. linear: the framebuffer holds
        linear colours. left: where the viewport starts, in pixels from the framebuffer's left side.
        """
        ctx = self._ctx
        ctx.viewport = (left, 0, *viewport)
        ctx.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE | moderngl.BLEND)
        pose = eye.T_world_eye
        self._room["tangents"] = eye.fov.tangents
        self._room["rotation"] = tuple(pose.rotation.T.ravel())
        self._room["eye"] = tuple(pose.position)
        self._room["floor_y"] = -FLOOR_BELOW_HEAD_M
        self._room["linear"] = linear
        self._room_strip.render(moderngl.TRIANGLE_STRIP, vertices=4)
        if self._head is None:
            return
        opacity = nearness_fade(pose.position, self._head) * staleness_fade(now_ns - self._time_ns)
        if opacity <= 0:
            return
        self._picture["view_projection"] = tuple(
            (eye.fov.projection(NEAR_M, FAR_M) @ pose.inverse().matrix()).T.ravel()
        )
        self._picture["corners"] = [tuple(corner) for corner in self._corners[index]]
        self._picture["opacity"] = opacity
        self._picture["linear"] = linear
        self._textures[index].use(0)
        ctx.enable(moderngl.BLEND)
        ctx.blend_func = (moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA)
        self._picture_strip.render(moderngl.TRIANGLE_STRIP, vertices=4)
        ctx.disable(moderngl.BLEND)

    def release(self) -> None:
        for item in (*self._textures, self._room_strip, self._picture_strip, self._room, self._picture):
            item.release()
