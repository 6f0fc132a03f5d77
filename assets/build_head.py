"""Makes assets/head/visavis_head.safetensors, the shipped head (run from the repository root):

    python -m assets.build_head ICT_NPZ FACE_LANDMARKER_TASK [--output assets/head/visavis_head.safetensors]

The face is MediaPipe's landmark mesh laid on the ICT-FaceKit head (MIT, (c) 2020 USC Institute for Creative
Technologies) and moved by a basis learned from renderings (assets/ict_landmarks.py). It is lofted over cranium, ears
and neck to shoulders; eyes and mouth get patches of their own. ICT centimetres until the last step.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from mediapipe.tasks.python.vision import FaceLandmarksConnections as Connections
from numpy.typing import NDArray
from safetensors.numpy import save_file

from assets.ict_landmarks import (
    MIRROR,
    IctHead,
    Studio,
    attach,
    expression_basis,
    training_views,
)
from assets.unwrap import annulus_uv, disc_uv, place
from models.arkit import ARKIT_INDEX
from models.head.ict import EAR_CENTER, NECK_PIVOT, PARTS
from models.head.rig import HeadRig

Array = NDArray[np.float64]
Index = NDArray[np.int64]
HAIR_CM = 1.5
RINGS = 12  # from the face oval to the top of the neck
# Height, half width, front, back (cm) of the shoulder rings below the ICT bust. A grown chest is some 25 cm deep, and
# most of that lies behind the ears: seen from above, the back is what bounds the shoulders. Shoulders are widest four
# centimetres behind the ears, for people hold their heads before them: seen from aside, that is where their outline is.
BUST = (
    (-15.4, 15.4, 2.5, -15.5),
    (-18.4, 19.3, 4.0, -17.5),
    (-23.5, 20.8, 5.5, -18.5),
    (-32.7, 21.0, 6.0, -19.0),
)
WIDEST_CM = -4.0
NECK_BACK_CM = 2.0  # by which the neck slopes towards them, against the ICT bust's upright one
EYE_CENTER = np.array([3.22, 3.612, 8.02])
EYE_RADIUS = 1.45  # 1.5 mm behind the lids, so that the flat triangles of closed lids stay in front
IRIS_ANGLE = 0.43
# MediaPipe's iris points after the centre, angles from +x on either eye
IRIS_ORDER = (0.0, np.pi / 2, np.pi, 3 * np.pi / 2)
CAP_ANGLES = (0.2, IRIS_ANGLE, 0.7, 1.0, 1.4)  # rings around the pole, radians; the iris landmarks lie on the second
CAP_SHRINK = (1.0, 1.0, 0.985, 0.92, 0.8)  # of the radius: the outer rings stay behind the corners of closed lids
# MediaPipe's contours, all counter-clockwise seen from the front, from the corner at +x
EYE_LOOPS = (
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    (133, 173, 157, 158, 159, 160, 161, 246, 33, 7, 163, 144, 145, 153, 154, 155),
)
LIP_LOOP = (308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78, 95, 88, 178, 87, 14, 317, 402, 318, 324)
FACE_UV_RADIUS, OUTER_UV_RADIUS, PATCH_UV_RADIUS = 0.35, 0.465, 0.092
PATCH_UV_CENTERS = {"eye_left": (0.898, 0.898), "eye_right": (0.102, 0.898), "mouth": (0.102, 0.102)}


def smoothstep(low: float, high: float, x: Array) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def tessellation() -> tuple[Index, Index]:
    """([852, 3] triangles, counter-clockwise from outside; [36] oval from the forehead by the subject's left)."""
    starts = np.array([c.start for c in Connections.FACE_LANDMARKS_TESSELATION])
    oval = np.array([c.start for c in Connections.FACE_LANDMARKS_FACE_OVAL])
    return starts.reshape(-1, 3), oval


class Mesh:
    """Vertices with everything they carry, appended part by part: x [n, 3], expressions [52, n, 3], identities
    [20, n, 3], uv, head weight, eye weights."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Array]] = []
        self.triangles: list[Index] = []
        self.regions: dict[str, Index] = {}
        self.size = 0

    def add(self, region: str, x: Array, expressions: Array, identities: Array, uv: Array, head: Array | float = 1.0,
            eyes: Array | None = None) -> Index:  # fmt: skip
        n = len(x)
        eyes = np.zeros((2, n)) if eyes is None else eyes
        self.parts.append({"x": x, "e": expressions, "i": identities, "uv": uv,
                           "head": np.broadcast_to(head, n), "eyes": eyes})  # fmt: skip
        index = np.arange(self.size, self.size + n)
        self.regions[region] = np.concatenate([self.regions.get(region, index[:0]), index])
        self.size += n
        return index

    def field(self, key: str, axis: int = 0) -> Array:
        return np.concatenate([p[key] for p in self.parts], axis=axis)


class Surface:
    """Ray casting onto ICT's outer skin, with the deltas at what was hit."""

    def __init__(self, ict: IctHead) -> None:
        self.ict = ict
        self.triangles = ict.triangles("face", "head_neck")
        self.corners = ict.vertices[self.triangles]

    def cast(self, origins: Array, directions: Array, low: float = -99.0) -> tuple[Array, Index, Array]:
        """(points, vertex triples, barycentric) of the farthest hit of each ray among triangles above height `low`."""
        chosen = np.flatnonzero(self.corners[:, :, 1].min(1) > low)
        a, b, c = np.moveaxis(self.corners[chosen], 1, 0)
        e1, e2 = b - a, c - a
        points, corners, bary = np.zeros((len(directions), 3)), np.zeros((len(directions), 3), int), []
        for n, (o, d) in enumerate(zip(origins, directions, strict=True)):  # Moeller and Trumbore
            p = np.cross(d, e2)
            det = (e1 * p).sum(1)
            det = np.where(np.abs(det) < 1e-12, 1e-12, det)
            s = o - a
            u = (s * p).sum(1) / det
            q = np.cross(s, e1)
            v = (q @ d) / det
            t = (e2 * q).sum(1) / det
            hit = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6) & (t > 0)
            if not hit.any():
                raise RuntimeError(f"ray {n} misses the head")
            k = np.where(hit, t, -1).argmax()
            points[n], corners[n] = o + t[k] * d, self.triangles[chosen[k]]
            bary.append((1 - u[k] - v[k], u[k], v[k]))
        return points, corners, np.array(bary)

    def deltas(self, corners: Index, bary: Array) -> tuple[Array, Array]:
        return (np.einsum("nk,enkc->enc", bary, self.ict.expressions[:, corners]),
                np.einsum("nk,enkc->enc", bary, self.ict.identities[:, corners]))  # fmt: skip


