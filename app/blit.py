"""Drawing a rendered frame with GL: the background plate, then the premultiplied crop, in its square of the viewport or
as another eye sees it.

Knows nothing of windows: it draws into whatever framebuffer is bound. Its CPU twin is renderer/composite.py.
"""

from __future__ import annotations

import moderngl
import numpy as np
from numpy.typing import NDArray

from app.interop import MemoryUpload, Upload, cuda_devices, open_upload
from app.relief import Relief
from app.shaders import load_program
from renderer.extent import opaque_spans
from renderer.messages import EyeView, RenderedFrame

NEAR_M, FAR_M = 0.02, 20.0  # of what a late eye sees

BANDS = 32  # of a crop: as in assets/shaders/blit.vert
WHOLE = np.array([[0.0, 1.0]], np.float32)  # spans of a rectangle that is drawn in one piece


def cover_rect(width: int, height: int, viewport: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in [0, 1] of the centred part of a width x height image that covers the viewport."""
    w, h = viewport
    scale = max(w / width, h / height)
    u, v = w / (scale * width) / 2, h / (scale * height) / 2
    return 0.5 - u, 0.5 - v, 0.5 + u, 0.5 + v


def cover_fit(image: NDArray[np.uint8], viewport: tuple[int, int]) -> NDArray[np.uint8]:
    """The same on the CPU: [h, w, 3] cut and resampled bilinearly to the viewport (width, height)."""
    import cv2

    h, w = image.shape[:2]
    left, top, right, bottom = cover_rect(w, h, viewport)
    sx, sy = (right - left) * w / viewport[0], (bottom - top) * h / viewport[1]
    # cv2 puts pixel centres at whole numbers, hence the halves
    matrix = np.array([[sx, 0, left * w + 0.5 * sx - 0.5], [0, sy, top * h + 0.5 * sy - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, matrix, viewport, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)


class Quad:
    """Draws a texture into a rectangle of the viewport. Of one GL context; use from its thread only."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._program = load_program(ctx, "blit.vert", "blit.frag")
        self._strip = ctx.vertex_array(self._program, [])

    def draw(
        self,
        texture: moderngl.Texture,
        viewport: tuple[int, int],
        rect: tuple[float, ...],
        source: tuple[float, ...],
        spans: NDArray[np.float32],
    ) -> None:
        """rect: left, top, right, bottom in pixels of the viewport, y down. source: the same corners in the texture,
        in [0, 1] from its first row. spans: [bands, 2], of the rectangle's width: what of each of its bands is drawn.
        """
        texture.use(0)
        self._program["viewport"] = (float(viewport[0]), float(viewport[1]))
        self._program["rect"] = rect
        self._program["source"] = source
        self._program["bands"] = len(spans)
        self._program["spans"].write(np.resize(spans, (BANDS, 2)))  # type: ignore[union-attr]
        self._strip.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=len(spans))

    def release(self) -> None:
        self._strip.release()
        self._program.release()


