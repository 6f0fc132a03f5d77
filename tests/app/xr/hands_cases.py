"""Controllers of a real runtime, scripted, press on the panel and carry the head. Started by test_xr_runtime.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xr
from imgui_bundle import imgui

from app.actions import VR_KEYS, Action, Do
from app.live import LiveApp
from app.settings import Settings
from app.xr.interaction import Interaction
from app.xr.states import State
from models.geometry import Array, Pose, euler_from_matrix, look_at, quaternion_from_euler
from tests.app.xr.live_scene import NOSE, Watch, beacon, live_app, run_until, said, state
from tests.app.xr.monado import ScriptedHead, use_config
from tracking.room_hands import RESTING, STEP_M, Board, Hand

PORT = use_config()
ORIGIN = np.array([0.0, 1.6, 0.0])  # where Monado's head is at first: LOCAL space starts there
HAND = np.array([0.1, -0.25, -0.2])  # a place for the right hand, in LOCAL space


@pytest.fixture
def app(tmp_path: Path) -> Iterator[LiveApp]:
    with live_app(tmp_path, settings=Settings(overlay_visible=True)) as app:
        yield app


@pytest.fixture
def head(app: LiveApp) -> Iterator[ScriptedHead]:
    """In VR, at the origin, both controllers off, the panel drawn."""
    app.vr.enter(app.session)
    head = ScriptedHead(PORT)
    head.hand(0, None)
    head.hand(1, None)
    head.move(Pose(ORIGIN))
    run_until(app, lambda: state(app) == "FOCUSED" and app.vr.anchor is not None and "warp 1x" in rects(app))
    cycles(app, 3)
    yield head
    head.close()


def interaction(app: LiveApp) -> Interaction:
    assert app.vr._interaction is not None
    return app.vr._interaction


def rects(app: LiveApp) -> dict[str, tuple[float, float, float, float]]:
    return interaction(app).panel.overlay.rects


def board(app: LiveApp) -> Board:
    shown = interaction(app).board
    assert shown is not None
    return shown


def anchor(app: LiveApp) -> Pose:
    assert app.vr.anchor is not None
    return app.vr.anchor


def _instance(app: LiveApp) -> Any:
    assert app.vr._session is not None
    return app.vr._session._runtime.instance


def middle(app: LiveApp) -> Array:
    """Of the head, [3] in LOCAL space."""
    return anchor(app).apply(RESTING)


def place(app: LiveApp, name: str) -> Array:
    """[3] of a widget's left end (radio button and check box are there) in LOCAL space."""
    x0, y0, x1, y1 = rects(app)[name]
    assert app.vr._interaction is not None
    width, height = app.vr._interaction.panel.size
    u, v = (x0 + min(x1 - x0, y1 - y0) / 2) / width, (y0 + y1) / 2 / height
    corners = board(app).corners()
    return corners[0] + u * (corners[1] - corners[0]) + v * (corners[2] - corners[0])


def put(
    head: ScriptedHead, pose: Pose | None, index: int = 1, stick: tuple[float, float] = (0.0, 0.0), **down: bool
) -> None:
    """A controller, at a pose in LOCAL space; down: trigger, squeeze, b."""
    stage = None if pose is None else Pose(pose.position + ORIGIN, pose.orientation)
    trigger, squeeze = (float(down.get(name, False)) for name in ("trigger", "squeeze"))
    head.hand(index, stage, trigger, squeeze, stick, down.get("b", False))
    head.move(Pose(ORIGIN))


def cycles(app: LiveApp, n: int) -> None:
    goal = app.vr._cycles + n
    run_until(app, lambda: not app.vr.on or app.vr._cycles >= goal)


def painted(app: LiveApp, times: int = 3) -> None:
    """Waits for the panel, which is drawn less often than the eyes; ImGui takes one event at a time."""
    panel = interaction(app).panel
    for _ in range(times):
        last = panel._drawn_ns
        run_until(app, lambda last=last: not app.vr.on or panel._drawn_ns != last)


def press(app: LiveApp, head: ScriptedHead, name: str, index: int = 1) -> None:
    """Point at it, pull the trigger, let go."""
    pose = look_at(HAND, place(app, name))
    put(head, pose, index)
    run_until(app, lambda: interaction(app).hands.pointer is not None)
    put(head, pose, index, trigger=True)
    run_until(app, lambda: interaction(app).hands.pressed)
    painted(app)
    put(head, pose, index)
    run_until(app, lambda: not app.vr.on or not interaction(app).hands.pressed)
    if app.vr.on:
        painted(app)
        cycles(app, 2)  # what was asked for on it is done in the next one


def test_the_trigger_presses_on_the_panel(app: LiveApp, head: ScriptedHead) -> None:
    for index, k in ((1, 1), (1, 2), (0, 1), (1, 4)):
        press(app, head, f"warp {k}x", index)
        assert app.session.pool.warps_per_cache == k == app.settings.warps_per_cache
        put(head, None, index)
    press(app, head, "vr mirror")
    assert app.settings.vr_mirror == "both"
    run_until(app, lambda: "in the headset" in app.overlay_model().vr_status)
    press(app, head, "vr")
    run_until(app, lambda: not app.vr.on)
    assert said(app) == "VR left"


