"""From typing `visavis run` until the session has shown its first frame and ended again: seconds, the median of some.

python tests/benchmarks/bench_startup.py --out tests/benchmarks/results/startup.json

The first start is left out: it reads the disk and may compile. Closing the session is in the figure; a person who
waits for the first picture waits a little less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "app.cli", "run", "--offscreen", "--frames", "1", "--devices", "cpu,cpu"]
    seconds: list[float] = []
    for _ in range(arguments.starts + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    warm = sorted(seconds[1:])
    result = {
        "command": "visavis " + " ".join(command[3:]),
        "starts": arguments.starts,
        "median_s": round(warm[len(warm) // 2], 2),
        "least_s": round(warm[0], 2),
        "most_s": round(warm[-1], 2),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
