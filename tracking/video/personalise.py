"""The subject's own neutral shape and expression basis, regressed from the clip (the pooled basis is the prior)."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import KDTree

from models.head.rig import HeadRig
from tracking.video.solver import (
    FACE,
    NOISE,
    Floats,
    FrameState,
    Shape,
    Target,
    huber_weights,
    landmark_weights,
    project,
)

# Standard deviations of what a person's face may differ from the pooled one by, metres (basis: at full weight).
NEUTRAL_SIGMA = np.array([4e-3, 4e-3, 1.5e-3])  # depth is seen only through small rotations
BASIS_SIGMA = 6e-3  # people differ so much, and scores may tell a movement at less than its full weight
RIGID_M, RIGID_ROUNDS = 1e-3, 12  # what moves so much farther than the face as a whole is the expression's own
FRAMES_PER_SAMPLE = 4.0  # neighbouring frames err alike: so many count as one
# How far the face's offsets reach over the rest of the head.
NEUTRAL_REACH_M = 0.09
BASIS_REACH_M = 0.03
NEIGHBOURS = 6


def face_shape(rig: HeadRig) -> Shape:
    """The 468 landmarks of the face as a linear model."""
    index = rig.landmark_vertices[:FACE]
    return Shape(rig.neutral[index].astype(np.float64), rig.expression_deltas[:, index].astype(np.float64))


def regress_offsets(pooled: Shape, state: FrameState, target: Target, focal: float) -> Shape:
    """The subject's `Shape` minus the pooled one: ridge regression of each landmark's residuals on the weights.

    The neutral moves in three dimensions, the basis in the head's x and y only: its depth stays the prior's. The basis
    has no motion of the whole face in it: where a head nods as it frowns, that would be taken for the frown's own.
    """
    pixels, _, jacobian = project(pooled, state, focal, target.center)
    residual = target.pixels - pixels
    to_pixels = jacobian @ state.rotation[:, None]  # [N, L, 2, 3]
    n, count = residual.shape[:2]
    k = state.weights.shape[1]
    ridge = np.diag(np.r_[1 / NEUTRAL_SIGMA**2, np.full(2 * k, 1 / BASIS_SIGMA**2)])
    neutral, basis = np.zeros((count, 3)), np.zeros((k, count, 3))
    certain = target.scale / (NOISE * np.sqrt(FRAMES_PER_SAMPLE))  # [N]
    design = np.empty((n, 2, 3 + 2 * k))
    for landmark in range(count):
        design[..., :3] = to_pixels[:, landmark]
        moved = to_pixels[:, landmark, :, None, :2] * state.weights[:, None, :, None]  # [N, 2, K, 2]
        design[..., 3:] = moved.reshape(n, 2, 2 * k)
        weight, solution = np.ones(n), np.zeros(3 + 2 * k)
        for _ in range(2):  # Huber's weights come from what a first, plain solution leaves
            rows = design * (certain * np.sqrt(weight))[:, None, None]
            rows = rows.reshape(2 * n, -1)
            right = (residual[:, landmark] * (certain * np.sqrt(weight))[:, None]).reshape(-1)
            solution = np.linalg.solve(rows.T @ rows + ridge, rows.T @ right)
            left = residual[:, landmark] - design @ solution
            weight = huber_weights(left, target.scale)
        neutral[landmark] = solution[:3]
        basis[:, landmark, :2] = solution[3:].reshape(k, 2)
    basis[..., :2] -= rigid_part(pooled.neutral, basis[..., :2])
    return Shape(neutral, basis)


def rigid_part(neutral: Floats, motions: Floats) -> Floats:
    """[K, L, 2] what of the motions [K, L, 2] of landmarks at `neutral` [L, 3], seen along z, in metres, a head would
    show that moves, turns and comes nearer, by robust least squares: most of the face agrees on it."""
    x, y, z = (neutral - neutral.mean(axis=0)).T
    none, one = np.zeros_like(x), np.ones_like(x)
    fields = np.array([[one, none], [none, one], [-y, x], [x, y], [z, none], [none, z]]).transpose(0, 2, 1)
    rows = fields.reshape(len(fields), -1).T  # [2L, 6]
    own = np.repeat(landmark_weights(), 2)
    found = np.empty((len(motions), len(fields)))
    for k, motion in enumerate(motions.reshape(len(motions), -1)):
        weight = own
        for _ in range(RIGID_ROUNDS):
            found[k] = np.linalg.lstsq(rows * np.sqrt(weight)[:, None], motion * np.sqrt(weight), rcond=None)[0]
            left = np.linalg.norm((motion - rows @ found[k]).reshape(-1, 2), axis=1)
            weight = own / (1 + np.repeat(left / RIGID_M, 2) ** 2)
    return np.tensordot(found, fields, 1)


def personalised(rig: HeadRig, offsets: Shape) -> HeadRig:
    """The rig with the face's offsets, spread smoothly over eyes, mouth and the rest of the head."""
    index = rig.landmark_vertices[:FACE]
    tree = KDTree(rig.neutral[index])
    distance, near = tree.query(rig.neutral, k=NEIGHBOURS)
    # inverse cubes: exact at the landmarks and at the doubles of the lids' and lips' contours
    share = 1 / np.maximum(distance, 1e-6) ** 3
    share /= share.sum(axis=1, keepdims=True)
    neutral_share = share * np.exp(-((distance[:, :1] / NEUTRAL_REACH_M) ** 2))
    basis_share = share * np.exp(-((distance[:, :1] / BASIS_REACH_M) ** 2))
    # eyeballs are rigid: what turns with the gaze moves with its socket and does not follow the lids
    eyeball = rig.eye_weight.max(axis=0) > 0
    basis_share[eyeball & (distance[:, 0] > 1e-4)] = 0
    neutral_step = np.einsum("vk,vkc->vc", neutral_share, offsets.neutral[near])
    eye_steps: list[Floats] = []
    for weight in rig.eye_weight:
        ball = np.flatnonzero(weight > 0)
        step = neutral_step[ball].mean(axis=0) if len(ball) else np.zeros(3)
        neutral_step[ball] += weight[ball, None] * (step - neutral_step[ball])
        eye_steps.append(step)
    basis_step = np.einsum("vk,evkc->evc", basis_share, offsets.basis[:, near])
    return dataclasses.replace(
        rig,
        neutral=(rig.neutral + neutral_step).astype(np.float32),
        expression_deltas=(rig.expression_deltas + basis_step).astype(np.float32),
        eye_centers=(rig.eye_centers + np.stack(eye_steps)).astype(np.float32),
    )