def test_where_the_ray_ends_is_what_is_pressed(app: LiveApp, head: ScriptedHead) -> None:
    """A hand that is beside the buttons presses none of them."""
    _, y0, x1, y1 = rects(app)["warp auto"]
    rects(app)["beside"] = (x1 + 12, y0, x1 + 18, y1)
    press(app, head, "beside")
    assert app.session.pool.warps_per_cache == 2


@pytest.mark.parametrize("button", ["trigger", "squeeze"])
def test_the_head_goes_where_the_hand_that_holds_it_goes(
    app: LiveApp, head: ScriptedHead, button: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    felt, feedback = [], xr.apply_haptic_feedback

    def noted(session: object, info: xr.HapticActionInfo, vibration: xr.HapticVibration) -> None:
        feedback(session, info, vibration)  # type: ignore[arg-type]  # the runtime takes it
        felt.append((xr.path_to_string(_instance(app), info.subaction_path), vibration.duration > 0))

    monkeypatch.setattr(xr, "apply_haptic_feedback", noted)
    start = anchor(app)
    pose = look_at(HAND, middle(app))
    put(head, pose)
    run_until(app, lambda: any(beam.on == "head" for beam in interaction(app).hands.beams))
    put(head, pose, trigger=button == "trigger", squeeze=button == "squeeze")
    run_until(app, lambda: interaction(app).hands.holding)
    assert felt == [("/user/hand/right", True)]
    moved = np.array([0.18, 0.0, -0.24])  # 0.3 m
    put(head, Pose(pose.position + moved, pose.orientation), trigger=button == "trigger", squeeze=button == "squeeze")
    run_until(app, lambda: np.abs(anchor(app).position - start.position - moved).max() < 1e-5)
    np.testing.assert_allclose(anchor(app).rotation, start.rotation, atol=1e-6)
    turned = Pose(pose.position + moved, quaternion_from_euler(*euler_from_matrix(pose.rotation)[:2], 0.5))  # rolled
    put(head, turned, trigger=button == "trigger", squeeze=button == "squeeze")
    cycles(app, 5)
    np.testing.assert_allclose(anchor(app).rotation[:, 1], [0, 1, 0], atol=1e-9)  # upright all the same
    put(head, Pose(pose.position + moved, pose.orientation))
    run_until(app, lambda: not interaction(app).hands.holding)
    left = anchor(app)
    put(head, pose)
    cycles(app, 5)
    assert anchor(app) is left, "let go, it stays"
    assert len(felt) == 1, "once, when it is taken"
    assert (board(app).T_room_board.position - middle(app))[0] > 0.2, "the panel has come along"


def test_the_picture_goes_with_the_head(app: LiveApp, head: ScriptedHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.xr.scene.STALE_NS", 10**12)
    app.do(Action(Do.OVERLAY))  # its letters could be taken for the beacon
    watch = Watch()
    watch.install(monkeypatch.setattr)
    pose = look_at(HAND, middle(app))
    put(head, pose)
    cycles(app, 3)
    put(head, pose, trigger=True)
    run_until(app, lambda: interaction(app).hands.holding)
    put(head, Pose(pose.position + [-0.15, 0.1, 0.0], pose.orientation), trigger=True)
    run_until(app, lambda: anchor(app).position[0] < -0.149)
    cycles(app, 6)
    cycle = watch.last
    assert cycle is not None and cycle.eyes is not None and cycle.drawn is not None
    nose = anchor(app).apply(cycle.drawn.request.head.T_world_head.apply(NOSE))
    for eye, image in zip(cycle.eyes, cycle.images, strict=True):
        camera = eye.fov.camera(image.shape[1], image.shape[0])
        expected = camera.project(eye.T_world_eye.inverse().apply(nose))[:2]
        assert np.linalg.norm(beacon(image) - expected) < 1.5
        assert expected[0] < image.shape[1] / 2 - 40, "it has really moved"


def test_the_thumbstick_pushes_what_is_held(app: LiveApp, head: ScriptedHead) -> None:
    pose = look_at(HAND, middle(app))
    put(head, pose)
    cycles(app, 3)
    put(head, pose, trigger=True)
    run_until(app, lambda: interaction(app).hands.holding)
    start = np.linalg.norm(middle(app) - HAND)
    put(head, pose, trigger=True, stick=(0.0, 1.0))
    run_until(app, lambda: bool(np.linalg.norm(middle(app) - HAND) > start + 0.2))


def test_a_button_and_a_key_hide_the_panel(app: LiveApp, head: ScriptedHead) -> None:
    pose = Pose(HAND)
    put(head, pose, b=True)
    run_until(app, lambda: interaction(app).board is None)
    assert not app.settings.overlay_visible
    put(head, pose)
    cycles(app, 3)
    put(head, pose, b=True)
    run_until(app, lambda: interaction(app).board is not None)
    app._key("H")
    run_until(app, lambda: interaction(app).board is None)


def test_without_controllers_the_eyes_point_and_keys_press_and_move(app: LiveApp, head: ScriptedHead) -> None:
    head.move(Pose(ORIGIN, look_at(np.zeros(3), place(app, "warp 1x")).orientation))
    run_until(app, lambda: interaction(app).hands.pointer is not None)
    cycles(app, 8)
    app._key("Space")
    run_until(app, lambda: app.session.pool.warps_per_cache == 1)
    before = anchor(app)
    for key in ("PgUp", "PgUp", "."):
        app._key(key)
    run_until(app, lambda: anchor(app).position[1] > before.position[1] + 1.5 * STEP_M)
    assert euler_from_matrix(anchor(app).rotation)[0] < euler_from_matrix(before.rotation)[0]
    assert {action.do for action in VR_KEYS.values()} == {Do.MOVE, Do.CLICK}


def test_controllers_come_and_go(app: LiveApp, head: ScriptedHead, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Hand, Hand]] = []
    update = Interaction.update

    def watched(self: Interaction, app: LiveApp, hands: tuple[Hand, Hand], *more: object) -> Pose:
        seen.append(hands)
        return update(self, app, hands, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Interaction, "update", watched)
    cycles(app, 3)
    assert seen[-1][0].aim is seen[-1][1].aim is seen[-1][1].grip is None and interaction(app).hands.beams == []
    pose = Pose(HAND, quaternion_from_euler(0.3, -0.2))
    put(head, pose, 0, squeeze=True, stick=(0.5, -0.25))
    run_until(app, lambda: seen[-1][0].squeeze)
    left, right = seen[-1]
    assert left.aim is not None and left.grip is not None and right.aim is None
    np.testing.assert_allclose(left.aim.matrix(), pose.matrix(), atol=1e-6)
    assert left.stick == pytest.approx((0.5, -0.25)) and not left.select
    put(head, None, 0)
    run_until(app, lambda: seen[-1][0].aim is None and not seen[-1][0].squeeze)


def test_input_is_only_asked_for_in_focus(app: LiveApp, head: ScriptedHead, monkeypatch: pytest.MonkeyPatch) -> None:
    put(head, Pose(HAND))
    run_until(app, lambda: bool(interaction(app).hands.beams))

    def unfocused(*arguments: object) -> None:
        raise xr.SessionNotFocused()

    with monkeypatch.context() as patch:
        patch.setattr(xr, "sync_actions", unfocused)
        run_until(app, lambda: not interaction(app).hands.beams)
        assert app.vr.on
    run_until(app, lambda: bool(interaction(app).hands.beams))
    session = app.vr._session
    assert session is not None

    def never(*arguments: object) -> None:
        raise AssertionError("not in focus")

    with monkeypatch.context() as patch:
        patch.setattr(xr, "sync_actions", never)
        patch.setattr(session.states, "state", State.VISIBLE)
        cycles(app, 3)
        assert not interaction(app).hands.beams


@pytest.mark.parametrize("call", ["sync_actions", "locate_space", "get_action_state_boolean", "get_action_state_pose"])
def test_a_headset_lost_while_it_is_asked_leaves_the_desktop_going(
    app: LiveApp, head: ScriptedHead, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    put(head, Pose(HAND))
    run_until(app, lambda: bool(interaction(app).hands.beams))

    def lost(*arguments: object) -> object:
        raise xr.SessionLostError()

    with monkeypatch.context() as patch:
        patch.setattr(xr, call, lost)
        run_until(app, lambda: not app.vr.on)
    assert "lost" in said(app) and "V enters VR again" in said(app)
    app.do(Action(Do.VR))
    run_until(app, lambda: state(app) == "FOCUSED")


def test_a_runtime_that_knows_few_controllers_will_do(app: LiveApp, monkeypatch: pytest.MonkeyPatch) -> None:
    suggest = xr.suggest_interaction_profile_bindings
    refused = []

    def picky(instance: object, bindings: object) -> None:
        if len(refused) < 3:
            refused.append(bindings)
            raise xr.PathUnsupportedError()
        suggest(instance, bindings)  # type: ignore[arg-type]

    monkeypatch.setattr(xr, "suggest_interaction_profile_bindings", picky)
    app.do(Action(Do.VR))
    run_until(app, lambda: state(app) == "FOCUSED")
    assert len(refused) == 3


def test_actions_that_cannot_be_made_are_one_line(app: LiveApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*arguments: object) -> None:
        raise xr.RuntimeFailureError()

    with monkeypatch.context() as patch:
        patch.setattr(xr, "create_action_set", refuses)
        app.do(Action(Do.VR))
        assert "VR could not start" in said(app) and not app.vr.on
    app.do(Action(Do.VR))
    run_until(app, lambda: state(app) == "FOCUSED")


def test_contexts_of_imgui_are_given_back(app: LiveApp, head: ScriptedHead) -> None:
    panel = interaction(app).panel
    panel.host.use()
    assert imgui.get_current_context() is not None
    app.vr.close()
    assert imgui.get_current_context() is None, "there is no other host here"
    app.vr.enter(app.session)
    run_until(app, lambda: state(app) == "FOCUSED")
