"""Rigid poses and points on meshes.

Metres, right-handed, y up, -z forward for cameras; quaternions are xyzw (see CONVENTIONS.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Real = TypeVar("Real", np.float32, np.float64)


def quaternion_multiply(a: Array, b: Array) -> Array:
    """Hamilton product a*b of two xyzw quaternions, [4] each: the rotation b followed by a."""
    ax, ay, az, aw = map(float, a)
    bx, by, bz, bw = map(float, b)
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def quaternion_to_matrix(q: Array) -> Array:
    """Rotation matrix [..., 3, 3] of unit xyzw quaternions [..., 4]."""
    q = np.asarray(q, dtype=np.float64)
    if q.ndim == 1:  # numpy takes ten times as long for a single one
        return _one_matrix(*q.tolist())
    x, y, z, w = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    m = np.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        ],
        axis=-1,
    )  # fmt: skip
    return m.reshape(*q.shape[:-1], 3, 3)


def _one_matrix(x: float, y: float, z: float, w: float) -> Array:
    n = math.sqrt(x * x + y * y + z * z + w * w)
    if n == 0:
        return np.full((3, 3), np.nan)
    x, y, z, w = x / n, y / n, z / n, w / n
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def matrix_to_quaternion(m: Array) -> Array:
    """Unit xyzw quaternion [4] (w >= 0) of a rotation matrix [3, 3]."""
    m = np.asarray(m, dtype=np.float64)
    # the largest eigenvector of Bar-Itzhack's symmetric matrix: stable for every rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    q = np.linalg.eigh(k, UPLO="L")[1][:, -1]
    return q if q[3] >= 0 else -q


def quaternion_from_euler(yaw: float, pitch: float, roll: float = 0.0) -> Array:
    """xyzw quaternion of R_y(yaw) R_x(pitch) R_z(roll), radians."""
    cy, sy = np.cos(yaw / 2), np.sin(yaw / 2)
    cp, sp = np.cos(pitch / 2), np.sin(pitch / 2)
    cr, sr = np.cos(roll / 2), np.sin(roll / 2)
    y = np.array([0.0, sy, 0.0, cy])
    p = np.array([sp, 0.0, 0.0, cp])
    r = np.array([0.0, 0.0, sr, cr])
    return quaternion_multiply(quaternion_multiply(y, p), r)


def euler_from_matrix(m: Array) -> tuple[float, float, float]:
    """(yaw, pitch, roll) in radians of R_y(yaw) R_x(pitch) R_z(roll), the inverse of `quaternion_from_euler`."""
    pitch = float(np.arcsin(np.clip(-m[1, 2], -1, 1)))
    return float(np.arctan2(m[0, 2], m[2, 2])), pitch, float(np.arctan2(m[1, 0], m[1, 1]))


def slerp(a: Array, b: Array, t: float) -> Array:
    """Shortest-arc interpolation between unit quaternions a, b [4]; t outside [0, 1] extrapolates."""
    d = float(np.dot(a, b))
    if d < 0:
        b, d = -b, -d
    if d > 0.9995:
        q = a + t * (b - a)
        return q / np.linalg.norm(q)
    angle = np.arccos(d)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def _identity() -> Array:
    return np.array([0.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A rigid transform `T_a_b`: maps points in frame b to frame a.

    position: [3] metres; orientation: [4] unit quaternion xyzw.
    """

    position: Array = field(default_factory=lambda: np.zeros(3))
    orientation: Array = field(default_factory=_identity)

    @property
    def rotation(self) -> Array:
        """[3, 3]."""
        return quaternion_to_matrix(self.orientation)

    def matrix(self) -> Array:
        """Homogeneous [4, 4]."""
        m = np.eye(4)
        m[:3, :3] = self.rotation
        m[:3, 3] = self.position
        return m

    def apply(self, points: Array) -> Array:
        """[..., 3] points of frame b, in frame a."""
        return points @ self.rotation.T + self.position

    def inverse(self) -> Pose:
        q = self.orientation * np.array([-1.0, -1.0, -1.0, 1.0])
        return Pose(-(quaternion_to_matrix(q) @ self.position), q)

    def __matmul__(self, other: Pose) -> Pose:
        q = quaternion_multiply(self.orientation, other.orientation)
        return Pose(self.apply(other.position), q / np.linalg.norm(q))

    def interpolate(self, other: Pose, t: float) -> Pose:
        """Linear in position, spherical in orientation; t in [0, 1] from self to other."""
        return Pose((1 - t) * self.position + t * other.position, slerp(self.orientation, other.orientation, t))

    def is_finite(self) -> bool:
        return bool(np.isfinite(self.position).all() and np.isfinite(self.orientation).all())


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePoints:
    """Points that ride on a mesh. corners: [n, 3] int32 vertices; shares: [n, 3] float32 of each, 1 in sum."""

    corners: NDArray[np.int32]
    shares: NDArray[np.float32]

    def on(self, vertices: NDArray[Real]) -> NDArray[Real]:
        """[n, 3] of vertices [V, 3]."""
        return np.einsum("nk,nkc->nc", self.shares, vertices[self.corners])


def rotation_angle(a: Pose, b: Pose) -> float:
    """Angle in radians between the orientations of two poses."""
    return float(2 * np.arccos(min(1.0, abs(float(np.dot(a.orientation, b.orientation))))))


def look_at(eye: Array, target: Array, up: Array | None = None) -> Pose:
    """`T_world_camera` of a camera at `eye` whose -z axis points at `target`. Raises ValueError when they coincide."""
    back = np.asarray(eye, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    n = np.linalg.norm(back)
    if n < 1e-9:
        raise ValueError("look_at: eye and target coincide")
    z = back / n
    x = np.cross(np.array([0.0, 1.0, 0.0]) if up is None else up, z)
    if np.linalg.norm(x) < 1e-9:
        x = np.array([1.0, 0.0, 0.0])
    x /= np.linalg.norm(x)
    return Pose(
        np.asarray(eye, dtype=np.float64).copy(), matrix_to_quaternion(np.stack([x, np.cross(z, x), z], axis=1))
    )
