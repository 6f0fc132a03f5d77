"""How a finished picture gets from the renderer's memory into a GL texture; which way, is in the presenter's name.

- *CUDA-GL*: the card fetches the picture from pinned memory straight into a GL buffer that CUDA has mapped; the
  processor moves no pixel. Needs the package cuda-core and a GL context on an NVIDIA card.
- *pixel buffer*: the picture is copied once into a GL buffer; the driver takes it from there while we go on.
- *memory*: GL reads the array itself. The way of a machine without a CUDA GPU.

All of them are called in the GL context's thread.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import moderngl

log = logging.getLogger(__name__)


class Upload(Protocol):
    name: str

    def __call__(self, rgba: NDArray[np.uint8], texture: moderngl.Texture) -> None:
        """rgba: [H, W, 4], C-contiguous, of the texture's size."""
        ...

    def release(self) -> None: ...


class MemoryUpload:
    name = "memory"

    def __call__(self, rgba: NDArray[np.uint8], texture: moderngl.Texture) -> None:
        texture.write(rgba)

    def release(self) -> None:
        return


class PixelBufferUpload:
    """Two buffers in turn: the driver may still read one while the other is filled."""

    def __init__(self, ctx: moderngl.Context, why: str = "") -> None:
        """why: the reason for not taking CUDA-GL."""
        self.name = f"pixel buffer ({why})" if why else "pixel buffer"
        self._ctx = ctx
        self._buffers: list[moderngl.Buffer] = []
        self._turn = 0

    def _next(self, size: int) -> moderngl.Buffer:
        if not self._buffers or self._buffers[0].size != size:
            self.release()
            self._buffers = [self._ctx.buffer(reserve=size, dynamic=True) for _ in range(2)]
        self._turn ^= 1
        return self._buffers[self._turn]

    def __call__(self, rgba: NDArray[np.uint8], texture: moderngl.Texture) -> None:
        buffer = self._next(rgba.nbytes)
        buffer.orphan()  # never wait for what GL still reads
        buffer.write(rgba)
        texture.write(buffer)

    def release(self) -> None:
        for buffer in self._buffers:
            buffer.release()
        self._buffers = []


class CudaGlUpload(PixelBufferUpload):
    """Raises whatever cuda.core raises where GL and CUDA do not share a card. Not tried on one: docs/performance.md."""

    def __init__(self, ctx: moderngl.Context, cuda: Any, device: int = 0) -> None:
        """cuda: the module cuda.core."""
        super().__init__(ctx)
        self.name = f"CUDA-GL (cuda:{device})"
        self._cuda = cuda
        self._device = cuda.Device(device)
        self._device.set_current()
        self._stream = self._device.create_stream()
        self._resources: dict[int, Any] = {}  # by GL buffer
        self._lost = False
        self._register(self._next(4))  # now, so that a driver which refuses does it before the first frame

    def _register(self, buffer: moderngl.Buffer) -> Any:
        if buffer.glo not in self._resources:
            register = self._cuda.GraphicsResource.from_gl_buffer
            self._resources[buffer.glo] = register(buffer.glo, flags="write_discard")
        return self._resources[buffer.glo]

    def __call__(self, rgba: NDArray[np.uint8], texture: moderngl.Texture) -> None:
        if self._lost:
            super().__call__(rgba, texture)
            return
        try:
            self._fetch(rgba, texture)
        except Exception as error:  # a card that went away must not take the window along
            self._lost = True
            self.name = f"pixel buffer (CUDA-GL failed: {' '.join(str(error).split())[:60]})"
            log.warning("pictures go to GL through a %s from now on", self.name)
            self._forget()
            super().__call__(rgba, texture)

    def _fetch(self, rgba: NDArray[np.uint8], texture: moderngl.Texture) -> None:
        self._device.set_current()
        buffer = self._next(rgba.nbytes)
        picture = self._cuda.Buffer.from_handle(rgba.ctypes.data, rgba.nbytes, owner=rgba)
        with self._register(buffer).map(stream=self._stream) as mapped:
            mapped.copy_from(picture, stream=self._stream)
            self._stream.sync()  # the picture's memory may be drawn into as soon as nobody holds it
        texture.write(buffer)

    def _forget(self) -> None:
        for resource in self._resources.values():
            with contextlib.suppress(Exception):  # of a card that is gone
                resource.close()
        self._resources = {}
        super().release()

    def release(self) -> None:
        self._forget()


def cuda_core() -> Any | None:
    """The module cuda.core, if it is installed and knows GraphicsResource."""
    try:
        module = importlib.import_module("cuda.core")
    except Exception as error:  # a driver too old makes it raise more than ImportError
        log.debug("cuda.core: %s", error)
        return None
    return module if hasattr(module, "GraphicsResource") else None


def cuda_devices() -> int:
    """How many cards the renderer may draw on."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def open_upload(ctx: moderngl.Context, cuda_devices: int) -> Upload:
    """The shortest way that works in this context."""
    if not cuda_devices:
        return MemoryUpload()
    cuda = cuda_core()
    if cuda is None:
        return PixelBufferUpload(ctx, "cuda-core is not installed")
    reason = ""
    for device in range(cuda_devices):
        try:
            return CudaGlUpload(ctx, cuda, device)
        except Exception as error:  # cuda.core's own, and what its bindings raise
            reason = reason or " ".join(str(error).split())[:60] or type(error).__name__
    return PixelBufferUpload(ctx, f"no CUDA-GL: {reason}")


def describe_upload(cuda_devices: int) -> str:
    """What `open_upload` would try, as `visavis doctor` tells it; GL itself is not asked."""
    if not cuda_devices:
        return MemoryUpload.name
    return "CUDA-GL through cuda.core, if the window's driver lets it" if cuda_core() else "pixel buffer"
