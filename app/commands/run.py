"""`visavis run`: the main job. Opens avatar, workers, sources and a presenter, runs the loop, writes what was asked."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from models.errors import UserError

if TYPE_CHECKING:
    from app.live import LiveApp
    from app.presenter import Presenter
    from app.settings import Settings
    from app.sources import Sources
    from app.stage import Stage

OFFSCREEN_SIZE = (640, 480)
MAX_WARPS = 16
MAX_SIDE = 8192


@dataclass(frozen=True)
class RunConfig:
    """Show an avatar that follows your viewpoint. F1 in the window lists the keys."""

    avatar: Annotated[Path | None, tyro.conf.Positional] = None
    """Avatar file; the last one, or the bundled one, when left out."""
    vr: bool = False
    """Show it in your VR headset too, through OpenXR; V in the window does the same at any time."""
    eye_size: int | None = None
    """Longer side of each eye's image in the headset, in pixels; left out, what the headset recommends, or at most 256
    where there is no graphics card."""
    offscreen: bool = False
    """Run without a display."""
    frames: int | None = None
    """End after so many shown frames."""
    fps: float | None = None
    """Frames per second; without it the window follows the display, and offscreen runs as fast as it can."""
    pose: Literal["auto", "sway", "mouse", "webcam", "trace"] | None = None
    """Where the viewer's eye comes from. auto: a given trace or camera, else the view sways by itself."""
    trace: Path | None = None
    """CSV file of recorded viewer motion."""
    camera: str | None = None
    """Camera index, URL or video file."""
    face: Literal["performance", "webcam", "still"] | None = None
    """What moves the avatar's face."""
    face_model: Path | None = None
    """MediaPipe's face_landmarker.task, for the webcam."""
    warp: str | None = None
    """Frames per neural cache: 1x, 2x, 3x, ..., or auto: as many as keep the display on time."""
    late: Literal["auto", "on", "off"] | None = None
    """Whether what is shown is moved to the newest pose at the last moment; L in the window does the same. auto: unless
    GL is drawn in software, which costs more than it gives."""
    devices: str | None = None
    """Comma-separated, one worker each: cuda:0,cuda:1 or cpu,cpu."""
    resolution: int | None = None
    """Side of the avatar's neural image in pixels; what it was trained at when left out."""
    size: str | None = None
    """Viewport, WIDTHxHEIGHT in pixels."""
    screen_width_m: float | None = None
    """Width of your screen in metres."""
    viewing_distance_m: float | None = None
    """Usual distance of your eyes from the screen in metres."""
    ui_scale: float | None = None
    """Size of the overlay's letters; 0 follows the monitor."""
    report: Path | None = None
    """Write the session's figures as JSON."""
    record: Path | None = None
    """Record the session as MP4."""
    record_overlay: bool = False
    """Record, and take screenshots, with the overlay."""
    screenshot: Path | None = None
    """Save the last picture as PNG."""


