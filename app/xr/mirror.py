"""What a window shows of a VR session, and when: after the headset has what it waits for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import moderngl

from app.blit import WHOLE, Quad
from app.xr.interaction import Interaction
from app.xr.scene import RoomScene
from app.xr.session import Frame
from models.geometry import Pose
from renderer.messages import EyeView, RenderedFrame
from tracking.room import Eye, Fov

if TYPE_CHECKING:
    from app.live import LiveApp
    from app.presenter import Presenter

SLOW_NS = 100_000_000  # between two mirrored pictures where the processor draws them


def part(of: Fov, cut: Fov) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of `cut` in a picture of `of`, both in [0, 1], from its lower left corner."""
    left, right, up, down = of.tangents
    l, r, u, d = cut.tangents  # noqa: E741
    return (
        (l - left) / (right - left), (u - down) / (up - down), (r - left) / (right - left), (d - down) / (up - down)
    )  # fmt: skip


class Mirror:
    """Of one VR session. slow: the processor draws. Then the window gets a picture only each SLOW_NS, unless each is
    recorded: a copy of what was drawn for the headset, enlarged; else it is drawn once more, as sharp as the window is.
    """

    def __init__(self, presenter: Presenter, scene: RoomScene, interaction: Interaction, slow: bool) -> None:
        self._presenter, self._scene, self._interaction, self._slow = presenter, scene, interaction, slow
        self._began_ns = self._shown_ns = self._painted_ns = 0
        self._due = self._free = False
        self._eyes: tuple[Eye, ...] = ()
        self._anchor = Pose()
        self._display_ns = 0
        self._copies: dict[int, moderngl.Framebuffer] = {}  # by eye
        self._copied: set[int] = set()  # of this cycle
        context = presenter.context
        self._quad = Quad(context) if slow and context is not None else None

    def begin(self, app: LiveApp, now_ns: int, newest: RenderedFrame | None) -> None:
        """A cycle begins. newest: the picture that came in it, if one did. Where the processor draws, a cycle in which
        one has come has enough to do with that, and the window waits a little."""
        self._began_ns = now_ns
        self._painted_ns = self._painted_ns or now_ns
        waited_ns = now_ns - self._shown_ns
        self._free = newest is None or waited_ns >= 2 * SLOW_NS
        self._due = not self._slow or app.capture.wanted or (self._free and waited_ns >= SLOW_NS)
        self._copied.clear()
        if self._due:
            self._shown_ns = now_ns

    def keep(self, index: int, picture: moderngl.Framebuffer) -> None:
        """What eye `index` (0 left, 1 right) is about to be shown, in sRGB: it goes to the runtime and is not ours any
        more."""
        context = self._presenter.context
        if not (self._slow and self._due) or context is None:
            return
        copy = self._copies.get(index)
        if copy is None or copy.size != picture.size:
            self._forget(index)
            copy = self._copies[index] = context.framebuffer([context.texture(picture.size, 4)])
        context.copy_framebuffer(copy, picture)
        self._copied.add(index)

    def show(
        self, app: LiveApp, newest: RenderedFrame | None, eyes: tuple[Eye, Eye], anchor: Pose, frame: Frame
    ) -> None:
        """The headset has its pictures. eyes: in the room, as it was given them. newest: the picture that is seen
        for the first time in this cycle, if one is."""
        if self._due:
            self._eyes = eyes[: 2 if app.settings.vr_mirror == "both" else 1]
            self._anchor, self._display_ns = anchor, frame.display_ns
            app.show(newest, self)
        else:
            app.pass_over(newest)
        now = app.session.clock_ns()
        early = self._free and not self._due and now < self._began_ns + frame.period_ns // 2
        if not self._slow or early or now - self._painted_ns >= SLOW_NS:  # one thing at a time, but none is forgotten
            self._painted_ns = now
            self._interaction.paint(app, now, self._slow)

    def upload(self, frame: RenderedFrame) -> None:
        """Both eyes' pictures are uploaded already."""

    def draw(self, eye: EyeView | None = None) -> None:
        """The left eye's view, or both side by side. `eye` is a window's; here the headset has been asked."""
        self._presenter.use()
        width, height = self._presenter.size
        each = width // len(self._eyes)
        for index, seen in enumerate(self._eyes):
            cut = seen.fov.cut_to(each / height)
            left = index * each
            if index in self._copied:
                self._draw_copy(index, part(seen.fov, cut), (left, 0, left + each, height))
            else:
                fitted = Eye(seen.T_world_eye, cut)
                there = fitted.seen_from(self._anchor)
                board = partial(self._interaction.draw_board, fitted)
                self._scene.draw(index, there, (each, height), self._display_ns, left=left, also=board)
                self._interaction.draw_beams(fitted)

    def _draw_copy(self, index: int, source: tuple[float, ...], rect: tuple[float, ...]) -> None:
        context, picture = self._presenter.context, self._copies[index].color_attachments[0]
        assert context is not None and self._quad is not None and isinstance(picture, moderngl.Texture)
        context.viewport = (0, 0, *self._presenter.size)
        context.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE | moderngl.BLEND)
        self._quad.draw(picture, self._presenter.size, rect, source, WHOLE)

    def _forget(self, index: int) -> None:
        copy = self._copies.pop(index, None)
        if copy is not None:
            for attachment in copy.color_attachments:
                attachment.release()
            copy.release()

    def release(self) -> None:
        for index in (0, 1):
            self._forget(index)
        if self._quad is not None:
            self._quad.release()
