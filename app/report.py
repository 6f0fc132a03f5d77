"""The figures of a session as JSON, for scripts: `visavis run --report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.latency import Rolling
from app.session import LiveSession
from models.files import atomic_write


def peak_rss_mb() -> float | None:
    """Largest resident memory of this process so far, MiB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def percentiles(rolling: Rolling) -> dict[str, float] | None:
    """{"p50", "p95", "p99"}, rounded to microseconds of a millisecond; None without measurements."""
    values = rolling.percentiles()
    return None if values is None else {f"p{p}": round(v, 3) for p, v in zip((50, 95, 99), values, strict=True)}


def session_report(session: LiveSession, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Latencies and fps leave out the first 30 shown frames. frames = shown + dropped."""
    totals = session.totals()
    stages = {name: percentiles(rolling) for name, rolling in session.stages.items()}
    return {
        "frames": totals.frames,
        "shown": totals.shown,
        "dropped": sum(totals.dropped.values()),
        "fps": round(session.fps(), 2),
        "warp": f"{session.pool.warps_per_cache}x" if session.pool.warps_per_cache else "auto",
        "devices": [worker.device for worker in session.pool.stats().workers],
        "peak_rss_mb": peak_rss_mb(),
        "stages_ms": {name: values for name, values in stages.items() if values is not None},
        "dropped_by_reason": dict(totals.dropped),
        "repeated_ticks": totals.repeated_ticks,
        "workers_failed": totals.workers_failed,
        "cache_age_ms": percentiles(session.cache_age),
        "warp_degrees": percentiles(session.warp_degrees),
        "pose_source": session.pose_source.name,
        "face_source": session.face_source.name,
        **extra,
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Raises UserError when it cannot be written."""
    with atomic_write(path) as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