def run(config: RunConfig) -> int:
    """Exit code 0; 2 when the recording failed; 128 + signal when one ended the session before its --frames.

    Raises UserError for bad input.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # parallelism comes from the workers, one core each
    _check(config)
    from contextlib import ExitStack

    from app.memory import collected_later, keep_freed_memory
    from app.settings import load_settings, save_settings

    keep_freed_memory()

    saved, warning = load_settings()
    if warning:
        print(f"visavis: {warning}", file=sys.stderr)
    settings = _merged(saved, config)
    path = _avatar_path(config, settings)
    stopped: list[int] = []
    previous = {s: signal.signal(s, lambda n, _: stopped.append(n)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        save: Callable[[Settings], None] = (lambda s: None) if config.offscreen else _saver(saved, save_settings)
        with ExitStack() as start:
            start.enter_context(collected_later())
            return _session(config, settings, path, stopped, save, start.close)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _session(
    config: RunConfig,
    settings: Settings,
    path: Path,
    stopped: list[int],
    save: Callable[[Settings], None],
    started: Callable[[], None],
) -> int:
    """started: called when all is there and the first frame may be drawn."""
    from contextlib import ExitStack

    from app.files import write_png
    from app.live import LiveApp, LiveOptions, window_screen
    from app.report import session_report, write_report
    from app.session import LiveSession
    from app.settings import remembered
    from app.sources import Sources
    from app.stage import StageLoader, default_devices, open_stage, view_limits
    from app.window import WindowPresenter
    from renderer.gpu.kernels import load_triton
    from tracking.viewer import Screen

    devices = [d.strip() for d in config.devices.split(",")] if config.devices else default_devices()
    if any(device.startswith("cuda") for device in devices):
        load_triton()  # before GL: beside a software GL, which brings an LLVM of its own, the later of the two crashes
    with ExitStack() as stack:
        loader = StageLoader(lambda p: open_stage(p, devices, config.resolution, settings.warps_per_cache))
        stack.callback(loader.close)
        loader.start(path)  # while the window opens
        presenter = _presenter(config, settings)
        stack.callback(presenter.close)
        first = loader.wait()
        current: list[Stage] = [first]
        stack.callback(lambda: current[0].close())
        sources = Sources(
            first.avatar.performance, settings.camera, config.trace, config.face_model, settings.viewing_distance_m
        )
        stack.callback(sources.close)
        problem = _choose_sources(config, settings, sources)
        if isinstance(presenter, WindowPresenter):
            screen = window_screen(presenter, settings.screen_width_m)
        else:
            width, height = presenter.size
            screen = Screen(settings.screen_width_m, settings.screen_width_m * height / width, width, height)
        limits = view_limits(first.avatar.manifest)
        session = LiveSession(first.pool, sources.pose, sources.face, screen, settings.viewing_distance_m, limits)
        options = LiveOptions(config.frames, config.fps, recordings=_recordings(settings), eye_size=config.eye_size)
        app = LiveApp(first, session, sources, presenter, loader, settings, options, save)
        if problem:
            app.say(problem, good=False)
        if config.record is not None:
            app.capture.start(config.record)
        names = ", ".join(worker.device for worker in first.pool.stats().workers)
        print(f"{first.avatar.name} on {names}; view: {sources.pose.name}; {presenter.name}", flush=True)
        if settings.late == "auto" and not app.late:
            print("late reprojection off, since GL is drawn in software; --late on, or L, has it", flush=True)
        started()
        try:
            if config.vr:
                _enter_vr(app, config.offscreen)
            app.run(lambda: bool(stopped))
        finally:
            current[0] = app.stage
            app.vr.close()
            if app.recorder is not None:
                app.capture.stop()
        if config.screenshot is not None:
            write_png(config.screenshot, app.capture.picture())
        if config.report is not None:
            extra: dict[str, object] = {
                "presenter": presenter.name,
                "viewport": list(presenter.size),
                "avatar": str(app.stage.path),
            }
            if xr := app.vr.report():
                extra["xr"] = xr
            write_report(config.report, session_report(session, extra))
        shown = str(app.stage.path.absolute())
        save(replace(app.settings, last_avatar=shown, recent_avatars=remembered(shown, app.settings)))
        if app.capture.error:
            print(f"visavis: {app.capture.error}", file=sys.stderr)
            return 2
        unfinished = config.frames is not None and session.totals().shown < config.frames
        return 128 + stopped[0] if stopped and unfinished else 0


def _enter_vr(app: LiveApp, demanded: bool) -> None:
    """Where it cannot be had, a window goes on without it and says why; a script's session ends with a UserError."""
    try:
        app.vr.enter(app.session)
    except UserError as error:
        if demanded:
            raise
        print(f"visavis: {error}", file=sys.stderr)
        app.say(str(error), good=False)


def _check(config: RunConfig) -> None:
    for name, low, high in (
        ("frames", 1, 10**9), ("fps", 0.1, 1000), ("resolution", 64, 2048), ("eye_size", 16, 8192),
        ("screen_width_m", 0.05, 10), ("viewing_distance_m", 0.2, 10),
    ):  # fmt: skip
        value = getattr(config, name)
        if value is not None and not low <= value <= high:  # also false for NaN
            raise UserError(f"--{name.replace('_', '-')} must lie between {low} and {high}, not {value}")
    if config.ui_scale is not None and not (config.ui_scale == 0 or 0.5 <= config.ui_scale <= 4):
        raise UserError(f"--ui-scale must be 0 or lie between 0.5 and 4, not {config.ui_scale}")
    if config.pose == "trace" and config.trace is None:
        raise UserError("--pose trace needs --trace FILE")
    if config.trace is not None and not config.trace.is_file():
        raise UserError(f"{config.trace} is not there; give a trace file with --trace")
    for option, path in (("report", config.report), ("record", config.record), ("screenshot", config.screenshot)):
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            raise UserError(f"--{option} {path} cannot be written: no such folder, or a read-only one")
    parse_warp_or_auto(config.warp or "1x")
    parse_size(config.size or "640x480")


