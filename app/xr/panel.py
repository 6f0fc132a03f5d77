"""The overlay as a board in the room: an ImGui context of its own, without a window, that draws into a texture."""

from __future__ import annotations

import moderngl
from imgui_bundle import imgui

from app.actions import Action
from app.imgui_host import COLORS, ImGuiHost
from app.overlay import PANEL_WIDTH, Overlay, OverlayModel
from app.xr.graphics import drain_errors
from models.geometry import Pose
from tracking.room_hands import Board

SCALE = 1.5  # of letters: then it has about as many pixels as a good headset has for it
SLOW_SCALE = 1.0  # where the processor draws it, and its pixels are many more than a headset's image then has
WIDTH_M = 0.30
HEIGHT_M = WIDTH_M * 820 / (PANEL_WIDTH + 20)
# between drawings: while something is pointed at it, and while nothing is (drawing it takes some milliseconds)
POINTED_NS, IDLE_NS = 30_000_000, 200_000_000
_AWAY = -3.4e38  # ImGui's own way to say that there is no mouse


def size(scale: float) -> tuple[int, int]:
    """Of the panel's picture, in pixels."""
    return int(scale * (PANEL_WIDTH + 20)), int(scale * 820)


class Panel:
    """Of one GL context; use from its thread only. `size`: of its picture. `texture`: row 0 at the bottom.
    `overlay.rects` are in its pixels, from the top left corner."""

    def __init__(self, ctx: moderngl.Context, scale: float = SCALE) -> None:
        self._ctx = ctx
        self.size = size(scale)
        drain_errors(ctx)
        self.texture = ctx.texture(self.size, 4)
        # Before anything is attached: Mesa moves a texture that gets its smaller levels later, and would go on drawing
        # into the place where it was.
        self.texture.build_mipmaps()
        self._framebuffer = ctx.framebuffer([self.texture])
        self._background = (*COLORS[imgui.Col_.window_bg][:3], 1.0)
        self.host = ImGuiHost(scale)
        # The board is its window: filling it once more would double what a software GL needs for all of it.
        imgui.get_style().set_color_(imgui.Col_.window_bg, imgui.ImVec4(0.0, 0.0, 0.0, 0.0))
        self.overlay = Overlay(self.host)
        self._pointer: tuple[float, float] | None = None
        self._pressed = False
        self._met = False  # whether it has been drawn since the pointer came
        self._early: list[bool] = []  # the button meanwhile: a new ImGui window takes no press until its second drawing
        self._drawn_ns = 0

    def board(self, T_room_board: Pose) -> Board:
        return Board(T_room_board, WIDTH_M, HEIGHT_M)

    def point(self, pointer: tuple[float, float] | None, pressed: bool) -> None:
        """The mouse: (u, v) from the top left corner in [0, 1], or away; and whether its button is down. ImGui keeps
        what comes between two drawings in order, so a short press is not lost."""
        io = self.host.io
        if pointer != self._pointer:
            self._met = self._met and pointer is not None
            self._pointer = pointer
            x, y = (pointer[0] * self.size[0], pointer[1] * self.size[1]) if pointer is not None else (_AWAY, _AWAY)
            io.add_mouse_pos_event(x, y)
        if pressed != self._pressed:
            self._pressed = pressed
            if self._met or not (pressed or self._early):
                io.add_mouse_button_event(0, pressed)
            else:
                self._early.append(pressed)

    def due(self, now_ns: int) -> bool:
        """Whether it should be drawn again."""
        used = self._pointer is not None or self._pressed
        return now_ns - self._drawn_ns >= (POINTED_NS if used else IDLE_NS)

    def draw(self, model: OverlayModel, now_ns: int) -> list[Action]:
        """Into its texture, which is bound afterwards, and which `finish` makes ready to be seen. Returns what was
        asked for on it."""
        seconds = min((now_ns - self._drawn_ns) / 1e9, 1.0)
        self._drawn_ns = now_ns
        drain_errors(self._ctx)
        self._framebuffer.color_mask = (True, True, True, True)
        self._framebuffer.clear(*self._background)
        self._framebuffer.color_mask = (True, True, True, False)  # ImGui's backend blends alpha as if it were a colour
        self._framebuffer.use()  # which is when a mask takes effect
        self.host.new_frame(self.size, self.size, seconds)
        actions = self.overlay.draw(model)
        self.host.render()
        self._met = self._pointer is not None
        for pressed in self._early:
            self.host.io.add_mouse_button_event(0, pressed)
        self._early.clear()
        return actions

    def finish(self) -> None:
        """Its smaller sizes, after it was drawn."""
        self.texture.build_mipmaps()

    def release(self) -> None:
        self.host.close()
        self._framebuffer.release()
        self.texture.release()
