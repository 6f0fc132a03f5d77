"""The loop and what people can ask of it, without display, devices or networks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from app.actions import KEYS, VR_KEYS, Action, Do, help_lines
from app.live import LiveApp, LiveOptions
from app.pace import MISSES
from app.presenter import CpuPresenter, moved_late, open_offscreen
from app.report import session_report, write_report
from app.session import LiveSession
from app.settings import Settings
from app.sources import Sources
from app.stage import Stage, StageLoader
from app.xr.vr import VirtualReality
from models.errors import UserError
from renderer.messages import EyeView, RenderedFrame
from renderer.pool import RendererPool
from tests.app.fakes import DiscEngine, FakeAvatar, FakePool
from tracking.sources.mouse import MouseSource
from tracking.viewer import Screen

SIZE = (160, 120)


def never() -> bool:
    return False


def make(
    folder: Path, pool: FakePool | RendererPool | None = None, frames: int | None = 20, fps: float | None = None
) -> LiveApp:
    pool = pool or FakePool()
    avatar = FakeAvatar()
    sources = Sources(avatar.performance, camera=str(folder / "no-such-camera.mp4"))
    session = LiveSession(pool, sources.pose, sources.face, Screen(0.3, 0.225, *SIZE))
    stage = Stage(folder / "disc.avatar", avatar, pool)  # type: ignore[arg-type]
    options = LiveOptions(frames=frames, fps=fps, recordings=folder)
    return LiveApp(stage, session, sources, CpuPresenter(SIZE), StageLoader(loaded(folder)), Settings(), options)


def loaded(folder: Path):
    def open_(path: Path) -> Stage:
        if "missing" in path.name:
            raise UserError(f"{path} is not there")
        if "broken" in path.name:
            raise RuntimeError("surprise")
        return Stage(path, FakeAvatar(), FakePool())  # type: ignore[arg-type]

    return open_


def message(app: LiveApp) -> tuple[bool, str]:
    said = app._keeper._model.message
    assert said is not None
    return said


@pytest.fixture
def real_pool() -> Iterator[RendererPool]:
    DiscEngine.fail = set()
    pool = RendererPool([lambda i=i: DiscEngine(i) for i in range(2)])
    pool.start(10)
    yield pool
    DiscEngine.fail = set()
    pool.close(2)


def test_ends_after_the_wanted_number_of_shown_frames(tmp_path: Path) -> None:
    app = make(tmp_path, frames=37)
    app.run(never)
    assert app.session.totals().shown == 37
    picture = app.capture.picture()
    assert picture.shape == (120, 160, 3) and picture[60, 80].tolist() == [220, 120, 40], "the disc in the middle"
    assert picture[2, 2].tolist() != [220, 120, 40], "the plate in the corner"


def test_a_real_pool_under_a_hundred_switches_loses_and_reorders_nothing(
    tmp_path: Path, real_pool: RendererPool
) -> None:
    app = make(tmp_path, real_pool, frames=250)
    ids: list[int] = []
    app.presenter.upload = lambda frame: ids.append(frame.frame_id)  # type: ignore[method-assign]
    turns = itertools.cycle((1, 2))

    def switching() -> bool:
        if len(ids) > 2 * sum(switched) and sum(switched) < 100:
            app.do(Action(Do.WARP, next(turns)))
            switched.append(1)
        return False

    switched: list[int] = []
    app.run(switching)
    assert sum(switched) == 100
    assert ids == list(range(1, 251)), "strictly increasing, none lost"
    assert not app.session.totals().dropped


class Gl:
    """Of a GL context, its name."""

    def __init__(self, renderer: str) -> None:
        self.info = {"GL_RENDERER": renderer}


@pytest.mark.parametrize(
    ("choice", "renderer", "late"),
    [
        ("auto", "NVIDIA GeForce RTX 4090/PCIe/SSE2", True), ("auto", "Apple M3", True),
        ("auto", "llvmpipe (LLVM 15.0.6, 256 bits)", False), ("auto", "GDI Generic", False),
        ("auto", "Microsoft Basic Render Driver", False), ("on", "llvmpipe (LLVM 15.0.6, 256 bits)", True),
        ("off", "NVIDIA GeForce RTX 4090/PCIe/SSE2", False), ("auto", None, False), ("on", None, False),
    ],
)  # fmt: skip
def test_late_reprojection_is_off_by_itself_where_gl_is_software(choice: str, renderer: str | None, late: bool) -> None:
    assert moved_late(choice, None if renderer is None else Gl(renderer)) is late  # type: ignore[arg-type]


def test_a_person_may_want_it_in_software_all_the_same(tmp_path: Path) -> None:
    app = make(tmp_path)
    app.presenter.context = Gl("llvmpipe")  # type: ignore[assignment]
    model = app.overlay_model()
    assert not app.late and not model.late and model.late_why == "off: GL in software"
    app.do(Action(Do.LATE))
    model = app.overlay_model()
    assert app.late and app.settings.late == "on" and model.late and not model.late_why
    app.do(Action(Do.LATE))
    assert not app.late and app.settings.late == "off" and not app.overlay_model().late_why
    app.session.stereo = True
    app.do(Action(Do.LATE))
    assert "headset always" in app.overlay_model().late_why


def test_what_is_shown_is_seen_from_the_newest_pose_where_that_is_wanted(tmp_path: Path) -> None:
    app = make(tmp_path, frames=40)
    drawn: list[EyeView | None] = []
    app.presenter.draw = drawn.append  # type: ignore[method-assign]
    app.run(never)
    assert set(drawn) == {None} and not len(app.session.stages["latch_to_frame"]), "nothing to move it with"
    drawn.clear()
    app.presenter.context = Gl("a graphics card")  # type: ignore[assignment] - as if there were GL
    asked: list[int] = []
    view = app.session.view
    app.session.view = lambda display, now: asked.append(display) or view(display, now)  # type: ignore[method-assign]
    app.options = LiveOptions(frames=80)
    app.run(never)
    assert len(drawn) == 40 and all(eye is not None for eye in drawn)
    assert len(asked) == 80, "for the request, and again for the picture"
    assert all(late >= first for first, late in zip(asked[::2], asked[1::2], strict=True)), "not for an earlier moment"
    assert len(app.session.stages["latch_to_frame"]) == 40
    p50 = {stage: app.session.stages[stage].percentiles() for stage in ("latch_to_frame", "pose_to_frame")}
    assert p50["latch_to_frame"] < p50["pose_to_frame"]  # type: ignore[operator]
    app.do(Action(Do.LATE))
    assert app.settings.late == "off" and not app.late and message(app) == (True, "late reprojection off")
    drawn.clear()
    app.options = LiveOptions(frames=100)
    app.run(never)
    assert set(drawn) == {None}


def test_a_failing_worker_is_told_and_the_display_goes_on(tmp_path: Path, real_pool: RendererPool) -> None:
    app = make(tmp_path, real_pool, frames=60)

    def failing() -> bool:
        if app.session.totals().shown == 20:
            DiscEngine.fail = {0}
        return False

    app.run(failing)
    assert app.session.totals().shown == 60
    assert "out of memory" in app.session.failures[-1].reason
    report = session_report(app.session, {})
    assert report["workers_failed"] == 1 and report["frames"] == report["shown"] + report["dropped"]


def test_when_all_workers_have_failed_an_unattended_session_ends_and_says_why(tmp_path: Path) -> None:
    pool = FakePool()
    pool.fail(0, "hung for 300 ms")
    pool.fail(1, "returned NaN")
    with pytest.raises(UserError, match="returned NaN") as caught:
        make(tmp_path, pool).run(never)
    assert caught.value.exit_code == 1


def test_paced_ticks_ask_for_evenly_spaced_display_times(tmp_path: Path) -> None:
    pool = FakePool()
    app = make(tmp_path, pool, frames=12, fps=100.0)
    app.run(never)
    gaps = np.diff([r.display_time_ns for r in pool.submitted]) / 1e6
    assert np.median(gaps) == pytest.approx(10.0, abs=1.0)


class LatePool(FakePool):
    """Every other frame that is waited for comes just after the tick that asked for it has given up."""

    waited = 0

    def wait(self, timeout_s: float) -> bool:
        self.waited += 1
        late = self.waited % 2 == 1
        if late:
            time.sleep(timeout_s)
        if self.pending:
            request = self.pending[0]
            self.finish()
            frame = self.out[-1]
            assert isinstance(frame, RenderedFrame)
            frame.stamps_ns["worker_end"] = request.pose_time_ns + 1_000_000_000
        return not late


def test_frames_that_miss_their_tick_are_shown_at_the_next_and_not_thrown_away(tmp_path: Path) -> None:
    """Asking again each time would make every frame superfluous when it comes."""
    pool = LatePool(instant=False)
    app = make(tmp_path, pool, frames=30, fps=200.0)
    app.run(never)
    assert app.session.totals().dropped.get("superseded", 0) <= MISSES + 1
    assert len(pool.submitted) <= 30 + 2 * MISSES + 2


def test_recording_holds_every_shown_frame_at_its_display_time(tmp_path: Path) -> None:
    pool = FakePool()
    app = make(tmp_path, pool, frames=25, fps=100.0)
    times: list[int] = []
    shown = app.session.shown

    def noting(frame: RenderedFrame, upload_ns: int, present_ns: int, latched_ns: int | None = None) -> None:
        times.append(frame.request.display_time_ns)
        shown(frame, upload_ns, present_ns)

    app.session.shown = noting  # type: ignore[method-assign]
    app.capture.start(tmp_path / "a.mp4")
    app.run(never)
    recorder = app.recorder
    assert recorder is not None
    app.capture.stop()
    assert app.capture.error is None and "recorded" in message(app)[1]
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = [f.time for f in container.decode(video=0)]
    assert len(decoded) + recorder.dropped == 25 and len(decoded) > 10
    if not recorder.dropped:
        np.testing.assert_allclose(decoded, (np.array(times) - times[0]) / 1e9, atol=1e-3)


def test_a_recording_that_fails_is_told_and_the_session_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, data: object) -> int:
        self.error = OSError(28, "No space left on device")  # type: ignore[attr-defined]
        raise self.error  # type: ignore[attr-defined]

    monkeypatch.setattr("app.recorder._Output.write", full)
    app = make(tmp_path, frames=60, fps=100.0)
    app.capture.start(tmp_path / "a.mp4")
    app.run(never)
    assert app.session.totals().shown == 60 and app.recorder is None
    assert app.capture.error and "No space left" in app.capture.error
    assert message(app) == (False, app.capture.error)


def test_every_key_does_what_the_help_says(tmp_path: Path) -> None:
    app = make(tmp_path)
    assert {a.do for a in (*KEYS.values(), *VR_KEYS.values())} == set(Do) and len(help_lines()) == len(Do) + 1
    pool = app.session.pool
    for key, k in (("1", 1), ("4", 4), ("3", 3), ("0", 0), ("2", 2)):
        app.do(KEYS[key])
        assert pool.warps_per_cache == app.settings.warps_per_cache == k
    app.do(KEYS["P"])
    assert app.session.pose_source.name == app.settings.pose_source == "mouse"
    app.do(KEYS["P"])
    assert app.session.pose_source.name == "sway", "the webcam that is not there is passed over"
    assert not message(app)[0] and "no-such-camera" in message(app)[1]
    app.do(KEYS["F"])
    assert app.session.face_source.name == "still"
    app.do(KEYS["O"])
    assert app.settings.record_overlay
    app.do(KEYS["R"])
    assert app.recorder is not None
    app.do(KEYS["R"])
    assert app.recorder is None
    app.do(KEYS["S"])
    app.run(never)
    assert list(tmp_path.glob("*.png"))
    assert isinstance(pool, FakePool)
    pool.fail(1, "raised: boom")
    app.do(KEYS["W"])
    assert pool.restarted == [1]
    app.do(KEYS["Esc"])
    app.options = LiveOptions()
    app.run(never)  # ends since Esc was pressed


def test_arrows_look_around_until_a_headset_is_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(tmp_path)
    told: list[str] = []
    monkeypatch.setattr(MouseSource, "on_key", lambda self, name: told.append(name))
    app.do(Action(Do.POSE, "mouse"))
    app._key("left")
    assert told == ["left"] and app._take_wishes() == []
    monkeypatch.setattr(VirtualReality, "seen", True)
    app._key("left")
    assert told == ["left"] and app._take_wishes() == [Action(Do.MOVE, "left")]
    app.do(Action(Do.MOVE, "left"))  # nobody is there who could move it: nothing happens
    app.do(Action(Do.CLICK))


def test_one_key_switches_what_the_window_mirrors(tmp_path: Path) -> None:
    app = make(tmp_path)
    assert app.settings.vr_mirror == "left"
    for mirror in ("both", "left"):
        app.do(KEYS["M"])
        assert app.settings.vr_mirror == mirror
    app.do(Action(Do.MIRROR, "both"))
    assert app.settings.vr_mirror == app.overlay_model().vr_mirror == "both"


def test_unknown_choices_are_one_line(tmp_path: Path) -> None:
    app = make(tmp_path)
    for do in (Do.POSE, Do.FACE):
        app.do(Action(do, "telepathy"))
        assert not message(app)[0] and "telepathy" in message(app)[1]
    assert (app.session.pose_source.name, app.session.face_source.name) == ("sway", "performance")


def test_an_unwritable_recordings_folder_is_one_line(tmp_path: Path) -> None:
    app = make(tmp_path)
    (tmp_path / "file").write_text("")
    app.options = LiveOptions(recordings=tmp_path / "file" / "deeper")
    app.do(Action(Do.RECORD))
    assert app.recorder is None and message(app)[0] is False


@pytest.mark.parametrize("name", ["missing.avatar", "broken.avatar"])
def test_an_avatar_that_cannot_be_opened_leaves_the_present_one(tmp_path: Path, name: str) -> None:
    app = make(tmp_path, frames=None)
    app.do(Action(Do.AVATAR, str(tmp_path / name)))
    stage, end = app.stage, time.monotonic() + 10
    app.run(lambda: app.loader.loading is None or time.monotonic() > end)
    assert app.stage is stage and not message(app)[0] and name in message(app)[1]


def test_another_avatar_is_swapped_in_while_frames_go_on(tmp_path: Path) -> None:
    app = make(tmp_path, frames=None)
    old = app.session.pool
    app.do(Action(Do.AVATAR, str(tmp_path / "next.avatar")))
    end = time.monotonic() + 10
    app.run(lambda: app.stage.path.name == "next.avatar" or time.monotonic() > end)
    shown = app.session.totals().shown
    app.options = LiveOptions(frames=shown + 10)
    app.run(never)
    assert isinstance(old, FakePool) and old.closed and app.session.pool is not old
    assert app.settings.last_avatar.endswith("next.avatar") and app.settings.recent_avatars[0].endswith("next.avatar")


def test_report_has_the_agreed_keys(tmp_path: Path) -> None:
    app = make(tmp_path, frames=80)
    app.run(never)
    report = session_report(app.session, {"presenter": app.presenter.name})
    agreed = ["frames", "shown", "dropped", "fps", "warp", "devices", "peak_rss_mb", "stages_ms"]
    assert list(report)[: len(agreed)] == agreed
    assert report["frames"] == report["shown"] + report["dropped"] == 80
    assert report["warp"] == "2x" and report["devices"] == ["cpu (fake)", "cpu (fake)"] and report["fps"] > 0
    for stage in ("pose", "queue", "raster", "warp", "upload", "present", "pose_to_frame"):
        values = report["stages_ms"][stage]
        assert 0 <= values["p50"] <= values["p95"] <= values["p99"]
    write_report(tmp_path / "r.json", report)
    with pytest.raises(UserError):
        write_report(tmp_path / "nowhere" / "r.json", report)


def test_without_egl_the_cpu_draws_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise Exception("libEGL not found")

    monkeypatch.setattr("app.presenter.EglPresenter", broken)
    presenter = open_offscreen(SIZE)
    assert presenter.name == "offscreen CPU (no EGL: libEGL not found)"
