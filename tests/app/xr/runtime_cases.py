"""Against a real runtime, in a process of its own: started by test_xr_runtime.py, which sets the environment."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xr
from OpenGL import GL

from app.actions import Action, Do
from app.live import LiveApp
from app.presenter import draws_in_software
from app.xr.scene import FAR_M, NEAR_M
from app.xr.session import XrSession
from app.xr.vr import SOFTWARE_PX
from models.geometry import Pose, look_at, quaternion_from_euler
from tests.app.xr.live_scene import NOSE, Cycle, Watch, beacon, live_app, run_until, said, state
from tests.app.xr.monado import ScriptedHead, use_config
from tracking.room import STANDING_OFF_M

PORT = use_config()
ORIGIN = np.array([0.0, 1.6, 0.0])  # where Monado's head is at first: LOCAL space starts there
SKEWED = [
    ((-0.95, 0.80, 0.80, -0.90), Pose(np.array([-0.033, 0.004, 0.0]), quaternion_from_euler(0.06, 0.0))),
    ((-0.80, 0.95, 0.80, -0.90), Pose(np.array([0.033, 0.004, 0.0]), quaternion_from_euler(-0.06, 0.0))),
]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr("app.xr.scene.STALE_NS", 10**12)  # a busy machine may be late; nothing fades here for that
    watch = Watch()
    watch.install(monkeypatch.setattr)
    return watch


@pytest.fixture
def app(tmp_path: Path) -> Iterator[LiveApp]:
    with live_app(tmp_path) as app:
        yield app


@pytest.fixture
def head(app: LiveApp) -> Iterator[ScriptedHead]:
    """In VR, seen, at the origin."""
    app.vr.enter(app.session)
    head = ScriptedHead(PORT)
    head.move(Pose(ORIGIN))
    run_until(app, lambda: state(app) == "FOCUSED")
    yield head
    head.close()


def settled(app: LiveApp, watch: Watch, position: np.ndarray) -> bool:
    """Whether the last cycle showed pictures that were drawn for just the eyes that saw them, midway at `position`."""
    cycle = watch.last
    if cycle is None or cycle.eyes is None or cycle.drawn is None or len(cycle.images) != 2:
        return False
    if app.vr.anchor is None:
        return False
    drawn_for = drawn_for_places(app, cycle)
    seen_from = [eye.T_world_eye.position for eye in cycle.eyes]
    middle = (seen_from[0] + seen_from[1]) / 2
    return bool(np.abs(np.subtract(drawn_for, seen_from)).max() < 1e-9 and np.abs(middle - position).max() < 0.01)


def drawn_for_places(app: LiveApp, cycle: Cycle) -> list[np.ndarray]:
    """Where in the room the two eyes were, [3] each, that the pictures which hang there were asked for."""
    assert cycle.drawn is not None and app.vr.anchor is not None
    request = cycle.drawn.request
    assert request.second_eye is not None
    eyes = (request.T_world_eye, request.second_eye.T_world_eye)
    return [(app.vr.anchor @ eye).position for eye in eyes]


def expected_pixels(app: LiveApp, cycle: Cycle) -> list[np.ndarray]:
    assert cycle.eyes is not None and cycle.drawn is not None and app.vr.anchor is not None
    nose = app.vr.anchor.apply(cycle.drawn.request.head.T_world_head.apply(NOSE))
    pixels = []
    for eye, image in zip(cycle.eyes, cycle.images, strict=True):
        camera = eye.fov.camera(image.shape[1], image.shape[0])
        pixels.append(camera.project(eye.T_world_eye.inverse().apply(nose))[:2])
    return pixels


def positions() -> list[Pose]:
    """20 places of the headset round the head, each turned a little away from it and rolled."""
    head = np.array([0.0, 0.0, -STANDING_OFF_M])
    turns = itertools.cycle([(0.0, 0.0, 0.0), (0.2, -0.1, 0.3), (-0.15, 0.15, -0.4), (0.1, 0.2, 0.1), (-0.1, 0.0, 0.7)])
    places = []
    for yaw, pitch, distance in [
        (0, 0, 0.7), (0, 0, 0.3), (45, 0, 0.7), (-45, 0, 0.7), (45, 0, 0.3), (-45, 0, 0.3), (20, 10, 0.5),
        (-20, -15, 0.5), (30, 20, 1.0), (-30, -20, 1.0), (10, 0, 1.5), (-10, 5, 2.0), (60, 0, 0.8), (-60, 10, 0.8),
        (5, 30, 0.6), (-5, -30, 0.6), (15, -5, 0.4), (-15, 5, 0.35), (35, 15, 0.45), (0, 0, 1.0),
    ]:  # fmt: skip
        y, p = np.radians(yaw), np.radians(pitch)
        eye = head + distance * np.array([np.sin(y) * np.cos(p), np.sin(p), np.cos(y) * np.cos(p)])
        places.append(look_at(eye, head) @ Pose(np.zeros(3), quaternion_from_euler(*next(turns))))
    return places


@pytest.mark.parametrize("eyes", ["as the runtime has them", "skewed and canted"])
def test_the_nose_is_where_its_point_projects_to_in_both_eyes(
    app: LiveApp, head: ScriptedHead, watch: Watch, eyes: str
) -> None:
    run_until(app, lambda: settled(app, watch, np.zeros(3)))  # the head now stands before the origin
    if eyes != "as the runtime has them":
        head.set_views(SKEWED)
        head.move(Pose(ORIGIN + [0.3, 0.0, 0.3]))
        run_until(app, lambda: settled(app, watch, np.array([0.3, 0.0, 0.3])))  # they are seen from here on
    worst_pose = worst_pixels = worst_disparity = 0.0
    for scripted in positions():
        head.move(Pose(scripted.position + ORIGIN, scripted.orientation))
        run_until(app, lambda place=scripted.position: settled(app, watch, place))
        cycle = watch.last
        assert cycle is not None and cycle.eyes is not None and cycle.drawn is not None
        asked = drawn_for_places(app, cycle)
        if eyes != "as the runtime has them":  # then we know where each eye must be
            for located, place, (_, T_head_eye) in zip(cycle.eyes, asked, SKEWED, strict=True):
                true = scripted @ T_head_eye
                worst_pose = max(worst_pose, np.abs(place - true.position).max())
                worst_pose = max(worst_pose, np.abs(located.T_world_eye.matrix() - true.matrix()).max())
        else:
            worst_pose = max(worst_pose, np.abs((asked[0] + asked[1]) / 2 - scripted.position).max())
        found, expected = [beacon(image) for image in cycle.images], expected_pixels(app, cycle)
        print(scripted.position.round(2), *(p.round(2) for p in (*found, *expected)))
        worst_pixels = max(worst_pixels, *(np.linalg.norm(f - e) for f, e in zip(found, expected, strict=True)))
        disparity = (found[0] - found[1])[0] - (expected[0] - expected[1])[0]
        worst_disparity = max(worst_disparity, abs(disparity))
    print(f"eyes {eyes}: pose {worst_pose:.2e}, nose {worst_pixels:.2f} px, disparity {worst_disparity:.2f} px")
    assert worst_pose < 1e-4 and worst_pixels < 1.5 and worst_disparity < 1.5


def test_disparity_is_that_of_two_eyes(app: LiveApp, head: ScriptedHead, watch: Watch) -> None:
    """Straight ahead: the left eye sees the nose further right, by the angle that the eyes' distance makes there."""
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    cycle = watch.last
    assert cycle is not None and cycle.eyes is not None
    left, right = cycle.eyes
    ipd = np.linalg.norm(left.T_world_eye.position - right.T_world_eye.position)
    assert 0.05 < ipd < 0.08
    camera = left.fov.camera(cycle.images[0].shape[1], cycle.images[0].shape[0])
    tangent = (beacon(cycle.images[0]) - beacon(cycle.images[1]))[0] / camera.fx
    assert tangent == pytest.approx(ipd / (STANDING_OFF_M - NOSE[2]), rel=0.02)


