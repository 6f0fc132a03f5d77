"""A real window (GLX) whose left-eye mirror, keys and overlay go with a real runtime: started by test_xr_runtime.py."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.live import LiveApp
from app.settings import Settings
from app.window import WindowPresenter
from app.xr.graphics import current_binding
from models.geometry import Pose
from tests.app.xr.live_scene import Watch, beacon, live_app, run_until, said, state
from tests.app.xr.monado import ScriptedHead, use_config
from tracking.room import Eye
from tracking.room_hands import STEP_M

PORT = use_config()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[LiveApp]:
    with live_app(tmp_path, WindowPresenter("visavis", (900, 600), ui_scale=1.0), Settings()) as app:
        yield app


def press(app: LiveApp, *words: str) -> None:
    process = subprocess.Popen(["xdotool", *words])
    run_until(app, lambda: process.poll() is not None)
    assert process.returncode == 0


def focus(app: LiveApp) -> str:
    number = subprocess.check_output(["xdotool", "search", "--name", "^visavis$"], text=True).split()[-1]
    press(app, "windowfocus", number)
    return number


def test_the_key_the_switch_and_the_mirror(app: LiveApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.xr.scene.STALE_NS", 10**12)
    monkeypatch.setattr("app.xr.mirror.SLOW_NS", 0)  # in each cycle: what it shows is then what the headset just got
    watch = Watch()
    watch.install(monkeypatch.setattr)
    assert current_binding().kind == "GLX"
    number = focus(app)
    press(app, "key", "--delay", "60", "h")  # hide the panel: it would lie over the mirror
    press(app, "key", "--delay", "60", "v")
    run_until(app, lambda: state(app) == "FOCUSED")
    head = ScriptedHead(PORT)
    head.move(Pose(np.array([0.1, 1.6, 0.1])))

    def seen() -> bool:
        cycle = watch.last
        return (
            cycle is not None
            and cycle.eyes is not None
            and cycle.drawn is not None
            and abs(cycle.eyes[0].T_world_eye.position[0] - (0.1 - 0.0315)) < 0.01
        )

    run_until(app, seen)
    shown = app.session.totals().shown
    run_until(app, lambda: app.session.totals().shown > shown + 3)
    mirror, cycle = app.capture.picture(), watch.last
    assert cycle is not None and cycle.eyes is not None
    eye: Eye = cycle.eyes[0]
    full, cut = eye.fov.camera(512, 512), eye.fov.cut_to(900 / 600).camera(900, 600)
    x, y = beacon(cycle.images[0])
    expected = [cut.cx + cut.fx * (x - full.cx) / full.fx, cut.cy + cut.fy * (y - full.cy) / full.fy]
    np.testing.assert_allclose(beacon(mirror), expected, atol=1.5)  # what the left eye sees
    press(app, "key", "--delay", "60", "m")
    run_until(app, lambda: app.settings.vr_mirror == "both")
    shown = app.session.totals().shown
    run_until(app, lambda: app.session.totals().shown > shown + 3)
    mirror, cycle = app.capture.picture(), watch.last
    assert cycle is not None and cycle.eyes is not None
    for half, eye, image in zip((mirror[:, :450], mirror[:, 450:]), cycle.eyes, cycle.images, strict=True):
        full, cut = eye.fov.camera(512, 512), eye.fov.cut_to(450 / 600).camera(450, 600)
        x, y = beacon(image)
        expected = [cut.cx + cut.fx * (x - full.cx) / full.fx, cut.cy + cut.fy * (y - full.cy) / full.fy]
        np.testing.assert_allclose(beacon(half), expected, atol=1.5)  # each eye in its half
    anchor = app.vr.anchor
    press(app, "key", "--delay", "60", "Right", "Prior", "period")
    run_until(app, lambda: app.vr.anchor is not None and abs(app.vr.anchor.orientation[1]) > 0.02)
    assert anchor is not None and app.vr.anchor is not None
    moved = app.vr.anchor.position - anchor.position
    np.testing.assert_allclose(moved, [STEP_M, STEP_M, 0.0], atol=5e-3)  # as the viewer sees it, who stands askew
    press(app, "key", "--delay", "60", "h")
    run_until(app, lambda: app.overlay is not None and "vr" in app.overlay.rects)
    assert app.overlay is not None
    x0, y0, x1, y1 = app.overlay.rects["vr"]
    press(app, "mousemove", "--window", number, str(round(x0 + (y1 - y0) / 2)), str(round((y0 + y1) / 2)))
    press(app, "mousedown", "1", "sleep", "0.3", "mouseup", "1")
    run_until(app, lambda: not app.vr.on)
    assert said(app) == "VR left"
    shown = app.session.totals().shown
    run_until(app, lambda: app.session.totals().shown > shown + 3)
    assert app.session.last_frame is not None and app.session.last_frame.second is None
    head.close()
