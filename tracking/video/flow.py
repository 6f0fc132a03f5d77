"""Landmarks that follow the pixels.

A landmark detector finds the same point anew in each frame and slides on the skin as the expression changes, by a few
pixels in a grimace. What moves a cached picture must move as the skin does. So optical flow between near frames ties
each landmark's track together, and the detections anchor it: linear least squares per landmark over the clip.

Light stays where it is when a head turns, and most of a face is its shading: flow of grey values lags behind the skin.
So it is measured on local contrast, which is pores, hairs and creases, and begins where the detections say; between
neighbouring frames where they say on the whole, for what each says there is mostly its own trembling.
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

DISTANCES = (1, 4, 16, 64)  # frames between which flow is measured
FACE_SIDE = 256.0  # the flow is measured at a scale where the face is at most so large
CONTRAST_PX = 1.5  # what is wider than this, at that scale, is shading
GUESS_PX = 6.0  # how far around a landmark its motion is taken for granted, at that scale
ANCHOR_SIGMA = 2.5  # of a detection, % of the inter-ocular distance
# Of the flow over one frame, the same unit. On a rendered clip it grows with the fourth root of the distance: 0.5 %
# over 4 frames, 0.9 % over 48, where detections are off by 0.7 % and 1.6 %.
FLOW_SIGMA = 0.4
CONSISTENCY = 1.0  # disagreement of flow and reverse flow at which a link counts a quarter, the same unit
OVAL_TRUST = 0.01  # the oval is an outline: what lies there changes as the head turns
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
    trust = np.ones(FACE)
    trust[list(FACE_OVAL)] = OVAL_TRUST
    trust[list(RIMS)] = RIM_TRUST
    # of the link from frame b - DISTANCES[k] to b: its weight, and by how much flow and detections differ
    weights = np.zeros((len(DISTANCES), count, FACE), np.float32)
    wanted = np.zeros((len(DISTANCES), count, FACE, 2), np.float32)
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    recent: deque[NDArray[np.uint8]] = deque(maxlen=max(DISTANCES) + 1)
    for b, image in enumerate(images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        recent.append(local_contrast(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)))  # type: ignore[arg-type]
        for k, distance in enumerate(DISTANCES):
            a = b - distance
            if a < 0 or segment[a] != segment[b]:
                continue
            pair = recent[-1 - distance], recent[-1]
            points = detected[a] * scale, detected[b] * scale
            moved, disagreement = pair_flow(method, *pair, *points, each=distance > 1)
            moved, disagreement = moved / scale, disagreement / scale / percent
            weights[k, b] = trust / (FLOW_SIGMA**2 * distance**0.5) / (1 + (disagreement / CONSISTENCY) ** 2) ** 2
            wanted[k, b] = moved - (detected[b] - detected[a])
        progress("flow", b + 1, count)
    followed = landmarks.copy()
    for k in range(FACE):
        followed[:, k, :2] += _corrections(weights[..., k], wanted[:, :, k]).astype(np.float32)
    return followed


def _corrections(weights: NDArray[np.float32], wanted: NDArray[np.float32]) -> Floats:
    """[N, 2] to add to one landmark's detections, so that (c_b - c_a) is what flow and detections differ by. weights
    [D, N] and wanted [D, N, 2] of the links that end in each frame."""
    count = weights.shape[1]
    diagonals = np.zeros((max(DISTANCES) + 1, count))  # lower form: diagonals[d, i] is the entry (i + d, i)
    right = np.zeros((count, 2))
    diagonals[0] = 1 / ANCHOR_SIGMA**2
    for weight, want, distance in zip(weights.astype(np.float64), wanted, DISTANCES, strict=True):
        links, pull = weight[distance:], weight[:, None] * want
        if len(links) == 0:
            continue
        diagonals[0] += weight
        diagonals[0, :-distance] += links
        diagonals[distance, :-distance] -= links
        right += pull
        right[:-distance] -= pull[distance:]
    return np.asarray(solveh_banded(diagonals[:count], right, lower=True), np.float64)


def local_contrast(grey: NDArray) -> NDArray[np.uint8]:
    """uint8 [H, W] without shading: each pixel against its surroundings, in units of their own contrast."""
    fine = grey.astype(np.float32) - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), CONTRAST_PX)
    spread = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 2 * CONTRAST_PX))
    return np.clip(128 + 40 * fine / (spread + 1), 0, 255).astype(np.uint8)


def pair_flow(
    method: cv2.DISOpticalFlow, first: NDArray, second: NDArray, at_first: Floats, at_second: Floats, each: bool = True
) -> tuple[Floats, Floats]:
    """Motion [L, 2] from the first picture to the second of points seen at `at_first` [L, 2] and `at_second`, which
    is where flow begins (`each`: around each point at its own motion), and by how much the two directions disagree
    [L]; pixels."""
    points = np.concatenate([at_first, at_second])
    margin = 0.15 * np.ptp(points, axis=0)
    height, width = first.shape
    left, top = np.clip(points.min(axis=0) - margin, 0, (width - 16, height - 16)).astype(int)
    right, bottom = np.clip(points.max(axis=0) + margin, (left + 16, top + 16), (width, height)).astype(int)
    window = slice(top, bottom), slice(left, right)
    one, two = np.ascontiguousarray(first[window]), np.ascontiguousarray(second[window])
    origin = np.array([left, top])
    at_one, at_two = at_first - origin, at_second - origin
    forward = _field(method, one, two, at_one, at_two, each)
    backward = _field(method, two, one, at_two, at_one, each)
    ahead, back = _sample(forward, at_one), _sample(backward, at_two)
    return (ahead - back) / 2, np.linalg.norm(ahead + back, axis=1)


def _field(
    method: cv2.DISOpticalFlow, first: NDArray, second: NDArray, at_first: Floats, at_second: Floats, each: bool
) -> NDArray[np.float32]:
    """Flow [h, w, 2] from the first picture to the second."""
    guess = _spread(at_first, at_second - at_first, first.shape, each)
    rows, columns = np.indices(first.shape, dtype=np.float32)
    grid = np.stack([columns, rows], axis=-1)
    back = cv2.remap(second, grid + guess, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    rest = method.calc(first, np.asarray(back, np.uint8), None)  # type: ignore[call-overload]
    there = cv2.remap(guess, grid + rest, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(rest + there, np.float32)


def _spread(at: Floats, motion: Floats, shape: tuple[int, ...], each: bool) -> NDArray[np.float32]:
    """[h, w, 2]: the motion [L, 2] of points [L, 2] everywhere: their common affine one, and around `each` its own."""
    affine = np.linalg.lstsq(np.c_[at, np.ones(len(at))], motion, rcond=None)[0]
    own = motion - np.c_[at, np.ones(len(at))] @ affine
    rows, columns = np.indices(shape[:2], dtype=np.float64) + 0.5
    common = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ affine
    if not each:
        return common.astype(np.float32)
    where = np.floor(at).astype(int).clip(0, (shape[1] - 1, shape[0] - 1))
    splat = np.zeros((*shape[:2], 3), np.float32)
    np.add.at(splat, (where[:, 1], where[:, 0]), np.c_[own, np.ones(len(at))].astype(np.float32))
    splat = cv2.GaussianBlur(splat, (0, 0), GUESS_PX) * (2 * np.pi * GUESS_PX**2)
    return (common + splat[..., :2] / (splat[..., 2:] + 0.02)).astype(np.float32)


def _sample(field: NDArray[np.float32], points: Floats) -> Floats:
    """[L, 2] of a flow field [h, w, 2] at continuous pixel positions [L, 2]."""
    where = (points - 0.5).astype(np.float32)[:, None]
    return cv2.remap(field, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0].astype(np.float64)  # type: ignore[call-overload]