def test_a_picture_for_an_older_pose_is_turned_with_the_eye(
    app: LiveApp, head: ScriptedHead, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No new frame comes, the head turns by 5 degrees: the nose stays in the room, not in the picture."""
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    assert watch.last is not None
    before = [beacon(image) for image in watch.last.images]
    monkeypatch.setattr(app.session, "can_request", lambda in_flight: False)
    head.move(Pose(ORIGIN, quaternion_from_euler(np.radians(5), 0.0)))

    def turned() -> bool:
        eyes = watch.last.eyes if watch.last else None
        return eyes is not None and abs(eyes[0].T_world_eye.orientation[1] - np.sin(np.radians(2.5))) < 1e-4

    run_until(app, turned)
    cycle = watch.last
    assert cycle is not None
    found, expected = [beacon(image) for image in cycle.images], expected_pixels(app, cycle)
    for b, f, e in zip(before, found, expected, strict=True):
        assert np.linalg.norm(f - e) < 1.5
        assert f[0] - b[0] > 15, "turned to the left, the eyes see it further right"


def depth_at(app: LiveApp, pixel: np.ndarray) -> float:
    """Metres before the left eye, of what is drawn there anew at `pixel` (x, y from the top)."""
    session, scene = app.vr._session, app.vr._scene
    assert session is not None and scene is not None
    frame = session.wait()
    with session.begun(frame):
        eyes = session.locate(frame)
        assert eyes is not None
        with session.image(0) as framebuffer:
            framebuffer.use()
            scene.draw(0, app.vr._from_anchor(eyes[0]), session.sizes[0], frame.display_ns)
            y = session.sizes[0][1] - 1 - int(pixel[1])
            read = GL.glReadPixels(int(pixel[0]), y, 1, 1, GL.GL_DEPTH_COMPONENT, GL.GL_FLOAT)
            z = float(np.asarray(read).ravel()[0])
    ndc = 2 * z - 1
    return 2 * FAR_M * NEAR_M / (FAR_M + NEAR_M - ndc * (FAR_M - NEAR_M))


@pytest.mark.parametrize("takes", [True, False])
def test_the_runtime_is_told_how_far_away_the_head_is(
    app: LiveApp, watch: Watch, monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    told: list[tuple[float, float]] = []
    make = xr.CompositionLayerDepthInfoKHR

    def noted(**fields: float) -> object:
        told.append((fields["near_z"], fields["far_z"]))
        return make(**fields)  # type: ignore[arg-type]

    monkeypatch.setattr(xr, "CompositionLayerDepthInfoKHR", noted)
    if not takes:
        monkeypatch.setattr("app.xr.runtime.DEPTH", "XR_NONE_such")
    app.vr.enter(app.session)
    head = ScriptedHead(PORT)
    try:
        head.move(Pose(ORIGIN))
        run_until(app, lambda: settled(app, watch, np.zeros(3)))
        assert app.vr._session is not None and app.vr._session.submits_depth is takes
        assert watch.last is not None
        assert depth_at(app, beacon(watch.last.images[0])) == pytest.approx(STANDING_OFF_M, abs=0.01)
        assert depth_at(app, np.array([20.0, 20.0])) > 90
        assert (told[-1] == (NEAR_M, FAR_M)) if takes else not told
        run_until(app, lambda: settled(app, watch, np.zeros(3)))  # the runtime took it: it goes on
    finally:
        head.close()


def test_the_whole_walk_and_in_again(app: LiveApp, head: ScriptedHead, watch: Watch) -> None:
    app.do(Action(Do.VR))
    run_until(app, lambda: not app.vr.on)
    assert said(app) == "VR left"
    shown = app.session.totals().shown
    run_until(app, lambda: app.session.totals().shown > shown + 3)  # the desktop goes on
    assert app.session.last_frame is not None and app.session.last_frame.second is None
    app.do(Action(Do.VR))
    run_until(app, lambda: state(app) == "FOCUSED" and watch.last is not None and watch.last.eyes is not None)
    run_until(app, lambda: "to warp" in app.vr.figures() and "to reprojection" in app.vr.figures())
    assert "in the headset" in app.vr.status()
    report = app.vr.report()
    assert report is not None and report["states"][:5] == ["IDLE", "READY", "SYNCHRONIZED", "VISIBLE", "FOCUSED"]
    assert report["states"].count("READY") == 2 and "STOPPING" in report["states"]
    assert "Monado" in report["runtime"] and report["views"] == [[512, 512], [512, 512]]
    assert report["latency_ms"]["to_warp"]["p50"] > report["latency_ms"]["to_reprojection"]["p50"]


def living_objects(app: LiveApp) -> dict[str, int]:
    """How many GL objects there are, by kind."""
    app.presenter.use()
    return {
        kind: sum(bool(getattr(GL, f"glIs{kind}")(name)) for name in range(1, 500))
        for kind in ("Texture", "Buffer", "Framebuffer", "Renderbuffer", "Program", "VertexArray")
    }


def test_nothing_piles_up(app: LiveApp, head: ScriptedHead, watch: Watch) -> None:
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    objects, threads = living_objects(app), threading.active_count()
    assert objects["Texture"] >= 4 and objects["Program"] >= 3
    count = watch.count
    run_until(app, lambda: watch.count > count + 120)
    assert living_objects(app) == objects and threading.active_count() == threads
    app.do(Action(Do.VR))
    run_until(app, lambda: not app.vr.on)
    assert sum(living_objects(app).values()) < sum(objects.values())
    app.do(Action(Do.VR))
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    again = living_objects(app)  # the runtime may give a chain fewer images than before, never more of anything
    assert all(again[kind] <= objects[kind] for kind in objects) and threading.active_count() <= threads


def test_where_the_processor_draws_there_is_less_to_draw_and_one_core_is_the_displays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.xr.vr.usable_cores", lambda: 2)
    watch = Watch()
    watch.install(monkeypatch.setattr)
    with live_app(tmp_path, eye_size=None) as app:
        context = app.presenter.context
        assert context is not None and draws_in_software(context), "these tests run without a graphics card"
        app.vr.enter(app.session)
        head = ScriptedHead(PORT)
        head.move(Pose(ORIGIN))
        run_until(app, lambda: settled(app, watch, np.zeros(3)))
        assert app.vr._session is not None and app.vr._session.sizes == ((SOFTWARE_PX, SOFTWARE_PX),) * 2
        assert app.session._at_work == 1
        assert watch.last is not None
        for found, expected in zip(watch.last.images, expected_pixels(app, watch.last), strict=True):
            assert np.linalg.norm(beacon(found) - expected) < 1.5
        app.do(Action(Do.VR))
        run_until(app, lambda: not app.vr.on)
        assert app.session._at_work is None
        head.close()


def test_recentring_puts_the_head_before_the_viewer(app: LiveApp, head: ScriptedHead, watch: Watch) -> None:
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    place = np.array([1.0, 0.2, 0.5])
    head.move(Pose(place + ORIGIN, quaternion_from_euler(np.radians(-90), 0.0)))  # looks along +x
    run_until(app, lambda: settled(app, watch, place))
    app.do(Action(Do.RECENTRE))

    def there() -> bool:
        if not settled(app, watch, place) or watch.last is None or watch.last.drawn is None or app.vr.anchor is None:
            return False
        stands = app.vr.anchor.apply(watch.last.drawn.request.head.T_world_head.position)
        return bool(np.linalg.norm(stands - (place + [STANDING_OFF_M, 0, 0])) < 0.05)

    run_until(app, there)
    assert watch.last is not None and watch.last.drawn is not None
    request = watch.last.drawn.request
    np.testing.assert_allclose(request.head.T_world_head.rotation, np.eye(3), atol=1e-6)  # as the torso
    np.testing.assert_allclose(request.T_world_eye.position, [-0.03, 0, STANDING_OFF_M], atol=0.05)
    for image in watch.last.images:
        assert abs(beacon(image)[0] - image.shape[1] / 2) < 30


def test_nothing_is_shown_while_nobody_knows_where_the_eyes_are(
    app: LiveApp, head: ScriptedHead, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    locate = xr.locate_views

    def blind(*arguments: object) -> object:
        state, views = locate(*arguments)  # type: ignore[arg-type]
        state.view_state_flags = xr.ViewStateFlags.ORIENTATION_VALID_BIT  # but no position
        return state, views

    monkeypatch.setattr(xr, "locate_views", blind)
    count, shown = watch.count, app.session.totals().shown
    run_until(app, lambda: watch.count > count + 5 and app.session.totals().shown > shown + 3)
    assert all(cycle.eyes is None for cycle in watch.cycles[-4:]), "no layer"
    assert app.session.last_frame is not None and app.session.last_frame.second is None, "the desktop draws"
    monkeypatch.setattr(xr, "locate_views", locate)
    run_until(app, lambda: settled(app, watch, np.zeros(3)))


def test_should_render_is_honoured(
    app: LiveApp, head: ScriptedHead, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    wait = xr.wait_frame

    def unseen(*arguments: object) -> object:
        frame = wait(*arguments)  # type: ignore[arg-type]
        frame.should_render = 0
        return frame

    monkeypatch.setattr(xr, "wait_frame", unseen)
    count = watch.count
    run_until(app, lambda: watch.count > count + 5)
    assert all(cycle.eyes is None for cycle in watch.cycles[-4:])


def test_an_exception_between_begin_and_end_ends_the_frame(app: LiveApp, head: ScriptedHead, watch: Watch) -> None:
    session = app.vr._session
    assert session is not None
    count = watch.count
    with pytest.raises(ZeroDivisionError), session.begun(session.wait()):
        _ = 1 / 0
    assert watch.count == count + 1 and watch.last is not None and watch.last.eyes is None, "ended, without a layer"
    with session.image(0) as framebuffer:  # images too are given back
        framebuffer.clear()
    with pytest.raises(ZeroDivisionError), session.image(0):
        _ = 1 / 0
    run_until(app, lambda: settled(app, watch, np.zeros(3)))  # no call was out of order: it goes on


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        ("wait_frame", xr.SessionLostError, "lost"),
        ("begin_frame", xr.InstanceLostError, "lost"),
        ("end_frame", xr.SessionLostError, "lost"),
        ("poll_event", xr.InstanceLostError, "lost"),
        ("locate_views", xr.SessionLostError, "lost"),
        ("acquire_swapchain_image", xr.SessionLostError, "lost"),
        ("wait_swapchain_image", xr.TimeoutExpired, "lost"),
    ],
)
def test_a_headset_lost_at_any_call_leaves_the_desktop_going(
    app: LiveApp, head: ScriptedHead, monkeypatch: pytest.MonkeyPatch, call: str, error: type[Exception], told: str
) -> None:
    def lost(*arguments: object) -> object:
        raise error()

    with monkeypatch.context() as patch:
        patch.setattr(xr, call, lost)
        run_until(app, lambda: not app.vr.on)
        assert told in said(app) and "V enters VR again" in said(app)
        shown = app.session.totals().shown
        run_until(app, lambda: app.session.totals().shown > shown)
    app.do(Action(Do.VR))
    run_until(app, lambda: state(app) == "FOCUSED")


def test_a_field_of_view_of_zero_ends_vr_with_a_line(
    app: LiveApp, head: ScriptedHead, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(app, lambda: settled(app, watch, np.zeros(3)))
    locate = xr.locate_views

    def flat(*arguments: object) -> object:
        state, views = locate(*arguments)  # type: ignore[arg-type]
        for view in views:
            view.fov.angle_left = view.fov.angle_right = 0.0
        return state, views

    monkeypatch.setattr(xr, "locate_views", flat)
    run_until(app, lambda: not app.vr.on)
    assert "field of view" in said(app)
    assert watch.last is not None and watch.last.eyes is None, "the frame was ended without a layer"


@pytest.mark.parametrize(
    ("call", "answer", "told"),
    [
        ("get_system", xr.FormFactorUnavailableError(), "no headset is ready"),
        ("get_system", xr.FormFactorUnsupportedError(), "no headset to offer"),
        ("create_instance", xr.RuntimeUnavailableError(), "does not start"),
        ("enumerate_instance_extension_properties", [], "cannot be drawn to with OpenGL"),
        ("enumerate_view_configuration_views", xr.ViewConfigurationTypeUnsupportedError(), "no two eyes"),
        ("create_session", xr.GraphicsDeviceInvalidError(), "VR could not start"),
        ("enumerate_swapchain_formats", [0x8051], "no image format"),
        ("create_swapchain", xr.SessionLostError(), "VR could not start"),
    ],
)
def test_what_is_missing_is_said_in_one_line_and_the_desktop_goes_on(
    app: LiveApp, monkeypatch: pytest.MonkeyPatch, call: str, answer: object, told: str
) -> None:
    def answered(*arguments: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(xr, call, answered)
        app.do(Action(Do.VR))
        assert told in said(app) and "\n" not in said(app) and not app.vr.on
    shown = app.session.totals().shown
    run_until(app, lambda: app.session.totals().shown > shown + 2)
    app.vr.enter(app.session)  # nothing of the first attempt is in the way
    assert isinstance(app.vr._session, XrSession)
