"""Ears, hair and nape, moved along their normals until the mesh's outline lies on the mattes' edge in every frame.

Seen from the front, ears, hair and nape share one outline, and `fit_silhouette` scales all that lies behind it alike.
When the head turns, each comes to the outline where another was: their edges show how far each of them stands off. What
no frame shows follows its neighbours and the other side, for heads are much the same left and right.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from models.camera import Camera
from models.head.rig import HeadRig
from tracking.video.solver import FACE, Floats

LEAST_TURN = np.deg2rad(10)  # between the frames turned farthest to either side; with less, depth is anyone's guess
REACH_M = 0.025  # the matte's edge is looked for so far from the mesh's
ALIKE = 0.8  # cosine of the angle between the two edges, below which the matte's is another thing's: a collar's
LIMIT_M = 0.02
FADE_M = 0.015  # offsets grow from nothing at the face's landmarks to all of theirs over so much
ROUNDS = 6
SAMPLES = np.array([1 / 6, 1 / 2, 5 / 6])  # along each of the mesh's edges that is on its outline
NEAR_PX = 2.0  # an edge is on the outline if the mesh ends so near to it
FINER = 2  # the mesh is drawn so many times as large as the matte, and averaged down
TOO_WIDE_PX = 0.49 / FINER  # OpenCV fills every pixel that a triangle touches
HUBER = 1.5  # in robust standard deviations: beyond it (strands, a collar after all) a sample pulls with constant force
LEAST_SPREAD_M = 2e-3  # of these: where all else fits to a hair's breadth, an ear that does not is still no outlier
# Standard deviations in metres: of an outline's sample (neighbouring ones and frames err alike), of an offset, of an
# offset from its neighbours' mean, and of the difference between left and right.
NOISE, OFFSET, BEND, ASYMMETRY = 6e-3, 2e-2, 5e-3, 8e-3
Indices = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Skin:
    """triangles: [T, 3]; edges: [E, 2] the vertices of edges between two triangles, faces: [E, 2] which these are;
    step: [V, 3] head frame, where an offset of 1 m takes each vertex: its normal, shorter near face and torso."""

    triangles: NDArray[np.int32]
    edges: Indices
    faces: Indices
    step: Floats


def evenly_turned(rotation: Floats, count: int) -> Indices:
    """At most `count` frames of rotation [N, 3, 3] (T_camera_head), spread evenly over the yaw that the clip reaches: a
    clip of much talk and one glance aside shows ears in that glance."""
    yaw = _yaw(rotation)
    wanted = np.linspace(yaw.min(), yaw.max(), count)
    return np.unique([int(np.abs(yaw - w).argmin()) for w in wanted])


def fit_outline(
    rig: HeadRig, camera: Camera, vertices: list[Floats], rotation: Floats, mattes: list[NDArray]
) -> HeadRig:
    """The rig with the loft behind the face moved along its normals, by LIMIT_M at most.

    vertices: per frame, the mesh [V, 3] in the camera frame; rotation: [n, 3, 3] of T_camera_head; mattes: uint8 [h, w]
    of the whole frame at any one scale. Returns the rig unchanged when the head hardly turns or no edge is found.
    """
    if not mattes or np.ptp(_yaw(rotation)) < LEAST_TURN:
        return rig
    skin = _skin(rig)
    free = np.flatnonzero(skin.step.any(axis=1))
    prior = _prior(rig, skin, free)
    # what the torso holds of a vertex does not turn with the head (HeadRig.vertices)
    held = 1 - rig.head_weight[:, None].astype(np.float64)
    steps = [(1 - held) * (skin.step @ turn.T) + held * skin.step for turn in rotation]
    offset = np.zeros(len(rig.neutral))
    for _ in range(ROUNDS):
        designs: list[Floats] = []
        gaps: list[Floats] = []
        for mesh, step, matte in zip(vertices, steps, mattes, strict=True):
            design, gap = _outline_rows(mesh + offset[:, None] * step, step, skin, camera, matte)
            designs.append(design[:, free])
            gaps.append(gap + design @ offset)  # of the whole offset, not only of this round's
        design, gap = np.concatenate(designs), np.concatenate(gaps)
        if not len(gap):
            return rig
        left = np.abs(gap - design @ offset[free])
        limit = HUBER * max(1.4826 * float(np.median(left)), LEAST_SPREAD_M)
        weight = limit / np.maximum(left, limit) / NOISE**2
        normal = design.T @ (weight[:, None] * design) + prior
        offset[free] = np.clip(np.linalg.solve(normal, design.T @ (weight * gap)), -LIMIT_M, LIMIT_M)
    return dataclasses.replace(rig, neutral=rig.neutral + (offset[:, None] * skin.step).astype(np.float32))


def _yaw(rotation: Floats) -> Floats:
    """[n] radians by which the head looks to the side of the camera's axis."""
    return np.arcsin(np.clip(rotation[:, 0, 2], -1, 1))


