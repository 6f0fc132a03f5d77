"""Mattes of heads whose shape is known: what the fit of outlines must find again."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.head.rig import HeadRig

CAMERA = Camera(400, 400, 128, 128, 256, 256)
EAR = np.array([0.084, 0.002, -0.014])  # head frame, metres: the middle of the mean head's left ear


def mesh_of(rig: HeadRig, head: HeadState) -> NDArray[np.float64]:
    return rig.vertices(head.expression, head.gaze, head.T_world_head).astype(np.float64)


def drawn(mesh: NDArray[np.float64], rig: HeadRig, camera: Camera = CAMERA) -> NDArray[np.uint8]:
    """A matte [h, w] of the mesh [V, 3] (camera frame), its edge as soft as pixels make it."""
    large = np.zeros((4 * camera.height, 4 * camera.width), np.uint8)
    corners = 4 * camera.project(mesh)[:, :2][rig.triangles]
    for triangle in (corners * 16 - 8).round().astype(np.int32):
        cv2.fillConvexPoly(large, triangle, 255, cv2.LINE_8, 4)
    return np.asarray(cv2.resize(large, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)


def bulged(rig: HeadRig, center: NDArray[np.float64], width: float, left: float, right: float) -> HeadRig:
    """The rig with its loft about a place and about its mirror image that many metres farther out to the side."""
    loft = np.zeros(len(rig.neutral), bool)
    loft[rig.regions["cranium"]] = True
    neutral = rig.neutral.copy()
    for side, height in ((1.0, left), (-1.0, right)):
        arm = (rig.neutral - center * np.array([side, 1, 1])) / width
        neutral[:, 0] += (side * height * loft * np.exp(-(arm**2).sum(axis=1))).astype(np.float32)
    return dataclasses.replace(rig, neutral=neutral)


def with_ears(rig: HeadRig, left: float, right: float) -> HeadRig:
    return bulged(rig, EAR, 0.022, left, right)
