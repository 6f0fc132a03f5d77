"""Foreground mattes and the clean background plate, from the clip alone.

Colour models of person and background are learned over frames spread through the clip (GrabCut), shared by all
frames. The plate is the median of what the mattes leave; where the person never moves away it is filled smoothly, so
that no ghost of the head stays in it (method section 10). The plate then sharpens the mattes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.track_file import MAX_MATTE_SIDE
from tracking.video.segmentation import PersonNetwork
from tracking.video.solver import FACE, FACE_OVAL

Image = NDArray[np.uint8]
Landmarks = NDArray[np.float32]

MODEL_FRAMES = 9  # in one mosaic, for the colour models
PLATE_BYTES = 256 << 20  # at most so much of frames at once for the plate's median
BACKGROUND_ALPHA = 26  # below a tenth a pixel counts as background
FILL_SIDE = 160  # the smooth fill is solved at this size
CUT_SIDE = 256  # the person is found at this size
EDGE_PX = 3  # and the edge looked for again within so many pixels
# Of the guided filter, in pixels and grey levels squared. Wider and softer, edges without contrast become ramps.
EDGE_RADIUS, EDGE_NOISE = 2, 30.0


def matte_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the mattes of a video."""
    scale = min(1.0, MAX_MATTE_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, slots=True, eq=False)
