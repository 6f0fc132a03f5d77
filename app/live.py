"""The live loop: ticks, the overlay's wishes, recording. One loop for the window and for offscreen presenters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from app.actions import KEYS, VR_KEYS, Action, Do
from app.capture import Capture
from app.files import unused_path
from app.overlay import Overlay
from app.overlay_model import ModelKeeper, OverlayModel
from app.overlay_sheet import OverlaySheet
from app.pace import Pace
from app.presenter import Picture, Presenter, moved_late
from app.recorder import Recorder
from app.session import LiveSession
from app.settings import Settings, remembered
from app.sources import Sources
from app.stage import CLOSE_TIMEOUT_S, Stage, StageLoader, bundled_avatar, view_limits
from app.window import WindowPresenter
from app.xr.vr import VirtualReality
from models.errors import UserError
from renderer.messages import EyeView, RenderedFrame
from tracking.sources.mouse import MouseSource
from tracking.viewer import Screen

MARGIN_NS = 1_500_000  # before the swap


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """frames: end after so many shown ones. fps: pace; None = vsync in a window, as fast as it goes offscreen.

    in_flight: requests on their way at once. Every one beyond the first waits behind the others: on two workers the
    second gained 2 % in frames and cost 65 % in latency.
    """

    frames: int | None = None
    fps: float | None = None
    in_flight: int = 1
    recordings: Path = Path(".")
    eye_size: int | None = None  # VirtualReality's `largest`


class LiveApp:
    """Everything on the main thread. `settings` is replaced as the person changes things; the caller saves it."""

    def __init__(
        self,
        stage: Stage,
        session: LiveSession,
        sources: Sources,
        presenter: Presenter,
        loader: StageLoader,
        settings: Settings,
        options: LiveOptions,
        save: Callable[[Settings], None] = lambda settings: None,
    ) -> None:
        self.stage, self.session, self.sources, self.presenter = stage, session, sources, presenter
        self.settings, self.options = settings, options
        self.capture = Capture(presenter, self.say)
        self.overlay = Overlay(presenter.ui, settings.overlay_visible) if presenter.ui is not None else None
        self._sheet = OverlaySheet(presenter.context) if presenter.context is not None else None
        self._save = save
        self.loader = loader
        self._window = presenter if isinstance(presenter, WindowPresenter) else None
        self.vr = VirtualReality(presenter, options.eye_size)
        self._keeper = ModelKeeper()
        self._ui_ns = 0
        self._wishes: list[Action] = []
        self._quit = False
        self._pace = Pace()
        self._draw_ns = 2_000_000
        self._size = (0, 0)
        presenter.set_background(stage.avatar.plate)
        if self._window is not None:
            self._window.on_key = self._key
            self._window.on_mouse = self._mouse
            self._window.on_click = self._click
            self._window.on_scroll = self._scroll

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self, stopped: Callable[[], bool]) -> None:
        """Until the wanted number of frames is shown, the window is closed, or `stopped()`.

        Raises UserError (exit code 1) when every worker has failed and nobody is there to restart one.
        """
        clock = self.session.clock_ns
        fps = self.options.fps or (self._window.refresh_hz() if self._window else 0.0)
        period = round(1e9 / fps) if fps else 0
        tick = clock()
        while not (self._quit or stopped() or self._done()):
            if self._window is not None:
                hidden = self._window.minimised and not self.vr.on
                self._window.pump(0.1 if hidden else 0.0)
                if self._window.should_close:
                    break
                if hidden:
                    tick = clock()
                    continue
                self._follow_size()
            self._take_stage()
            for wish in self._take_wishes():
                self.do(wish)
            if self.vr.tick(self):
                tick = clock()
                continue
            self.session.stereo = False
            self.session.set_display_period(period)
            if period:
                tick = self._paced_tick(tick, period)
            else:
                self._free_tick()

    @property
    def recorder(self) -> Recorder | None:
        """While it records."""
        return self.capture.recorder

    def _done(self) -> bool:
        return self.options.frames is not None and self.session.totals().shown >= self.options.frames

    def _paced_tick(self, tick: int, period: int) -> int:
        """Pose as late as the display allows: ask, wait for that very frame, draw, swap. Where frames take longer than
        that, each is shown at the next tick, steadily. Returns the next tick."""
        session, budget = self.session, period - self._draw_ns - MARGIN_NS
        frame = session.collect()  # too late for the last tick
        asked = False
        if frame is None or self._pace.within(budget):
            asked = session.can_request(self.options.in_flight) and session.request(tick + period)
            frame = self.await_frame(tick + budget, session.last_submitted_id if asked else 0, frame)
        if frame is not None and not asked and session.can_request(self.options.in_flight):
            session.request(tick + 2 * period)  # slower than the display: the workers need not wait for its beat
        self.show(frame)
        target, now = tick + period, session.clock_ns()
        if now > target - MARGIN_NS:  # the swap waited for the display, or we are late: the display's beat leads
            return now
        time.sleep((target - now) / 1e9)
        return target

    def _free_tick(self) -> None:
        """As fast as the pool goes. The next pose is sampled after this frame is presented: the workers, busy with the
        next cache, draw as many frames either way, and each shows a newer pose."""
        session = self.session
        if session.can_request(self.options.in_flight):
            session.request(session.clock_ns() + session.latency_ns)
        frame = self.await_frame(session.clock_ns() + 50_000_000, 0)
        if frame is not None:
            self.show(frame)

    def await_frame(self, deadline_ns: int, wanted_id: int, held: RenderedFrame | None = None) -> RenderedFrame | None:
        """The newest frame until the deadline, `held` if none comes; not before `wanted_id` has come (0: the first)."""
        session = self.session
        newest = session.collect(held) or held
        while newest is None or newest.frame_id < wanted_id:
            left = deadline_ns - session.clock_ns()
            if left <= 0 or not session.pool.wait(left / 1e9):
                break
            newer = session.collect(newest)
            newest = newer if newer is not None else newest
        if newest is None and self._window is None:
            session.require_workers()
        return newest

    def show(self, frame: RenderedFrame | None, picture: Picture | None = None) -> None:
        """Draw, hand over and count `frame`; None: the last one again. picture: who draws it, if not the presenter."""
        session, presenter = self.session, self.presenter
        picture = presenter if picture is None else picture
        if frame is None:
            session.repeated()
            if self._window is None and picture is presenter:
                return
        start = session.clock_ns()
        if frame is not None:
            picture.upload(frame)
        uploaded = session.clock_ns()
        late = self._late_eye(frame or session.last_frame)
        picture.draw(None if late is None else late[0])
        with_overlay = self.overlay is not None and self.settings.record_overlay
        if self._window is not None and not with_overlay:
            self.capture.take(frame)
        self._draw_overlay()
        if self._window is not None and with_overlay:
            self.capture.take(frame)
        self._draw_ns += (session.clock_ns() - start - self._draw_ns) // 8
        presenter.present()
        if frame is not None:
            session.shown(frame, uploaded - start, session.clock_ns() - uploaded, None if late is None else late[1])
            if "worker_end" in frame.stamps_ns:
                self._pace.add(frame.stamps_ns["worker_end"] - frame.request.pose_time_ns)
        if self._window is None:  # the target keeps its picture: reading it back need not delay the frame
            self.capture.take(frame)

    def pass_over(self, frame: RenderedFrame | None) -> None:
        """Count a frame, or a tick without one, of which a headset had the picture and the window has none."""
        if frame is None:
            self.session.repeated()
        else:
            self.session.shown(frame, 0, 0)

    @property
    def late(self) -> bool:
        """Whether what is shown is moved to the newest pose."""
        return moved_late(self.settings.late, self.presenter.context)

    def _late_eye(self, frame: RenderedFrame | None) -> tuple[EyeView, int] | None:
        """Where the viewer is when `frame` is seen, and when that was asked; None where the picture stays as it was
        drawn: in VR, which sees to it itself, without GL, and when it is not wanted."""
        session = self.session
        if not self.late or session.stereo:
            return None
        now = session.clock_ns()
        display_ns = now if frame is None else max(now, frame.request.display_time_ns)
        return session.view(display_ns, now), now

    def _follow_size(self) -> None:
        if self.presenter.size != self._size:
            self._size = self.presenter.size
            assert self._window is not None
            self.session.set_screen(window_screen(self._window, self.settings.screen_width_m))
            width, height = self._window.window_size
            self.settings = replace(self.settings, window_width=max(width, 160), window_height=max(height, 120))

    # --- what people ask for ----------------------------------------------------------------------------------------

    def say(self, text: str, good: bool = True) -> None:
        """A line at the bottom of the picture for some seconds."""
        self._keeper.say(text, good, self.session.clock_ns())

    def do(self, action: Action) -> None:
        """Carry out one wish; what goes wrong is said, not raised."""
        try:
            self._do(action.do, action.value)
        except UserError as error:
            self.say(str(error), good=False)
        self._keeper.touch()
        self._save(self.settings)

    def _do(self, do: Do, value: int | str | bool | None) -> None:
        session, sources = self.session, self.sources
        match do:
            case Do.WARP if isinstance(value, int):
                session.pool.set_warps_per_cache(value)
                self.settings = replace(self.settings, warps_per_cache=value)
            case Do.RECORD if self.capture.recorder is not None:
                self.capture.stop()
            case Do.RECORD:
                self.capture.start(self._new_file(".mp4"))
            case Do.SCREENSHOT:
                self.capture.screenshot(self._new_file(".png"))
            case Do.RECENTRE:
                session.pose_source.recentre()
                session.face_source.recentre()
                self.vr.recentre()
                self.say("recentred")
            case Do.POSE:
                self._switch(sources.use_pose, value, sources.pose.name, sources.pose_names)
                session.pose_source = sources.pose
                self.settings = replace(self.settings, pose_source=sources.pose.name)
            case Do.FACE:
                self._switch(sources.use_face, value, sources.face.name, sources.face_names)
                session.face_source = sources.face
                self.settings = replace(self.settings, face_source=sources.face.name)
            case Do.AVATAR:
                here, known = str(self.stage.path), self.avatars()
                chosen = value if isinstance(value, str) else known[(known.index(here) + 1) % len(known)]
                path = Path(chosen).expanduser()
                if path != self.stage.path and not self.loader.start(path):
                    self.say("another avatar is still being loaded", good=False)
            case Do.RESTART:
                for worker in session.pool.stats().workers:
                    if worker.role == "failed" and value in (None, worker.index):
                        session.pool.restart_worker(worker.index)
            case Do.VR if self.vr.on:
                self.vr.leave()
            case Do.VR:
                self.vr.enter(session)
                self.say("VR: put the headset on")
            case Do.MIRROR:
                mirror = value if isinstance(value, str) else "left" if self.settings.vr_mirror == "both" else "both"
                self.settings = replace(self.settings, vr_mirror=mirror)
            case Do.MOVE if isinstance(value, str):
                self.vr.move(value)
            case Do.CLICK:
                self.vr.click()
            case Do.RECORD_OVERLAY:
                wanted = value if isinstance(value, bool) else not self.settings.record_overlay
                self.settings = replace(self.settings, record_overlay=wanted)
            case Do.LATE:
                self.settings = replace(self.settings, late="off" if self.late else "on")
                self.say(f"late reprojection {self.settings.late}")
            case Do.OVERLAY:  # the window's and VR's panel
                self.settings = replace(self.settings, overlay_visible=not self.settings.overlay_visible)
                if self.overlay is not None:
                    self.overlay.visible = self.settings.overlay_visible
            case Do.HELP if self.overlay is not None:
                self.overlay.help_open = not self.overlay.help_open
            case Do.QUIT if self.overlay is not None and self.overlay.help_open:
                self.overlay.help_open = False
            case Do.QUIT:
                self._quit = True

    def _switch(self, use: Callable[[str], None], value: object, current: str, names: tuple[str, ...]) -> None:
        """To the named source, or to the next one that can be had; what cannot is said."""
        if isinstance(value, str):
            use(value)
            return
        at = names.index(current)
        for name in names[at + 1 :] + names[:at]:
            try:
                use(name)
                return
            except UserError as error:
                self.say(str(error), good=False)

    def _new_file(self, suffix: str) -> Path:
        return unused_path(self.options.recordings, f"visavis-{datetime.now():%Y%m%d-%H%M%S}", suffix)

    def avatars(self) -> tuple[str, ...]:
        """Paths to choose from: the present one, those of earlier sessions, the bundled one."""
        known = [str(self.stage.path), *self.settings.recent_avatars, str(bundled_avatar())]
        return tuple(p for p in dict.fromkeys(known) if Path(p).is_file() or p == str(self.stage.path))

    def _take_stage(self) -> None:
        """Swap in the avatar that was loaded in the background."""
        loaded = self.loader.poll()
        if isinstance(loaded, UserError):
            self.say(str(loaded), good=False)
        elif loaded is not None:
            loaded.pool.set_warps_per_cache(self.session.pool.warps_per_cache)
            self.session.replace_pool(loaded.pool, CLOSE_TIMEOUT_S)
            self.session.limits = view_limits(loaded.avatar.manifest)
            self.stage = loaded
            self.sources.set_performance(loaded.avatar.performance)
            self.session.face_source = self.sources.face
            self.presenter.set_background(loaded.avatar.plate)
            path = str(loaded.path.absolute())
            self.settings = replace(self.settings, last_avatar=path, recent_avatars=remembered(path, self.settings))
            self._save(self.settings)
            self._keeper.touch()

    def _take_wishes(self) -> list[Action]:
        wishes, self._wishes = self._wishes, []
        return wishes

    def ask(self, action: Action) -> None:
        """Carry it out at the next tick."""
        self._wishes.append(action)

    def _key(self, name: str) -> None:
        if self.vr.seen and name in VR_KEYS:
            self._wishes.append(VR_KEYS[name])
        elif name in KEYS:
            self._wishes.append(KEYS[name])
        elif isinstance(self.sources.pose, MouseSource):
            self.sources.pose.on_key(name)

    def _mouse(self, x: float, y: float) -> None:
        if isinstance(self.sources.pose, MouseSource):
            self.sources.pose.on_mouse(x, y)

    def _click(self) -> None:
        """A click into the swaying picture takes the view over."""
        if self.sources.pose.name == "sway":
            self._wishes.append(Action(Do.POSE, "mouse"))

    def _scroll(self, steps: float) -> None:
        if isinstance(self.sources.pose, MouseSource):
            self.sources.pose.on_scroll(steps)

    # --- overlay ----------------------------------------------------------------------------------------------------

    def overlay_model(self) -> OverlayModel:
        """What overlays show, as fresh as need be."""
        return self._keeper.refresh(self, self.session.clock_ns())

    def _draw_overlay(self) -> None:
        if self.overlay is None:
            return
        assert self._sheet is not None
        now, host, viewport = self.session.clock_ns(), self.overlay.host, self.presenter.size
        if self._sheet.due(now, viewport, host.touched or self._keeper.news):
            seconds, self._ui_ns = (now - self._ui_ns) / 1e9 if self._ui_ns else 1 / 60, now
            self._keeper.news = False
            model = self.overlay_model()
            size = self._window.window_size if self._window is not None else viewport
            host.new_frame(size, viewport, seconds)
            self._wishes += self.overlay.draw(model)
            self._sheet.redraw(now, viewport, host.render)
        self._sheet.show()


def window_screen(window: WindowPresenter, screen_width_m: float) -> Screen:
    """The window's client area in metres, from the monitor's width."""
    metres = screen_width_m / window.monitor_width()
    width, height = (max(s, 1) for s in window.window_size)
    return Screen(width * metres, height * metres, *window.size)
