"""Run as a process by test_window.py: a window with a real pool whose engines draw discs, told what to do by xdotool.

usage: window_session.py FOLDER UI_SCALE SCRIPT, where SCRIPT is the name of a function below. Prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402

from app.actions import Action, Do  # noqa: E402
from app.files import write_png  # noqa: E402
from app.live import LiveApp, LiveOptions, window_screen  # noqa: E402
from app.session import LiveSession  # noqa: E402
from app.settings import Settings  # noqa: E402
from app.sources import Sources  # noqa: E402
from app.stage import Stage, StageLoader  # noqa: E402
from app.window import WindowPresenter  # noqa: E402
from models.errors import UserError  # noqa: E402
from renderer.pool import RendererPool  # noqa: E402
from tests.app.fakes import DiscEngine, FakeAvatar  # noqa: E402

TIMEOUT_S = 8.0


class Script:
    """Runs the app until a condition holds, between xdotool's doings."""

    def __init__(self, app: LiveApp, window: WindowPresenter, folder: Path) -> None:
        self.app, self.window, self.folder = app, window, folder
        found = subprocess.check_output(["xdotool", "search", "--name", "^visavis$"], text=True)
        self.id = found.split()[-1]
        subprocess.run(["xdotool", "windowfocus", self.id], check=True)

    def until(self, condition) -> bool:
        end = time.monotonic() + TIMEOUT_S
        self.app.run(lambda: condition() or time.monotonic() > end)
        return bool(condition())

    def shown(self, n: int) -> None:
        goal = self.app.session.totals().shown + n
        assert self.until(lambda: self.app.session.totals().shown >= goal)

    def xdotool(self, *words: str) -> None:
        """Run it while the app goes on."""
        process = subprocess.Popen(["xdotool", *words])
        assert self.until(lambda: process.poll() is not None) and process.returncode == 0

    def click(self, name: str) -> None:
        self.shown(3)
        assert self.app.overlay is not None
        x0, y0, x1, y1 = self.app.overlay.rects[name]
        at = [str(round((x0 + x1) / 2)), str(round((y0 + y1) / 2))]
        self.xdotool("mousemove", "--window", self.id, *at)
        self.xdotool("mousedown", "1", "sleep", "0.2", "mouseup", "1")
        self.shown(3)

    def key(self, name: str) -> None:
        self.xdotool("key", "--delay", "60", name)
        self.shown(3)

    def picture(self, name: str) -> np.ndarray:
        self.shown(2)
        picture = self.app.capture.picture()
        write_png(self.folder / f"{name}.png", picture)
        return picture


def look(s: Script) -> dict[str, object]:
    """What the overlay covers, in numbers and pictures."""
    assert s.app.overlay is not None
    s.shown(20)
    with_overlay = s.picture("overlay")
    s.key("F1")
    help_open = s.app.overlay.help_open
    s.picture("help")
    s.key("Escape")
    help_closed = not s.app.overlay.help_open
    s.key("h")
    hidden = not s.app.overlay.visible
    without = s.picture("hidden")
    x0, y0, x1, y1 = 10, 10, int(300 * s.app.overlay.host.scale), 400
    changed = (np.abs(with_overlay[y0:y1, x0:x1].astype(int) - without[y0:y1, x0:x1]).max(-1) > 24).mean()
    letters = (with_overlay[y0:y1, x0:x1].min(-1) > 200).mean()
    return {
        "help": help_open, "help closed": help_closed, "hidden": hidden, "changed": float(changed),
        "letters": float(letters), "scale": s.app.overlay.host.scale,
    }  # fmt: skip


def operate(s: Script) -> dict[str, object]:
    """Radio buttons, keys, recording, sources, a failing worker, all by mouse and keyboard."""
    pool, out = s.app.session.pool, {}
    s.click("warp 1x")
    out["clicked 1x"] = pool.warps_per_cache
    s.click("warp 2x")
    out["clicked 2x"] = pool.warps_per_cache
    s.click("warp auto")
    out["clicked auto"] = pool.warps_per_cache
    s.key("4")
    out["key 4"] = pool.warps_per_cache
    s.click("record")
    out["recording"] = s.app.recorder is not None
    s.shown(20)
    s.key("r")
    out["recorded"] = s.app.recorder is None and not s.app.capture.error
    s.key("s")
    s.key("p")
    out["pose"] = s.app.session.pose_source.name
    s.xdotool("mousemove", "--window", s.id, "1000", "400")
    s.shown(20)
    assert s.app.session.last_frame is not None
    out["eye x"] = float(s.app.session.last_frame.request.T_world_eye.position[0])
    s.key("c")
    s.key("f")
    out["face"] = s.app.session.face_source.name
    DiscEngine.fail = {0}
    out["failed"] = s.until(lambda: bool(s.app.session.failures))
    s.picture("failed")
    DiscEngine.fail = set()
    s.click("restart 0")
    out["restarted"] = s.until(lambda: all(w.alive for w in pool.stats().workers))
    subprocess.run(["xdotool", "windowsize", "--sync", s.id, "700", "500"], check=True)
    s.shown(5)
    out["resized"] = list(s.app.presenter.size)
    out["camera"] = [s.app.session.last_frame.request.camera.width, s.app.session.last_frame.request.camera.height]
    s.picture("small")
    s.app.do(Action(Do.AVATAR, str(s.folder / "missing.avatar")))
    s.until(lambda: s.app.loader.loading is None)
    s.picture("message")
    end = time.monotonic() + TIMEOUT_S
    subprocess.run(["xdotool", "key", "--delay", "60", "Escape"], check=True)
    s.app.run(lambda: time.monotonic() > end)
    out["quit"] = time.monotonic() < end
    return out


def main() -> None:
    folder, scale, script = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    window = WindowPresenter("visavis", (1280, 800), scale)
    pool = RendererPool([lambda i=i: DiscEngine(i) for i in range(2)])
    pool.start(10)
    avatar = FakeAvatar()
    sources = Sources(avatar.performance, camera=str(folder / "no-camera.mp4"))
    session = LiveSession(pool, sources.pose, sources.face, window_screen(window, 0.53))

    def missing(path: Path) -> Stage:
        raise UserError(f"{path} is not there")

    stage = Stage(folder / "disc.avatar", avatar, pool)  # type: ignore[arg-type]
    options = LiveOptions(recordings=folder)
    app = LiveApp(stage, session, sources, window, StageLoader(missing), Settings(), options)
    try:
        result = globals()[script](Script(app, window, folder))
    finally:
        sources.close()
        pool.close(2)
        window.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