def grid_triangles(inner: Index, outer: Index) -> Index:
    """Two triangles per quad between two closed rings of equal length, wound so that inner x along x outer is out."""
    i2, o2 = np.roll(inner, -1), np.roll(outer, -1)
    return np.vstack([np.stack([inner, outer, o2], 1), np.stack([inner, o2, i2], 1)])


def smooth_rings(rings: Array, times: int) -> Array:
    """Neighbour averaging of [K, 36, ...] rings around and along; the first and the last ring stay."""
    for _ in range(times):
        mean = (np.roll(rings, 1, 1) + np.roll(rings, -1, 1))[1:-1] + rings[2:] + rings[:-2]
        rings = np.concatenate([rings[:1], (rings[1:-1] + mean / 4) / 2, rings[-1:]])
    return rings


def loft(surface: Surface, oval: Array) -> tuple[Array, Array, Array, Array]:
    """(points [K, 36, 3], expressions [52, K, 36, 3], identities [20, K, 36, 3], head weight [K]) below the oval.

    Ring by ring over cranium, ears and jaw to the top of the neck, then down the neck and over the shoulders.
    """
    angle = 2 * np.pi * np.arange(36) / 36  # 0 at the forehead and the nape, pi at chin and throat
    center = np.array([0.0, 2.0, -0.5])
    around = np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], 1)
    height = np.interp(np.abs(angle - np.pi), [0, np.pi], [-10.3, -7.0])
    axis = np.stack([0 * angle, height, 0 * angle - 0.8], 1)
    top_of_neck = surface.cast(axis, around)
    start, end = unit(oval - center), unit(top_of_neck[0] - center)
    middle = unit(np.stack([np.sin(angle), np.cos(angle), -0.4 + 0.95 * ((1 - np.cos(angle)) / 2) ** 4], 1))
    t = np.linspace(0, 1, RINGS + 1)[:, None, None]
    directions = np.where(t < 0.5, start + 2 * t * (middle - start), middle + (2 * t - 1) * (end - middle))
    directions = unit(smooth_rings(unit(directions), 20))[1:-1]

    hits = surface.cast(np.tile(center, (directions[..., 0].size, 1)), directions.reshape(-1, 3), low=-12.0)
    shape = directions.shape
    points = hits[0].reshape(shape)
    radius = np.linalg.norm(points - center, axis=-1, keepdims=True)
    full = np.concatenate([np.linalg.norm(oval - center, axis=1)[None, :, None], radius,
                           np.linalg.norm(top_of_neck[0] - center, axis=1)[None, :, None]])  # fmt: skip
    points = center + directions * smooth_rings(full, 2)[1:-1]  # ears become bumps
    x, y, z = np.moveaxis(points, -1, 0)
    hair = np.maximum(smoothstep(4.5, 9.0, y), smoothstep(0.0, -3.5, z) * smoothstep(-6.0, 0.0, y))
    points = points + HAIR_CM * hair[..., None] * directions

    neck, corners, bary = [top_of_neck[0]], [top_of_neck[1]], [top_of_neck[2]]
    for low in (-11.3, -13.2):
        level = np.interp(np.abs(angle - np.pi), [0, np.pi], [low - 0.8, low + 1.5])
        p, c, b = surface.cast(np.stack([0 * angle, level, 0 * angle - 1.5], 1), around)
        neck.append(p)
        corners.append(c)
        bary.append(b)
    for level, width, front, back in BUST:
        depth = np.where(around[:, 2] > 0, front - WIDEST_CM, WIDEST_CM - back)
        scale = (np.abs(around[:, 0] / width) ** 2.6 + np.abs(around[:, 2] / depth) ** 2.6) ** (-1 / 2.6)
        neck.append(np.stack([scale * around[:, 0], 0 * angle + level, scale * around[:, 2] + WIDEST_CM], 1))
    corners = np.concatenate([hits[1], *corners])
    expressions, identities = surface.deltas(corners, np.concatenate([hits[2], *bary]))
    k = RINGS + 2
    expressions = expressions.reshape(52, k, 36, 3)
    identities = identities.reshape(20, k, 36, 3)
    fade = np.array([0.6, 0.3, 0.1, 0.0])[:, None, None]
    expressions = np.concatenate([expressions, np.zeros((52, len(BUST), 36, 3))], 1)
    identities = np.concatenate([identities, fade * identities[:, -1:]], 1)
    head = np.concatenate([np.ones(RINGS - 2), [0.96, 0.8, 0.45, 0.15], np.zeros(len(BUST))])
    points = np.concatenate([points, np.array(neck)])
    points[: -len(BUST), :, 2] -= NECK_BACK_CM * (1 - head[: -len(BUST), None])
    return points, expressions, identities, head


