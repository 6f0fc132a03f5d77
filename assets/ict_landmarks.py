"""Where MediaPipe's 468 face landmarks lie on the ICT head, and how they move with each ARKit weight.

Part of assets/build_head.py: the ICT head is drawn plainly, with known weights and pose, the landmarker finds its
points, and a pooled ridge regression turns what it found into a vertex basis (ICT centimetres, y up, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.optimize import linear_sum_assignment

from models.arkit import ARKIT_INDEX, ARKIT_MIRROR, ARKIT_NAMES, mirrored_name
from models.geometry import quaternion_from_euler, quaternion_to_matrix
from models.head.ict import EAR_CENTER, PARTS, part_triangles, read_facekit

Array = NDArray[np.float64]
SIZE, FOCAL, DISTANCE = 512, 950.0, 62.0  # px, px, cm
CENTER = np.array([0.0, 2.0, 0.0])  # cm, what the camera looks at
EYE_AXIS = np.array([3.2375, 3.611])  # cm, |x| and y of the ICT eyes' optical axes
MIRROR = np.array([-1.0, 1.0, 1.0])
DRAWN = ("face", "head_neck", "mouth_socket", "eye_socket_L", "eye_socket_R", "gums_tongue", "teeth", "eyeball_L",
         "eyeball_R")  # fmt: skip
OPEN = ("jawOpen", 0.45), ("eyeWideLeft", 0.6), ("eyeWideRight", 0.6)  # lips and lids apart: no landmark is ambiguous


class IctHead:
    """ICT-FaceKit as the builder needs it: vertices [N, 3] cm, ARKit expression deltas [52, N, 3], identity deltas
    [20, N, 3], the 68 landmark vertices of the npz."""

    def __init__(self, path: Path) -> None:
        kit = read_facekit(path)
        self.vertices, self.expressions, self.identities = kit.vertices, kit.expressions, kit.identities
        self.faces = kit.faces
        with np.load(path, allow_pickle=False) as data:
            self.landmarks68 = data["landmarks68"]

    def triangles(self, *parts: str) -> NDArray[np.int64]:
        """[T, 3] of these parts, quads split."""
        return part_triangles(self.faces, *parts)

    def colors(self) -> Array:
        """[N, 3] linear-ish RGB that make the landmarker lock on: skin, lips, brows, hair, eyes, teeth."""
        v, lm = self.vertices, self.vertices[self.landmarks68]
        x, y, z = np.abs(v[:, 0]), v[:, 1], v[:, 2]
        color = np.tile([0.80, 0.58, 0.48], (len(v), 1))
        skin = slice(0, PARTS["head_neck"][1])

        def paint(mask: NDArray, rgb: tuple[float, float, float]) -> None:
            color[mask] = rgb

        lips = cv2.convexHull(lm[48:60, :2].astype(np.float32))
        inside = np.array([cv2.pointPolygonTest(lips, (float(a), float(b)), False) > 0 for a, b in v[skin, :2]])
        front = np.arange(len(v)) < skin.stop
        paint(np.concatenate([inside, np.zeros(len(v) - skin.stop, bool)]) & (z > 8.5), (0.62, 0.25, 0.25))
        brow_y = np.interp(x, np.sort(lm[22:27, 0]), lm[22:27, 1]) - 0.35
        paint(front & (np.abs(y - brow_y) < 0.38) & (x > 1.0) & (x < 5.8) & (z > 6), (0.20, 0.13, 0.10))
        paint(front & ((y > 9.5) | ((z < 2.0) & (y > 1.0) & (x < 8.0))), (0.15, 0.10, 0.08))
        for part, rgb in (("teeth", (0.9, 0.88, 0.82)), ("gums_tongue", (0.6, 0.3, 0.3)),
                          ("mouth_socket", (0.25, 0.08, 0.08))):  # fmt: skip
            color[slice(*PARTS[part][:2])] = rgb
        for part in ("eyeball_L", "eyeball_R"):
            ball = slice(*PARTS[part][:2])
            radius = np.hypot(x[ball] - EYE_AXIS[0], y[ball] - EYE_AXIS[1])
            color[ball] = np.where((radius < 0.28)[:, None], 0.03,
                                   np.where((radius < 0.64)[:, None], [0.25, 0.35, 0.42], 0.92))  # fmt: skip
        return color


@njit(cache=True)
def _draw(pixels, triangles, colors, size):  # noqa: ANN001, ANN202  z-buffer, Gouraud
    image = np.full((size, size, 3), 0.45)
    owner = np.full((size, size), -1, np.int32)
    depth = np.full((size, size), 1e9)
    for t in range(len(triangles)):
        i, j, k = triangles[t]
        ax, ay, bx, by, cx, cy = pixels[i, 0], pixels[i, 1], pixels[j, 0], pixels[j, 1], pixels[k, 0], pixels[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        for r in range(max(0, int(min(ay, by, cy))), min(size, int(max(ay, by, cy)) + 2)):
            for c in range(max(0, int(min(ax, bx, cx))), min(size, int(max(ax, bx, cx)) + 2)):
                px, py = c + 0.5, r + 0.5
                u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                w = 1 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * pixels[i, 2] + v * pixels[j, 2] + w * pixels[k, 2]
                if z < depth[r, c]:
                    depth[r, c] = z
                    owner[r, c] = t
                    for q in range(3):
                        image[r, c, q] = u * colors[i, q] + v * colors[j, q] + w * colors[k, q]
    return image, owner


@dataclass
class View:
    """One rendered face: what was asked (weights [52], identity [20], rotation [3, 3]) and what was found."""

    weights: Array
    identity: Array
    rotation: Array
    angles: tuple[float, float]
    pixels: Array  # [478, 2] landmarks, empty when no face was found
    owner: NDArray  # [SIZE, SIZE] drawn triangle


class Studio:
    """Draws the ICT head and finds landmarks in the drawing."""

    def __init__(self, ict: IctHead, landmarker: Path) -> None:
        self.ict = ict
        self.triangles = ict.triangles(*DRAWN)
        self.skin_triangles = len(ict.triangles("face"))  # the face's come first
        self.colors = ict.colors()
        options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(landmarker)))
        self.landmarker = vision.FaceLandmarker.create_from_options(options)

    def shape(self, weights: Array, identity: Array) -> Array:
        return (self.ict.vertices + np.tensordot(weights, self.ict.expressions, 1)
                + np.tensordot(identity, self.ict.identities, 1))  # fmt: skip

    def project(self, points: Array, rotation: Array) -> Array:
        """[..., 3] ICT cm to pixels and depth in cm."""
        p = (points - CENTER) @ rotation.T
        depth = DISTANCE - p[..., 2]
        return np.stack([SIZE / 2 + FOCAL * p[..., 0] / depth, SIZE / 2 - FOCAL * p[..., 1] / depth, depth], -1)

    def unproject(self, pixels: Array, depth: Array, rotation: Array) -> Array:
        """The inverse of `project`."""
        x = (pixels[..., 0] - SIZE / 2) * depth / FOCAL
        y = -(pixels[..., 1] - SIZE / 2) * depth / FOCAL
        return np.stack([x, y, DISTANCE - depth], -1) @ rotation + CENTER

    def shoot(self, weights: Array, identity: Array, yaw: float = 0.0, pitch: float = 0.0) -> View:
        rotation = quaternion_to_matrix(quaternion_from_euler(yaw, pitch))
        v = self.shape(weights, identity)
        a, b, c = (v[self.triangles[:, i]] for i in range(3))
        face_normal = np.cross(b - a, c - a)
        normal = np.zeros_like(v)
        for i in range(3):
            np.add.at(normal, self.triangles[:, i], face_normal)
        normal = normal @ rotation.T
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        light = np.array([0.25, 0.45, 0.86])
        shade = 0.35 + 0.65 * np.clip(normal @ light, 0, 1)
        image, owner = _draw(self.project(v, rotation), self.triangles, self.colors * shade[:, None], SIZE)
        rgb = np.ascontiguousarray((image.clip(0, 1) * 255).astype(np.uint8))
        found = self.landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb)).face_landmarks
        pixels = np.array([[p.x * SIZE, p.y * SIZE] for p in found[0]]) if found else np.zeros((0, 2))
        return View(weights, identity, rotation, (yaw, pitch), pixels, owner)


def arkit(*pairs: tuple[str, float]) -> Array:
    """[52] weights from names."""
    weights = np.zeros(52)
    for name, value in pairs:
        weights[ARKIT_INDEX[name]] = value
    return weights


def barycentric(points: Array, corners: Array) -> Array:
    """[n, 3] barycentric coordinates of points [n, 3] projected to their triangles [n, 3, 3], clamped inside."""
    a, b, c = np.moveaxis(corners, 1, 0)
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    den = uu * vv - uv * uv + 1e-12
    s, t = (vv * wu - uv * wv) / den, (uu * wv - uv * wu) / den
    bary = np.clip(np.stack([1 - s - t, s, t], 1), 0, 1)
    return bary / bary.sum(1, keepdims=True)


def mirror_permutation(points: Array) -> NDArray[np.int64]:
    """Which point is each point's mirror image in x = 0."""
    cost = np.linalg.norm(points[:, None] * MIRROR - points[None], axis=2)
    permutation = linear_sum_assignment(cost)[1]
    if (permutation[permutation] != np.arange(len(points))).any():
        raise RuntimeError("the landmarks are not mirror-symmetric")
    return permutation