class Matter:
    """Makes mattes with colour models learned from the clip, or with a segmentation network where one is given."""

    background: NDArray[np.float64]  # GrabCut's Gaussian mixtures
    person: NDArray[np.float64]
    network: PersonNetwork | None = None

    @staticmethod
    def learn(images: list[Image], landmarks: list[Landmarks], network: PersonNetwork | None = None) -> Matter:
        """From some frames [h, w, 3], all of one size, and their landmarks [478, 2] in pixels of these."""
        pick = np.linspace(0, len(images) - 1, min(len(images), MODEL_FRAMES)).round().astype(int)
        mosaic = np.concatenate([images[i] for i in pick])
        labels = np.concatenate([_trimap(images[i].shape[:2], landmarks[i]) for i in pick])
        background, person = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        cv2.grabCut(mosaic, labels, (0, 0, 1, 1), background, person, 4, cv2.GC_INIT_WITH_MASK)
        return Matter(background, person, network)

    def matte(self, image: Image, landmarks: Landmarks, plate: tuple[Image, NDArray[np.bool_]] | None = None) -> Image:
        """Alpha uint8 [h, w]; landmarks [478, 2] in this image's pixels.

        plate: the background at this size and where it was truly seen; what looks like it there is background too.
        """
        labels = _trimap(image.shape[:2], landmarks)
        core = labels == cv2.GC_FGD
        if self.network is not None:
            alpha = np.where(core, 1, self.network.alpha(image))
        else:
            hard = self._cut(image, labels, core)
            alpha = np.clip(_guided_filter(image, hard, EDGE_RADIUS, EDGE_NOISE), 0, 1)
        if plate is not None:
            clean, seen = plate
            distance = np.abs(image.astype(np.float32) - clean).max(axis=2)
            different = np.clip((cv2.GaussianBlur(distance, (0, 0), 0.7) - 8) / 24, 0, 1)
            alpha = np.where(seen & ~core, np.minimum(alpha, np.maximum(different, alpha > 0.98)), alpha)
        return (alpha * 255 + 0.5).astype(np.uint8)

    def _cut(self, image: Image, labels: NDArray[np.uint8], core: NDArray[np.bool_]) -> NDArray[np.float32]:
        """1 for the person [h, w]: found at CUT_SIDE, where the cut's smoothness holds wisps of hair and the wall
        behind them apart, then once more at full size along the edge, whose mixed pixels the small picture loses."""
        height, width = image.shape[:2]
        scale = min(1.0, CUT_SIDE / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            few = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
            rough = _connected(self._person(small, few), few == cv2.GC_FGD)
            wide = cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
            kernel = np.ones((3, 3), np.uint8)
            around = [f(wide.astype(np.uint8), kernel, iterations=EDGE_PX) for f in (cv2.erode, cv2.dilate)]
            labels = np.where(wide, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
            labels[(around[0] > 0) | core] = cv2.GC_FGD
            labels[(around[1] == 0) & ~core] = cv2.GC_BGD
        return _connected(self._person(image, labels), core)

    def _person(self, image: Image, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """1 where the clip's colour models and the trimap say person; labels are changed."""
        models = self.background.copy(), self.person.copy()
        cv2.grabCut(image, labels, (0, 0, 1, 1), *models, 1, cv2.GC_EVAL_FREEZE_MODEL)
        return ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)


def _trimap(shape: tuple[int, int], landmarks: Landmarks) -> NDArray[np.uint8]:
    """GrabCut's labels: face and throat are person; around and below probably; the picture's sides above the shoulders
    are background; the rest probably."""
    height, width = shape
    face = landmarks[:FACE]
    low, high = face.min(axis=0), face.max(axis=0)
    size = high - low
    labels = np.full(shape, cv2.GC_PR_BGD, np.uint8)
    middle = (low + high) / 2 - np.array([0, 0.15 * size[1]])
    axes = (int(size[0] * 0.75), int(size[1] * 0.95))
    cv2.ellipse(labels, (int(middle[0]), int(middle[1])), axes, 0, 0, 360, int(cv2.GC_PR_FGD), -1)
    chin, deep = high[1], high[1] + 0.5 * size[1]
    torso = [(-0.55, chin), (-0.6, chin + 0.1 * size[1]), (-1.5, deep), (-1.5, height), (1.5, height), (1.5, deep)]
    torso += [(0.6, chin + 0.1 * size[1]), (0.55, chin)]
    corners = np.array([(middle[0] + x * size[0], min(y, height)) for x, y in torso])
    cv2.fillPoly(labels, [corners.round().astype(np.int32)], int(cv2.GC_PR_FGD))
    border = max(2, width // 40)
    side = slice(0, int(np.clip(high[1] - 0.1 * size[1], 0, height)))
    clear = low[0] - 0.5 * size[0] > border, high[0] + 0.5 * size[0] < width - border
    if clear[0]:
        labels[side, :border] = cv2.GC_BGD
    if clear[1]:
        labels[side, width - border :] = cv2.GC_BGD
    if not any(clear):  # a close-up: the upper corners are the best there is
        labels[: max(2, int(low[1])), :border] = labels[: max(2, int(low[1])), width - border :] = cv2.GC_BGD
    oval = np.zeros(shape, np.uint8)
    cv2.fillPoly(oval, [landmarks[list(FACE_OVAL)].round().astype(np.int32)], 1)
    left, right = (int(np.clip(middle[0] + x * size[0], 0, width)) for x in (-0.2, 0.2))
    oval[int(np.clip(high[1], 0, height)) :, left:right] = 1  # the throat
    inside = cv2.erode(oval, np.ones((3, 3), np.uint8), iterations=max(1, int(size[0] * 0.03)))
    labels[inside > 0] = cv2.GC_FGD
    return labels


def _connected(hard: NDArray[np.float32], core: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Only what hangs together with the face."""
    _, label = cv2.connectedComponents(hard.astype(np.uint8))
    return hard * np.isin(label, np.setdiff1d(np.unique(label[core]), [0]))


def _guided_filter(image: Image, alpha: NDArray[np.float32], radius: int, noise: float) -> NDArray[np.float32]:
    """He et al. 2013, with the grey image as the guide. noise: variance in grey levels squared."""
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    box = (2 * radius + 1, 2 * radius + 1)

    def mean(x: Any) -> NDArray[np.float32]:
        return cv2.blur(x, box)

    mean_guide, mean_alpha = mean(guide), mean(alpha)
    slope = (mean(guide * alpha) - mean_guide * mean_alpha) / (mean(guide * guide) - mean_guide**2 + noise)
    return mean(slope) * guide + mean(mean_alpha - slope * mean_guide)


def plate_frames(count: int, width: int, height: int) -> NDArray[np.int64]:
    """Which of `count` kept frames the plate is made from."""
    most = int(np.clip(PLATE_BYTES // (width * height * 3), 9, 60))
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def clean_plate(images: list[Image], mattes: list[Image]) -> tuple[Image, NDArray[np.bool_]]:
    """(plate uint8 [H, W, 3], where it was seen bool [H, W]) from frames [H, W, 3] and their mattes of any size."""
    height, width = images[0].shape[:2]
    grow = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(2, width // 60) + 1,) * 2)
    free = np.stack(
        [
            cv2.dilate(cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR), grow) < BACKGROUND_ALPHA
            for m in mattes
        ]
    )
    often = (free.sum(axis=0) >= max(2, len(images) // 4)).astype(np.uint8)
    # the rim is where strands of hair slip through the mattes
    seen = cv2.erode(often, grow, borderType=cv2.BORDER_REPLICATE) > 0
    plate = np.zeros((height, width, 3), np.float32)
    for row in range(height):  # by rows: a masked median of all at once would need floats of every frame
        strip = np.stack([image[row] for image in images]).astype(np.float32)
        strip[~free[:, row]] = np.nan
        columns = seen[row]
        if columns.any():
            plate[row, columns] = np.nanmedian(strip[:, columns], axis=0)
    return fill_smoothly(plate, seen), seen


def fill_smoothly(plate: NDArray[np.float32], seen: NDArray[np.bool_]) -> Image:
    """Unseen pixels from a quadratic fit of the seen ones plus a membrane of what that leaves at the hole's rim."""
    if seen.all():
        return plate.round().clip(0, 255).astype(np.uint8)
    height, width = seen.shape
    scale = min(1.0, FILL_SIDE / max(height, width))
    small_size = (max(2, round(width * scale)), max(2, round(height * scale)))
    weight = seen.astype(np.float32)
    small_weight = cv2.resize(weight, small_size, interpolation=cv2.INTER_AREA)
    known = small_weight > 0.5
    if known.sum() < 16:
        grey = plate[seen].mean(axis=0) if seen.any() else np.full(3, 128.0, np.float32)
        return np.where(seen[..., None], plate, grey).round().clip(0, 255).astype(np.uint8)
    small = cv2.resize(plate * weight[..., None], small_size, interpolation=cv2.INTER_AREA)
    small /= np.maximum(small_weight, 1e-3)[..., None]
    y, x = np.mgrid[-1 : 1 : small_size[1] * 1j, -1 : 1 : small_size[0] * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    coefficients = np.linalg.lstsq(terms[known], small[known], rcond=None)[0]
    trend = terms @ coefficients
    low, high = small[known].min(axis=0), small[known].max(axis=0)
    filled = np.clip(trend + _membrane((small - trend).astype(np.float64), known), low, high).astype(np.float32)
    fill = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    feather = np.clip(cv2.GaussianBlur(weight, (0, 0), max(1.5, width / 160)) * 2 - 1, 0, 1) * weight
    feather = np.where(seen, np.maximum(feather, 1e-3), 0)[..., None]
    return (plate * feather + fill * (1 - feather)).round().clip(0, 255).astype(np.uint8)


def _membrane(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[h, w, 3] with the unknown pixels solving Laplace's equation, free at the picture's edge."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    height, width = known.shape
    number = np.full(known.shape, -1)
    number[~known] = np.arange((~known).sum())
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    degree = np.zeros((~known).sum())
    right = np.zeros((len(degree), 3))
    here = np.argwhere(~known)
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        there = here + step
        inside = (there >= 0).all(axis=1) & (there < (height, width)).all(axis=1)
        own, other = np.flatnonzero(inside), there[inside]
        np.add.at(degree, own, 1)
        fixed = known[other[:, 0], other[:, 1]]
        np.add.at(right, own[fixed], values[other[fixed, 0], other[fixed, 1]])
        rows.append(own[~fixed])
        columns.append(number[other[~fixed, 0], other[~fixed, 1]])
    every = np.arange(len(degree))
    i, j = np.concatenate([*rows, every]), np.concatenate([*columns, every])
    data = np.concatenate([-np.ones(len(i) - len(every)), degree])
    result = np.where(known[..., None], values, 0)
    result[~known] = splu(coo_matrix((data, (i, j)), shape=(len(every),) * 2).tocsc()).solve(right)
    return result