def add_loft(mesh: Mesh, surface: Surface, oval_index: Index, oval_prior: Array, boundary_angle: Array) -> None:
    face = mesh.parts[0]
    points, expressions, identities, head = loft(surface, face["x"][oval_index])
    learned = face["e"][:, oval_index] - oval_prior  # what the regression changed at the oval fades out over the rings
    k = len(points)
    expressions = expressions + learned[:, None] * (0.55 ** np.arange(1, k + 1))[None, :, None, None]
    expressions[:, RINGS + 2 :] = 0
    for values in (expressions, identities):
        first = face["e" if len(values) == 52 else "i"][:, oval_index][:, None]
        for e in range(len(values)):  # the ear's folds would tear; neighbours agree
            values[e] = smooth_rings(np.concatenate([first[e], values[e]]), 3)[1:]
    radii = np.linspace(FACE_UV_RADIUS, OUTER_UV_RADIUS, k + 1)[1:]
    previous = oval_index
    for ring in range(k):
        region = "cranium" if ring < RINGS - 1 else "neck" if ring < RINGS + 2 else "shoulders"
        uv = annulus_uv(radii[ring], boundary_angle)
        index = mesh.add(region, points[ring], expressions[:, ring], identities[:, ring], uv, head[ring])
        mesh.triangles.append(grid_triangles(previous, index))
        previous = index


def ring_uv(radius: float, angle: Array, patch: str) -> Array:
    """[n, 2] uv of a ring (radius in [0, 1] of its patch)."""
    return place(radius * np.stack([np.cos(angle), np.sin(angle)], 1), PATCH_UV_CENTERS[patch], PATCH_UV_RADIUS)


def fan(center: int, ring: Index) -> Index:
    return np.stack([np.full_like(ring, center), ring, np.roll(ring, -1)], 1)