def vertex_normals(mesh: Floats, triangles: NDArray[np.int32]) -> Floats:
    """[V, 3] unit normals of a mesh [V, 3], its triangles weighted by their areas."""
    a, b, c = (mesh[triangles[:, k]] for k in range(3))
    normals = np.zeros_like(mesh)
    for k in range(3):
        np.add.at(normals, triangles[:, k], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _skin(rig: HeadRig) -> _Skin:
    triangles = rig.triangles
    normals = vertex_normals(rig.neutral.astype(np.float64), triangles)

    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    order = np.lexsort((sides[:, 1], sides[:, 0]))
    twice = np.flatnonzero((np.diff(sides[order], axis=0) == 0).all(axis=1))
    first, second = order[twice], order[twice + 1]

    # the lower neck is clothes, whose place follows the torso's, which the clip's fit does not know
    share = np.zeros(len(normals))
    loft = np.concatenate([rig.regions["cranium"], rig.regions["neck"]])
    from_face = KDTree(rig.neutral[rig.landmark_vertices[:FACE]]).query(rig.neutral[loft])[0]
    share[loft] = np.clip(from_face / FADE_M, 0, 1) * np.clip((rig.head_weight[loft] - 0.5) / 0.4, 0, 1)
    faces = np.stack([first, second], axis=1) % len(triangles)
    return _Skin(triangles, sides[first].astype(np.int64), faces, share[:, None] * normals)


def _prior(rig: HeadRig, skin: _Skin, free: Indices) -> Floats:
    """[free, free] the normal matrix of what is expected of offsets before a picture is seen."""
    row = np.full(len(rig.neutral), -1)
    row[free] = np.arange(len(free))
    one, other = row[skin.edges[(row[skin.edges] >= 0).all(axis=1)]].T
    near = np.zeros((len(free), len(free)))
    near[one, other] = near[other, one] = 1
    bend = np.eye(len(free)) - near / np.maximum(near.sum(axis=1, keepdims=True), 1)
    mirrored = KDTree(rig.neutral[free]).query(rig.neutral[free] * np.array([-1, 1, 1]))[1]
    uneven = np.eye(len(free)) - np.eye(len(free))[mirrored]
    return np.eye(len(free)) / OFFSET**2 + bend.T @ bend / BEND**2 + uneven.T @ uneven / ASYMMETRY**2


def _outline_rows(mesh: Floats, step: Floats, skin: _Skin, camera: Camera, matte: NDArray) -> tuple[Floats, Floats]:
    """What the outline of mesh [V, 3] says, both in the camera frame as step [V, 3]: how far each vertex's offset would
    move its samples outwards [samples, V], and how far outwards the matte's edge lies [samples], metres."""
    shrink = matte.shape[1] / camera.width
    drawn = camera.project(mesh)
    pixels, depth = drawn[:, :2] * shrink, drawn[:, 2]
    motion = (camera.project(mesh + 1e-3 * step)[:, :2] * shrink - pixels) / 1e-3  # pixels per metre of offset
    corners = pixels[skin.triangles]

    ab, ac = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    facing = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0] < 0  # counter-clockwise, with rows that run down
    rim = np.flatnonzero((facing[skin.faces].sum(axis=1) == 1) & step[skin.edges].any(axis=(1, 2)))
    ends = skin.edges[rim]
    along = pixels[ends[:, 1]] - pixels[ends[:, 0]]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    # both triangles of an edge on the outline lie on its inner side
    inward = corners[skin.faces[rim]].mean(axis=(1, 2)) - pixels[ends[:, 0]]
    normal *= -np.sign((inward * normal).sum(axis=1, keepdims=True))

    share = np.tile(np.stack([1 - SAMPLES, SAMPLES], axis=1), (len(rim), 1))  # [samples, 2] of an edge's two ends
    ends, normal = np.repeat(ends, len(SAMPLES), axis=0), np.repeat(normal, len(SAMPLES), axis=0)
    point = (share[..., None] * pixels[ends]).sum(axis=1)
    per_metre = camera.fx * shrink / (share * depth[ends]).sum(axis=1)
    # edges may turn away a little before the outline: the mesh's end, too, is read from a picture
    own = _edge(drawn_matte(corners[facing], matte.shape), point, normal, np.full(len(point), NEAR_PX)) - TOO_WIDE_PX
    gap = _edge(matte, point, normal, REACH_M * per_metre) - own
    kept = np.flatnonzero(np.isfinite(gap))
    outwards = share * (motion[ends] * normal[:, None]).sum(axis=2) / per_metre[:, None]
    design = np.zeros((len(kept), len(mesh)))
    for k in range(2):
        design[np.arange(len(kept)), ends[kept, k]] = outwards[kept, k]
    return design, (gap / per_metre)[kept]


