"""A real window on a real X server, used with mouse and keyboard (tests/app/window_session.py is the process)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

ROOT = Path(__file__).resolve().parents[2]


def session(display: str | None, folder: Path, scale: float, script: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    if display is not None:
        environment["DISPLAY"] = display
    command = [sys.executable, str(ROOT / "tests/app/window_session.py"), str(folder), str(scale), script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_overlay_covers_its_corner_and_help_opens(display: str, tmp_path: Path, scale: float) -> None:
    seen = session(display, tmp_path, scale, "look")
    assert seen["scale"] == scale
    assert seen["help"] and seen["help closed"] and seen["hidden"]
    assert seen["changed"] > 0.8, "the panel is drawn over the picture"
    assert 0.004 < seen["letters"] < 0.2, "and has letters on it"


def test_mouse_and_keys_operate_the_session(display: str, tmp_path: Path) -> None:
    seen = session(display, tmp_path, 1.0, "operate")
    assert (seen["clicked 1x"], seen["clicked 2x"], seen["clicked auto"], seen["key 4"]) == (1, 2, 0, 4)
    assert seen["recording"] and seen["recorded"]
    (film,) = tmp_path.glob("visavis-*.mp4")
    with av.open(str(film)) as container:
        times = [f.time for f in container.decode(video=0)]
    assert len(times) >= 15 and times == sorted(set(times))
    assert list(tmp_path.glob("visavis-*.png")), "the screenshot"
    assert seen["pose"] == "mouse" and seen["eye x"] > 0.05, "the pointer right of the centre takes the eye there"
    assert seen["face"] == "still", "a webcam that is not there is passed over"
    assert seen["failed"] and seen["restarted"]
    assert seen["resized"] == seen["camera"] == [700, 500]
    assert seen["quit"]
