"""Dear ImGui and ImPlot on top of a current GL context, with a GLFW window or without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imgui_bundle
from imgui_bundle import imgui, implot

BASE_FONT_PX = 16.0
Box = tuple[int, int, int, int]  # left, top, right, bottom in framebuffer pixels
ACCENT = (0.35, 0.68, 0.95, 1.0)
COLORS = {
    imgui.Col_.window_bg: (0.07, 0.08, 0.10, 0.88),
    imgui.Col_.text: (0.93, 0.94, 0.96, 1.0),
    imgui.Col_.text_disabled: (0.62, 0.66, 0.72, 1.0),
    imgui.Col_.frame_bg: (0.17, 0.19, 0.23, 1.0),
    imgui.Col_.frame_bg_hovered: (0.24, 0.28, 0.34, 1.0),
    imgui.Col_.frame_bg_active: (0.28, 0.34, 0.42, 1.0),
    imgui.Col_.button: (0.20, 0.24, 0.30, 1.0),
    imgui.Col_.button_hovered: (0.28, 0.35, 0.44, 1.0),
    imgui.Col_.button_active: (0.24, 0.46, 0.66, 1.0),
    imgui.Col_.header: (0.20, 0.24, 0.30, 1.0),
    imgui.Col_.header_hovered: (0.28, 0.35, 0.44, 1.0),
    imgui.Col_.check_mark: ACCENT,
    imgui.Col_.table_header_bg: (0.15, 0.17, 0.21, 1.0),
    imgui.Col_.table_row_bg_alt: (1.0, 1.0, 1.0, 0.04),
    imgui.Col_.title_bg: (0.12, 0.14, 0.18, 1.0),
    imgui.Col_.title_bg_active: (0.12, 0.14, 0.18, 1.0),
    imgui.Col_.separator: (0.28, 0.31, 0.36, 1.0),
}


class _Blending:
    """PyOpenGL for ImGui's backend, whose alpha then adds up: drawn over nothing, its picture is premultiplied colour.
    What it draws over an opaque picture stays the same."""

    def __init__(self, gl: Any) -> None:
        self._gl = gl

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gl, name)

    def glBlendFunc(self, source: int, target: int) -> None:  # noqa: N802 - OpenGL's name
        self._gl.glBlendFuncSeparate(source, target, self._gl.GL_ONE, target)


def _let_alpha_add_up() -> None:
    from imgui_bundle.python_backends import opengl_backend_programmable as backend

    if not isinstance(backend.gl, _Blending):
        backend.gl = _Blending(backend.gl)  # type: ignore[attr-defined]


class ImGuiHost:
    """Owns an ImGui context. `window`: a GLFW window whose clipboard ImGui may use; events are fed by the caller.

    A thread has one current context, and there may be several hosts: each makes its own current when it is used.
    """

    def __init__(self, scale: float = 1.0, window: Any = None) -> None:
        self._context = imgui.create_context()
        self._plot_context = implot.create_context()
        self.use()  # where there was a context before, making another leaves that one current
        io = imgui.get_io()
        io.set_ini_filename("")  # the overlay's place is ours to decide; no stray imgui.ini
        io.set_log_filename("")
        fonts = Path(str(imgui_bundle.__file__)).parent / "assets" / "fonts" / "Roboto"
        self.font = io.fonts.add_font_from_file_ttf(str(fonts / "Roboto-Regular.ttf"), BASE_FONT_PX)
        self.bold = io.fonts.add_font_from_file_ttf(str(fonts / "Roboto-Bold.ttf"), BASE_FONT_PX)
        if window is not None:
            from imgui_bundle.python_backends.glfw_backend import GlfwRenderer

            # its callbacks drop the mouse of an unfocused window; ours don't
            self.backend: Any = GlfwRenderer(window, attach_callbacks=False)
        else:
            from imgui_bundle.python_backends.opengl_backend_programmable import ProgrammablePipelineRenderer

            self.backend = ProgrammablePipelineRenderer()
        _let_alpha_add_up()
        self.touched = True  # since the last drawing: by a person, or by us
        self.box: Box | None = None  # where the last one was
        self.scale = 1.0
        self._style()
        self.set_scale(scale)

    def use(self) -> None:
        """Make its context the thread's current one."""
        imgui.set_current_context(self._context)
        implot.set_current_context(self._plot_context)

    @property
    def io(self) -> imgui.IO:
        self.use()
        return imgui.get_io()

    def set_scale(self, scale: float) -> None:
        """Letters and spacing for a content scale (1 = 96 dpi)."""
        if scale == self.scale:
            return
        self.use()
        self.touched = True
        style = imgui.get_style()
        style.scale_all_sizes(scale / self.scale)
        style.font_scale_dpi = scale
        self.scale = scale

    @staticmethod
    def _style() -> None:
        style = imgui.get_style()
        imgui.style_colors_dark(style)
        style.window_rounding = style.child_rounding = style.popup_rounding = 6.0
        style.frame_rounding = style.grab_rounding = 4.0
        style.window_border_size = 0.0
        style.window_padding = imgui.ImVec2(12, 10)
        style.frame_padding = imgui.ImVec2(8, 4)
        style.item_spacing = imgui.ImVec2(8, 5)
        style.cell_padding = imgui.ImVec2(6, 2)
        for index, color in COLORS.items():
            style.set_color_(index, imgui.ImVec4(*color))

    def new_frame(self, size: tuple[int, int], framebuffer: tuple[int, int], seconds: float) -> None:
        """size: window coordinates; framebuffer: pixels; seconds since the last call."""
        io = self.io
        io.display_size = imgui.ImVec2(*size)
        io.display_framebuffer_scale = imgui.ImVec2(framebuffer[0] / size[0], framebuffer[1] / size[1])
        io.delta_time = max(seconds, 1e-4)
        imgui.new_frame()

    def render(self) -> Box | None:
        """Into the bound framebuffer; returns what of it was drawn on."""
        self.use()
        imgui.render()
        data = imgui.get_draw_data()
        self.backend.render(data)
        width, height = (round(n * s) for n, s in zip(data.display_size, data.framebuffer_scale, strict=True))
        # the backend has brought them to framebuffer pixels
        clips = [command.clip_rect for commands in data.cmd_lists for command in commands.cmd_buffer]
        boxes = [(max(c[0], 0), max(c[1], 0), min(c[2], width), min(c[3], height)) for c in clips]
        boxes = [b for b in boxes if b[0] < b[2] and b[1] < b[3]]
        self.box = None
        if boxes:
            left, top = (int(min(b[k] for b in boxes)) for k in (0, 1))
            right, bottom = (int(-(-max(b[k] for b in boxes) // 1)) for k in (2, 3))
            self.box = left, top, right, bottom
        self.touched = False
        return self.box

    def close(self) -> None:
        self.use()
        self.backend.shutdown()
        implot.destroy_context(self._plot_context)
        imgui.destroy_context(self._context)
