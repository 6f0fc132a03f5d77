"""What the workers are asked for while a headset is worn: both eyes, for the cycle in which they will be seen."""

from __future__ import annotations

from dataclasses import dataclass

from app.session import LiveSession
from app.xr.session import Frame, XrSession
from models.arkit import HeadState
from models.geometry import Pose
from renderer.messages import EyeView, RenderedFrame
from tracking.room import Eye, look_at_head, place_at_anchor

IN_FLIGHT = 2  # one is drawn, the next one waits, and is kept up to date: no worker ever waits for the display's beat
LONGEST_NS = 200_000_000  # no pose is predicted further than that


@dataclass(slots=True)
class _Asked:
    frame_id: int
    at_ns: int  # the display's moment when it was asked for
    display_ns: int  # when it is to be seen
    head: HeadState


class Requests:
    """Of one VR session. A request that no worker has taken up yet is given newer eyes in each cycle."""

    def __init__(self) -> None:
        self._took_ns = 0.0  # smoothed: from the display's moment when it was asked for to that when it was first shown
        self._asked: list[_Asked] = []

    def ahead(self, period_ns: int) -> int:
        """How long after this cycle's moment, in whole cycles, what is asked for now can be expected to be shown."""
        if period_ns <= 0:
            return 0
        return round(min(self._took_ns, LONGEST_NS) / period_ns) * period_ns

    def ask(self, live: LiveSession, session: XrSession, frame: Frame, anchor: Pose) -> bool:
        """Whether a new frame was asked for. Raises HeadsetLost."""
        now, last = live.clock_ns(), self._asked[-1] if self._asked else None
        if last is not None and live.waits(last.frame_id):
            eyes = session.locate(frame, max(last.display_ns - frame.display_ns, 0))
            views = None if eyes is None else _views(eyes, anchor, last.head)
            if views is not None:
                live.amend_stereo(last.frame_id, last.display_ns, now, *views, last.head)
            return False
        if not live.can_request(IN_FLIGHT):
            return False
        later = self.ahead(frame.period_ns)
        eyes = session.locate(frame, later)
        if eyes is None:
            return False
        display_ns = frame.display_ns + later
        head = place_at_anchor(live.face_source.head(display_ns, now))
        views = _views(eyes, anchor, head)
        if views is None or not live.request_stereo(display_ns, now, *views, head):
            return False
        self._asked = [
            *self._asked[1 - IN_FLIGHT :],
            _Asked(live.last_submitted_id, frame.display_ns, display_ns, head),
        ]
        return True

    def came(self, shown: RenderedFrame, display_ns: int) -> None:
        """It is shown for the first time, at the display's moment `display_ns`."""
        for asked in self._asked:
            if asked.frame_id == shown.frame_id:
                self._took_ns += (display_ns - asked.at_ns - self._took_ns) / 8


def _views(eyes: tuple[Eye, Eye], anchor: Pose, head: HeadState) -> tuple[EyeView, EyeView] | None:
    """None nearer than anything can be drawn; it has faded."""
    try:
        left, right = (
            EyeView(*look_at_head(eye.seen_from(anchor).T_world_eye.position, head.T_world_head.position))
            for eye in eyes
        )
    except ValueError:
        return None
    return left, right
