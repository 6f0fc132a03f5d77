"""The room as an eye sees it, drawn with GL: a quiet environment, and each eye's newest picture hung up in it.

Knows nothing of OpenXR or windows: it draws into whatever framebuffer is bound.
"""

from __future__ import annotations

from collections.abc import Callable

import moderngl
import numpy as np

from app.relief import Relief
from app.shaders import load_program
from models.geometry import Array
from renderer.messages import EyeView, RenderedFrame
from tracking.room import Eye, nearness_fade

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
        self._rooms = {linear: load_program(ctx, "room.vert", "room.frag", linear) for linear in (False, True)}
        self._room_strips = {linear: ctx.vertex_array(program, []) for linear, program in self._rooms.items()}
        self._reliefs = (Relief(ctx), Relief(ctx))
        self._textures: list[moderngl.Texture] = []
        self._head: Array | None = None
        self._time_ns = 0  # when the pictures were to be seen

    def upload(self, frame: RenderedFrame) -> None:
        """From now on both eyes see this stereo frame's pictures, drawn in the anchor's frame, where they belong."""
        request, second = frame.request, frame.second
        assert second is not None and request.second_eye is not None, "a frame for one eye does not belong in a room"
        head = request.head.T_world_head.position
        self._allocate((frame.rgba.shape[1], frame.rgba.shape[0]))
        views = (EyeView(request.T_world_eye, request.camera), request.second_eye)
        for relief, texture, view, picture in zip(self._reliefs, self._textures, views, (frame, second), strict=True):
            texture.write(np.ascontiguousarray(picture.rgba))
            texture.build_mipmaps()
            relief.upload(view, picture.crop, texture, picture.depth, head)
        self._head, self._time_ns = head, request.display_time_ns

    def _allocate(self, size: tuple[int, int]) -> None:
        if self._textures and self._textures[0].size == size:
            return
        for texture in self._textures:
            texture.release()
        self._textures = [self._ctx.texture(size, 4) for _ in self._reliefs]
        for texture in self._textures:
            texture.repeat_x = texture.repeat_y = False

    def draw(
        self,
        index: int,
        eye: Eye,
        viewport: tuple[int, int],
        now_ns: int,
        linear: bool = False,
        left: int = 0,
        also: Callable[[], None] | None = None,
    ) -> None:
        """What eye `index` (0 left, 1 right) sees from `eye`, into the bound framebuffer, all of it.

        eye: in the anchor's frame, as the pictures are. now_ns: when it will be seen. linear: the framebuffer holds
        linear colours. left: where the viewport starts, in pixels from the framebuffer's left side. Depth, where there
        is any, is GL's between NEAR_M and FAR_M; that of the room is the farthest. also: draws what else is opaque in
        the room, with depth; the head's soft edge then lies over that.
        """
        ctx = self._ctx
        ctx.viewport = (left, 0, *viewport)
        ctx.clear(depth=1.0, viewport=(left, 0, *viewport))  # of colour, all is drawn over
        ctx.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE | moderngl.BLEND)
        pose = eye.T_world_eye
        room = self._rooms[linear]
        room["tangents"] = eye.fov.tangents
        room["rotation"] = tuple(pose.rotation.T.ravel())
        room["eye"] = tuple(pose.position)
        room["floor_y"] = -FLOOR_BELOW_HEAD_M
        self._room_strips[linear].render(moderngl.TRIANGLE_STRIP, vertices=4)
        if also is not None:
            also()
        if self._head is None:
            return
        opacity = nearness_fade(pose.position, self._head) * staleness_fade(now_ns - self._time_ns)
        if opacity > 0:
            projection = eye.fov.projection(NEAR_M, FAR_M) @ pose.inverse().matrix()
            left_tangent, right_tangent, *_ = eye.fov.tangents
            relief = self._reliefs[index]
            pixels = relief.width * viewport[0] / (right_tangent - left_tangent)
            relief.draw(projection, opacity, linear, pixels)

    def release(self) -> None:
        for item in (*self._reliefs, *self._textures, *self._room_strips.values(), *self._rooms.values()):
            item.release()
