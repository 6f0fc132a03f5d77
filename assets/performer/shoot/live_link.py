"""Reads a Live Link Face take: 52 ARKit weights and eye angles per row of a CSV, by timecode."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_NAMES
from models.errors import UserError

RATE_HZ = 30
MAX_GAP_S = 0.2  # a dropped frame or two is interpolated; a longer hole is no performance
MAX_BYTES = 256 << 20
_TIMECODE_HZ = 60  # Live Link Face counts the last field of its timecode in these
_EYES = ("LeftEyeYaw", "LeftEyePitch", "RightEyeYaw", "RightEyePitch")
# The file's eye yaw is positive to the subject's right; ours (models.arkit.HeadState) to the subject's left.
_EYE_SIGNS = np.array([-1.0, 1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A performance at RATE_HZ. expression: [N, 52] in [0, 1]; gaze: [N, 4] radians (models.arkit.HeadState)."""

    expression: NDArray[np.float64]
    gaze: NDArray[np.float64]

    def at(self, frames: NDArray[np.float64]) -> Take:
        """Sampled linearly at these frame numbers [M] (fractions allowed, held at both ends)."""
        grid = np.arange(len(self.expression))

        def column(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack([np.interp(frames, grid, c) for c in values.T], axis=1)

        return Take(column(self.expression), column(self.gaze))


def read_live_link(path: Path) -> Take:
    """The take in the CSV `path`, resampled to RATE_HZ by its timecodes.

    Raises UserError, one line, for a file that is missing, lacks columns, holds cells that are no numbers, or has
    holes in time of more than MAX_GAP_S.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"motion file {path} is larger than {MAX_BYTES >> 20} MiB; cut it shorter")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise UserError(f"motion file {path} does not exist; check the path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read motion file {path} ({error}); give a Live Link Face CSV") from error
    if not rows:
        raise UserError(f"motion file {path} is empty; give a Live Link Face CSV")
    header = rows[0]
    wanted = ["Timecode", *(name[0].upper() + name[1:] for name in ARKIT_NAMES), *_EYES]
    missing = [name for name in wanted if name not in header]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"motion file {path} lacks column {missing[0]}{more}; give a whole Live Link Face CSV")
    rows = [row for row in rows[1:] if row]
    if len(rows) < 2:
        raise UserError(f"motion file {path} has {len(rows)} row(s); give a take of some seconds")
    index = [header.index(name) for name in wanted]
    table = np.empty((len(rows), len(wanted)))
    for i, row in enumerate(rows):
        try:
            table[i, 0] = _seconds(row[index[0]])
            table[i, 1:] = [float(row[k]) for k in index[1:]]
        except (ValueError, IndexError) as error:
            raise UserError(f"motion file {path}, row {i + 2}: a cell is missing or no number; mend the row") from error
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise UserError(f"motion file {path}, row {row + 2}: a value is not finite; mend the row")
    return _resampled(table, path)


def _seconds(timecode: str) -> float:
    """hh:mm:ss:ff.fff in seconds."""
    hours, minutes, seconds, frames = timecode.replace(";", ":").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(frames) / _TIMECODE_HZ


def _resampled(table: NDArray[np.float64], path: Path) -> Take:
    time = table[:, 0] - table[0, 0]
    steps = np.diff(time)
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0))
        raise UserError(f"motion file {path}, row {row + 3}: its timecode does not advance; sort or cut the file")
    if steps.max() > MAX_GAP_S:
        row = int(steps.argmax())
        raise UserError(
            f"motion file {path} has a gap of {steps[row]:.2f} s after row {row + 2}; give a take without holes"
        )
    grid = np.arange(0, time[-1] + 1e-6, 1 / RATE_HZ)
    values = np.stack([np.interp(grid, time, column) for column in table[:, 1:].T], axis=1)
    n = len(ARKIT_NAMES)
    return Take(np.clip(values[:, :n], 0, 1), values[:, n:] * _EYE_SIGNS)
