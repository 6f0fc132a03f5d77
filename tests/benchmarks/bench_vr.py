"""Minutes in VR on a real runtime without a headset: missed cycles, latencies, memory and threads.

python -m tests.benchmarks.bench_vr --runtime ../shared/openxr-runtime/share/openxr/1/openxr_monado.json \
    --out tests/benchmarks/results/vr.json

Monado's null compositor wants a picture 60 times a second; its simulated headset wobbles. Linux only: it reads /proc.
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


def measured(command: list[str], environment: dict[str, str], seconds: float) -> list[tuple[float, float, int]]:
    """Runs it so long, then Ctrl-C: (s, MB, threads) from the warm-up on. Raises RuntimeError when it ends before."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start, samples = time.monotonic(), []
    try:
        while (now := time.monotonic() - start) < seconds:
            if process.poll() is not None:
                raise RuntimeError(f"visavis ended after {now:.0f} s with {process.returncode}")
            if now > WARM_UP_S:
                samples.append((now, *usage(process.pid)))
            time.sleep(EVERY_S)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runtime", type=Path, required=True, help="a Monado's manifest")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--warp", default="2x")
    parser.add_argument("--devices", default="cpu,cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        environment = os.environ | {
            "XR_RUNTIME_JSON": str(arguments.runtime.resolve()), "XRT_COMPOSITOR_NULL": "1", "SIMULATED_ENABLE": "1",
            "XDG_CONFIG_HOME": folder,
        }  # fmt: skip
        command = [sys.executable, "-m", "app.cli", "run", "--offscreen", "--vr", "--warp", arguments.warp]
        command += ["--resolution", str(arguments.resolution), "--devices", arguments.devices, "--report", str(report)]
        samples = measured(command, environment, arguments.seconds)
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    at, memory, threads = np.array(samples).T
    xr = told["xr"]
    result = {
        "devices": told["devices"],
        "resolution": arguments.resolution,
        "warp": told["warp"],
        "seconds": arguments.seconds,
        "frames": told["shown"],
        "missed_share": round(xr["missed_cycles"] / max(xr["cycles"] + xr["missed_cycles"], 1), 4),
        "memory_mb": [round(float(memory.min()), 1), round(float(memory.max()), 1)],
        "memory_mb_per_hour": round(float(np.polyfit(at, memory, 1)[0] * 3600), 1),
        "threads": [int(threads.min()), int(threads.max())],
        "xr": {k: v for k, v in xr.items() if k != "states"},
        "second_eye_ms": told["stages_ms"].get("second eye"),
    }
    print(json.dumps(result, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