class Eye:
    """One eye's patch: a spherical cap that turns with the gaze, and a skirt from the lids to behind it so that no
    gap shows."""

    sector = 2 * np.pi * np.arange(12) / 12

    def __init__(self, mesh: Mesh, side: int, ict: IctHead) -> None:
        self.mesh, self.side, self.name = mesh, side, ("eye_left", "eye_right")[side]
        self.center = EYE_CENTER * (MIRROR if side else 1)
        ball = slice(*PARTS["eyeball_R" if side else "eyeball_L"][:2])
        self.drift = ict.identities[:, ball].mean(1)  # [20, 3]

    def put(self, angles: Array, polar: float) -> Index:
        n, eyes = len(angles), np.zeros((2, len(angles)))
        eyes[self.side] = 1
        x, y, z = np.sin(polar) * np.cos(angles), np.sin(polar) * np.sin(angles), np.full(n, np.cos(polar))
        ring = np.stack([x, y, z], 1) * np.interp(polar, CAP_ANGLES, CAP_SHRINK)
        uv = ring_uv(0.8 * polar / CAP_ANGLES[-1], angles, self.name)
        return self.mesh.add(self.name, self.center + EYE_RADIUS * ring, np.zeros((52, n, 3)),
                             np.repeat(self.drift[:, None], n, 1), uv, 1.0, eyes)  # fmt: skip

    def add_iris(self) -> None:
        """The five landmarks, in MediaPipe's order: centre, then IRIS_ORDER around."""
        self.pole = self.put(np.zeros(1), 0.0)[0]
        self.iris = self.put(np.array(IRIS_ORDER), CAP_ANGLES[1])
        self.mesh.regions["iris_" + self.name[4:]] = np.r_[self.pole, self.iris]

    def add_rest(self) -> None:
        rings = []
        for k, polar in enumerate(CAP_ANGLES):
            if k == 1:
                ring = np.zeros(12, int)
                ring[::3] = self.iris
                between = np.arange(12) % 3 != 0
                ring[between] = self.put(self.sector[between], polar)
            else:
                ring = self.put(self.sector, polar)
            rings.append(ring)
        mesh = self.mesh
        mesh.triangles += [fan(self.pole, rings[0]), *map(grid_triangles, rings, rings[1:])]
        face, loop = mesh.parts[0], np.array(EYE_LOOPS[self.side])
        angle = 2 * np.pi * np.arange(16) / 16
        lids, motion, people = face["x"][loop], face["e"][:, loop], face["i"][:, loop]
        behind = self.center + 0.8 * EYE_RADIUS * unit(lids - self.center)
        outer = mesh.add(self.name, lids, motion, people, ring_uv(1.0, angle, self.name))
        inner = mesh.add(self.name, behind, motion, people, ring_uv(0.86, angle, self.name))
        mesh.triangles.append(grid_triangles(inner, outer))


def add_mouth(mesh: Mesh, ict: IctHead) -> None:
    """The patch behind the lips: lips' inner side, teeth and the pocket behind them; the upper half keeps to the skull,
    the lower half follows ICT's lower teeth with the jaw."""
    face, loop = mesh.parts[0], np.array(LIP_LOOP)
    lips = face["x"][loop]
    part = slice(*PARTS["teeth"][:2])
    teeth, motion = ict.vertices[part], ict.expressions[:, part]
    lower = np.abs(motion[ARKIT_INDEX["jawOpen"]]).max(1) > 0.05
    angle = 2 * np.pi * np.arange(20) / 20
    half = np.where(np.arange(20) % 10 == 0, 0.5, (np.arange(20) > 10) * 1.0)  # share of the jaw: 0 above, 1 below
    x = 1.1 * lips[:, 0]

    def arch(mask: NDArray, reduce, axis: int) -> Array:  # noqa: ANN001
        return np.array([reduce(teeth[mask & (np.abs(teeth[:, 0] - a) < 0.35), axis]) for a in x])

    front = arch(np.ones(len(teeth), bool), np.max, 2) - 0.4
    edge = np.where(half < 0.5, arch(~lower, np.min, 1), np.where(half > 0.5, arch(lower, np.max, 1), lips[:, 1]))
    gum = edge + 0.95 * (1 - 2 * half)
    side = half == 0.5
    rings = [
        lips,
        np.stack([x, gum, np.where(side, front - 0.7, front)], 1),
        np.stack([np.where(side, 0.95 * x, x), edge, np.where(side, front - 0.9, front)], 1),
        np.stack([0.7 * x, lips[:, 1] + 1.0 * (1 - 2 * half), np.full(20, 6.5)], 1),
        np.array([[0.0, lips[:, 1].mean(), 4.5]]),
    ]
    below = np.flatnonzero(lower)
    previous = None
    for k, (ring, radius) in enumerate(zip(rings, (1.0, 0.86, 0.45, 0.2, 0.0), strict=True)):
        nearest = below[((ring[:, None] - teeth[below]) ** 2).sum(-1).argmin(1)]
        share = half[:, None] if len(ring) == 20 else 0.5
        expressions = face["e"][:, loop] if k == 0 else motion[:, nearest] * share
        expressions = expressions.copy()
        if k == 4:  # no ICT shape: the back of the pocket comes forward, and stays inside the mouth
            expressions[ARKIT_INDEX["tongueOut"], :, 2] = 5.0
        identities = face["i"][:, loop] if k == 0 else ict.identities[:, part][:, nearest]
        index = mesh.add("mouth", ring, expressions, identities, ring_uv(radius, angle[: len(ring)], "mouth"))
        if previous is not None:
            mesh.triangles.append(grid_triangles(index, previous) if k < 4 else fan(index[0], previous))
        previous = index


