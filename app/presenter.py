"""Where frames end: the window (app/window.py), an EGL context without a display, or plain memory.

All three do the same per frame: upload, draw, perhaps read back, present.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import moderngl
import numpy as np
from numpy.typing import NDArray

from app.blit import SceneBlit, cover_fit
from app.imgui_host import ImGuiHost
from renderer.composite import composite
from renderer.messages import EyeView, RenderedFrame


class Picture(Protocol):
    """Who draws what is shown: the presenter itself, or VR's mirror of an eye."""

    def upload(self, frame: RenderedFrame) -> None: ...

    def draw(self, eye: EyeView | None = None) -> None:
        """eye: where the viewer is by now, if that may still be drawn for."""
        ...


class Presenter(Picture, Protocol):
    name: str  # as shown to people, with the GL renderer's name
    size: tuple[int, int]  # viewport: width, height in framebuffer pixels
    ui: ImGuiHost | None  # None where no overlay can be drawn
    bottom_up: bool  # whether `read` gives row 0 at the bottom
    context: moderngl.Context | None  # None where nothing is drawn with GL

    def set_background(self, plate: NDArray[np.uint8]) -> None: ...

    def use(self) -> None:
        """Make the context current and bind what is shown, for whoever draws the picture himself."""
        ...

    def set_paced(self, on: bool) -> None:
        """Whether `present` waits for the display."""
        ...

    def read(self, out: NDArray[np.uint8]) -> None:
        """The drawn picture into out: [H, W, 3] uint8 of `size`."""
        ...

    def present(self) -> None:
        """Hand the picture over; returns when the display system (or memory) has it."""
        ...

    def close(self) -> None: ...


_SOFTWARE = ("llvmpipe", "softpipe", "swiftshader", "swrast", "software", "gdi generic", "basic render")


def draws_in_software(context: moderngl.Context | None) -> bool:
    """Whether GL runs on the processor, whose cores the workers need."""
    if context is None:
        return True
    renderer = str(context.info["GL_RENDERER"]).lower()
    return any(name in renderer for name in _SOFTWARE)


def moved_late(choice: str, context: moderngl.Context | None) -> bool:
    """Whether what is shown is moved to the newest pose, by a person's choice: "on", "off", or "auto", which is off
    where it would cost more than it gives: in software it takes a sixth of the frames or more (docs/performance.md)."""
    return context is not None and (choice == "on" or (choice == "auto" and not draws_in_software(context)))


@contextlib.contextmanager
def default_environment(name: str, value: str) -> Iterator[None]:
    """What libraries read once, set for that moment only: child processes should not inherit it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def few_software_threads(threads: int) -> contextlib.AbstractContextManager[None]:
    """For the moment that a GL context is made: llvmpipe would start a thread on every core, but they belong to the
    workers. With 0 whoever draws does it himself."""
    return default_environment("LP_NUM_THREADS", str(threads))


class EglPresenter:
    """GL without a display. Raises an exception of moderngl's when EGL or GL 3.3 is not there."""

    bottom_up = True

    def __init__(self, size: tuple[int, int], overlay: bool = False, ui_scale: float = 1.0) -> None:
        with few_software_threads(0):  # so little drawing gains nothing from more
            self._ctx = moderngl.create_context(standalone=True, require=330, backend="egl")  # type: ignore[call-arg]
        self.context: moderngl.Context | None = self._ctx
        self.name = f"offscreen EGL ({self._ctx.info['GL_RENDERER']})"
        self.size = size
        self._target = self._ctx.renderbuffer(size, 4)
        self._depth = self._ctx.depth_renderbuffer(size)
        self._framebuffer = self._ctx.framebuffer([self._target], self._depth)
        self._scene = SceneBlit(self._ctx)
        self.name += self._scene.way
        with default_environment("PYOPENGL_PLATFORM", "egl"):  # PyOpenGL, which ImGui's backend imports too, reads it
            from OpenGL.GL import glFinish

            self.ui = ImGuiHost(ui_scale) if overlay else None
        self._finish: Callable[[], None] = glFinish

    def set_background(self, plate: NDArray[np.uint8]) -> None:
        self._scene.set_background(plate)

    def upload(self, frame: RenderedFrame) -> None:
        self._scene.upload(frame)

    def draw(self, eye: EyeView | None = None) -> None:
        self.use()
        self._scene.draw(self.size, eye)

    def use(self) -> None:
        self._framebuffer.use()

    def set_paced(self, on: bool) -> None:
        return

    def read(self, out: NDArray[np.uint8]) -> None:
        self._framebuffer.read_into(out, components=3, alignment=1)

    def present(self) -> None:
        self._finish()  # not moderngl's, which keeps the interpreter lock: workers could not start meanwhile

    def close(self) -> None:
        if self.ui is not None:
            self.ui.close()
        self._scene.release()
        self._framebuffer.release()
        self._target.release()
        self._depth.release()
        self._ctx.release()


class CpuPresenter:
    """Without any GL: the CPU twin of the blit."""

    bottom_up = False

    def __init__(self, size: tuple[int, int]) -> None:
        self.name = "offscreen CPU"
        self.context: moderngl.Context | None = None
        self.ui: ImGuiHost | None = None
        self.size = size
        self._background = np.full((size[1], size[0], 3), 16, np.uint8)
        self._picture = self._background.copy()
        self._frame: RenderedFrame | None = None

    def set_background(self, plate: NDArray[np.uint8]) -> None:
        self._background = cover_fit(plate, self.size)

    def upload(self, frame: RenderedFrame) -> None:
        self._frame = frame

    def draw(self, eye: EyeView | None = None) -> None:
        """What was drawn for an older eye stays so: there is no GL to move it with."""
        if self._frame is None:
            np.copyto(self._picture, self._background)
        else:
            composite(self._frame, self._background, out=self._picture)

    def use(self) -> None:
        return

    def set_paced(self, on: bool) -> None:
        return

    def read(self, out: NDArray[np.uint8]) -> None:
        np.copyto(out, self._picture)

    def present(self) -> None:
        return

    def close(self) -> None:
        return


def open_offscreen(size: tuple[int, int], overlay: bool = False, ui_scale: float = 1.0) -> Presenter:
    """EGL where it works, else the CPU; which of them is in `name`."""
    try:
        return EglPresenter(size, overlay, ui_scale)
    except Exception as error:  # moderngl, glcontext and drivers raise plain Exceptions
        presenter = CpuPresenter(size)
        presenter.name = f"offscreen CPU (no EGL: {' '.join(str(error).split())[:80]})"
        return presenter
