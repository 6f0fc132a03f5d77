"""Poses held by the outline of hair, ears and temples, which no expression moves.

In a frown or a yawn landmarks shift on the skull, and a fit of them nods the head, or takes it nearer: by a degree, by
half a centimetre. Hair and shoulders, a hand's breadth behind the face, are then drawn some pixels too high. The edge
of the matte knows better. How far it lies off the mesh's is measured along rays around the head. What comes back
whenever the head turns the same way is the mesh's fault: a strand or an ear that it does not have. Only what differs
between frames of like rotation pulls at the pose.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from models.camera import Camera
from models.geometry import Pose, matrix_to_quaternion
from models.head.rig import HeadRig
from models.track_file import Mattes
from tracking.video.outline import drawn_matte
from tracking.video.solver import Floats, FrameState, Pull, pose_motion

CENTER = np.array([0.0, 0.04, 0.0])  # head frame: rays start here
ANGLES = np.deg2rad(np.arange(-20, 201, 4))  # from below one ear over the crown to below the other
FARTHEST_M, STEP_PX = 0.26, 0.5
NEAREST_M = 0.1  # a fit that is nearer is nonsense, and its rays would be without end
LEAST_ACROSS = 0.5  # cosine of the angle between ray and outline's normal, below which the crossing is too uncertain
RIGID = 0.98  # head weight of what turns with the head alone
# In % of the inter-ocular distance: what is left of a distance once the mesh's fault is taken off; strands and hands
# before the head lie farther off and pull with constant force. Neighbouring rays err together, so all count as so many.
SIGMA, HUBER, INDEPENDENT = 1.0, 3.0, 12.0
FAULT_HUBER, FAULT_ROUNDS = 1.0, 6
LEAST_SPREAD = 0.02  # of the rotations' parts: with less, the fault is taken to be the same in all frames


def outline_pull(
    rig: HeadRig,
    camera: Camera,
    state: FrameState,
    gaze: NDArray[np.float32],
    mattes: Mattes,
    scale: Floats,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Pull:
    """How the outline pulls at the poses of N frames.

    mattes: of the whole frames, at any one scale; scale: [N] % of the inter-ocular distance per video
    pixel (Target.scale).
    """
    count = len(state.weights)
    gap, across = np.full((count, len(ANGLES)), np.nan), np.zeros((count, len(ANGLES)))
    moves = np.zeros((count, len(ANGLES), 6))
    for k in range(count):
        gap[k], across[k], moves[k] = _rays(rig, camera, state, gaze[k], mattes[k], k)
        tick(k + 1, count)
    gap *= scale[:, None]
    moves *= scale[:, None, None]
    left = (gap - _fault(gap, state.rotation)) * across  # along the outline's normal
    seen = np.isfinite(left)
    left = np.where(seen, left, 0)
    weight = seen * HUBER / np.maximum(np.abs(left), HUBER) * INDEPENDENT / (len(ANGLES) * SIGMA**2)
    return Pull(
        np.einsum("nji,nj,njk->nik", moves, weight, moves), np.einsum("nji,nj,nj->ni", moves, weight, left)
    )  # fmt: skip


def _rays(
    rig: HeadRig, camera: Camera, state: FrameState, gaze: NDArray[np.float32], matte: NDArray[np.uint8], k: int
) -> tuple[Floats, Floats, Floats]:
    """Of frame k, video pixels: how much farther the matte reaches along each ray than the mesh (nan: unknown), the
    cosine between ray and outline's normal, and by how much a rotation and a translation of the head move the outline
    along its normal [rays, 6]."""
    rotation, position = state.rotation[k], state.position[k]
    pose = Pose(position, matrix_to_quaternion(rotation))
    mesh = rig.vertices(np.clip(state.weights[k], 0, 1).astype(np.float32), gaze, pose).astype(np.float64)
    shrink = matte.shape[1] / camera.width
    pixels = camera.project(mesh)[:, :2] * shrink
    center, depth = np.split(camera.project(rotation @ CENTER + position), [2])
    center *= shrink
    angles = ANGLES + np.arctan2(-rotation[0, 1], rotation[1, 1])  # they roll with the head
    ray = np.stack([np.cos(angles), -np.sin(angles)], axis=1)
    reach = np.arange(0, FARTHEST_M * camera.fx * shrink / max(float(depth[0]), NEAREST_M), STEP_PX)
    own = _ends(drawn_matte(pixels[rig.triangles], matte.shape), center, ray, reach)
    gap = _ends(matte, center, ray, reach) - own
    at = center + own[:, None] * ray
    along = np.gradient(at, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    across = (normal * ray).sum(axis=1)
    normal *= np.sign(across)[:, None]
    across = np.abs(across)
    gap[~(across > LEAST_ACROSS)] = np.nan

    solid = np.flatnonzero(rig.head_weight > RIGID)
    nearest = solid[KDTree(pixels[solid]).query(np.where(np.isfinite(at), at, 0))[1]]
    motion = pose_motion(mesh[nearest], position, camera.fx)
    return gap / shrink, across, np.nan_to_num((normal[..., None] * motion).sum(axis=1))


def _ends(matte: NDArray[np.uint8], center: Floats, ray: Floats, reach: Floats) -> Floats:
    """[rays] pixels from `center` [2] along `ray` [rays, 2] to where the matte first falls below one half; nan where it
    does not before the picture's border, or where it never begins."""
    points = (center + ray[:, None] * reach[:, None]).astype(np.float32) - np.float32(0.5)
    value = cv2.remap(
        matte.astype(np.float32), points[..., 0], points[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan,
    ) - 127.5  # fmt: skip
    row = np.arange(len(ray))
    begin = (value > 0).argmax(axis=1)
    ended = ~(value > 0) & (np.arange(len(reach)) > begin[:, None])
    end = ended.argmax(axis=1)
    before, after = value[row, end - 1], value[row, end]
    known = ended.any(axis=1) & (before > 0)
    return np.where(known, reach[end - 1] + STEP_PX * before / np.where(known, before - after, 1), np.nan)


def _fault(gap: Floats, rotation: Floats) -> Floats:
    """[N, rays] the part of `gap` that the head's rotation [N, 3, 3] foretells: a quadratic in how far it looks aside
    and up and its roll, by robust least squares."""
    parts = rotation[:, [0, 1, 0], [2, 2, 1]]
    spread = parts.std(axis=0)
    x, y, roll = (np.where(spread > LEAST_SPREAD, (parts - np.median(parts, axis=0)) / np.maximum(spread, 1e-9), 0)).T
    design = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, roll], axis=1)
    fault = np.full_like(gap, np.nan)
    for j in range(gap.shape[1]):
        seen = np.isfinite(gap[:, j])
        if not seen.any():
            continue
        rows, right = design[seen], gap[seen, j]
        weight = np.ones(len(right))
        for _ in range(FAULT_ROUNDS):
            solution = np.linalg.lstsq(rows * weight[:, None], right * weight, rcond=None)[0]
            weight = 1 / np.sqrt(1 + ((right - rows @ solution) / FAULT_HUBER) ** 2)
        fault[:, j] = design @ solution
    return fault
