"""The images that a headset's eyes are drawn into: swapchains of the runtime's, with GL framebuffers around them."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import moderngl

from app.xr.runtime import translated
from tracking.room import Eye

IMAGE_WAIT_NS = 500_000_000  # for the compositor to give a swapchain image back
# of depth: 32 bit float, 24 bit, with stencil and without, 16 bit
DEPTH_FORMATS = (0x8CAC, 0x81A6, 0x8CAD, 0x88F0, 0x81A5)
# GL's internal formats that we can draw into, best first, with moderngl's type and whether they hold linear values
FORMATS = {0x8C43: ("f1", False), 0x881A: ("f2", True), 0x8058: ("f1", True)}  # SRGB8_ALPHA8, RGBA16F, RGBA8


def fitted(size: tuple[int, int], largest: int | None) -> tuple[int, int]:
    """The size, made smaller where its longer side is beyond `largest` pixels."""
    longer = max(size)
    if largest is None or longer <= largest:
        return size
    return max(round(size[0] * largest / longer), 1), max(round(size[1] * largest / longer), 1)


class EyeImages:
    """One eye's swapchain with a framebuffer around each image, and one of depth beside it where `depth_format` is
    given; else depth is our own and stays here."""

    def __init__(
        self,
        ctx: moderngl.Context,
        session: Any,
        format_: int,
        dtype: str,
        size: tuple[int, int],
        depth_format: int | None,
    ) -> None:
        import xr

        self.size = size
        self._kept: list[Any] = []  # of moderngl's
        self._framebuffers: list[moderngl.Framebuffer] = []
        self._depth_chain: Any = None
        self._depth_names: list[int] = []
        usage = xr.SwapchainUsageFlags
        self._chain, names = _swapchain(session, format_, size, usage.COLOR_ATTACHMENT_BIT | usage.SAMPLED_BIT)
        own = None
        if depth_format is None:
            own = ctx.depth_renderbuffer(size)
            self._kept.append(own)
        for name in names:
            texture = ctx.external_texture(name, size, 4, 0, dtype)
            framebuffer = ctx.framebuffer([texture], own)
            framebuffer.depth_mask = True  # moderngl does not know of a depth that it did not make
            self._kept += [framebuffer, texture]
            self._framebuffers.append(framebuffer)
        if depth_format is not None:
            use = usage.DEPTH_STENCIL_ATTACHMENT_BIT
            self._depth_chain, self._depth_names = _swapchain(session, depth_format, size, use)

    @contextlib.contextmanager
    def drawn(self) -> Iterator[moderngl.Framebuffer]:
        with _acquired(self._chain) as index:
            framebuffer = self._framebuffers[index]
            if self._depth_chain is None:
                yield framebuffer
                return
            with _acquired(self._depth_chain) as depth_index:
                _attach_depth(framebuffer, self._depth_names[depth_index])
                yield framebuffer

    def view(self, eye: Eye, near_far: tuple[float, float]) -> Any:
        """What was drawn last, as seen from `eye`."""
        import xr

        p, q, f = eye.T_world_eye.position, eye.T_world_eye.orientation, eye.fov
        view = xr.CompositionLayerProjectionView(
            pose=xr.Posef(xr.Quaternionf(*map(float, q)), xr.Vector3f(*map(float, p))),
            fov=xr.Fovf(f.left, f.right, f.up, f.down),
            sub_image=self._whole(self._chain),
        )
        if self._depth_chain is not None:
            # kept until the next one: the view only points to it
            self._depth_info = xr.CompositionLayerDepthInfoKHR(
                sub_image=self._whole(self._depth_chain),
                min_depth=0.0,
                max_depth=1.0,
                near_z=near_far[0],
                far_z=near_far[1],
            )
            view.next = ctypes.cast(ctypes.pointer(self._depth_info), ctypes.c_void_p)
        return view

    def _whole(self, chain: Any) -> Any:
        import xr

        return xr.SwapchainSubImage(chain, xr.Rect2Di(xr.Offset2Di(0, 0), xr.Extent2Di(*self.size)), 0)

    def close(self) -> None:
        import xr

        for item in self._kept:
            item.release()
        for chain in (self._chain, self._depth_chain):
            if chain is not None:
                with contextlib.suppress(xr.XrException):
                    xr.destroy_swapchain(chain)


def _swapchain(session: Any, format_: int, size: tuple[int, int], usage: Any) -> tuple[Any, list[int]]:
    """A swapchain, and the GL names of its textures."""
    import xr
    import xr.platform as platform

    chain = xr.create_swapchain(
        session,
        xr.SwapchainCreateInfo(
            usage_flags=usage,
            format=format_,
            sample_count=1,
            width=size[0],
            height=size[1],
            face_count=1,
            array_size=1,
            mip_count=1,
        ),
    )
    return chain, [i.image for i in xr.enumerate_swapchain_images(chain, platform.SwapchainImageOpenGLKHR)]


@contextlib.contextmanager
def _acquired(chain: Any) -> Iterator[int]:
    """The index of the image that may be drawn into. Raises HeadsetLost."""
    import xr

    with translated():
        index = xr.acquire_swapchain_image(chain, xr.SwapchainImageAcquireInfo())
        xr.wait_swapchain_image(chain, xr.SwapchainImageWaitInfo(timeout=xr.Duration(IMAGE_WAIT_NS)))
    try:
        yield index
    finally:
        with translated():
            xr.release_swapchain_image(chain, xr.SwapchainImageReleaseInfo())


def _attach_depth(framebuffer: moderngl.Framebuffer, texture: int) -> None:
    """moderngl cannot take a depth texture that somebody else made."""
    from OpenGL import GL

    framebuffer.use()
    GL.glFramebufferTexture2D(GL.GL_FRAMEBUFFER, GL.GL_DEPTH_ATTACHMENT, GL.GL_TEXTURE_2D, texture, 0)
