"""The batched solver recovers what it was given, on a face made of formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tracking.video.personalise import regress_offsets, rigid_part
from tracking.video.solver import (
    FACE,
    FrameState,
    Shape,
    Target,
    minimise_in_box,
    project,
    residuals,
    solve_frames,
    solve_shared,
)

CENTER = np.array([240.0, 240.0])
FOCAL = 620.0


def smooth_face(rng: np.random.Generator, modes: int) -> tuple[Shape, np.ndarray]:
    """An ellipsoid's front with landmarks 33 and 263 as its outer eye corners, and smooth local deformations."""
    u = rng.uniform(-1, 1, (FACE, 2))
    u[33], u[263] = (-0.6, 0.3), (0.6, 0.3)
    neutral = np.stack([0.07 * u[:, 0], 0.09 * u[:, 1], 0.1 - 0.05 * (u**2).sum(axis=1)], axis=1)

    def bumps(count: int, size: float, radius: float) -> np.ndarray:
        apart = np.linalg.norm(u[None] - rng.uniform(-0.9, 0.9, (count, 1, 2)), axis=-1)
        return size * np.exp(-((apart / radius) ** 2))[..., None] * rng.normal(0, 1, (count, 1, 3))

    return Shape(neutral, bumps(52, 0.006, 0.35)), bumps(modes, 0.003, 0.7)


def moving_states(rng: np.random.Generator, count: int) -> FrameState:
    t = np.linspace(0, 1, count)[:, None]
    wave = np.sin(2 * np.pi * (t * rng.uniform(0.5, 2, (1, 52)) + rng.uniform(0, 1, (1, 52))))
    weights = np.clip(wave * 0.6, 0, 1)
    turn = Rotation.from_rotvec(np.concatenate([0.15 * np.sin(7 * t), 0.3 * np.cos(5 * t), 0.05 * t], axis=1))
    position = np.concatenate([0.02 * np.sin(4 * t), 0.01 * t, -0.6 + 0.05 * np.cos(6 * t)], axis=1)
    return FrameState(turn.as_matrix(), position, weights)


def target_for(shape: Shape, truth: FrameState, scores: np.ndarray, noise: float = 0.0) -> Target:
    pixels = project(shape, truth, FOCAL, CENTER)[0]
    pixels = pixels + np.random.default_rng(3).normal(0, noise, pixels.shape)
    landmarks = np.zeros((len(pixels), 478, 2), np.float32)
    landmarks[:, :FACE] = pixels
    return Target.of(landmarks, scores.astype(np.float32), np.zeros(len(pixels), np.int32), CENTER)


def disturbed(truth: FrameState, rng: np.random.Generator) -> FrameState:
    turn = Rotation.from_rotvec(rng.normal(0, 0.05, (len(truth.position), 3))).as_matrix()
    return FrameState(
        turn @ truth.rotation, truth.position + rng.normal(0, 0.02, truth.position.shape), truth.weights * 0
    )


def test_frames_are_recovered_to_a_fraction_of_a_pixel() -> None:
    rng = np.random.default_rng(0)
    shape, _ = smooth_face(rng, 1)
    truth = moving_states(rng, 24)
    target = target_for(shape, truth, truth.weights, noise=0.1)
    found = solve_frames(shape, disturbed(truth, rng), target, FOCAL, 8)
    error = np.linalg.norm(residuals(shape, found, target, FOCAL), axis=-1)
    assert np.median(error) < 0.2
    assert np.abs(found.weights - truth.weights).mean() < 0.05
    angle = Rotation.from_matrix(found.rotation @ truth.rotation.transpose(0, 2, 1)).magnitude()
    assert np.rad2deg(angle).max() < 0.5
    assert np.abs(found.position - truth.position).max() < 0.004


def test_real_motion_is_neither_delayed_nor_damped() -> None:
    """A weight that jumps from one frame to the next stays a jump, though weights are tied to their neighbours."""
    rng = np.random.default_rng(1)
    shape, _ = smooth_face(rng, 1)
    shape.basis[17] = np.where(shape.neutral[:, 1:2] < -0.02, [0.0, -0.012, 0.0], 0.0)  # a jaw
    truth = moving_states(rng, 20)
    truth.weights[:] = 0
    truth.weights[10:, 17] = 0.9
    target = target_for(shape, truth, np.zeros_like(truth.weights), noise=0.05)
    found = solve_frames(shape, disturbed(truth, rng), target, FOCAL, 8)
    assert found.weights[9, 17] < 0.05
    assert found.weights[10, 17] > 0.82


def test_outlying_landmarks_do_not_drag_the_head() -> None:
    rng = np.random.default_rng(2)
    shape, _ = smooth_face(rng, 1)
    truth = moving_states(rng, 6)
    target = target_for(shape, truth, truth.weights)
    target.pixels[:, :40] += 40.0  # a hand, say
    found = solve_frames(shape, disturbed(truth, rng), target, FOCAL, 12)
    error = np.linalg.norm(residuals(shape, found, target, FOCAL), axis=-1)
    assert np.median(error[:, 40:]) < 0.8


