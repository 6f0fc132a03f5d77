"""Photographs what a headset would show: Monado's compositor in a window, the viewer before the head and then aside.

xvfb-run -s "-screen 0 1280x800x24" python -m tests.benchmarks.vr_photograph --out docs/vr.png

Linux only: it grabs the X display.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.files import write_png
from models.geometry import Pose, quaternion_from_euler
from tests.app.xr import monado

EYES = np.array([0.0, 1.6, 0.0])  # where Monado's head is at first
SETTLED_S = 8.0  # the pictures are those of the place by then, on a busy machine too
PLACES = (Pose(EYES), Pose(EYES + [0.18, 0.03, -0.2], quaternion_from_euler(0.15, 0.0)))


def screen() -> NDArray[np.uint8]:
    """[H, W, 3] of the whole display."""
    from PIL import ImageGrab

    return np.asarray(ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).convert("RGB"), np.uint8)


def trimmed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the black round the window."""
    lit = picture.max(axis=-1) > 8
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--eye-size", type=int, default=512)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        port = monado.free_port()
        environment = monado.environment(Path(folder), port, monado.runtime_json()) | {"XDG_CONFIG_HOME": folder}
        del environment["XRT_COMPOSITOR_NULL"]
        environment |= {"XRT_COMPOSITOR_FORCE_XCB": "1", "LP_NUM_THREADS": "1"}  # its window is drawn by the processor
        command = [sys.executable, "-m", "app.cli", "run", "--offscreen", "--vr", "--devices", "cpu,cpu"]
        command += ["--eye-size", str(arguments.eye_size)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            head = monado.ScriptedHead(port, 60.0)
            head.hand(0, None)
            head.hand(1, None)
            pictures = []
            for place in PLACES:
                head.move(place)
                time.sleep(SETTLED_S + (6.0 if not pictures else 0.0))  # the head is put before the first place
                pictures.append(trimmed(screen()))
            head.close()
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)
    width = 960
    rows = [
        cv2.resize(p, (width, round(p.shape[0] * width / p.shape[1])), interpolation=cv2.INTER_AREA) for p in pictures
    ]
    write_png(arguments.out, np.concatenate(rows))


if __name__ == "__main__":
    main()
