"""What threads and queues cost a frame: sequential-with-queues minus sequential, as the paper measured it (0.25 ms).

    python -m tests.benchmarks.bench_pool_overhead [--frames N]

`renderer.bench.overhead` alone, as `visavis bench` has it among the rest. Prints JSON.
"""

from __future__ import annotations

import argparse
import json

from renderer.bench.overhead import overhead


def main() -> None:
    parser = argparse.ArgumentParser(description="Thread and queue overhead of the renderer pool")
    parser.add_argument("--frames", type=int, default=500)
    frames: int = parser.parse_args().frames
    print(json.dumps({"frames": frames, **overhead(frames)}))


if __name__ == "__main__":
    main()
