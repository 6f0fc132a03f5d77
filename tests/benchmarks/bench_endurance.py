"""Does a long session at full speed grow, or slow down? `visavis run --offscreen` in this process, as fast as it goes.

python -m tests.benchmarks.bench_endurance --minutes 10 --out tests/benchmarks/results/endurance.json

Resident memory is sampled every two seconds (Linux only), every frame's pose-to-frame latency is kept in memory that is
taken beforehand. Both are judged by regression after the first minute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from app.cli import main as visavis
from app.session import LiveSession

MOST_FPS = 500
WARM_UP_S = 60.0
SAMPLE_S = 2.0
WINDOW_S = 20.0  # whose 99th percentile is one point of the drift


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def others_busy_s() -> float:
    """Seconds of processor time that all other processes have had since the machine started."""
    user, nice, system, _, _, interrupts, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    busy = (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return busy - own.user - own.system


class Log:
    """Seconds and values, in arrays that do not grow."""

    def __init__(self, room: int) -> None:
        self._values, self._count = np.full((room, 2), np.nan), 0  # written once, so that the pages are there

    def add(self, seconds: float, value: float) -> None:
        if self._count < len(self._values):
            self._values[self._count] = seconds, value
            self._count += 1

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        seconds, values = self._values[: self._count].T
        return seconds, values


def slope_per_hour(seconds: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Of the regression line, and its standard error."""
    line, covariance = np.polyfit(seconds, values, 1, cov=True)
    return float(line[0] * 3600), float(np.sqrt(covariance[0, 0]) * 3600)


def judged(latency: Log, memory: Log, warm_up_s: float) -> dict[str, Any]:
    seconds, ms = latency.columns
    at = np.arange(warm_up_s, seconds[-1] - WINDOW_S / 2, WINDOW_S)
    windows = [ms[(seconds >= t) & (seconds < t + WINDOW_S)] for t in at]
    p50, p99 = (np.array([np.percentile(w, p) for w in windows]) for p in (50, 99))
    memory_s, mb = memory.columns
    mb, memory_s = mb[memory_s > warm_up_s], memory_s[memory_s > warm_up_s]
    growth, growth_error = slope_per_hour(memory_s, mb)
    half, settled = len(p99) // 2, ms[seconds > warm_up_s]
    drift, drift_error = slope_per_hour(at, p99)
    return {
        "minutes": round(seconds[-1] / 60, 2),
        "frames": len(ms),
        "fps": round(len(settled) / (seconds[-1] - warm_up_s), 1),
        "pose_to_frame_ms": {f"p{p}": round(float(np.percentile(settled, p)), 2) for p in (50, 95, 99)},
        "p50_of_20_s_ms": [round(float(v), 2) for v in p50],
        "p99_of_20_s_ms": [round(float(v), 2) for v in p99],
        "p99_first_half_ms": round(float(np.median(p99[:half])), 2),
        "p99_second_half_ms": round(float(np.median(p99[half:])), 2),
        "p99_drift_ms_per_hour": round(drift, 2),
        "p99_drift_error": round(drift_error, 2),
        "rss_mb_after_warm_up": round(float(mb[0]), 1),
        "rss_mb_at_end": round(float(mb[-1]), 1),
        "growth_mb_per_hour": round(growth, 2),
        "growth_error": round(growth_error, 2),
        "rss_mb_every_20_s": [round(float(v), 2) for v in mb[:: round(WINDOW_S / SAMPLE_S)]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.minutes < 4:
        parser.error("--minutes must be at least 4: a regression needs points")
    duration_s = arguments.minutes * 60
    latency, memory = Log(round(duration_s * MOST_FPS)), Log(round(duration_s / SAMPLE_S) + 60)
    shown, begun, ended = LiveSession.shown, [0.0], threading.Event()

    def noted(session: LiveSession, frame: Any, *numbers: Any) -> None:
        shown(session, frame, *numbers)
        now = session.clock_ns()
        if not begun[0]:
            begun[0] = now / 1e9
        latency.add(now / 1e9 - begun[0], (now - frame.request.pose_time_ns) / 1e6)

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            if begun[0]:
                elapsed = time.monotonic() - begun[0]
                memory.add(elapsed, resident_mb())
                if elapsed >= duration_s:
                    os.kill(os.getpid(), signal.SIGINT)  # ends the session as a person would
                    return

    LiveSession.shown = noted  # type: ignore[method-assign]
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    others, start = others_busy_s(), time.monotonic()
    command = ["run", "--offscreen", "--devices", "cpu,cpu", "--warp", "2x", "--late", "off"]
    visavis([*command, "--resolution", str(arguments.resolution)])
    busy = (others_busy_s() - others) / (time.monotonic() - start)
    ended.set()
    watcher.join()
    figures = judged(latency, memory, WARM_UP_S)
    figures["cores_that_others_used"] = round(busy, 3)
    text = json.dumps(
        {"command": "visavis " + " ".join(command), "resolution": arguments.resolution, **figures}, indent=2
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
