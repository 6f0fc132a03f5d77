"""`visavis bench`: how fast every stage is here, how far from the limit, and what more devices would bring."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from models.errors import UserError

if TYPE_CHECKING:
    from models.avatar_file import Avatar

MAX_WORKERS = 16


@dataclass(frozen=True, slots=True)
class Effort:
    """passes: of one worker; seconds: for each pool and K; frames: of the overhead, each way; sizes: px."""

    passes: int
    seconds: float
    frames: int
    sizes: tuple[int, ...]


FULL = Effort(60, 6.0, 500, (256, 384, 512, 768, 1024))
QUICK = Effort(12, 1.0, 100, (256, 512))


@dataclass(frozen=True)
class BenchConfig:
    """Measure every stage, the pool and its overhead on this machine; minutes, --quick for a rough one."""

    avatar: Annotated[Path | None, tyro.conf.Positional] = None
    """Avatar file; the bundled one when left out."""
    device: str = ""
    """What to measure: cpu, cuda:0, or several with commas, one worker each in turn; all GPUs, else the CPU, when left
    out."""
    workers: int | None = None
    """Measure pools of 1 to so many workers; one for each device or core (two on a lone GPU) when left out."""
    quick: bool = False
    """Few passes and two sizes: rough figures within half a minute."""
    service: str | None = None
    """Forecast for a device with these service times too, in ms: cache=3,warp=1."""
    json: Path | None = None
    """Write all figures as JSON."""
    markdown: Path | None = None
    """Write the tables as Markdown."""


def bench(config: BenchConfig) -> int:
    """Prints the tables. Raises UserError for a device that is not there, or files that cannot be written."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in a session: one core for each worker
    if config.workers is not None and not 1 <= config.workers <= MAX_WORKERS:
        raise UserError(f"--workers must lie between 1 and {MAX_WORKERS}, not {config.workers}")
    asked = parse_service(config.service) if config.service else None
    for option, path in (("json", config.json), ("markdown", config.markdown)):
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            raise UserError(f"--{option} {path} cannot be written: no such folder, or a read-only one")

    from app.bench_tables import markdown, print_tables
    from app.memory import keep_freed_memory
    from app.progress import progress
    from app.stage import bundled_avatar, default_devices
    from models.avatar_file import load_avatar
    from models.files import atomic_write
    from renderer.bench.pool import forecast
    from renderer.engine import check_device

    given = [d.strip() for d in config.device.split(",") if d.strip()]
    devices = given or list(dict.fromkeys(default_devices()))
    for device in devices:
        check_device(device)
    keep_freed_memory()
    avatar = load_avatar(config.avatar or bundled_avatar())
    workers = config.workers or default_workers(devices)
    with progress() as show:
        effort = QUICK if config.quick else FULL
        report = measure(avatar, devices, workers, effort, lambda stage: show(stage, 0, 0))
    if asked:
        report["forecast_asked"] = {"service_ms": asked, "rows": forecast(*asked)}

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"{report['avatar']} on {report['machine']['device']}", highlight=False)
    print_tables(report, console)
    for path, text in ((config.json, json.dumps(report, indent=2) + "\n"), (config.markdown, markdown(report))):
        if path is not None:
            with atomic_write(path) as file:
                file.write(text.encode())
    return 0


def parse_service(text: str) -> tuple[float, float]:
    """(cache, warp) in ms of "cache=3,warp=1". Raises UserError."""
    match = re.fullmatch(r"cache=([0-9.]{1,9}),warp=([0-9.]{1,9})", text.replace(" ", ""))
    try:
        cache, warp = (float(number) for number in match.groups()) if match else (0.0, 0.0)
    except ValueError:
        cache = warp = 0.0
    if not (0.01 <= cache <= 1e5 and 0.01 <= warp <= 1e5):
        raise UserError(f"--service {text!r}: give cache=MS,warp=MS, each from 0.01 to 100000")
    return cache, warp


def default_workers(devices: list[str]) -> int:
    if len(devices) > 1:
        return min(len(devices), MAX_WORKERS)
    return min(os.cpu_count() or 1, 4) if devices[0].startswith("cpu") else 2


def measure(
    avatar: Avatar, devices: list[str], workers: int, effort: Effort, say: Callable[[str], None] = lambda stage: None
) -> dict[str, Any]:
    """Everything, in one report. devices: at least one, all there. say: is told what is being measured."""
    from datetime import date

    import torch

    from renderer.bench.overhead import overhead
    from renderer.bench.peak import measure_peak, precision
    from renderer.bench.pool import compare, forecast
    from renderer.bench.stages import latency_over_size, measure_stages
    from renderer.paper_pool import CACHE_MS, WARP_MS, paper_rows

    first = devices[0]
    size = avatar.network.config.size
    say("the machine's peak")
    dtype = precision(avatar, first)
    peak = measure_peak(first, dtype)
    say("stages of one worker")
    worker = measure_stages(avatar, first, peak, effort.passes)
    say("threads and queues")
    queues = overhead(effort.frames)
    hand_ns = round(1e6 * max(queues["overhead_ms"], 0.0))
    pools: dict[str, Any] = {}
    for count in range(1, workers + 1):
        say(f"a pool of {count}")
        pools[str(count)] = compare(avatar, devices, count, hand_ns, effort.seconds)
    say("resolutions")
    over_size = latency_over_size(avatar, first, list(effort.sizes), max(effort.passes // 3, 2))
    stages = worker["stages_ms"]
    return {
        "avatar": avatar.name,
        "size": size,
        "networks": {"width": avatar.network.config.width, "warp": avatar.network.config.warp},
        "measured": str(date.today()),
        "quick": effort.passes < FULL.passes,
        "machine": {"device": worker["device"], "cores": os.cpu_count(), "torch": torch.__version__},
        "peak": asdict(peak),
        "peak_all_cores": asdict(measure_peak(first, dtype, os.cpu_count() or 1)) if first == "cpu" else None,
        "worker": worker,
        "pool": pools,
        "latency_over_size": over_size,
        "overhead": queues,
        "forecast": forecast(stages["cache"]["p50"], stages["warp"]["p50"]),
        "forecast_paper": forecast(CACHE_MS, WARP_MS[2]),
        "paper": [{**asdict(row), "deviation": row.deviation} for row in paper_rows()],
    }
