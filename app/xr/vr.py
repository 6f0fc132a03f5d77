"""VR as the second face of the live loop's tick: the headset paces it, both eyes are drawn, the left one is mirrored.

Whatever becomes of runtime or headset, the desktop goes on: a tick that VR does not take is the desktop's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import moderngl

from app.latency import Rolling
from app.pace import Pace
from app.presenter import draws_in_software
from app.report import percentiles
from app.xr.interaction import Interaction
from app.xr.mirror import Mirror
from app.xr.panel import SCALE, SLOW_SCALE
from app.xr.requests import Requests
from app.xr.runtime import Description, HeadsetLost
from app.xr.scene import FAR_M, NEAR_M, RoomScene
from app.xr.session import Frame, XrSession
from app.xr.states import Over, State
from app.xr.timeliness import Timeliness, usable_cores, workers_beside_display
from models.errors import UserError
from models.geometry import Pose
from renderer.messages import RenderedFrame
from tracking.room import Eye, before_viewer

if TYPE_CHECKING:
    from app.live import LiveApp
    from app.presenter import Presenter
    from app.session import LiveSession

MARGIN_NS = 1_500_000  # before the cycle ends
SOFTWARE_PX = 256  # of an eye's image, where the processor draws it
SHOWN_WINDOW = 120  # cycles that the figures for people cover
Eyes = tuple[Eye, Eye]


class VirtualReality:
    """Off until `enter`. `anchor`: T_world_anchor, where the head stands; set before the viewer when it is None."""

    def __init__(self, presenter: Presenter, largest: int | None = None) -> None:
        """largest: pixels, of the longer side of an eye's image; None: what the headset recommends, or with a software
        GL at most SOFTWARE_PX."""
        self._largest = largest
        self.anchor: Pose | None = None
        self._presenter = presenter
        self._session: XrSession | None = None
        self._live: LiveSession | None = None  # while there is a session
        self._scene: RoomScene | None = None
        self._interaction: Interaction | None = None
        self._mirror: Mirror | None = None
        self._timeliness: Timeliness | None = None
        self._requests = Requests()
        self._pace = Pace()
        self._unseen: RenderedFrame | None = None  # uploaded, and in no cycle yet
        self._description: Description | None = None  # of the session, also after it
        self._walked: list[str] = []  # states of earlier sessions
        self._cycles = self._missed = 0
        self._period_ns = 0
        self._draw_ns = 3_000_000
        # from when the eyes were asked for until the display's moment, for the networks and for the last reprojection
        self._latencies = {"to_warp": Rolling(), "to_reprojection": Rolling()}

    @property
    def on(self) -> bool:
        """Whether there is a session, seen or not."""
        return self._session is not None

    @property
    def seen(self) -> bool:
        """Whether somebody sees it in a headset."""
        return self._session is not None and self._session.states.state in (State.VISIBLE, State.FOCUSED)

    def status(self) -> str:
        """One line for people; empty while VR is off."""
        if self._session is None:
            return ""
        name = self._session.description.system
        match self._session.states.state:
            case State.VISIBLE | State.FOCUSED:
                return f"in the headset ({name})"
            case State.READY | State.SYNCHRONIZED:
                return f"{name} is ready; it shows something else"
        return f"{name} is idle: put it on"

    def figures(self) -> str:
        """The last second or two's latencies to the display, and what was missed, in one line; empty without any."""
        rows = ((name, rolling.percentiles(SHOWN_WINDOW)) for name, rolling in self._latencies.items())
        told = [f"{name.replace('_', ' ')} {values[0]:.1f} ms" for name, values in rows if values is not None]
        if self._session is None or not told:
            return ""
        return f"Pose to photon {', '.join(told)}    missed cycles {self._missed}"

    def enter(self, session: LiveSession) -> None:
        """Raises UserError, and changes nothing, when there is no runtime, headset or GL to do it with."""
        if self._session is not None:
            return
        if self._presenter.context is None:
            raise UserError("VR needs OpenGL, and this session draws without it; see what visavis doctor says of GL")
        self._presenter.use()
        context = self._presenter.context
        self._software = draws_in_software(context)
        largest = self._largest or (SOFTWARE_PX if self._software else None)
        self._session = XrSession(context, session.clock_ns, largest)
        self._live = session
        self._description = self._session.description
        self._scene = RoomScene(context)
        self._interaction = Interaction(context, SLOW_SCALE if self._software else SCALE)
        self._mirror = Mirror(self._presenter, self._scene, self._interaction, self._software)
        self._requests, self._pace, self._unseen = Requests(), Pace(), None
        self._timeliness = Timeliness()
        self._presenter.set_paced(False)  # the headset paces; two displays cannot
        self.anchor = None

    def leave(self) -> None:
        """Ask for the end; it comes within some ticks. A second call does not wait for the runtime."""
        if self._session is None:
            return
        try:
            self._session.leave()
        except HeadsetLost:
            self.close()

    def recentre(self) -> None:
        """The head stands before the viewer again, from the next frame on."""
        self.anchor = None

    def move(self, step: str) -> None:
        """The head, by one step of tracking.room_hands.stepped."""
        if self._interaction is not None:
            self._interaction.step(step)

    def click(self) -> None:
        """Press on the panel where it is pointed at."""
        if self._interaction is not None:
            self._interaction.hands.click()

    def close(self) -> None:
        """Back to the desktop alone."""
        if self._session is not None:
            self._walked += [state.name for state in self._session.states.walked]
            self._session.close()
        if self._live is not None:
            self._live.set_at_work(None)
            self._live = None
        if self._scene is not None:
            self._scene.release()
        if self._interaction is not None:
            self._interaction.release()
        if self._mirror is not None:
            self._mirror.release()
        if self._timeliness is not None:
            self._timeliness.release()
        self._session = self._scene = self._interaction = self._mirror = self._timeliness = None
        self._presenter.set_paced(True)

    def report(self) -> dict[str, Any] | None:
        """For --report; None when there was no session."""
        if self._description is None:
            return None
        now = [s.name for s in self._session.states.walked] if self._session is not None else []
        return {
            "runtime": f"{self._description.runtime} {self._description.version}",
            "system": self._description.system,
            "states": [*self._walked, *now],
            "views": [list(size) for size in self._description.views],
            "refresh_hz": round(1e9 / self._period_ns, 2) if self._period_ns > 0 else None,
            "cycles": self._cycles,
            "missed_cycles": self._missed,
            "latency_ms": {name: percentiles(rolling) for name, rolling in self._latencies.items()},
        }

    # --- the tick ---------------------------------------------------------------------------------------------------

    def tick(self, app: LiveApp) -> bool:
        """One cycle of the headset; False when the desktop should draw instead. Never raises for what VR lacks."""
        if self._session is None:
            return False
        try:
            taken = self._cycle(app, self._session)
        except (HeadsetLost, UserError, moderngl.Error) as error:
            self.close()
            why = str(error) if isinstance(error, UserError) else f"{Over.LOST.value} ({error})"
            app.say(f"{why}; V enters VR again", good=False)
            return False
        over = self._session.states.over
        if over is not None:
            self.close()
            app.say(over.value if over is Over.LEFT else f"{over.value}; V enters VR again", good=over is Over.LEFT)
            return False
        return taken

    def _cycle(self, app: LiveApp, session: XrSession) -> bool:
        session.poll()
        if not session.states.running:
            return False
        frame = session.wait()
        self._cycles += 1
        self._missed += frame.missed
        self._period_ns = frame.period_ns
        app.session.set_display_period(frame.period_ns)
        started = app.session.clock_ns()
        assert self._mirror is not None and self._timeliness is not None
        self._timeliness.hold()
        if self._software:
            devices = [worker.device for worker in app.session.pool.stats().workers]
            app.session.set_at_work(workers_beside_display(devices, usable_cores()))
        newest = first = None  # the picture that has come, and the one that is seen for the first time
        with session.begun(frame) as submission:
            eyes = session.locate(frame) if frame.should_render else None
            if eyes is not None:
                self._place(app, session, frame, eyes)
                newest = app.await_frame(0, 0)
                if not self._software:
                    newest = self._exchange(app, session, frame, newest, started)
                self._mirror.begin(app, started, newest)
                first = self._unseen
                submission.eyes = self._draw(app, session, frame)
                submission.near_far = (NEAR_M, FAR_M)
                eyes = submission.eyes or eyes
        if eyes is None:
            return False
        if self._software:  # it takes time that the headset does not wait for: what has come is shown in the next cycle
            self._exchange(app, session, frame, newest, started)
        assert self.anchor is not None
        self._mirror.show(app, first if submission.eyes is not None else None, eyes, self.anchor, frame)
        return True

    def _place(self, app: LiveApp, session: XrSession, frame: Frame, eyes: Eyes) -> None:
        """Where the head stands, as hands and keys leave it."""
        assert self._interaction is not None
        if session.recentred:
            session.recentred, self.anchor = False, None
        viewer = eyes[0].T_world_eye.interpolate(eyes[1].T_world_eye, 0.5)
        if self.anchor is None:
            self.anchor = before_viewer(viewer)
        now, held = app.session.clock_ns(), self._interaction.hands.holder
        self.anchor = self._interaction.update(app, session.hands(frame), viewer, self.anchor, now)
        holder = self._interaction.hands.holder
        if holder is not None and holder != held:
            session.tick(holder)
        app.session.stereo = True

    def _exchange(
        self, app: LiveApp, session: XrSession, frame: Frame, newest: RenderedFrame | None, started: int
    ) -> RenderedFrame | None:
        """Ask for a frame, and have drawn from now on what has come: `newest`, or, from workers that have shown that
        they can be waited for, that very frame. Returns it."""
        assert self._scene is not None and self.anchor is not None
        asked = self._requests.ask(app.session, session, frame, self.anchor)
        budget = frame.period_ns - self._draw_ns - MARGIN_NS
        if asked and not self._software and self._pace.within(budget):
            newest = app.await_frame(started + budget, app.session.last_submitted_id, newest)
        if newest is not None:
            self._presenter.use()
            self._scene.upload(newest)
            self._unseen = newest
            if "worker_end" in newest.stamps_ns:
                self._pace.add(newest.stamps_ns["worker_end"] - newest.request.pose_time_ns)
        return newest

    def _draw(self, app: LiveApp, session: XrSession, frame: Frame) -> Eyes | None:
        """Both eyes as they are now known to be at the display's moment: what was drawn for older poses is hung up in
        the room, and seen from the newest. Returns these; None when nobody knows where the eyes are."""
        clock = app.session.clock_ns
        begin = clock()
        assert self._scene is not None and self._interaction is not None and self._mirror is not None
        self._presenter.use()
        latest = session.locate(frame)
        if latest is None:
            return None
        for index, eye in enumerate(latest):
            with session.image(index) as target:
                target.use()
                place, size = self._from_anchor(eye), session.sizes[index]
                board = partial(self._interaction.draw_board, eye, session.linear)
                self._scene.draw(index, place, size, frame.display_ns, session.linear, also=board)
                self._interaction.draw_beams(eye, session.linear)
                if not session.linear:
                    self._mirror.keep(index, target)
        self._latencies["to_reprojection"].add((frame.display_ns - begin) / 1e6)
        if self._unseen is not None:
            self._latencies["to_warp"].add((frame.display_ns - self._unseen.request.pose_time_ns) / 1e6)
            self._requests.came(self._unseen, frame.display_ns)
            self._unseen = None
        self._draw_ns += (clock() - begin - self._draw_ns) // 8
        return latest

    def _from_anchor(self, eye: Eye) -> Eye:
        assert self.anchor is not None, "the first cycle that knows the eyes sets it"
        return eye.seen_from(self.anchor)