def parse_warp(text: str) -> int:
    """Warps per cache of "2x" or "2". Raises UserError."""
    match = re.fullmatch(r"(\d{1,2})x?", text.strip().lower())
    if not match or not 1 <= int(match[1]) <= MAX_WARPS:
        raise UserError(f"--warp {text!r}: give 1x, 2x, ... {MAX_WARPS}x")
    return int(match[1])


def parse_warp_or_auto(text: str) -> int:
    """As parse_warp; renderer.auto.AUTO for "auto". Raises UserError."""
    from renderer.auto import AUTO

    if text.strip().lower() == "auto":
        return AUTO
    try:
        return parse_warp(text)
    except UserError as error:
        raise UserError(f"{error}, or auto") from None


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of "1280x800". Raises UserError."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if not match or not all(16 <= int(n) <= MAX_SIDE for n in match.groups()):
        raise UserError(f"--size {text!r}: give WIDTHxHEIGHT, each from 16 to {MAX_SIDE}")
    return int(match[1]), int(match[2])


def _merged(saved: Settings, config: RunConfig) -> Settings:
    """What was saved, with what the command line says on top."""
    given: dict[str, object] = {
        "screen_width_m": config.screen_width_m,
        "viewing_distance_m": config.viewing_distance_m,
        "ui_scale": config.ui_scale,
        "camera": config.camera,
        "warps_per_cache": parse_warp_or_auto(config.warp) if config.warp else None,
        "late": config.late,
        "record_overlay": config.record_overlay or None,
    }
    if config.size:
        given["window_width"], given["window_height"] = parse_size(config.size)
    if config.offscreen:  # a script's session does not depend on what somebody chose in a window
        saved = replace(saved, pose_source="auto", face_source="performance", record_overlay=False)
        saved = replace(saved, warps_per_cache=2, late="auto", last_avatar="", ui_scale=1.0)
    return replace(saved, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]


def _saver(saved: Settings, write: Callable[[Settings], None]) -> Callable[[Settings], None]:
    """Writes settings when they differ from what the file holds; a failure is told once and harms nothing."""
    last = [saved]

    def save(settings: Settings) -> None:
        if settings == last[0]:
            return
        last[0] = settings
        try:
            write(settings)
        except UserError as error:
            print(f"visavis: {error}", file=sys.stderr)

    return save


def _avatar_path(config: RunConfig, settings: Settings) -> Path:
    from app.stage import bundled_avatar

    if config.avatar is not None:
        return config.avatar
    last = Path(settings.last_avatar) if settings.last_avatar else None
    return last if last is not None and last.is_file() else bundled_avatar()


def _recordings(settings: Settings) -> Path:
    if settings.recordings_folder:
        return Path(settings.recordings_folder).expanduser()
    import platformdirs

    return Path(platformdirs.user_videos_dir()) / "visavis"


def _presenter(config: RunConfig, settings: Settings) -> Presenter:
    if config.offscreen:
        from app.presenter import open_offscreen

        size = parse_size(config.size) if config.size else OFFSCREEN_SIZE
        return open_offscreen(size, settings.record_overlay, settings.ui_scale or 1.0)
    from app.window import WindowPresenter

    size = (settings.window_width, settings.window_height)
    return WindowPresenter("visavis", size, settings.ui_scale, vsync=config.fps is None)


def _choose_sources(config: RunConfig, settings: Settings, sources: Sources) -> str | None:
    """Start the asked-for sources. A saved choice that cannot be had gives a line and the default instead."""
    pose = config.pose or ("auto" if config.trace or config.camera else settings.pose_source)
    if pose == "auto" or (pose == "trace" and config.trace is None):
        pose = "trace" if config.trace else "webcam" if config.camera else "sway"
    problem = None
    for use, name, demanded in (
        (sources.use_pose, pose, config.pose or config.trace or config.camera),
        (sources.use_face, config.face or settings.face_source, config.face),
    ):
        try:
            use(name)
        except UserError as error:
            if demanded:
                raise
            problem = str(error)
    return problem