def drawn_matte(corners: Floats, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A matte of `shape` of triangles [T, 3, 2], in its pixels."""
    height, width = shape
    large = np.zeros((FINER * height, FINER * width), np.uint8)
    for triangle in ((FINER * corners - 0.5) * 16).round().astype(np.int32):
        cv2.fillConvexPoly(large, triangle, 255, cv2.LINE_8, 4)
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _edge(matte: NDArray, point: Floats, normal: Floats, reach: Floats) -> Floats:
    """[n] pixels from points [n, 2] along outward unit normals [n, 2] to the nearest edge of the matte that looks the
    same way; nan where none is within `reach` [n] pixels. The picture's border, which cuts heads off, is no edge."""
    way = np.linspace(-1, 1, 129)
    soft = cv2.GaussianBlur(matte, (0, 0), 1).astype(np.float64) / 255 - 0.5
    value = _at(soft, point[:, None] + normal[:, None] * (reach[:, None] * way)[..., None])  # [n, 129]
    leaves = (value[:, :-1] >= 0) & (value[:, 1:] < 0)  # never where nan
    nearest = np.where(leaves, np.abs(way[:-1] + way[1:]), np.inf).argmin(axis=1)
    row = np.arange(len(point))
    before, after = value[row, nearest], value[row, nearest + 1]
    fall = np.where(leaves.any(axis=1), before - after, np.nan)
    edge = reach * (way[nearest] + (way[1] - way[0]) * before / fall)
    found = point + edge[:, None] * normal
    slope = np.stack([_at(np.asarray(np.gradient(soft, axis=axis)), found) for axis in (1, 0)], axis=-1)
    alike = -(slope * normal).sum(axis=1) > ALIKE * np.linalg.norm(slope, axis=1)
    return np.where(alike & np.isfinite(_at(soft, point)), edge, np.nan)


def _at(image: NDArray, points: Floats) -> Floats:
    """Values of image [h, w] at pixel coordinates [..., 2], bilinear; nan outside and where a coordinate is nan."""
    x, y = np.moveaxis(np.nan_to_num(points, nan=-9.0), -1, 0)
    return map_coordinates(image.astype(np.float64), [y - 0.5, x - 0.5], order=1, cval=np.nan)
