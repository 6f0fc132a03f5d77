"""Makes the sample traces in assets/traces: `python assets/build_traces.py HEAD_200HZ_CSV`.

The input is phausamann/rigid-body-motion's head recording (MIT): time_s,x,y,z,qw,qx,qy,qz at 200 Hz, y up, a person
who walks about and looks around, body axes x right, y up, z back.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from models.files import atomic_write  # noqa: E402
from models.geometry import matrix_to_quaternion, quaternion_from_euler, quaternion_to_matrix  # noqa: E402

Array = NDArray[np.float64]
RATE_HZ = 60
NEUTRAL = np.array([0.0, 0.0, 0.6])
HEADER = "time_s,x,y,z,qx,qy,qz,qw"


def smooth(values: Array, sigma_s: float, rate_hz: float) -> Array:
    """Gaussian low-pass along axis 0, ends mirrored."""
    half = int(4 * sigma_s * rate_hz)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / (sigma_s * rate_hz)) ** 2)
    padded = np.pad(values, [(half, half), (0, 0)], mode="reflect")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)


def sideways(seconds: float = 8.0) -> tuple[Array, Array, Array]:
    """From side to side and a little up and down, as smooth as can be; the eye keeps looking at the screen."""
    t = np.arange(int(seconds * RATE_HZ) + 1) / RATE_HZ
    phase = 2 * np.pi * t / seconds
    position = NEUTRAL + np.stack([0.18 * np.sin(2 * phase), 0.03 * np.sin(phase), 0.04 * np.sin(phase)], axis=1)
    yaw, pitch = np.arctan2(position[:, 0], position[:, 2]), -np.arctan2(position[:, 1], position[:, 2])
    return t, position, np.stack([quaternion_from_euler(a, b) for a, b in zip(yaw, pitch, strict=True)])


def seated(path: Path, start_s: float = 40.0, seconds: float = 20.0) -> tuple[Array, Array, Array]:
    """The recorded head's own small motion: walking and turning about taken out, steps softened, then scaled.

    Position is high-passed in the heading's frame (above 0.1 Hz) and low-passed below the step rate of 1.7 Hz;
    orientation is taken relative to its own slow part.
    """
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    time = table[:, 0] - table[0, 0]
    grid = np.arange(0, time[-1], 1 / RATE_HZ)
    position = np.stack([np.interp(grid, time, table[:, i]) for i in (1, 2, 3)], axis=1)
    rotations = quaternion_to_matrix(table[:, [5, 6, 7, 4]])[np.searchsorted(time, grid).clip(0, len(time) - 1)]
    heading = np.unwrap(np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2]))
    slow = smooth(heading[:, None], 1.6, RATE_HZ)[:, 0]

    band = smooth(position, 0.16, RATE_HZ) - smooth(position, 1.6, RATE_HZ)
    unturn = np.stack([quaternion_to_matrix(quaternion_from_euler(-a, 0.0)) for a in slow])
    band = np.einsum("nij,nj->ni", unturn, band)

    keep = slice(int(start_s * RATE_HZ), int((start_s + seconds) * RATE_HZ) + 1)
    shift = band[keep] - band[keep].mean(axis=0)
    # a seated viewer: about 6 cm to either side, less in height and depth
    shift *= np.array([0.06, 0.02, 0.03]) / shift.std(axis=0)
    turns = np.einsum("nij,njk->nik", unturn[keep], rotations[keep])
    mean = quaternion_to_matrix(matrix_to_quaternion(_nearest_rotation(turns.sum(axis=0))))
    vectors = smooth(np.stack([_log(mean.T @ r) for r in turns]), 0.08, RATE_HZ)
    limit = np.radians(12)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= limit * np.tanh(length / limit) / np.maximum(length, 1e-9)
    t = np.arange(len(shift)) / RATE_HZ
    return t, NEUTRAL + shift, np.stack([_quaternion(v) for v in vectors])


def _nearest_rotation(m: Array) -> Array:
    u, _, vt = np.linalg.svd(m)
    return u @ vt


def _log(rotation: Array) -> Array:
    """Rotation vector [3]."""
    q = matrix_to_quaternion(rotation)
    n = float(np.linalg.norm(q[:3]))
    return np.zeros(3) if n < 1e-12 else q[:3] / n * 2 * np.arctan2(n, q[3])


def _quaternion(vector: Array) -> Array:
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 1e-12 else np.array([0.0, 1.0, 0.0])
    return np.append(axis * np.sin(angle / 2), np.cos(angle / 2))


def write(name: str, trace: tuple[Array, Array, Array]) -> None:
    time, position, orientation = trace
    text = io.StringIO()
    np.savetxt(text, np.column_stack([time[:, None], position, orientation]), "%.6f", ",", header=HEADER, comments="")
    target = HERE / "traces" / f"{name}.csv"
    target.parent.mkdir(exist_ok=True)
    with atomic_write(target) as file:
        file.write(text.getvalue().encode())


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python assets/build_traces.py HEAD_200HZ_CSV")
    write("sideways", sideways())
    write("seated", seated(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