def attach(studio: Studio) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """(triangle corners [468, 3], barycentric [468, 3], mirror permutation [468]) of the landmarks on the ICT face.

    Seen with lips and lids apart, over several identities and views; weighted by how frontally a point is seen. Only
    skin that also shows with closed lips counts, so that a lip's landmark does not land on its inner side.
    """
    rng = np.random.default_rng(1)
    open_face = arkit(*OPEN)
    open_shape = studio.shape(open_face, np.zeros(20))
    angles = (0, 0), (-0.3, 0), (0.3, 0), (0, 0.15), (0, -0.15), (-0.15, 0), (0.15, 0)
    outside = np.zeros(len(studio.triangles) + 1, bool)  # the last stands for "nothing drawn" (-1)
    for yaw, pitch in angles:
        outside[np.unique(studio.shoot(arkit(*OPEN[1:]), np.zeros(20), yaw, pitch).owner)] = True
    outside[studio.skin_triangles :] = False
    a, b, c = np.moveaxis(open_shape[studio.triangles], 1, 0)
    normal = np.cross(b - a, c - a)
    outside[:-1] &= normal[:, 2] > -0.2 * np.linalg.norm(normal, axis=1)
    x, y, z = np.moveaxis((a + b + c) / 3 - EAR_CENTER, -1, 0)
    outside[:-1] &= ((y / 4.3) ** 2 + (z / 3.4) ** 2 > 1) | (np.abs(x) < 6.5)  # the oval ends before the ears
    lips = studio.ict.vertices[studio.ict.landmarks68[60:65]]  # the upper lip's inner contour, right to left
    x, y, z = np.moveaxis(studio.ict.vertices[studio.triangles].mean(1), -1, 0)
    inner_side = z < np.interp(x, lips[:, 0], lips[:, 2]) - 0.25
    outside[:-1] &= ~(inner_side & (np.abs(x) < 2.6) & (y > -5) & (y < -2))
    hits, weights, turn = [], [], []
    for person in range(7):
        identity = rng.normal(0, 0.6, 20) * (person > 0)
        for yaw, pitch in angles:
            view = studio.shoot(open_face, identity, yaw, pitch)
            if not len(view.pixels):
                continue
            pixel = view.pixels[:468]
            nearest = distance_transform_edt(~outside[view.owner], return_distances=False, return_indices=True)
            row, column = np.asarray(nearest)
            at = np.clip(pixel.astype(int), 0, SIZE - 1)
            r, c = row[at[:, 1], at[:, 0]], column[at[:, 1], at[:, 0]]
            corners = studio.triangles[view.owner[r, c]]
            shape = studio.shape(open_face, identity)[corners]
            depth = studio.project(shape, view.rotation)[..., 2].mean(1)
            exact = np.where((np.hypot(r - at[:, 1], c - at[:, 0]) < 1)[:, None], pixel, np.stack([c, r], 1) + 0.5)
            bary = barycentric(studio.unproject(exact, depth, view.rotation), shape)
            normal = np.cross(shape[:, 1] - shape[:, 0], shape[:, 2] - shape[:, 0]) @ view.rotation.T
            facing = np.clip(normal[:, 2] / (np.linalg.norm(normal, axis=1) + 1e-12), 0.02, 1)[:, None] ** 2
            hits.append(np.einsum("nk,nkc->nc", bary, open_shape[corners]))
            turn.append(view.rotation[2])  # the camera's direction, seen from the head
            weights.append(facing)
    found, weight = np.array(hits), np.array(weights)
    outward = found[0] - CENTER  # the first view is frontal
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    weight *= np.clip(np.einsum("vc,nc->vn", turn, outward), 0.02, 1)[..., None] ** 4  # far cheeks are guesses
    target = (weight * found).sum(0) / weight.sum(0)
    for _ in range(10):  # the geometric median: a view in which a landmark fell behind an edge has little say
        closeness = weight / np.maximum(0.05, np.linalg.norm(found - target, axis=2, keepdims=True))
        target = (closeness * found).sum(0) / closeness.sum(0)
    oval = np.array([c.start for c in vision.FaceLandmarksConnections.FACE_LANDMARKS_FACE_OVAL])
    for _ in range(2):  # the silhouette slides along the skin from view to view
        target[oval] = (np.roll(target[oval], 1, 0) + 2 * target[oval] + np.roll(target[oval], -1, 0)) / 4
    mirror = mirror_permutation(target)
    target = (target + target[mirror] * MIRROR) / 2
    faces = studio.triangles[outside[:-1]]
    centroids = open_shape[faces].mean(1)
    corners, bary = np.zeros((468, 3), np.int64), np.zeros((468, 3))
    for i, point in enumerate(target):
        near = np.argsort(((centroids - point) ** 2).sum(1))[:40]
        b = barycentric(np.repeat(point[None], 40, 0), open_shape[faces[near]])
        best = ((np.einsum("nk,nkc->nc", b, open_shape[faces[near]]) - point) ** 2).sum(1).argmin()
        corners[i], bary[i] = faces[near[best]], b[best]
    return corners, bary, mirror


