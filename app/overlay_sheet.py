"""The overlay, kept as a picture: it changes a few times a second, and the frame below it at the display's rate.

Drawing its letters and plot takes a software GL 4 ms, laying the picture over the frame less than one.
"""

from __future__ import annotations

from collections.abc import Callable

import moderngl
import numpy as np

from app.imgui_host import Box
from assets import asset_path

PERIOD_NS = 100_000_000  # between two drawings while nobody touches anything
LIVELY_NS = 400_000_000  # for so long after a touch it is drawn with every frame: ImGui needs some to settle


class OverlaySheet:
    """A transparent picture of the viewport's size, premultiplied. Used from the context's thread only."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        shaders = asset_path("shaders")
        self._program = ctx.program(
            vertex_shader=(shaders / "blit.vert").read_text(encoding="utf-8"),
            fragment_shader=(shaders / "blit.frag").read_text(encoding="utf-8"),
        )
        self._strip = ctx.vertex_array(self._program, [])
        self._target: moderngl.Framebuffer | None = None
        self._box: Box | None = None
        self._drawn_ns = self._lively_ns = 0

    def due(self, now_ns: int, viewport: tuple[int, int], touched: bool) -> bool:
        """Whether to draw it anew. touched: something was done, or there is something to say at once."""
        new = self._target is None or self._target.size != viewport
        if touched or new:
            self._lively_ns = now_ns + LIVELY_NS
        return new or now_ns < self._lively_ns or now_ns - self._drawn_ns >= PERIOD_NS

    def redraw(self, now_ns: int, viewport: tuple[int, int], render: Callable[[], Box | None]) -> None:
        """`render` draws into the bound framebuffer and returns what of it it drew on."""
        shown = self._ctx.fbo
        if self._target is None or self._target.size != viewport:
            self._forget()
            picture = self._ctx.texture(viewport, 4)
            picture.filter = moderngl.NEAREST, moderngl.NEAREST  # it is shown pixel for pixel
            self._target = self._ctx.framebuffer([picture])
        self._target.use()
        self._target.clear(0.0, 0.0, 0.0, 0.0)
        self._box = render()
        self._drawn_ns = now_ns
        shown.use()

    def show(self) -> None:
        """Over what the bound framebuffer holds."""
        if self._target is None or self._box is None:
            return
        ctx = self._ctx
        width, height = self._target.size
        left, top, right, bottom = self._box
        ctx.viewport = (0, 0, width, height)
        ctx.enable(moderngl.BLEND)
        ctx.blend_func = (moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA)
        self._target.color_attachments[0].use(0)  # type: ignore[union-attr]
        self._program["viewport"] = (float(width), float(height))
        self._program["rect"] = (float(left), float(top), float(right), float(bottom))
        # GL keeps the sheet's bottom row first
        self._program["source"] = (left / width, 1 - top / height, right / width, 1 - bottom / height)
        self._program["bands"] = 1
        self._program["spans"].write(np.resize(np.array([0.0, 1.0], np.float32), (32, 2)))  # type: ignore[union-attr]
        self._strip.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=1)
        ctx.disable(moderngl.BLEND)

    def release(self) -> None:
        self._forget()
        self._strip.release()
        self._program.release()

    def _forget(self) -> None:
        if self._target is not None:
            for attachment in self._target.color_attachments:
                attachment.release()
            self._target.release()
            self._target = None
