"""Keeps the overlay's numbers fresh without spending the frame's time on percentiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.latency import STAGES
from app.overlay import OverlayModel

if TYPE_CHECKING:
    from app.live import LiveApp

PERIOD_NS = 200_000_000
MESSAGE_NS = 6_000_000_000
SHOWN_WINDOW = 240  # frames that percentiles and plot cover


class ModelKeeper:
    """Owns the model that the overlay draws."""

    def __init__(self) -> None:
        self._model = OverlayModel()
        self._updated_ns = 0
        self._message_ns = 0
        self.news = True  # to be shown at once; whoever shows it resets it

    def say(self, text: str, good: bool, now_ns: int) -> None:
        """A line at the bottom of the picture for some seconds."""
        self._model.message = (good, text)
        self.news = True
        self._message_ns = now_ns

    def touch(self) -> None:
        """Something was changed by hand: show it with the next frame."""
        self._updated_ns = 0
        self.news = True

    def refresh(self, app: LiveApp, now_ns: int) -> OverlayModel:
        """Workers at once, since a failure must show at once; figures a few times a second."""
        model = self._model
        model.workers = app.session.pool.stats().workers
        model.warps_per_cache = app.session.pool.warps_per_cache
        if model.message is not None and now_ns - self._message_ns > MESSAGE_NS:
            model.message = None
        if now_ns - self._updated_ns >= PERIOD_NS:
            self._updated_ns = now_ns
            self._measure(app)
            self._choices(app, now_ns)
        return model

    def _measure(self, app: LiveApp) -> None:
        model, session = self._model, app.session
        model.fps = session.recent_fps()
        rows = [(name, session.stages[name].percentiles(SHOWN_WINDOW)) for name in STAGES]
        model.stages = [(name, p[0], p[1]) for name, p in rows if p is not None]
        model.latency = session.stages["pose_to_frame"].percentiles(SHOWN_WINDOW)
        model.late = app.late
        by_itself = not app.late and app.settings.late == "auto"
        model.late_why = "off: GL in software" if by_itself and not session.stereo else ""
        if session.stereo:
            model.late_why = "in the window; a headset always has it"
        latched = session.stages["latch_to_frame"].percentiles(SHOWN_WINDOW)
        model.late_latency = latched if app.late and not session.stereo else None
        model.history = session.stages["pose_to_frame"].last(SHOWN_WINDOW)
        if session.last_frame is not None:
            model.cache_age = session.last_frame.cache_age_ns / 1e6
            model.warp_degrees = session.last_frame.warp_degrees
        model.dropped = session.totals().dropped

    def _choices(self, app: LiveApp, now_ns: int) -> None:
        model, session = self._model, app.session
        model.presenter = app.presenter.name
        model.avatar, model.avatars = str(app.stage.path), app.avatars()
        model.loading = str(app.loader.loading) if app.loader.loading else None
        model.pose, model.poses = session.pose_source.name, app.sources.pose_names
        model.face, model.faces = session.face_source.name, app.sources.face_names
        pose, face = session.pose_source.status(now_ns), session.face_source.status(now_ns)
        model.pose_status, model.face_status = (pose.ok, pose.text), (face.ok, face.text)
        model.record_overlay = app.settings.record_overlay
        model.vr_mirror = app.settings.vr_mirror
        model.vr, model.vr_status, model.vr_figures = app.vr.on, app.vr.status(), app.vr.figures()
        model.recording = None
        if app.recorder is not None:
            seconds = int(app.recorder.seconds)
            model.recording = f"{seconds // 60:02d}:{seconds % 60:02d}  {app.recorder.path.name}"
