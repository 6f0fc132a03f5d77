"""Gaze held by irises as they look: direct alignment of the avatar's drawn eyeballs and the picture's.

Iris landmarks err by a pixel in each frame, at arm's length half of a pupil: an avatar that is trained on them learns a
grey iris without a pupil. Where such an iris lies best on the picture's is known far better. Gauss-Newton, as in
tracking.video.direct, on what is seen of either ball; lids are where they were found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.arkit import HeadState
from models.camera import Camera
from models.geometry import Array, Pose, quaternion_from_euler
from models.head.rig import HeadRig
from tracking.video.direct import Drawing
from tracking.video.gaze import BLINK, CLOSED, LIMIT
from tracking.video.solver import pose_motion

SMOOTH_PX = 0.8  # a picture is sharper than what was learned of it
NOISE = 0.1  # of white, in each of three colours
INDEPENDENT = 0.3  # of the pixels' colours: neighbours err together
HUBER = 0.1  # of white: catchlights and lashes are beyond it
PRIOR = 0.08  # radians around what was found before
LEAST_PIXELS = 20  # of a ball: less is a lid's crack
FARTHEST_STEP = 0.15  # radians
LOOKS = 2  # drawings of a head


def looked(
    rig: HeadRig, camera: Camera, head: HeadState, draw: Callable[[HeadState], Drawing], steps: int = LOOKS
) -> HeadState:
    """`head` (T_camera_head) with the gaze at which its eyes lie on the picture's. draw: a head as it would look; it is
    asked `steps` times. An eye that is shut keeps its gaze."""
    before = head.gaze.astype(np.float64)
    for _ in range(steps):
        drawing, gaze = draw(head), head.gaze.astype(np.float64)
        for eye, ball in enumerate(rig.eyeballs):
            own = slice(2 * eye, 2 * eye + 2)
            gaze[own] += _step(rig, camera, head, drawing, eye, ball, before[own])
            gaze[own] = np.clip(gaze[own], -LIMIT, LIMIT)
        head = replace(head, gaze=gaze.astype(np.float32))
    return head


def _step(
    rig: HeadRig, camera: Camera, head: HeadState, drawing: Drawing, eye: int, ball: NDArray[np.bool_], before: Array
) -> Array:
    """[2] by how much an eye is to turn, yaw and pitch."""
    sample, pose, angles = drawing.sample, head.T_world_head, head.gaze[2 * eye : 2 * eye + 2].astype(np.float64)
    seen = ball[sample.raster.triangle] & sample.raster.coverage & (sample.inside > 127)
    if head.expression[BLINK[eye]] > CLOSED or seen.sum() < LEAST_PIXELS:
        return np.zeros(2)
    row, column = np.nonzero(seen)
    lens, depth = camera.cropped(sample.view.crop), sample.raster.depth[seen].astype(np.float64)
    points = lens.unproject(column + 0.5, row + 0.5, depth)
    centre = pose.apply(rig.eye_centers[eye].astype(np.float64))
    level = pose @ Pose(np.zeros(3), quaternion_from_euler(float(angles[0]), 0.0))
    axes = np.stack([pose.rotation[:, 1], level.rotation[:, 0]], axis=1)  # yaw about the head's y, then pitch
    motion = pose_motion(points, centre, lens.fx)[..., :3] @ axes  # [n, 2 pixels, 2 angles]
    drawn, picture = _colours(drawing.drawn), cv2.GaussianBlur(_colours(drawing.picture), (0, 0), SMOOTH_PX)
    left = (drawn - picture)[seen]  # [n, 3]
    slope = [cv2.Sobel(drawn + picture, cv2.CV_64F, *axis, ksize=3)[seen] / 16 for axis in ((1, 0), (0, 1))]
    rows = np.einsum("anc,nak->nck", np.stack(slope), motion)
    weight = INDEPENDENT / NOISE**2 / np.maximum(1, np.abs(left) / HUBER)
    hessian = np.einsum("nci,nc,ncj->ij", rows, weight, rows) + np.eye(2) / PRIOR**2
    gradient = np.einsum("nci,nc,nc->i", rows, weight, left) + (before - angles) / PRIOR**2
    return np.clip(np.linalg.solve(hessian, gradient), -FARTHEST_STEP, FARTHEST_STEP)


def _colours(image: Tensor) -> NDArray[np.float64]:
    """[S, S, 3] of [3, S, S]."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy(), np.float64)