def assemble(
    ict: IctHead, corners: Index, bary: Array, basis: Array, offset: Array
) -> tuple[HeadRig, dict[str, Array]]:
    """The rig of the mean person, and the identity deltas [20, V, 3] and [20, 2, 3], all in metres."""
    triangles, oval = tessellation()
    surface, mesh = Surface(ict), Mesh()
    x = np.einsum("nk,nkc->nc", bary, ict.vertices[corners]) + offset
    prior, identities = surface.deltas(corners, bary)
    uv, boundary = disc_uv(x, triangles, oval, [np.array(loop) for loop in (*EYE_LOOPS, LIP_LOOP)], FACE_UV_RADIUS)
    mesh.add("face", x, basis, identities, uv)
    mesh.triangles.append(triangles)
    left, right = Eye(mesh, 0, ict), Eye(mesh, 1, ict)
    for eye in (right, left):  # MediaPipe's landmarks 468..472, 473..477
        eye.add_iris()
    for eye in (left, right):
        eye.add_rest()
    add_mouth(mesh, ict)
    add_loft(mesh, surface, oval, prior[:, oval], boundary)
    all_triangles, all_uv = np.concatenate(mesh.triangles), mesh.field("uv")
    a, b, c = (all_uv[all_triangles[:, i]] for i in range(3))
    flipped = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0
    all_triangles[flipped] = all_triangles[flipped][:, ::-1]  # the atlas is drawn as seen from outside
    rig = HeadRig(
        name="visavis",
        triangles=all_triangles.astype(np.int32),
        uv=all_uv.astype(np.float32),
        neutral=((mesh.field("x") - EAR_CENTER) / 100).astype(np.float32),
        expression_deltas=(mesh.field("e", 1) / 100).astype(np.float32),
        eye_centers=((np.stack([left.center, right.center]) - EAR_CENTER) / 100).astype(np.float32),
        eye_weight=mesh.field("eyes", 1).astype(np.float32),
        head_weight=mesh.field("head").astype(np.float32),
        neck_pivot=((NECK_PIVOT - EAR_CENTER) / 100).astype(np.float32),
        regions={k: v.astype(np.int32) for k, v in mesh.regions.items()},
        landmark_vertices=np.arange(478, dtype=np.int32),
    )
    people = {"identity_deltas": mesh.field("i", 1) / 100,
              "identity_eye_deltas": np.stack([left.drift, right.drift], 1) / 100}  # fmt: skip
    return rig, people


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the shipped head")
    parser.add_argument("ict", type=Path, help="ict_facekit.npz")
    parser.add_argument("landmarker", type=Path, help="face_landmarker.task")
    parser.add_argument("--output", type=Path, default=Path("assets/head/visavis_head.safetensors"))
    parser.add_argument("--views", type=int, default=400, help="random faces to learn from, besides each weight alone")
    options = parser.parse_args()

    ict = IctHead(options.ict)
    studio = Studio(ict, options.landmarker)
    corners, bary, mirror = attach(studio)
    views = training_views(studio, options.views)
    basis, offset, errors = expression_basis(studio, views, corners, bary, mirror)
    rig, people = assemble(ict, corners, bary, basis, offset)
    metadata = {
        "format": "visavis-head 1",
        "credit": "Shape, identities and expressions from ICT-FaceKit, MIT licence, (c) 2020 USC Institute for "
        "Creative Technologies; face topology and landmarks from MediaPipe, Apache-2.0, Google",
        "landmark_rms_mm_held_out": json.dumps({k: round(10 * v, 2) for k, v in errors.items()}),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = options.output.with_suffix(".tmp")
    save_file(rig.to_tensors() | {k: v.astype(np.float16) for k, v in people.items()}, temporary, metadata)
    temporary.replace(options.output)
    print(f"{options.output}: {len(rig.neutral)} vertices, {len(rig.triangles)} triangles; {metadata}")


if __name__ == "__main__":
    main()
