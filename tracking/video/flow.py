"""Landmarks that follow the pixels.

A landmark detector finds the same point anew in each frame and slides on the skin as the expression changes, by a few
pixels in a grimace. What moves a cached picture must move as the skin does. So optical flow between near frames ties
each landmark's track together, and the detections anchor it: linear least squares per landmark over the clip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from tracking.video.observe import Progress
from tracking.video.solver import FACE, FACE_OVAL, OUTER_CORNERS

DISTANCES = (1, 4, 16)  # frames between which flow is measured
FACE_SIDE = 256.0  # the flow is measured at a scale where the face is at most so large
ANCHOR_SIGMA = 2.5  # of a detection, % of the inter-ocular distance
FLOW_SIGMA = 0.25  # of the flow over one frame, the same unit; grows with the root of the distance
CONSISTENCY = 0.5  # disagreement of flow and reverse flow at which a link counts half, the same unit
OVAL_TRUST = 0.05  # the oval is an outline: what lies there changes as the head turns
# Where lips and lids meet, skin vanishes and appears: flow would hold a shut mouth open.
RIM_TRUST = 0.02
RIMS = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324,
    33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246,
    263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466,
)  # fmt: skip

Floats = NDArray[np.float64]


def follow_pixels(
    images: Iterable[NDArray[np.uint8]],
    landmarks: NDArray[np.float32],
    segment: NDArray[np.int32],
    progress: Progress,
) -> NDArray[np.float32]:
    """[N, 478, 3] landmarks of which the face's 468 follow the pixels in x and y.

    images: N rgb uint8 [H, W, 3], taken one by one; landmarks: [N, 478, 3] detected; segment: [N] run ids.
    """
    detected = landmarks[:, :FACE, :2].astype(np.float64)
    count = len(detected)
    inter_ocular = np.linalg.norm(detected[:, OUTER_CORNERS[0]] - detected[:, OUTER_CORNERS[1]], axis=-1)
    percent = float(np.median(inter_ocular)) / 100  # pixels
    scale = min(1.0, FACE_SIDE / float(np.median(np.ptp(detected, axis=1).max(axis=1))))
    band = max(DISTANCES)
    diagonals = np.zeros((FACE, band + 1, count))  # lower form: diagonals[:, d, i] is the entry (i + d, i)
    right = np.zeros((FACE, count, 2))
    diagonals[:, 0] += 1 / ANCHOR_SIGMA**2
    trust = np.ones(FACE)
    trust[list(FACE_OVAL)] = OVAL_TRUST
    trust[list(RIMS)] = RIM_TRUST
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    recent: deque[NDArray[np.uint8]] = deque(maxlen=band + 1)
    for b, image in enumerate(images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        recent.append(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
        for distance in DISTANCES:
            a = b - distance
            if a < 0 or segment[a] != segment[b]:
                continue
            pair = recent[-1 - distance], recent[-1]
            moved, disagreement = pair_flow(method, *pair, detected[a] * scale, detected[b] * scale)
            moved, disagreement = moved / scale, disagreement / scale / percent
            weight = trust / (FLOW_SIGMA**2 * distance) / (1 + (disagreement / CONSISTENCY) ** 2)
            # unknowns are corrections to the detections: (c_b - c_a) should be what flow and detections differ by
            wanted = moved - (detected[b] - detected[a])
            diagonals[:, 0, a] += weight
            diagonals[:, 0, b] += weight
            diagonals[:, distance, a] -= weight
            right[:, b] += weight[:, None] * wanted
            right[:, a] -= weight[:, None] * wanted
        progress("flow", b + 1, count)
    followed = landmarks.copy()
    for k in range(FACE):
        followed[:, k, :2] += solveh_banded(diagonals[k], right[k], lower=True).astype(np.float32)
    return followed


def pair_flow(
    method: cv2.DISOpticalFlow, first: NDArray, second: NDArray, at_first: Floats, at_second: Floats
) -> tuple[Floats, Floats]:
    """Motion [L, 2] from the first picture to the second of points seen at `at_first` [L, 2] and `at_second`, and by
    how much the two directions disagree [L]; pixels."""
    points = np.concatenate([at_first, at_second])
    margin = 0.15 * np.ptp(points, axis=0)
    height, width = first.shape
    left, top = np.clip(points.min(axis=0) - margin, 0, (width - 16, height - 16)).astype(int)
    right, bottom = np.clip(points.max(axis=0) + margin, (left + 16, top + 16), (width, height)).astype(int)
    window = slice(top, bottom), slice(left, right)
    one, two = np.ascontiguousarray(first[window]), np.ascontiguousarray(second[window])
    origin = np.array([left, top])
    forward, backward = method.calc(one, two, None), method.calc(two, one, None)  # type: ignore[call-overload]
    ahead = _sample(forward, at_first - origin)
    back = _sample(backward, at_second - origin)
    there_and_back = ahead + _sample(backward, at_first - origin + ahead)
    back_and_there = back + _sample(forward, at_second - origin + back)
    errors = np.stack([np.linalg.norm(there_and_back, axis=1), np.linalg.norm(back_and_there, axis=1)])
    share = 1 / (errors**2 + 0.01)
    share /= share.sum(axis=0)
    return share[0][:, None] * ahead - share[1][:, None] * back, (share * errors).sum(axis=0)


def _sample(field: NDArray[np.float32], points: Floats) -> Floats:
    """[L, 2] of a flow field [h, w, 2] at continuous pixel positions [L, 2]."""
    where = (points - 0.5).astype(np.float32)[:, None]
    return cv2.remap(field, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0].astype(np.float64)  # type: ignore[call-overload]