def training_views(studio: Studio, n_random: int) -> list[View]:
    """Each weight with its mirror image and without, and random sparse faces of a few people with small rotations."""
    rng = np.random.default_rng(2)
    none = np.zeros(20)
    pairs = [{n, mirrored_name(n)} - {"jawRight", "mouthRight"} for n in ARKIT_NAMES if not n.endswith("Right")]
    alone = [arkit(*((n, a) for n in pair)) for pair in pairs if "tongueOut" not in pair for a in (0.5, 1.0)]
    alone += [arkit((n, 1.0)) for n in ARKIT_NAMES if n != mirrored_name(n)]
    views = [studio.shoot(weights, none) for weights in alone]
    people = [none, *(rng.normal(0, 0.6, (4, 20)))]
    for i in range(n_random):
        weights = np.zeros(52)
        chosen = rng.choice(51, rng.integers(0, 9), replace=False)
        weights[chosen] = rng.uniform(0.1, 1, len(chosen))
        if i % 3:  # most faces are symmetric, and the landmarker expects it: it follows a wink by half
            weights = np.maximum(weights, weights[ARKIT_MIRROR])
            for a, b in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
                weights[ARKIT_INDEX[a if rng.random() < 0.5 else b]] = 0
        close, jaw = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
        weights[close] = min(weights[close], weights[jaw])  # means something only with an open jaw
        for side in ("Left", "Right"):  # a lid that is shut can't shut further
            lids = [ARKIT_INDEX[n + side] for n in ("eyeBlink", "eyeLookDown", "eyeSquint")]
            weights[lids] /= max(1.0, weights[lids].sum())
        views.append(studio.shoot(weights, people[i % 5], *rng.normal(0, (0.12, 0.08))))
    return [v for v in views if len(v.pixels)]


