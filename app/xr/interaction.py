"""People's hands and eyes in the room: the head is carried about, the panel is pointed at and pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import moderngl

from app.actions import Action, Do
from app.xr.panel import SCALE, WIDTH_M, Panel
from app.xr.sketch import Sketch
from models.geometry import Pose
from tracking.room import Eye
from tracking.room_hands import RESTING, Board, Hand, RoomHands, beside_head, stepped

if TYPE_CHECKING:
    from app.live import LiveApp


class Interaction:
    """Of one VR session. `hands`: what they do; `panel`, and `board` where it hangs, None while it is hidden."""

    def __init__(self, ctx: moderngl.Context, scale: float = SCALE) -> None:
        """scale: of the panel's letters."""
        self.hands = RoomHands()
        self.panel = Panel(ctx, scale)
        self.board: Board | None = None
        self._sketch = Sketch(ctx)
        self._stood: Pose | None = None  # the anchor that the board hangs beside
        self._steps: list[str] = []
        self._step = 0  # of painting the panel
        self._updated_ns = 0

    def step(self, step: str) -> None:
        """Move the head a little at the next update: see tracking.room_hands.stepped."""
        self._steps.append(step)

    def update(self, app: LiveApp, hands: tuple[Hand, Hand], viewer: Pose, anchor: Pose, now_ns: int) -> Pose:
        """One cycle: the anchor as hands and keys leave it. viewer: midway between the eyes."""
        seconds = min((now_ns - self._updated_ns) / 1e9, 0.1)  # after a pause nothing jumps
        self._updated_ns = now_ns
        if anchor is not self._stood and self._stood is not None:
            self.hands.let_go()  # somebody has put it elsewhere
        for step in self._steps:
            anchor = stepped(anchor, viewer, step)
        self._steps.clear()
        anchor = self.hands.update(hands, viewer, anchor, self.board, seconds)
        if self.hands.menu:
            app.ask(Action(Do.OVERLAY))
        self._hang(app.settings.overlay_visible, viewer, anchor)
        return anchor

    def paint(self, app: LiveApp, now_ns: int, by_steps: bool = False) -> None:
        """Draw the panel if it is due, and ask the app for what was pressed on it. GL's target is another afterwards.

        by_steps: only the next third of that, as it would take too long for one cycle.
        """
        if self.board is None:
            self._step = 0
        elif self._step == 0 and self.panel.due(now_ns):
            app.overlay_model()  # figures are counted anew, and are as fresh in the next cycle
            self._step = 1
        elif self._step == 1:
            for action in self.panel.draw(app.overlay_model(), now_ns):
                app.ask(action)
            self._step = 2
        elif self._step == 2:
            self.panel.finish()
            self._step = 0
        if not by_steps and self._step:
            self.paint(app, now_ns)

    def _hang(self, visible: bool, viewer: Pose, anchor: Pose) -> None:
        """Beside the head; it stays where it is until the head is moved."""
        if not visible:
            self.board = None
        elif self.board is None or anchor is not self._stood:
            self.board = self.panel.board(beside_head(anchor.apply(RESTING), viewer.position, WIDTH_M))
        self._stood = anchor
        if self.board is None:
            self.panel.point(None, False)
        else:
            self.panel.point(self.hands.pointer, self.hands.pressed)

    def draw_board(self, eye: Eye, linear: bool = False) -> None:
        """Into the bound framebuffer's viewport, before the head. eye: in the room's frame."""
        if self.board is not None:
            self._sketch.draw_board(eye, self.board, self.panel.texture, linear)

    def draw_beams(self, eye: Eye, linear: bool = False) -> None:
        """Likewise, after the head."""
        self._sketch.draw_beams(eye, self.hands.beams, linear)

    def release(self) -> None:
        self.panel.release()
        self._sketch.release()
