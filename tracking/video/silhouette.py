"""The back of the head, hair and ears, widened or narrowed until the mesh fills the clip's mattes.

Landmarks end at the face's oval; the loft behind it is an average head's. Where hair or ears reach beyond it, no mesh
motion would carry the cached picture.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from models.camera import Camera
from models.head.rig import HeadRig
from tracking.video.solver import FACE, Floats

CENTER = np.array([0.0, 0.03, 0.0])  # head frame: rays start here, in the plane between the ears
ANGLES = np.deg2rad(np.arange(-15, 196, 5))  # from below one ear over the crown to below the other
STEP_M, FARTHEST_M = 0.002, 0.26
LIMITS = (0.92, 1.45)
FADE_M = 0.03  # the widening grows from nothing at the face's oval to all of it over so much
ROUNDS = 2
MOST_TURNED = np.cos(np.deg2rad(20))  # frames turned further show another outline


def fit_silhouette(
    rig: HeadRig, camera: Camera, vertices: list[Floats], rotation: Floats, position: Floats, mattes: list[NDArray]
) -> HeadRig:
    """The rig with its loft scaled radially about the line of sight.

    vertices: per frame, the mesh [V, 3] in the camera frame; rotation [n, 3, 3] and position [n, 3] of T_camera_head;
    mattes: uint8 [h, w] of the whole frame at any one scale. Returns the rig unchanged when no frame faces the camera.
    """
    frontal = [i for i in range(len(mattes)) if rotation[i, 2, 2] > MOST_TURNED]
    if not frontal:
        return rig
    blend = _blend(rig)
    arm = rig.neutral[:, :2] - CENTER[:2]
    own_angle = np.arctan2(arm[:, 1], arm[:, 0])
    own_angle = np.where(own_angle < -np.pi / 2, own_angle + 2 * np.pi, own_angle)
    solid = rig.triangles[(rig.head_weight[rig.triangles] > 0.5).all(axis=1)]
    scale = np.ones(len(ANGLES))
    per_vertex = np.ones(len(arm))
    for _ in range(ROUNDS):
        ratios: list[Floats] = []
        for i in frontal:
            # the head-frame displacement of the widening, turned into the camera's frame
            moved = np.zeros_like(vertices[i])
            moved[:, :2] = (per_vertex - 1)[:, None] * arm
            points = vertices[i] + moved @ rotation[i].T
            ratios.append(_ratio(points, solid, camera, rotation[i], position[i], mattes[i]))
        scale = np.clip(scale * _smooth(np.array(ratios)), *LIMITS)
        per_vertex = 1 + (np.interp(own_angle, ANGLES, scale) - 1) * blend
    neutral = rig.neutral.copy()
    neutral[:, :2] += ((per_vertex - 1)[:, None] * arm).astype(np.float32)
    return dataclasses.replace(rig, neutral=neutral)


def _blend(rig: HeadRig) -> Floats:
    """[V] how far each vertex takes part: none of the face, eyes and mouth, and none below the ears."""
    face = rig.landmark_vertices[:FACE]
    distance = np.linalg.norm(rig.neutral[:, None] - rig.neutral[face][None], axis=-1).min(axis=1)
    # inside of the face (eyes, mouth) lies behind its landmarks, the loft outside of their outline or far behind them
    hull = cv2.convexHull(rig.neutral[face, :2].astype(np.float32))
    inner = np.array([cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y, _ in rig.neutral]) > 0.004
    before = rig.neutral[:, 2] > rig.neutral[face, 2].min() - 0.01
    low = np.clip((rig.neutral[:, 1] + 0.07) / 0.05, 0, 1)
    return np.where(inner & before, 0, np.clip(distance / FADE_M, 0, 1) * low * rig.head_weight)


def _ratio(
    points: Floats, solid: NDArray[np.int32], camera: Camera, rotation: Floats, position: Floats, matte: NDArray
) -> Floats:
    """[angles] how much farther the matte reaches than the mesh; nan where the picture's edge cuts it off."""
    height, width = matte.shape
    shrink = width / camera.width
    pixels = camera.project(points)[:, :2] * shrink
    mesh = np.zeros(matte.shape, np.uint8)
    for triangle in (pixels[solid] * 16 - 8).round().astype(np.int32):
        cv2.fillConvexPoly(mesh, triangle, 255, cv2.LINE_8, 4)
    reach = np.arange(STEP_M, FARTHEST_M, STEP_M)
    rays = np.stack([np.cos(ANGLES), np.sin(ANGLES), np.zeros_like(ANGLES)], axis=-1)
    samples = (CENTER + rays[:, None] * reach[:, None]) @ rotation.T + position
    column, row = np.moveaxis(np.floor(camera.project(samples)[..., :2] * shrink).astype(int), -1, 0)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    ends: list[Floats] = []
    for image in (matte, mesh):
        off = (image[row, column] < 128) | ~inside
        end = off.argmax(axis=1)
        cut = ~off.any(axis=1) | ~inside[np.arange(len(end)), end]
        ends.append(np.where(cut, np.nan, reach[end]))
    return ends[0] / ends[1]


def _smooth(ratios: Floats) -> Floats:
    """[angles] median over frames [n, angles]; unknown angles take their neighbours' value."""
    known = np.isfinite(ratios).sum(axis=0) > len(ratios) / 4
    if not known.any():
        return np.ones(ratios.shape[1])
    middle = np.nanmedian(ratios[:, known], axis=0)
    filled = np.interp(np.arange(ratios.shape[1]), np.flatnonzero(known), middle)
    return gaussian_filter1d(filled, 1.5, mode="nearest")
