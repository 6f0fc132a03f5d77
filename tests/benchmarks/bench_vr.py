"""Minutes in VR on a real runtime without a headset: missed cycles, latencies, memory and threads; and what two eyes
cost beside one.

python -m tests.benchmarks.bench_vr --runtime ../shared/openxr-runtime/share/openxr/1/openxr_monado.json \
    --out tests/benchmarks/results/vr.json

Monado's null compositor wants a picture 60 times a second; its simulated headset wobbles. A cycle is missed when
xrWaitFrame passes it over, counted by the display's own period whatever pace Monado asks for. Monado also says itself
when a picture came too late for its cycle: then it is shown in the next one ("frames_late"), or never, as the next one
is there already ("frames_dropped"). Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP_S = 20.0
EVERY_S = 2.0


def usage(pid: int) -> tuple[float, int]:
    """Resident memory in MB, and threads, of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["Threads"])


def busy_s(pid: int) -> tuple[float, float]:
    """Seconds of cores that everybody, and that this process, has worked so far."""
    hertz = os.sysconf("SC_CLK_TCK")
    total = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, total)
    own = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (user + nice + system + irq + softirq) / hertz, (int(own[11]) + int(own[12])) / hertz


Sample = tuple[float, float, int, float, float]  # s, MB, threads, busy_s


def measured(command: list[str], environment: dict[str, str], seconds: float, log: Path) -> list[Sample]:
    """Runs it so long, then Ctrl-C: samples from the warm-up on. log: what it says on stderr. Raises RuntimeError when
    it ends before."""
    with log.open("wb") as told:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=told)
    start, samples = time.monotonic(), []
    try:
        while (now := time.monotonic() - start) < seconds:
            if process.poll() is not None:
                raise RuntimeError(f"visavis ended after {now:.0f} s with {process.returncode}")
            if now > WARM_UP_S:
                samples.append((now, *usage(process.pid), *busy_s(process.pid)))
            time.sleep(EVERY_S)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
    return samples


def ratios(resolution: int, warps: int = 4, seconds: float = 8.0) -> dict[str, float]:
    """What a frame for two eyes costs, as a multiple of one for one eye, at each number of warps per cache: a worker's
    own time for a cache and its warps, the bundled avatar, a viewer who sways."""
    import torch

    from app.stage import bundled_avatar
    from models.avatar_file import load_avatar
    from renderer.engine import engine_factories
    from renderer.messages import EyeView, ViewRequest
    from tracking.room import look_at_head, place_at_anchor

    avatar = load_avatar(bundled_avatar())
    torch.set_num_threads(1)
    engine = engine_factories(avatar, ["cpu"], resolution)[0]()
    took: dict[str, list[float]] = {"cache": [], "left": [], "right": []}
    end, i = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        sway = 0.1 * np.sin(0.1 * i)
        head = place_at_anchor(avatar.performance.sample(i * 16_666_667))
        left, right = (
            EyeView(*look_at_head(np.array([sway + side, 0.0, 0.7]), head.T_world_head.position))
            for side in (-0.0315, 0.0315)
        )
        request = ViewRequest(i + 1, i, i, left.T_world_eye, left.camera, head, right)
        if i % warps == 0:
            start = time.thread_time()
            cache = engine.build_cache(request.of_cache())
            took["cache"].append(time.thread_time() - start)
        for name, eye in (("left", request), ("right", request.of_second_eye())):
            assert eye is not None
            start = time.thread_time()
            engine.warp(cache, eye)
            took[name].append(time.thread_time() - start)
        i += 1
    engine.close()
    cache_s, left_s, right_s = (float(np.median(took[name])) for name in ("cache", "left", "right"))
    told = {f"{k}x": round((cache_s / k + left_s + right_s) / (cache_s / k + left_s), 3) for k in range(1, warps + 1)}
    times = {"cache_ms": cache_s, "left_ms": left_s, "right_ms": right_s}
    return {**told, **{name: round(1e3 * value, 2) for name, value in times.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runtime", type=Path, required=True, help="a Monado's manifest")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--warp", default="2x")
    parser.add_argument("--devices", default="cpu,cpu")
    parser.add_argument(
        "--margin-ms", type=float, help="how much earlier than expected Monado wants pictures; left out, its own choice"
    )
    parser.add_argument("--eye-size", type=int, help="pixels, as of visavis run")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        environment = os.environ | {
            "XR_RUNTIME_JSON": str(arguments.runtime.resolve()), "XRT_COMPOSITOR_NULL": "1", "SIMULATED_ENABLE": "1",
            "XDG_CONFIG_HOME": folder,
        }  # fmt: skip
        if arguments.margin_ms is not None:
            environment["U_PACING_APP_MIN_MARGIN_MS"] = str(arguments.margin_ms)
        command = [sys.executable, "-m", "app.cli", "run", "--offscreen", "--vr", "--warp", arguments.warp]
        command += ["--resolution", str(arguments.resolution), "--devices", arguments.devices, "--report", str(report)]
        if arguments.eye_size is not None:
            command += ["--eye-size", str(arguments.eye_size)]
        samples = measured(command, environment, arguments.seconds, Path(folder) / "log")
        log = (Path(folder) / "log").read_text(encoding="utf-8", errors="replace")
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    at, memory, threads, everybody, own = np.array(samples).T
    cores, ours = (float(np.ptp(busy) / np.ptp(at)) for busy in (everybody, own))
    xr = told["xr"]
    cycles = max(xr["cycles"] + xr["missed_cycles"], 1)
    dropped = log.count("Dropping old missed frame")
    result = {
        "devices": told["devices"],
        "resolution": arguments.resolution,
        "warp": told["warp"],
        "seconds": arguments.seconds,
        "frames": told["shown"],
        "margin_ms": arguments.margin_ms,
        "missed_share": round(xr["missed_cycles"] / cycles, 4),
        "frames_late": log.count("Frame late"),
        "frames_dropped": dropped,
        "without_new_picture_share": round((xr["missed_cycles"] + dropped) / cycles, 4),
        "cores_busy": {"visavis": round(ours, 2), "others": round(cores - ours, 2)},
        "memory_mb": [round(float(memory.min()), 1), round(float(memory.max()), 1)],
        "memory_mb_per_hour": round(float(np.polyfit(at, memory, 1)[0] * 3600), 1),
        "threads": [int(threads.min()), int(threads.max())],
        "xr": {k: v for k, v in xr.items() if k != "states"},
        "second_eye_ms": told["stages_ms"].get("second eye"),
        "stereo_over_mono": ratios(arguments.resolution),
    }
    print(json.dumps(result, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
