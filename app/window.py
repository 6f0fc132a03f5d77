"""The desktop window: GLFW, a GL 3.3 core context, vsync, input. A presenter like the offscreen ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import imgui_bundle  # noqa: F401 - before glfw: each ships a libglfw, and the first import wins
import moderngl
import numpy as np
from numpy.typing import NDArray

from app.blit import SceneBlit
from app.imgui_host import ImGuiHost
from app.presenter import few_software_threads
from models.errors import UserError
from renderer.messages import EyeView, RenderedFrame

import glfw  # isort: skip

DEFAULT_REFRESH_HZ = 60.0
WORKERS = 2  # on a machine that draws in software; half of the other cores may draw the window
_ARROWS = {glfw.KEY_LEFT: "left", glfw.KEY_RIGHT: "right", glfw.KEY_UP: "up", glfw.KEY_DOWN: "down"}
_REPEATED = {**_ARROWS, glfw.KEY_PAGE_UP: "PgUp", glfw.KEY_PAGE_DOWN: "PgDn"}
_NAMED = {glfw.KEY_ESCAPE: "Esc", glfw.KEY_F1: "F1", glfw.KEY_SPACE: "Space", **_REPEATED}


def _text(text: bytes | str) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text


def _open(title: str, size: tuple[int, int]) -> Any:
    """A GLFW window with a current GL 3.3 core context. Raises UserError."""
    errors: list[str] = []
    glfw.set_error_callback(lambda code, text: errors.append(_text(text)))

    def reason() -> str:
        return " ".join(errors[-1].split()) if errors else "GLFW gave no reason"

    if not glfw.init():
        raise UserError(f"there is no display to open a window on ({reason()}); {offscreen_hint()}")
    glfw.window_hint(glfw.CONTEXT_VERSION_MAJOR, 3)
    glfw.window_hint(glfw.CONTEXT_VERSION_MINOR, 3)
    glfw.window_hint(glfw.OPENGL_PROFILE, glfw.OPENGL_CORE_PROFILE)
    glfw.window_hint(glfw.OPENGL_FORWARD_COMPAT, True)
    glfw.window_hint(glfw.SCALE_TO_MONITOR, True)
    window = glfw.create_window(*size, title, None, None)
    if not window:
        why = reason()
        glfw.terminate()
        raise UserError(f"no OpenGL 3.3 window here ({why}); update the graphics driver, or {offscreen_hint()}")
    glfw.make_context_current(window)
    return window


def offscreen_hint() -> str:
    """The same session without a window, as this person can type it: visavis.sh names itself in VISAVIS_LAUNCHER."""
    launcher = os.environ.get("VISAVIS_LAUNCHER", "visavis run")
    return f"use `{launcher} --offscreen --frames 300 --record out.mp4` to run without a window"


class WindowPresenter:
    """Callbacks on_key(name), on_mouse(x, y in 0..1), on_click(), on_scroll(steps) get what the overlay leaves."""

    bottom_up = True

    def __init__(self, title: str, size: tuple[int, int], ui_scale: float = 0.0, vsync: bool = True) -> None:
        with few_software_threads(max((os.cpu_count() or 1) - WORKERS, 0) // 2):
            self._window = _open(title, size)
        self._fixed_scale = ui_scale
        self._size = self._framebuffer = self.size = (0, 0)  # until the first pump
        self._cursor = self._told = (0.0, 0.0)
        glfw.swap_interval(1 if vsync else 0)
        self._vsync = vsync
        self._ctx = moderngl.create_context(require=330)
        self.context: moderngl.Context | None = self._ctx
        self.name = f"window ({self._ctx.info['GL_RENDERER']})"
        self._scene = SceneBlit(self._ctx)
        self.name += self._scene.way
        self.ui: ImGuiHost | None = ImGuiHost(1.0, self._window)
        self.on_key: Callable[[str], None] = lambda name: None
        self.on_mouse: Callable[[float, float], None] = lambda x, y: None
        self.on_click: Callable[[], None] = lambda: None
        self.on_scroll: Callable[[float], None] = lambda steps: None
        glfw.set_key_callback(self._window, self._key)
        glfw.set_char_callback(self._window, self._char)
        glfw.set_cursor_pos_callback(self._window, self._moved)
        glfw.set_cursor_enter_callback(self._window, self._enter)
        glfw.set_mouse_button_callback(self._window, self._button)
        glfw.set_scroll_callback(self._window, self._wheel)
        self.pump()

    @property
    def _io(self) -> Any:
        assert self.ui is not None
        return self.ui.io

    @property
    def should_close(self) -> bool:
        return bool(glfw.window_should_close(self._window))

    @property
    def minimised(self) -> bool:
        return min(self._framebuffer) == 0 or bool(glfw.get_window_attrib(self._window, glfw.ICONIFIED))

    @property
    def window_size(self) -> tuple[int, int]:
        """In window coordinates, which ImGui and the mouse use; `size` is in framebuffer pixels."""
        return self._size

    def refresh_hz(self) -> float:
        """Of the primary monitor; 60 where it does not say."""
        monitor = glfw.get_primary_monitor()
        mode = glfw.get_video_mode(monitor) if monitor else None
        return float(mode.refresh_rate) if mode and mode.refresh_rate > 0 else DEFAULT_REFRESH_HZ

    def monitor_width(self) -> int:
        """Of the primary monitor, in window coordinates."""
        monitor = glfw.get_primary_monitor()
        mode = glfw.get_video_mode(monitor) if monitor else None
        return int(mode.size.width) if mode else self._size[0]

    def pump(self, wait_s: float = 0.0) -> None:
        """Handle events (waiting for the first at most wait_s) and follow size and scale."""
        if wait_s > 0:
            glfw.wait_events_timeout(wait_s)
        else:
            glfw.poll_events()
        self._size = glfw.get_window_size(self._window)
        self._framebuffer = glfw.get_framebuffer_size(self._window)
        self.size = (max(self._framebuffer[0], 1), max(self._framebuffer[1], 1))
        if self.ui is not None and self._size[0] > 0:
            content = self._fixed_scale or glfw.get_window_content_scale(self._window)[0]
            # where window coordinates are already scaled (macOS, Wayland), letters must not be scaled twice
            ratio = 1.0 if self._fixed_scale else self._framebuffer[0] / self._size[0]
            self.ui.set_scale(float(np.clip(content / max(ratio, 1e-3), 0.5, 4.0)))
        # not in the callback: whether the overlay wants the pointer is only known a frame after it has moved
        if self._cursor != self._told and min(self._size) > 0 and not self._io.want_capture_mouse:
            self._told = self._cursor
            self.on_mouse(self._cursor[0] / self._size[0], self._cursor[1] / self._size[1])

    def set_background(self, plate: NDArray[np.uint8]) -> None:
        self._scene.set_background(plate)

    def upload(self, frame: RenderedFrame) -> None:
        self._scene.upload(frame)

    def draw(self, eye: EyeView | None = None) -> None:
        self.use()
        self._scene.draw(self.size, eye)

    def use(self) -> None:
        glfw.make_context_current(self._window)  # some OpenXR runtimes leave another one behind
        self._ctx.screen.use()

    def set_paced(self, on: bool) -> None:
        glfw.swap_interval(1 if on and self._vsync else 0)

    def read(self, out: NDArray[np.uint8]) -> None:
        self._ctx.screen.read_into(out, viewport=(0, 0, self.size[0], self.size[1]), components=3, alignment=1)
        _ = self._ctx.error  # reading the screen leaves a GL error behind that ImGui's backend would trip over

    def present(self) -> None:
        glfw.swap_buffers(self._window)

    def close(self) -> None:
        if self.ui is not None:
            self.ui.close()
            self.ui = None
        self._scene.release()
        self._ctx.release()
        with contextlib.suppress(Exception):  # GLFW may already have lost the display
            glfw.destroy_window(self._window)
        glfw.terminate()

    def _key(self, window: Any, key: int, scancode: int, action: int, mods: int) -> None:
        assert self.ui is not None
        self._touch()
        self.ui.backend.keyboard_callback(window, key, scancode, action, mods)
        if action == glfw.RELEASE or self._io.want_text_input or mods & (glfw.MOD_CONTROL | glfw.MOD_ALT):
            return
        name = _NAMED.get(key)
        if name is None and glfw.KEY_0 <= key <= glfw.KEY_9:
            name = chr(key)
        elif name is None and glfw.KEY_KP_0 <= key <= glfw.KEY_KP_9:
            name = str(key - glfw.KEY_KP_0)
        elif name is None:
            name = (glfw.get_key_name(key, scancode) or "").upper()  # the letter on this keyboard, not on a US one
        if name and (action == glfw.PRESS or key in _REPEATED or name in ",."):
            self.on_key(name)

    def _touch(self, anywhere: bool = True) -> None:
        """The overlay must be drawn anew, unless `anywhere` is False and the pointer is not on it."""
        assert self.ui is not None
        if not anywhere and self.ui.box is not None and min(self._size) > 0:
            x, y = (c * f / s for c, f, s in zip(self._cursor, self._framebuffer, self._size, strict=True))
            left, top, right, bottom = self.ui.box
            anywhere = left <= x < right and top <= y < bottom
        self.ui.touched |= anywhere

    def _char(self, window: Any, char: int) -> None:
        self._touch()
        self._io.add_input_character(char)

    def _moved(self, window: Any, x: float, y: float) -> None:
        self._touch(anywhere=False)  # where it was, so that what it leaves is drawn without it
        self._cursor = (x, y)
        self._touch(anywhere=False)
        self._io.add_mouse_pos_event(x, y)

    def _enter(self, window: Any, entered: int) -> None:
        self._touch()
        if not entered:
            self._io.add_mouse_pos_event(-3.4e38, -3.4e38)

    def _button(self, window: Any, button: int, action: int, mods: int) -> None:
        self._touch()
        if 0 <= button < 5:
            self._io.add_mouse_button_event(button, action == glfw.PRESS)
        if button == 0 and action == glfw.PRESS and not self._io.want_capture_mouse:
            self.on_click()

    def _wheel(self, window: Any, x: float, y: float) -> None:
        self._touch()
        self._io.add_mouse_wheel_event(x, y)
        if not self._io.want_capture_mouse:
            self.on_scroll(y)
