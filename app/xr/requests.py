"""What the workers are asked for while a headset is worn: both eyes, for the cycle in which they will be seen."""

from __future__ import annotations

from collections import deque

from app.session import LiveSession
from app.xr.session import Frame, XrSession
from models.geometry import Pose
from renderer.messages import EyeView, RenderedFrame
from tracking.room import Eye, look_at_head, place_at_anchor

IN_FLIGHT = 2  # one is drawn, the next one waits, and is kept up to date: no worker ever waits for the display's beat
_LONGEST_NS = 200_000_000  # no pose is predicted further than that


class Requests:
    """Of one VR session. A request that no worker has taken up yet is asked anew in each cycle, with newer poses."""

    def __init__(self) -> None:
        self._took_ns = 0.0  # smoothed: from the display's moment when it was asked for to that when it was first shown
        self._asked: deque[tuple[int, int]] = deque(maxlen=16)  # frame id, the display's moment then

    def ahead(self, frame: Frame) -> int:
        """How long after this cycle's moment, in whole cycles, what is asked for now can be expected to be shown."""
        if frame.period_ns <= 0:
            return 0
        return round(min(self._took_ns, _LONGEST_NS) / frame.period_ns) * frame.period_ns

    def ask(self, live: LiveSession, session: XrSession, frame: Frame, anchor: Pose) -> bool:
        """Whether a new frame was asked for. Raises HeadsetLost."""
        later, now = self.ahead(frame), live.clock_ns()
        eyes = session.locate(frame, later)
        if eyes is None:
            return False
        display_ns = frame.display_ns + later
        head = place_at_anchor(live.face_source.head(display_ns, now))
        try:
            left, right = (_view(eye.seen_from(anchor), head.T_world_head) for eye in eyes)
        except ValueError:  # nearer than anything can be drawn; it has faded
            return False
        if self._asked and live.amend_stereo(self._asked[-1][0], display_ns, now, left, right, head):
            self._asked[-1] = (self._asked[-1][0], frame.display_ns)
            return False
        if not live.can_request(IN_FLIGHT) or not live.request_stereo(display_ns, now, left, right, head):
            return False
        self._asked.append((live.last_submitted_id, frame.display_ns))
        return True

    def came(self, shown: RenderedFrame, frame: Frame) -> None:
        """It is shown for the first time in this cycle."""
        for frame_id, asked_ns in self._asked:
            if frame_id == shown.frame_id:
                self._took_ns += (frame.display_ns - asked_ns - self._took_ns) / 8


def _view(eye: Eye, head: Pose) -> EyeView:
    return EyeView(*look_at_head(eye.T_world_eye.position, head.position))
