"""From a request to the posed and projected head in one compiled call. Plain twin: `models.view.head_view`.

There a dozen small numpy steps on poses and quaternions take twice as long as moving all vertices.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.camera import CROP_EXTENT_M, CROP_RAISE_M, Crop
from models.head import rig_kernels
from models.head.rig import N_EXPRESSIONS, HeadRig
from models.network.harmonics import Limits
from models.view import HeadView
from renderer.messages import ViewRequest

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_LEAST_DEPTH, _LEAST_CROP_DEPTH = 1e-6, 1e-3  # as Camera.project and head_crop have them
NO_LIMITS: Doubles = np.array([-np.inf, np.inf, -np.inf, np.inf])


class ViewStage:
    """Used by one thread; what it returns is its caller's."""

    def __init__(self, rig: HeadRig) -> None:
        self._rig = rig
        self._eyes, self._torso = rig.turned_by_gaze, rig.held_by_torso

    def __call__(self, request: ViewRequest, size: int) -> HeadView:
        """As `head_view` of the request's head, eye and camera. Raises ValueError when the head is behind the camera or
        its numbers are not as many as they must be."""
        rig, head, camera = self._rig, request.head, request.camera
        expression = np.ascontiguousarray(head.expression, np.float32)
        gaze = np.ascontiguousarray(head.gaze, np.float64)
        if expression.shape != (N_EXPRESSIONS,) or gaze.shape != (4,):
            raise ValueError(f"expression must be [52] and gaze [4], not {expression.shape} and {gaze.shape}")
        pixels, local = np.empty_like(rig.neutral), np.empty_like(rig.neutral)
        direction, state = np.empty(3, np.float32), np.empty(N_EXPRESSIONS + 8, np.float32)
        rotation, translation, excess = np.empty((3, 3)), np.empty(3), np.empty((3, 3))
        lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float64)
        T_world_head, T_world_eye = head.T_world_head, request.T_world_eye
        x, y, side = _window(
            T_world_head.position, T_world_head.orientation, T_world_eye.position, T_world_eye.orientation,
            lens, size, rotation, translation, excess, direction, state[N_EXPRESSIONS:],
        )  # fmt: skip
        if not side > 0:
            raise ValueError("head_crop: the head is behind the camera")
        state[:N_EXPRESSIONS] = expression
        (left, left_weight), (right, right_weight) = self._eyes
        _project(
            rig.neutral, rig.expression_basis, expression, gaze, left, left_weight, right, right_weight,
            rig.eye_centers, *self._torso, rig.neck_pivot, excess, rotation, translation, lens, local, pixels,
        )  # fmt: skip
        return HeadView(pixels, direction, state, Crop(x, y, side, size))


@njit(**_OPTIONS)
def _matrix(q, out):  # type: ignore[no-untyped-def]
    """models.geometry.quaternion_to_matrix."""
    n = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    x, y, z, w = q[0] / n, q[1] / n, q[2] / n, q[3] / n
    out[0, 0], out[0, 1], out[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    out[1, 0], out[1, 1], out[1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    out[2, 0], out[2, 1], out[2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)


@njit(**_OPTIONS)
def _window(head, head_q, eye, eye_q, lens, size, rotation, translation, excess, direction, numbers):  # type: ignore[no-untyped-def]
    """models.view.head_window. lens: fx, fy, cx, cy, which become those of the crop. Fills rotation and translation of
    the head in the eye's frame, excess (what turns the torso back), direction [3] and numbers [8]: the rotation vector,
    the position, the crop's centre. Returns the crop's centre and side; a side of 0 when the head is behind."""
    turn, gaze = np.empty((3, 3)), np.empty((3, 3))
    _matrix(head_q, turn)
    _matrix(eye_q, gaze)
    d = head - eye
    for i in range(3):
        translation[i] = gaze[0, i] * d[0] + gaze[1, i] * d[1] + gaze[2, i] * d[2]
        direction[i] = -(turn[0, i] * d[0] + turn[1, i] * d[1] + turn[2, i] * d[2])
        for j in range(3):
            rotation[i, j] = gaze[0, i] * turn[0, j] + gaze[1, i] * turn[1, j] + gaze[2, i] * turn[2, j]
            excess[i, j] = turn[j, i] - (1.0 if i == j else 0.0)
    away = max(math.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]), 1e-9)
    for i in range(3):
        direction[i] = direction[i] / np.float32(away)
    depth = -translation[2]
    if not depth > _LEAST_CROP_DEPTH:  # NaN as well
        return 0.0, 0.0, 0.0
    x = lens[2] + lens[0] * translation[0] / depth
    y = lens[3] - lens[1] * (translation[1] + CROP_RAISE_M) / depth
    side = CROP_EXTENT_M * lens[1] / depth
    numbers[6], numbers[7] = (x - lens[2]) / lens[0], (y - lens[3]) / lens[1]
    numbers[3], numbers[4], numbers[5] = translation[0], translation[1], translation[2]
    # conjugate(eye_q) * head_q, with a real part that is not negative, as an axis times an angle
    ax, ay, az, aw = -eye_q[0], -eye_q[1], -eye_q[2], eye_q[3]
    bx, by, bz, bw = head_q[0], head_q[1], head_q[2], head_q[3]
    qx = aw * bx + ax * bw + ay * bz - az * by
    qy = aw * by - ax * bz + ay * bw + az * bx
    qz = aw * bz + ax * by - ay * bx + az * bw
    qw = aw * bw - ax * bx - ay * by - az * bz
    sign = 1.0 if qw >= 0 else -1.0
    n, whole = math.sqrt(qx * qx + qy * qy + qz * qz), math.sqrt(qx * qx + qy * qy + qz * qz + qw * qw)
    factor = 2.0 / whole if n / whole < 1e-9 else 2 * math.atan2(n, sign * qw) / n
    numbers[0], numbers[1], numbers[2] = sign * qx * factor, sign * qy * factor, sign * qz * factor
    s = size / side
    lens[0], lens[1] = lens[0] * s, lens[1] * s
    lens[2], lens[3] = (lens[2] - (x - side / 2)) * s, (lens[3] - (y - side / 2)) * s
    return x, y, side


