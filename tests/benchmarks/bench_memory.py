"""Does a long session grow? Runs `visavis run --offscreen` and samples its resident memory.

python tests/benchmarks/bench_memory.py --minutes 10 --out tests/benchmarks/results/memory.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def resident_mb(pid: int) -> float:
    """Of one process, from /proc (Linux only)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--fps", type=float, default=60)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        frames = round(arguments.minutes * 60 * arguments.fps)
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "run",
            "--offscreen",
            "--frames",
            str(frames),
            "--report",
            str(report),
        ]
        command += ["--fps", str(arguments.fps), "--devices", "cpu,cpu", "--warp", "2x"]
        process = subprocess.Popen(command)
        samples: list[tuple[float, float]] = []
        started = time.monotonic()
        while process.poll() is None:
            samples.append((time.monotonic() - started, resident_mb(process.pid)))
            time.sleep(2)
        if process.returncode:
            raise SystemExit(process.returncode)
        session = json.loads(report.read_text(encoding="utf-8"))
    seconds, megabytes = np.array(samples[:-1]).T
    settled = seconds > min(60.0, seconds[-1] / 4)  # compiling and first caches come first
    slope = np.polyfit(seconds[settled], megabytes[settled], 1)[0] * 3600
    result = {
        "minutes": round(seconds[-1] / 60, 2),
        "fps": session["fps"],
        "peak_rss_mb": session["peak_rss_mb"],
        "rss_mb_after_warm_up": round(float(megabytes[settled][0]), 1),
        "rss_mb_at_end": round(float(megabytes[settled][-1]), 1),
        "growth_mb_per_hour": round(float(slope), 1),
        "dropped": session["dropped"],
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