class SceneBlit:
    """Plate and newest crop of one GL context. Use from that context's thread only."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        self._upload: Upload = open_upload(ctx, cuda_devices())
        self._quad = Quad(ctx)
        self._plate: moderngl.Texture | None = None
        self._backdrop: moderngl.Framebuffer | None = None  # the plate as this viewport shows it, drawn once
        # two textures in turn: the driver need not wait for the last draw before it takes the next upload
        self._crops: list[moderngl.Texture] = []
        self._turn = 0
        self._rect: tuple[float, ...] | None = None
        self._spans = WHOLE
        self._frame: RenderedFrame | None = None
        self._relief: Relief | None = None  # made when it is first wanted
        self._raised: RenderedFrame | None = None  # the frame that it holds

    @property
    def way(self) -> str:
        """How pictures come here, as shown to people; nothing where there is no choice."""
        return "" if isinstance(self._upload, MemoryUpload) else f", {self._upload.name}"

    def set_background(self, plate: NDArray[np.uint8]) -> None:
        """plate: [H, W, 3] uint8 sRGB; shown so that it covers the viewport."""
        if self._plate is not None:
            self._plate.release()
        self._forget_backdrop()
        h, w = plate.shape[:2]
        self._plate = self._ctx.texture((w, h), 3, np.ascontiguousarray(plate), alignment=1)
        self._plate.repeat_x = self._plate.repeat_y = False

    def upload(self, frame: RenderedFrame) -> None:
        """From now on this frame is drawn, in its crop's square of the viewport."""
        self._frame, rgba = frame, frame.rgba
        size = (rgba.shape[1], rgba.shape[0])
        if not self._crops or self._crops[0].size != size:
            for texture in self._crops:
                texture.release()
            self._crops = [self._ctx.texture(size, 4) for _ in range(2)]
            for texture in self._crops:
                texture.repeat_x = texture.repeat_y = False
        self._turn ^= 1
        self._spans = opaque_spans(rgba, BANDS)
        self._upload(rgba if rgba.flags.c_contiguous else np.ascontiguousarray(rgba), self._crops[self._turn])
        crop, camera = frame.crop, frame.request.camera
        # in parts of the viewport: a frame that was asked for before a resize still lies where it belongs
        self._rect = tuple(
            v / n
            for v, n in zip(
                (crop.left, crop.top, crop.left + crop.side, crop.top + crop.side),
                (camera.width, camera.height) * 2,
                strict=True,
            )
        )

    def draw(self, viewport: tuple[int, int], eye: EyeView | None = None) -> None:
        """Into the bound framebuffer, all of it. eye: where the viewer is by now, if the newest frame is to be seen
        from there rather than from where it was asked for."""
        ctx = self._ctx
        width, height = viewport
        ctx.viewport = (0, 0, width, height)
        ctx.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        if self._plate is None:
            ctx.clear(0.06, 0.06, 0.07, 1.0)
        else:
            self._draw_plate(self._plate, viewport)
        if eye is not None and self._frame is not None:
            self._draw_relief(self._frame, eye, viewport)
        elif self._rect is not None:
            ctx.enable(moderngl.BLEND)
            ctx.blend_func = (moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA)
            left, top, right, bottom = self._rect
            rect = (left * width, top * height, right * width, bottom * height)
            self._quad.draw(self._crops[self._turn], viewport, rect, (0.0, 0.0, 1.0, 1.0), self._spans)
            ctx.disable(moderngl.BLEND)

    def _draw_relief(self, frame: RenderedFrame, eye: EyeView, viewport: tuple[int, int]) -> None:
        if self._relief is None:
            self._relief = Relief(self._ctx)
        if frame is not self._raised:
            request = frame.request
            view, head = EyeView(request.T_world_eye, request.camera), request.head.T_world_head.position
            self._relief.upload(view, frame.crop, self._crops[self._turn], frame.depth, head)
            self._raised = frame
        target = self._ctx.fbo
        target.color_mask = (False, False, False, False)
        target.clear(depth=1.0)
        target.color_mask = (True, True, True, True)
        target.use()  # masks count from here on
        self._ctx.viewport = (0, 0, *viewport)
        self._relief.draw(eye.camera.projection(NEAR_M, FAR_M) @ eye.T_world_eye.inverse().matrix())

    def _draw_plate(self, plate: moderngl.Texture, viewport: tuple[int, int]) -> None:
        """Taken from where it was drawn before: sampling and enlarging it costs a software GL milliseconds."""
        ctx, target = self._ctx, self._ctx.fbo
        if self._backdrop is None or self._backdrop.size != viewport:
            self._forget_backdrop()
            picture = ctx.texture(viewport, 4)
            picture.filter = moderngl.NEAREST, moderngl.NEAREST  # it is shown pixel for pixel
            self._backdrop = ctx.framebuffer([picture])
            self._backdrop.use()
            ctx.disable(moderngl.BLEND)
            w, h = plate.size
            whole = (0.0, 0.0, float(viewport[0]), float(viewport[1]))
            self._quad.draw(plate, viewport, whole, cover_rect(w, h, viewport), WHOLE)
            target.use()
            ctx.viewport = (0, 0, *viewport)
        if target.glo:
            ctx.copy_framebuffer(target, self._backdrop)
            return
        # a window's own framebuffer stands on its head: copied to, it is turned over in twice the time of a drawing
        picture = self._backdrop.color_attachments[0]
        assert isinstance(picture, moderngl.Texture)
        whole = (0.0, 0.0, float(viewport[0]), float(viewport[1]))
        self._quad.draw(picture, viewport, whole, (0.0, 1.0, 1.0, 0.0), WHOLE)

    def _forget_backdrop(self) -> None:
        if self._backdrop is not None:
            for attachment in self._backdrop.color_attachments:
                attachment.release()
            self._backdrop.release()
            self._backdrop = None

    def release(self) -> None:
        self._forget_backdrop()
        if self._relief is not None:
            self._relief.release()
        for texture in (*self._crops, *([self._plate] if self._plate else [])):
            texture.release()
        self._upload.release()
        self._quad.release()