@njit(**_OPTIONS)
def _project(
    neutral, basis, expression, gaze, left, left_weight, right, right_weight, eyes, torso, torso_weight, pivot,
    excess, rotation, translation, lens, local, pixels,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """HeadRig.projected, from matrices."""
    rig_kernels.add_expression(neutral.reshape(-1), basis, expression, local.reshape(-1))
    turn = np.empty((3, 3))
    if gaze[0] != 0 or gaze[1] != 0:
        _eye_excess(gaze[0], gaze[1], turn)
        rig_kernels.turn(local, left, left_weight, eyes[0], turn)
    if gaze[2] != 0 or gaze[3] != 0:
        _eye_excess(gaze[2], gaze[3], turn)
        rig_kernels.turn(local, right, right_weight, eyes[1], turn)
    rig_kernels.turn(local, torso, torso_weight, pivot, excess)
    rig_kernels.project(local, rotation, translation, lens, pixels)


@njit(**_OPTIONS)
def _eye_excess(yaw, pitch, out):  # type: ignore[no-untyped-def]
    """R_y(yaw) R_x(pitch) less one."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    out[0, 0], out[0, 1], out[0, 2] = cy - 1, sy * sp, sy * cp
    out[1, 0], out[1, 1], out[1, 2] = 0.0, cp - 1, -sp
    out[2, 0], out[2, 1], out[2, 2] = -sy, cy * sp, cy * cp - 1


def limits_of(limits: Limits | None) -> Doubles:
    """[4] for `harmonics`."""
    return NO_LIMITS if limits is None else np.array([*limits[0], *limits[1]], np.float64)


@njit(**_OPTIONS)
def harmonics(direction: Floats, limits: Doubles, out: Floats) -> None:
    """models.network.harmonics: nine of a unit direction [3] that is first brought within limits [4], into out [9]."""
    x, y, z = float(direction[0]), float(direction[1]), float(direction[2])
    if limits[0] > -np.inf:
        yaw = min(max(math.atan2(x, z), limits[0]), limits[1])
        pitch = min(max(math.asin(min(max(y, -1.0), 1.0)), limits[2]), limits[3])
        x, y, z = math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)
    out[0] = 0.28209479177387814
    out[1] = 0.4886025119029199 * y
    out[2] = 0.4886025119029199 * z
    out[3] = 0.4886025119029199 * x
    out[4] = 1.0925484305920792 * x * y
    out[5] = 1.0925484305920792 * y * z
    out[6] = 0.31539156525252005 * (3 * z * z - 1)
    out[7] = 1.0925484305920792 * x * z
    out[8] = 0.5462742152960396 * (x * x - y * y)


def angle_degrees(a: HeadView, b: HeadView) -> float:
    """Between two view directions."""
    x, y = a.direction.tolist(), b.direction.tolist()
    return math.degrees(math.acos(min(max(x[0] * y[0] + x[1] * y[1] + x[2] * y[2], -1.0), 1.0)))