def test_identity_and_focal_length_are_found_together() -> None:
    rng = np.random.default_rng(4)
    mean, modes = smooth_face(rng, 6)
    identity = np.array([1.2, -0.8, 0.5, 0.0, -1.0, 0.7])
    truth = moving_states(rng, 30)
    shape = Shape(mean.neutral + np.tensordot(identity, modes, 1), mean.basis)
    target = target_for(shape, truth, truth.weights, noise=0.1)
    start = solve_frames(mean, disturbed(truth, rng), target, FOCAL * 1.15, 5)
    found, focal, state = solve_shared(mean, modes, start, target, FOCAL * 1.15, 0.2, 10)
    assert np.abs(found - identity).max() < 0.35
    assert focal == pytest.approx(FOCAL, rel=0.06)
    solved = Shape(mean.neutral + np.tensordot(found, modes, 1), mean.basis)
    assert np.median(np.linalg.norm(residuals(solved, state, target, focal), axis=-1)) < 0.3


def test_a_persons_own_basis_is_learned_from_residuals() -> None:
    rng = np.random.default_rng(5)
    pooled, _ = smooth_face(rng, 1)
    other, _ = smooth_face(rng, 1)
    own = Shape(pooled.neutral + np.array([0.001, -0.002, 0]), pooled.basis + (other.basis - pooled.basis))
    own.basis[..., 2] = pooled.basis[..., 2]
    own.basis[..., :2] -= rigid_part(pooled.neutral, (own.basis - pooled.basis)[..., :2])  # that is the poses'
    truth = moving_states(rng, 400)
    truth.weights[:] = rng.uniform(size=truth.weights.shape) * (rng.uniform(size=truth.weights.shape) < 0.3)
    target = target_for(own, truth, truth.weights, noise=0.1)
    offsets = regress_offsets(pooled, truth, target, FOCAL)
    before = np.abs(own.basis - pooled.basis)[..., :2].mean()
    after = np.abs(own.basis - pooled.basis - offsets.basis)[..., :2].mean()
    assert after < 0.5 * before
    learned = Shape(pooled.neutral + offsets.neutral, pooled.basis + offsets.basis)
    assert np.median(np.linalg.norm(residuals(learned, truth, target, FOCAL), axis=-1)) < 0.3
    assert np.abs(offsets.basis[..., 2]).max() == 0


def test_a_nod_that_comes_with_a_frown_is_not_taken_for_the_frowns_own_motion() -> None:
    rng = np.random.default_rng(8)
    pooled, _ = smooth_face(rng, 1)
    truth = moving_states(rng, 200)
    frown = truth.weights[:, :1]
    still = FrameState(truth.rotation, truth.position, truth.weights)
    nod = Rotation.from_rotvec(frown * [0.08, 0.0, 0.02]).as_matrix()
    truth = FrameState(nod @ truth.rotation, truth.position + frown * [0.0, 0.004, 0.015], truth.weights)
    target = target_for(pooled, truth, truth.weights)
    offsets = regress_offsets(pooled, still, target, FOCAL)
    seen = np.linalg.norm(residuals(pooled, still, target, FOCAL), axis=-1)
    moved = seen.mean() / frown.mean() * 0.6 / FOCAL  # at full weight, metres
    assert moved > 1e-3
    assert np.linalg.norm(offsets.basis[0, :, :2], axis=-1).mean() < 0.2 * moved


def test_what_a_face_moves_as_a_whole_is_told_from_what_a_part_of_it_does() -> None:
    face, _ = smooth_face(np.random.default_rng(9), 1)
    x, y, z = (face.neutral - face.neutral.mean(axis=0)).T
    turned = np.stack([0.002 - 0.03 * y + 0.02 * x + 0.05 * z, -0.001 + 0.03 * x + 0.02 * y - 0.04 * z], axis=1)
    chin = np.where((face.neutral[:, 1] < -0.05)[:, None], [0.0, -0.01], 0.0)
    found = rigid_part(face.neutral, np.stack([turned, chin, turned + chin]))
    assert np.abs(found[0] - turned).max() < 1e-6
    assert np.linalg.norm(found[1], axis=1).mean() < 0.1 * np.linalg.norm(chin, axis=1).mean()
    assert np.linalg.norm(found[2] - turned, axis=1).max() < 0.002


def test_box_minimum_satisfies_the_optimality_conditions() -> None:
    rng = np.random.default_rng(6)
    root = rng.normal(size=(5, 12, 12))
    hessian = root @ root.transpose(0, 2, 1) + np.eye(12)
    right = rng.normal(0, 8, (5, 12))
    x = minimise_in_box(hessian, right, np.full((5, 12), 0.5), sweeps=400)
    slope = np.einsum("nij,nj->ni", hessian, x) - right
    assert ((x >= 0) & (x <= 1)).all()
    assert (np.abs(slope[(x > 0) & (x < 1)]) < 1e-2).all()
    assert (slope[x == 0] > -1e-2).all() and (slope[x == 1] < 1e-2).all()
    assert (x == 0).any() and (x == 1).any()
