"""Gauss-Newton over many frames at once: pose and expression weights of each frame, and what all frames share.

Residuals are in percent of the inter-ocular distance. Poses are free, weights are bounded to [0, 1]: the pose is
eliminated by its Schur complement and the remaining quadratic is minimised in the box by coordinate descent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.arkit import HeadState
from models.geometry import Pose, matrix_to_quaternion

FACE = 468  # landmarks of the face's surface; the ten of the irises are the gaze's
OUTER_CORNERS = (33, 263)
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

INDEPENDENT = 80.0  # one frame's landmarks err together, so they count as this many independent ones
NOISE = 0.6  # standard deviation of a landmark once the shape is the subject's own, % of the inter-ocular distance
HUBER = 2.5  # in these standard deviations: beyond it a residual pulls with constant force
SCORE_SIGMA = 0.3  # how far MediaPipe's own scores may be off, in weight
NEIGHBOUR_SIGMA = 0.12  # how far a weight may be from its neighbours' mean: only directions without data feel it
CHUNK = 96

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The face's landmarks as a linear model. neutral: [L, 3]; basis: [52, L, 3], metres, head frame."""

    neutral: Floats
    basis: Floats


@dataclass(frozen=True, slots=True, eq=False)
class FrameState:
    """Per frame: rotation [N, 3, 3] and position [N, 3] of T_camera_head, weights [N, 52]."""

    rotation: Floats
    position: Floats
    weights: Floats

    def heads(self, gaze: NDArray[np.float32]) -> list[HeadState]:
        """With gaze [N, 4]; weights are cut to 0..1."""
        weights = np.clip(self.weights, 0, 1).astype(np.float32)
        return [
            HeadState(weights[k], gaze[k], Pose(self.position[k], matrix_to_quaternion(self.rotation[k])))
            for k in range(len(weights))
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What to explain. pixels: [N, L, 2]; scores: [N, 52] MediaPipe's; scale: [N] % of inter-ocular per pixel;
    center: [2] principal point; neighbours: [N, 2] indices of the frames before and after in the same run, or own."""

    pixels: Floats
    scores: Floats
    scale: Floats
    center: Floats
    neighbours: NDArray[np.int64]

    @staticmethod
    def of(landmarks: NDArray[np.float32], scores: NDArray[np.float32], segment: NDArray[np.int32], center: Floats):
        """From landmarks [N, 478, >= 2] and run ids [N]."""
        pixels = landmarks[:, :FACE, :2].astype(np.float64)
        corners = pixels[:, OUTER_CORNERS[0]] - pixels[:, OUTER_CORNERS[1]]
        # turned heads foreshorten the distance between the eyes; the clip's own scale does not change that fast
        inter_ocular = np.maximum(np.linalg.norm(corners, axis=-1), 1e-3)
        count = np.arange(len(pixels))
        before = np.where(np.diff(segment, prepend=-1) == 0, count - 1, count)
        after = np.where(np.diff(segment, append=-1) == 0, count + 1, count)
        return Target(
            pixels, scores.astype(np.float64), 100 / inter_ocular, np.asarray(center, np.float64),
            np.stack([before, after], axis=1),
        )  # fmt: skip

    def subset(self, index: NDArray[np.int64]) -> Target:
        """These frames, each its own neighbour."""
        own = np.arange(len(index))
        return replace(
            self, pixels=self.pixels[index], scores=self.scores[index], scale=self.scale[index],
            neighbours=np.stack([own, own], axis=1),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Pull:
    """What else than landmarks says where the heads are, around the state that it was measured at: the normal matrix
    [N, 6, 6] and right side [N, 6] of a rotation vector (applied after the rotation) and a translation in metres."""

    hessian: Floats
    gradient: Floats


def pose_motion(points: Floats, position: Floats, focal: float) -> Floats:
    """[n, 2, 6] by how many pixels a rotation vector (applied after the rotation) and a translation of a head at
    `position` [3] move its points [n, 3]; both in the camera frame."""
    to_pixels = _projected(points, focal, np.zeros(2))[1]
    return np.concatenate([np.cross((points - position)[:, None], to_pixels), to_pixels], axis=2)


def _projected(points: Floats, focal: float, center: Floats) -> tuple[Floats, Floats]:
    """Pixels [..., 2] of points [..., 3] in the camera frame, and d pixels / d point [..., 2, 3]."""
    x, y = points[..., 0], points[..., 1]
    inverse = 1 / np.maximum(-points[..., 2], 1e-3)
    pixels = np.stack([center[0] + focal * x * inverse, center[1] - focal * y * inverse], axis=-1)
    jacobian = np.zeros((*pixels.shape, 3))
    jacobian[..., 0, 0] = focal * inverse
    jacobian[..., 0, 2] = focal * x * inverse**2
    jacobian[..., 1, 1] = -focal * inverse
    jacobian[..., 1, 2] = -focal * y * inverse**2
    return pixels, jacobian


def landmark_weights() -> Floats:
    """[468], mean 1: the oval slides along the cheek as the head turns, so it counts for less."""
    weights = np.ones(FACE)
    weights[list(FACE_OVAL)] = 0.15
    return weights / weights.mean()


def project(shape: Shape, state: FrameState, focal: float, center: Floats) -> tuple[Floats, Floats, Floats]:
    """pixels [N, L, 2]; rotated points [N, L, 3] (before the translation); d pixels / d point [N, L, 2, 3]."""
    points = shape.neutral + np.tensordot(state.weights, shape.basis, 1)
    rotated = points @ state.rotation.transpose(0, 2, 1)
    pixels, jacobian = _projected(rotated + state.position[:, None], focal, center)
    return pixels, rotated, jacobian


def residuals(shape: Shape, state: FrameState, target: Target, focal: float) -> Floats:
    """[N, L, 2] target minus model, pixels."""
    return target.pixels - project(shape, state, focal, target.center)[0]


def huber_weights(residual: Floats, scale: Floats, noise: float = NOISE) -> Floats:
    """[...] in (0, 1] of residuals [..., 2] in pixels; scale: % of the inter-ocular distance per pixel."""
    length = np.linalg.norm(residual, axis=-1) * scale
    return HUBER * noise / np.maximum(length, HUBER * noise)


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    """Normal equations of a chunk of frames: unknowns are 6 of the pose and 52 weights."""

    hessian: Floats  # [n, 58, 58]
    gradient: Floats  # [n, 58]
    jacobian: NDArray[np.float32]  # [n, 2L, 58], whitened
    residual: NDArray[np.float32]  # [n, 2L], whitened
    whiten: NDArray[np.float32]  # [n, 2L]
    to_pixels: Floats  # [n, L, 2, 3] d pixels / d head-frame point


def _linearise(shape: Shape, state: FrameState, target: Target, focal: float, noise: float) -> _Linear:
    pixels, rotated, jacobian = project(shape, state, focal, target.center)
    residual = target.pixels - pixels
    n, count = pixels.shape[:2]
    precision = huber_weights(residual, target.scale[:, None], noise) * landmark_weights() * (INDEPENDENT / count)
    whiten = np.sqrt(precision) / noise * target.scale[:, None]  # [n, L]
    turn = np.cross(rotated[:, :, None], jacobian)  # rotation vector applied after the present rotation
    to_pixels = jacobian @ state.rotation[:, None]
    by_landmark = to_pixels.transpose(1, 0, 2, 3).reshape(count, n * 2, 3).astype(np.float32)
    bend = np.matmul(by_landmark, shape.basis.transpose(1, 2, 0).astype(np.float32))  # [L, 2n, 52]
    bend = bend.reshape(count, n, 2, -1).transpose(1, 0, 2, 3)
    whole = np.concatenate([turn.astype(np.float32), jacobian.astype(np.float32), bend], axis=-1)
    whole *= whiten[:, :, None, None].astype(np.float32)
    whole = whole.reshape(n, count * 2, -1)
    white = np.repeat(whiten, 2, axis=1).astype(np.float32)
    right = (residual.reshape(n, -1) * white).astype(np.float32)
    transposed = whole.transpose(0, 2, 1)
    hessian = np.matmul(transposed, whole).astype(np.float64)
    gradient = np.matmul(transposed, right[..., None])[..., 0].astype(np.float64)
    return _Linear(hessian, gradient, whole, right, white, to_pixels)


def _add_priors(linear: _Linear, weights: Floats, scores: Floats, neighbour_mean: Floats) -> None:
    """In place: weights near MediaPipe's scores and near their neighbours' mean; a trace of damping on the pose."""
    index = np.arange(linear.hessian.shape[1])
    linear.hessian[:, index[:6], index[:6]] *= 1 + 1e-6
    score, neighbour = 1 / SCORE_SIGMA**2, 1 / NEIGHBOUR_SIGMA**2
    linear.hessian[:, index[6:], index[6:]] += score + neighbour
    linear.gradient[:, 6:] += score * (scores - weights) + neighbour * (neighbour_mean - weights)


def _apply(state: FrameState, step: Floats, weights: Floats) -> FrameState:
    turn = Rotation.from_rotvec(step[:, :3]).as_matrix()
    return FrameState(turn @ state.rotation, state.position + step[:, 3:6], weights)


def solve_frames(
    shape: Shape,
    state: FrameState,
    target: Target,
    focal: float,
    iterations: int,
    noise: float = NOISE,
    pull: Pull | None = None,
) -> FrameState:
    """Poses and weights that explain the landmarks, the shape and focal length given. noise: how well the shape can
    explain them; with a large one the weights stay near MediaPipe's scores. pull: measured at `state`."""
    pulled = np.zeros((len(state.weights), 6))  # how far each pose has come from where the pull was measured
    for _ in range(iterations):
        mean = state.weights[target.neighbours].mean(axis=1)
        parts: list[FrameState] = []
        for start in range(0, len(state.weights), CHUNK):
            index = slice(start, start + CHUNK)
            part = FrameState(state.rotation[index], state.position[index], state.weights[index])
            linear = _linearise(shape, part, _slice(target, index), focal, noise)
            _add_priors(linear, part.weights, target.scores[index], mean[index])
            if pull is not None:
                left = pull.gradient[index] - np.einsum("nij,nj->ni", pull.hessian[index], pulled[index])
                linear.hessian[:, :6, :6] += pull.hessian[index]
                linear.gradient[:, :6] += left
            step, weights = _bounded_step(linear, part.weights)
            pulled[index] += step
            parts.append(_apply(part, step, weights))
        state = FrameState(*(np.concatenate([getattr(p, f) for p in parts]) for f in FrameState.__slots__))
    return state


def _slice(target: Target, index: slice) -> Target:
    return replace(
        target, pixels=target.pixels[index], scores=target.scores[index], scale=target.scale[index],
        neighbours=target.neighbours[index],
    )  # fmt: skip


def _bounded_step(linear: _Linear, weights: Floats) -> tuple[Floats, Floats]:
    """(pose step [n, 6], new weights [n, 52] in [0, 1])."""
    pose, cross, bend = linear.hessian[:, :6, :6], linear.hessian[:, :6, 6:], linear.hessian[:, 6:, 6:]
    eliminated = np.linalg.solve(pose, np.concatenate([cross, linear.gradient[:, :6, None]], axis=2))
    crossed = cross.transpose(0, 2, 1)
    schur = bend - crossed @ eliminated[..., :-1]
    right = linear.gradient[:, 6:] - (crossed @ eliminated[..., -1:])[..., 0]
    new = minimise_in_box(schur, right + (schur @ weights[..., None])[..., 0], weights)
    pose_step = eliminated[..., -1] - (eliminated[..., :-1] @ (new - weights)[..., None])[..., 0]
    return pose_step, new


def minimise_in_box(hessian: Floats, right: Floats, start: Floats, sweeps: int = 30) -> Floats:
    """argmin 1/2 x'Hx - b'x over x in [0, 1]^K, for each of n problems; coordinate descent from `start` [n, K]."""
    x = start.copy()
    diagonal = np.einsum("nkk->nk", hessian)
    rows = np.ascontiguousarray(hessian.transpose(1, 0, 2))
    for _ in range(sweeps):
        largest = 0.0
        for k in range(x.shape[1]):
            step = (right[:, k] - np.einsum("nj,nj->n", rows[k], x)) / diagonal[:, k]
            moved = np.clip(x[:, k] + step, 0.0, 1.0)
            largest = max(largest, float(np.abs(moved - x[:, k]).max(initial=0.0)))
            x[:, k] = moved
        if largest < 1e-4:
            break
    return x


def solve_shared(
    mean: Shape,
    modes: Floats,
    state: FrameState,
    target: Target,
    focal: float,
    focal_sigma: float,
    iterations: int,
    noise: float = NOISE,
) -> tuple[Floats, float, FrameState]:
    """Identity [I] (in standard deviations of `modes` [I, L, 3]) and focal length, jointly with the frames' poses and
    weights. The priors count per frame, since all frames share the model's errors."""
    identity: Floats = np.zeros(len(modes))
    start = np.log(focal)
    prior = len(state.weights) * np.r_[np.full(len(modes), 1.0), 1 / focal_sigma**2]
    for _ in range(iterations):
        shape = Shape(mean.neutral + np.tensordot(identity, modes, 1), mean.basis)
        linear = _linearise(shape, state, target, focal, noise)
        _add_priors(linear, state.weights, target.scores, state.weights)
        n = len(state.weights)
        by_identity = np.einsum("nlac,ilc->nlai", linear.to_pixels, modes).reshape(n, -1, len(modes))
        pixels = project(shape, state, focal, target.center)[0] - target.center
        shared = np.concatenate([by_identity, pixels.reshape(n, -1, 1)], axis=2).astype(np.float32)
        shared *= linear.whiten[..., None]
        transposed = shared.transpose(0, 2, 1)
        cross = np.matmul(transposed, linear.jacobian).astype(np.float64)  # [n, I + 1, 58]
        hessian = np.matmul(transposed, shared).astype(np.float64)
        right = np.matmul(transposed, linear.residual[..., None])[..., 0].astype(np.float64)
        free = np.linalg.solve(
            linear.hessian, np.concatenate([cross.transpose(0, 2, 1), linear.gradient[..., None]], axis=2)
        )
        total = (hessian - cross @ free[..., :-1]).sum(axis=0) + np.diag(prior)
        value = np.r_[identity, np.log(focal) - start]
        gradient = (right - (cross @ free[..., -1:])[..., 0]).sum(axis=0) - prior * value
        step: Floats = np.linalg.solve(total, gradient).astype(np.float64)
        step[-1] = np.clip(step[-1], -0.1, 0.1)
        identity = identity + step[:-1]
        focal = float(focal * np.exp(step[-1]))
        # the poses follow the shared step to first order; the depth must, or the next linearisation is far off
        frame_step = free[..., -1] - free[..., :-1] @ step
        state = _apply(state, frame_step[:, :6], np.clip(state.weights + frame_step[:, 6:], 0, 1))
        shape = Shape(mean.neutral + np.tensordot(identity, modes, 1), mean.basis)
        state = solve_frames(shape, state, target, focal, 1, noise)
    return identity, focal, state
