"""Recorded viewer motion from a CSV file: time_s,x,y,z,qx,qy,qz,qw in the screen frame."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.geometry import Array, Pose
from models.performance import loop_time
from tracking.sources.base import SourceStatus, ViewerPose

COLUMNS = ("time_s", "x", "y", "z", "qx", "qy", "qz", "qw")
MAX_BYTES = 32 * 2**20
MAX_ROWS = 200_000
MAX_TIME_S = 1e9
MAX_DISTANCE_M = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """time_ns: [N] int64 strictly increasing; position: [N, 3] metres; orientation: [N, 4] unit xyzw; N >= 1."""

    name: str
    time_ns: NDArray[np.int64]
    position: Array
    orientation: Array

    @property
    def duration_ns(self) -> int:
        return int(self.time_ns[-1] - self.time_ns[0])

    def at(self, offset_ns: int) -> Pose:
        """Interpolated around time_ns[0] + offset_ns (linear, slerp); held at both ends."""
        t = int(self.time_ns[0]) + offset_ns
        j = int(np.searchsorted(self.time_ns, t, side="right"))
        if j == 0 or j == len(self.time_ns):
            i = min(j, len(self.time_ns) - 1)
            return Pose(self.position[i], self.orientation[i])
        i = j - 1
        w = (t - int(self.time_ns[i])) / int(self.time_ns[j] - self.time_ns[i])
        before = Pose(self.position[i], self.orientation[i])
        return before.interpolate(Pose(self.position[j], self.orientation[j]), w)


def load_trace(path: Path) -> Trace:
    """Reads and checks a trace. Raises UserError naming file and line for anything that is wrong with it."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{path}: a trace may have {MAX_BYTES >> 20} MiB at most, this file has {size >> 20}")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = _parse(path, file)
    except OSError as error:
        raise UserError(f"{path}: cannot read the trace ({error.strerror or error})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: this is not a CSV file ({error})") from None
    table = np.array(rows, np.float64)
    orientation = table[:, 4:8]
    return Trace(
        path.stem,
        np.rint(table[:, 0] * 1e9).astype(np.int64),
        table[:, 1:4],
        orientation / np.linalg.norm(orientation, axis=1, keepdims=True),
    )


def _parse(path: Path, file: Iterable[str]) -> list[list[float]]:
    reader = csv.reader(file)
    header = [name.strip().lower() for name in next(reader, [])]
    if not header:
        raise UserError(f"{path}: the trace is empty; its first line must be {','.join(COLUMNS)}")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError(f"{path}: line 1 lacks the column(s) {', '.join(missing)}; a trace has {','.join(COLUMNS)}")
    indices = [header.index(name) for name in COLUMNS]
    rows: list[list[float]] = []
    for fields in reader:
        line = reader.line_num
        if not fields or not any(f.strip() for f in fields):
            continue
        if len(rows) == MAX_ROWS:
            raise UserError(f"{path}: line {line}: a trace may have {MAX_ROWS} rows at most")
        try:
            row = [float(fields[i]) for i in indices]
        except (ValueError, IndexError):
            raise UserError(f"{path}: line {line}: expected {len(header)} numbers, got {_excerpt(fields)}") from None
        problem = _problem(row, rows[-1] if rows else None)
        if problem:
            raise UserError(f"{path}: line {line}: {problem}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: the trace has a header but no rows")
    return rows


def _excerpt(fields: list[str]) -> str:
    text = ",".join(fields)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _problem(row: list[float], before: list[float] | None) -> str | None:
    if not np.isfinite(row).all():
        return f"{COLUMNS[int(np.argmin(np.isfinite(row)))]} is not a finite number"
    if abs(row[0]) > MAX_TIME_S or max(map(abs, row[1:4])) > MAX_DISTANCE_M:
        return f"time or position is out of range (up to {MAX_TIME_S:g} s and {MAX_DISTANCE_M:g} m)"
    if before is not None and round(row[0] * 1e9) <= round(before[0] * 1e9):
        return f"time goes from {before[0]:g} to {row[0]:g} s; it must increase from row to row"
    if abs(float(np.linalg.norm(row[4:8])) - 1) > 0.01:
        return "qx,qy,qz,qw is not a unit quaternion"
    return None


class TraceSource:
    """Plays a trace from the first `locate`; it loops with a short crossfade, or ends and holds its last pose."""

    name = "trace"

    def __init__(self, trace: Trace, loop: bool = True) -> None:
        self._trace = trace
        self._loop = loop
        self._start_ns: int | None = None

    def _ended(self, time_ns: int) -> bool:
        if self._loop or self._start_ns is None:
            return False
        return time_ns - self._start_ns > self._trace.duration_ns

    def locate(self, display_time_ns: int, now_ns: int) -> ViewerPose:
        if self._start_ns is None:
            self._start_ns = display_time_ns
        elapsed = display_time_ns - self._start_ns
        if not self._loop:
            return ViewerPose(self._trace.at(elapsed), now_ns, valid=not self._ended(display_time_ns))
        a, b, w = loop_time(elapsed, self._trace.duration_ns)
        pose = self._trace.at(a) if w == 0.0 else self._trace.at(a).interpolate(self._trace.at(b), w)
        return ViewerPose(pose, now_ns, valid=True)

    def status(self, now_ns: int) -> SourceStatus:
        seconds = self._trace.duration_ns * 1e-9
        if self._ended(now_ns):
            return SourceStatus(True, f"trace {self._trace.name}: ended after {seconds:.1f} s")
        return SourceStatus(True, f"trace {self._trace.name}: {seconds:.1f} s, {'looping' if self._loop else 'once'}")

    def recentre(self) -> None:
        """A recording has no other centre: it starts again."""
        self._start_ns = None

    def close(self) -> None:
        pass