def expression_basis(
    studio: Studio, views: list[View], corners: NDArray[np.int64], bary: Array, mirror: NDArray[np.int64],
    shrink: float = 2.0,
) -> tuple[Array, Array, dict[str, float]]:  # fmt: skip
    """([52, 468, 3] basis, [468, 3] mean offset of the landmarker from the attached points, RMS errors), in cm.

    Ridge regression of what the landmarker saw on the known weights, shrunk towards the attached surface points' own
    deltas (which also give the depth, and stand alone where few views show a weight). The errors are those of every
    fifth view under a fit to the others: of a still face, of the prior, and of what was learned.
    """

    def attached(field: Array) -> Array:
        return np.einsum("nk,...nkc->...nc", bary, field[..., corners, :])

    prior = attached(studio.ict.expressions)
    people = {v.identity.tobytes() for v in views}
    columns = {p: i for i, p in enumerate(sorted(people))}
    design, seen = [], []
    for view in views:
        surface = attached(studio.shape(view.weights, view.identity))
        neutral = attached(studio.shape(np.zeros(52), view.identity))
        depth = studio.project(surface, view.rotation)[..., 2]
        seen.append(studio.unproject(view.pixels[:468], depth, view.rotation) - neutral)
        nuisance = np.zeros(2 * 2 + len(columns))  # the landmarker's own bias, by person and by rotation
        nuisance[:4] = *view.angles, view.angles[0] ** 2, view.angles[1] ** 2
        nuisance[4 + columns[view.identity.tobytes()]] = 1
        design.append(np.concatenate([view.weights, nuisance]))
    x, y = np.array(design), np.array(seen).reshape(len(views), -1)
    start = np.vstack([prior.reshape(52, -1), np.zeros((x.shape[1] - 52, y.shape[1]))])
    penalty = np.diag(np.r_[np.full(52, shrink), np.full(x.shape[1] - 52, 1e-6)])

    def solve(rows: NDArray) -> tuple[Array, Array]:
        xr, yr, robust = x[rows], y[rows], np.ones(len(rows))
        for _ in range(3):  # views in which the landmarker went astray lose their say
            gram = xr.T @ (robust[:, None] * xr) + penalty
            solution = start + np.linalg.solve(gram, xr.T @ (robust[:, None] * (yr - xr @ start)))
            error = np.sqrt(((yr - xr @ solution) ** 2).mean(1))
            robust = 1 / np.maximum(1, error / np.median(error)) ** 2
        basis = solution[:52].reshape(52, 468, 3)
        return (basis + basis[ARKIT_MIRROR][:, mirror] * MIRROR) / 2, solution[52:]

    rows = np.arange(len(views))
    held, kept = rows[rows % 5 == 0], rows[rows % 5 > 0]
    learned, bias = solve(kept)
    residual = (y[held] - x[held, 52:] @ bias).reshape(len(held), 468, 3)
    errors = {
        name: float(np.sqrt(((residual - np.tensordot(x[held, :52], b, 1)) ** 2).sum(-1).mean()))
        for name, b in (("still", np.zeros_like(prior)), ("prior", prior), ("learned", learned))
    }
    basis, bias = solve(rows)
    offset = bias[4:].mean(0).reshape(468, 3)
    return basis, (offset + offset[mirror] * MIRROR) / 2, errors
