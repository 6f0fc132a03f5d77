"""Where the eyes look, from the iris landmarks against the fitted head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_INDEX
from models.head.rig import HeadRig
from tracking.video.solver import FACE, Floats, FrameState, Target

SIGMA = 0.4  # radians of the prior around straight ahead
NOISE_PERCENT = 1.2  # of the inter-ocular distance, an iris centre
LIMIT = np.array([0.8, 0.6])  # yaw, pitch in radians
CLOSED = 0.55  # blink weight above which the iris is hidden
CORNERS = ((362, 263), (33, 133))  # of the subject's left and right eye
BLINK = (ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"])


def solve_gaze(
    rig: HeadRig,
    state: FrameState,
    target: Target,
    landmarks: NDArray[np.float32],
    time_ns: NDArray[np.int64],
    focal: float,
) -> NDArray[np.float32]:
    """[N, 4] as models.arkit.HeadState.gaze. While an eye is shut its gaze is interpolated over time.

    landmarks: [N, 478, >= 2] pixels. The misfit at the eye's own corners is taken off the iris first, so that a small
    error of the head's pose does not turn the eye.
    """
    iris_vertices = rig.landmark_vertices[FACE:]
    result = np.zeros((len(landmarks), 2, 2))
    for eye in range(2):
        own = np.flatnonzero(rig.eye_weight[eye, iris_vertices] > 0.5)
        rest = _points(rig, iris_vertices[own], state.weights).mean(axis=1)  # [N, 3] head frame
        corners = _points(rig, rig.landmark_vertices[list(CORNERS[eye])], state.weights).mean(axis=1)
        seen = landmarks[:, FACE + own, :2].astype(np.float64).mean(axis=1)
        seen_corners = landmarks[:, CORNERS[eye], :2].astype(np.float64).mean(axis=1)
        seen = seen - (seen_corners - _project(corners, state, target, focal)[0])
        angles = _turn_to(rest, rig.eye_centers[eye].astype(np.float64), seen, state, target, focal)
        result[:, eye] = angles
    return through_blinks(result.reshape(-1, 4), state.weights, time_ns)


def through_blinks(
    gaze: NDArray[np.floating], weights: NDArray[np.floating], time_ns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Gaze [N, 4], of an eye that is shut interpolated over time. weights: [N, 52]."""
    result = gaze.astype(np.float32)
    for eye in range(2):
        open_frames = np.flatnonzero(weights[:, BLINK[eye]] < CLOSED)
        if len(open_frames):
            for k in (2 * eye, 2 * eye + 1):
                result[:, k] = np.interp(time_ns, time_ns[open_frames], gaze[open_frames, k])
    return result


def turned(arm: Floats, angles: Floats) -> Floats:
    """[..., 3] points [..., 3] about the eye's centre, turned by yaw and pitch [..., 2]."""
    (sin_yaw, sin_pitch), (cos_yaw, cos_pitch) = (np.moveaxis(of(angles), -1, 0) for of in (np.sin, np.cos))
    x, y, z = np.moveaxis(arm, -1, 0)
    out = sin_pitch * y + cos_pitch * z
    return np.stack([cos_yaw * x + sin_yaw * out, cos_pitch * y - sin_pitch * z, cos_yaw * out - sin_yaw * x], axis=-1)


def _points(rig: HeadRig, vertices: NDArray[np.int32], weights: Floats) -> Floats:
    """[N, n, 3] of some vertices with the gaze straight ahead."""
    return rig.neutral[vertices] + np.tensordot(weights, rig.expression_deltas[:, vertices].astype(np.float64), 1)


def _project(points: Floats, state: FrameState, target: Target, focal: float) -> tuple[Floats, Floats]:
    """One point [N, 3] of each frame's head: pixels [N, 2] and d pixels / d point [N, 2, 3]."""
    camera = np.einsum("nij,nj->ni", state.rotation, points) + state.position
    inverse = 1 / np.maximum(-camera[:, 2], 1e-3)
    slope = camera[:, :2] * inverse[:, None] * np.array([1.0, -1.0])
    jacobian = np.zeros((len(points), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 1, 1] = inverse, -inverse
    jacobian[:, :, 2] = slope * inverse[:, None]
    return target.center + focal * slope, focal * jacobian @ state.rotation


def _turn_to(rest: Floats, center: Floats, seen: Floats, state: FrameState, target: Target, focal: float) -> Floats:
    """[N, 2] yaw and pitch about `center` [3] that bring the point `rest` [N, 3] to the pixel `seen` [N, 2]."""
    angles = np.zeros((len(rest), 2))
    arm = rest - center
    precision = (target.scale / NOISE_PERCENT)[:, None]
    for _ in range(6):
        sin_yaw, cos_yaw = np.sin(angles[:, 0]), np.cos(angles[:, 0])
        x, up, z = turned(arm, angles).T
        by_yaw = np.stack([z, np.zeros(len(arm)), -x], axis=1)
        by_pitch = np.stack([sin_yaw * up, -(sin_yaw * x + cos_yaw * z), cos_yaw * up], axis=1)
        pixels, jacobian = _project(center + np.stack([x, up, z], axis=1), state, target, focal)
        slope = np.stack([np.einsum("nij,nj->ni", jacobian, d) for d in (by_yaw, by_pitch)], axis=-1)
        slope = slope * precision[..., None]
        transposed = slope.transpose(0, 2, 1)
        right = (transposed @ ((seen - pixels) * precision)[..., None])[..., 0] - angles / SIGMA**2
        angles = np.clip(angles + np.linalg.solve(transposed @ slope + np.eye(2) / SIGMA**2, right[..., None])[..., 0],
                         -LIMIT, LIMIT)  # fmt: skip
    return angles
