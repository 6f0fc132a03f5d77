"""Bringing an avatar's rig and exact truth into one frame: a robust similarity, and the weights that come nearest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from models.arkit import HeadState
from models.geometry import Array, Pose, matrix_to_quaternion
from models.head.rig import HeadRig
from models.shoot_file import Shoot

FACE = 468  # landmarks of the face's surface; the ten of the irises turn with the gaze
HUBER = 1.5  # in robust standard deviations: beyond it a point pulls with constant force
WEIGHT_SIGMA = 0.3  # how far the rig's weights may be from the truth's
POINT_SIGMA_M = 0.0007  # what a landmark's motion on two heads may differ by


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Array
    translation: Array

    def apply(self, points: NDArray[np.floating]) -> Array:
        """[..., 3]."""
        return self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation


def robust_similarity(source: Array, target: Array, iterations: int = 20) -> Similarity:
    """The similarity that brings source [N, 3] nearest to target [N, 3] (Umeyama 1991), with Huber's weights, so that
    points that do not correspond hardly pull. Raises ValueError for fewer than 4 points."""
    if source.shape != target.shape or source.shape[1:] != (3,) or len(source) < 4:
        raise ValueError(f"robust_similarity: points {source.shape} and {target.shape}")
    weight = np.ones(len(source))
    found = _umeyama(source, target, weight)
    for _ in range(iterations):
        distance = np.linalg.norm(target - found.apply(source), axis=1)
        limit = HUBER * max(1.4826 * float(np.median(distance)), 1e-9)
        weight = np.minimum(1, limit / np.maximum(distance, 1e-12))
        found = _umeyama(source, target, weight)
    return found


def _umeyama(source: Array, target: Array, weight: Array) -> Similarity:
    w = weight / weight.sum()
    a, b = w @ source, w @ target
    x, y = source - a, target - b
    u, s, vt = np.linalg.svd((w[:, None] * y).T @ x)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float((s * sign).sum() / (w @ (x**2).sum(axis=1)))
    return Similarity(scale, rotation, b - scale * rotation @ a)


def nearest_weights(neutral: Array, basis: Array, points: Array, prior: Array) -> Array:
    """[52] in [0, 1]: the weights whose shape neutral [L, 3] + weights @ basis [52, L, 3] comes nearest to points
    [L, 3], all in metres, held near `prior` [52] where the points say nothing."""
    rows = np.concatenate([basis.reshape(len(basis), -1).T / POINT_SIGMA_M, np.eye(len(basis)) / WEIGHT_SIGMA])
    right = np.concatenate([(points - neutral).ravel() / POINT_SIGMA_M, prior / WEIGHT_SIGMA])
    return np.clip(lsq_linear(rows, right, bounds=(0.0, 1.0), lsq_solver="exact").x, 0, 1)


@dataclass(frozen=True, slots=True, eq=False)
class ViewGeometry:
    """A rig posed for every moment of a shoot. heads: in the shoot's world, whose lengths are divided by `scale`: the
    rig keeps its own size, and the cameras move nearer or away. moments: which of the shoot's they are."""

    rig: HeadRig
    heads: tuple[HeadState, ...]
    moments: NDArray[np.int64]
    scale: float

    def eye(self, T_world_camera: Pose) -> Pose:
        """A camera of the shoot in this world."""
        return Pose(T_world_camera.position / self.scale, T_world_camera.orientation)

    def thinned(self, count: int) -> ViewGeometry:
        """About `count` of its heads, spread evenly; all for 0."""
        if not 0 < count < len(self.heads):
            return self
        chosen = np.unique(np.linspace(0, len(self.heads) - 1, count).round().astype(int))
        return replace(self, heads=tuple(self.heads[i] for i in chosen.tolist()), moments=self.moments[chosen])


def exact_geometry(shoot: Shoot, rig: HeadRig, rounds: int = 3) -> ViewGeometry:
    """The truth, as well as this rig can take it.

    A rig of another topology cannot have the performer's vertices. "Exact" here means: no picture was looked at; the
    head's pose is the true one up to *one* rotation, translation and scale for the whole shoot, which account for the
    two heads' different frames and sizes (robust Procrustes over the face's 468 landmarks, as vertices of both); the
    gaze is the true one; and the weights are those with which the rig's landmarks come nearest to the true ones in
    3-D, each taken from where it lies on this head in the median, and near the true weights where landmarks say
    nothing. What the rig cannot take on (its own shape of the face as
    it was tracked, its hair, its shoulders) stays as wrong as it is.
    """
    index = rig.landmark_vertices[:FACE]
    neutral, basis = rig.neutral[index].astype(np.float64), rig.expression_deltas[:, index].astype(np.float64)
    count = len(shoot)
    true_poses = [shoot.head(i).T_world_head for i in range(count)]
    points = np.stack([true_poses[i].inverse().apply(shoot.landmarks(i)[:FACE].astype(float)) for i in range(count)])
    truth = shoot.expression.astype(np.float64)
    weights, found = truth, Similarity(1.0, np.eye(3), np.zeros(3))
    for _ in range(rounds):
        shapes = neutral + np.tensordot(weights, basis, 1)
        found = robust_similarity(shapes.reshape(-1, 3), points.reshape(-1, 3))
        local = (points - found.translation) @ found.rotation / found.scale
        # where a landmark always lies elsewhere on this head, no weight is to blame
        local -= np.median(local - shapes, axis=0)
        weights = np.stack([nearest_weights(neutral, basis, local[i], truth[i]) for i in range(count)])
    step = Pose(found.translation / found.scale, matrix_to_quaternion(found.rotation))
    heads = tuple(
        HeadState(
            weights[i].astype(np.float32),
            shoot.gaze[i],
            Pose(true_poses[i].position / found.scale, true_poses[i].orientation) @ step,
        )
        for i in range(count)
    )
    return ViewGeometry(rig, heads, np.arange(count), found.scale)


def placed_geometry(
    shoot: Shoot, rig: HeadRig, heads: list[HeadState], moments: NDArray[np.int64], T_world_camera: Pose
) -> ViewGeometry:
    """Tracked heads, T_camera_head each, put into the shoot's world. What a camera cannot tell is how large the world
    is: one scale, from the depths of the face's landmarks, is taken from the truth, and nothing else."""
    index = rig.landmark_vertices[:FACE]
    T_camera_world = T_world_camera.inverse()
    ratios = []
    for head, i in zip(heads, moments, strict=True):
        tracked = head.T_world_head.apply(rig.local(head.expression, head.gaze)[index].astype(np.float64))
        true = T_camera_world.apply(shoot.landmarks(int(i))[:FACE].astype(np.float64))
        ratios.append(np.median(true[:, 2]) / np.median(tracked[:, 2]))
    scale = float(np.median(ratios))
    base = Pose(T_world_camera.position / scale, T_world_camera.orientation)
    placed = tuple(HeadState(h.expression, h.gaze, base @ h.T_world_head) for h in heads)
    return ViewGeometry(rig, placed, np.asarray(moments, np.int64), scale)
