"""Poses held by skull, hair and ears as they look: direct alignment of the avatar's drawing and the picture.

In a yawn or a frown landmarks shift on the skull, and a fit of them nods the head, or takes it nearer: by two degrees,
by a centimetre. What no expression moves shows where the skull is. Gauss-Newton on the difference of drawing and
picture, pixel by pixel (Lucas and Kanade 1981), each weighed by how rigid it is what the mesh has there. The outline is
part of it: both pictures have the plate behind the head. Light stays where it is when a head turns, so that local
contrast is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from models.arkit import HeadState
from models.camera import Camera
from models.geometry import Array, Pose, matrix_to_quaternion
from models.head.rig import HeadRig
from models.training.frames import Sample
from tracking.video.skull import RIGID
from tracking.video.solver import pose_motion

SIDE = 192  # pixels: what pictures are compared at, at most
CONTRAST_PX = 4.0  # what is wider than this is shading
LEAST_CONTRAST = 0.02  # of white: less is noise
SOFT_M = 0.01  # root of the summed squares of how far all expressions move a vertex, where it counts half
EDGE_PX = 6.0  # so far beyond the mesh, hair and the outline count
HUBER = 0.3  # of the difference, in the contrast's own standard deviations: beyond it pixels pull with constant force
DAMPING = 1e-3
FARTHEST_STEP = 0.03  # metres, or radians

Floats = NDArray[np.float64]


class Drawing(NamedTuple):
    """A head as the avatar draws it, drawn [3, S, S], and the picture of it [3, S, S]; sample: its geometry."""

    drawn: Tensor
    picture: Tensor
    sample: Sample


def rigidity(rig: HeadRig) -> NDArray[np.float32]:
    """[T] of triangles, in 0..1: 1 on hair, ears and skull, less where expressions move the skin, 0 on the torso."""
    moves = np.sqrt((rig.expression_deltas.astype(np.float64) ** 2).sum(axis=(0, 2)))
    of_vertex = (rig.head_weight > RIGID) / (1 + (moves / SOFT_M) ** 2)
    return of_vertex[rig.triangles].mean(axis=1).astype(np.float32)


def aligned(
    rigid: NDArray[np.float32], camera: Camera, head: HeadState, draw: Callable[[HeadState], Drawing], steps: int
) -> HeadState:
    """`head` (T_camera_head) moved to where what is rigid of its drawing lies on the picture. rigid: `rigidity`; draw:
    a head as it would look there; it is asked at most `steps` times. A step that turns out to lead away is not taken.
    """
    kept, least = head, np.inf
    for _ in range(steps):
        pose = head.T_world_head
        hessian, gradient, cost = _normal_equations(rigid, camera, pose, draw(head))
        if cost > least:
            return kept
        kept, least = head, cost
        hessian[np.diag_indices(6)] *= 1 + DAMPING
        hessian[np.diag_indices(6)] += 1e-9  # nothing rigid is in the picture: the head stays
        step = np.clip(np.linalg.solve(hessian, gradient), -FARTHEST_STEP, FARTHEST_STEP)
        turned = matrix_to_quaternion(Rotation.from_rotvec(step[:3]).as_matrix() @ pose.rotation)
        head = replace(head, T_world_head=Pose(pose.position + step[3:], turned))
    return head


def _normal_equations(
    rigid: NDArray[np.float32], camera: Camera, pose: Pose, drawing: Drawing
) -> tuple[Floats, Floats, float]:
    """[6, 6] and [6] of a rotation vector (applied after the rotation) and a translation in metres; and the mean of
    Huber's cost."""
    sample = drawing.sample
    every = max(1, sample.view.crop.size // SIDE)
    drawn, picture = (_contrast(image, sample.inside, every) for image in (drawing.drawn, drawing.picture))
    weight, points = _surface(rigid, sample, camera, every)
    left = drawn - picture
    far = np.maximum(1, np.abs(left) / HUBER)
    cost = float((weight * left**2 * (2 / far - 1 / far**2)).sum() / max(weight.sum(), 1e-9))
    # the mean of both gradients: exact to second order (Malis 2004)
    along = [cv2.Sobel(drawn + picture, cv2.CV_64F, *axis, ksize=3).ravel() / 16 for axis in ((1, 0), (0, 1))]
    focal = camera.cropped(sample.view.crop).fx / every
    motion = pose_motion(points, pose.position, focal)
    rows = along[0][:, None] * motion[:, 0] + along[1][:, None] * motion[:, 1]
    weighed = rows * (weight / far).reshape(-1, 1)
    return weighed.T @ rows, weighed.T @ left.ravel(), cost


def _contrast(image: Tensor, inside: NDArray[np.uint8], every: int) -> Floats:
    """[s, s] of an image [3, S, S]: each pixel against its surroundings, in units of their own contrast; pixels beyond
    the camera's picture are black."""
    grey = image.float().mean(dim=0).numpy().astype(np.float64) * (inside > 127)
    side = grey.shape[0] // every
    grey = grey[: side * every, : side * every].reshape(side, every, side, every).mean(axis=(1, 3))
    fine = grey - cv2.GaussianBlur(grey, (0, 0), CONTRAST_PX)
    spread = cv2.GaussianBlur(fine * fine, (0, 0), CONTRAST_PX)
    return np.asarray(fine / np.sqrt(spread + LEAST_CONTRAST**2), np.float64)


def _surface(
    rigid: NDArray[np.float32], sample: Sample, camera: Camera, every: int
) -> tuple[NDArray[np.floating], Array]:
    """How rigid [s, s] what each pixel shows is, and its points [s * s, 3] in the camera's frame; around the mesh, of
    the nearest pixel on it."""
    thinned = slice(every // 2, None, every), slice(every // 2, None, every)
    triangle, depth = sample.raster.triangle[thinned], sample.raster.depth[thinned]
    covered = triangle >= 0
    if not covered.any():
        return np.zeros(covered.shape), np.ones((covered.size, 3))
    away, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label: NDArray[np.intp] = np.asarray(labels, np.intp)
    nearest = np.zeros((int(label.max()) + 1, 2), np.intp)
    nearest[label[covered]] = np.argwhere(covered)
    row, column = nearest[label].transpose(2, 0, 1)
    weight = rigid[triangle[row, column]] * np.exp(-((away / EDGE_PX) ** 2))
    lens = camera.cropped(sample.view.crop)
    z = depth[row, column].astype(np.float64)
    at = np.indices(z.shape) * every + every // 2 + 0.5
    points = lens.unproject(at[1], at[0], z)
    return weight, points.reshape(-1, 3)
