"""Heads in pictures, refined until the avatar's own drawing of them lies on the picture (analysis by synthesis).

A landmark detector errs by a percent of the face's size, in another way in each picture: half a centimetre of depth at
arm's length, which from 30 degrees aside is seen as a shift. The drawing is made of the same skin as the picture, so
that optical flow between the two is far finer. Depth comes last, from the pictures' difference itself: how large a head
is shows best along its outline, where flow sees one side only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.arkit import HeadState
from models.camera import Camera, Crop
from models.evaluation.alignment import FACE, placed_geometry
from models.evaluation.views import View, ViewStore
from models.geometry import Array, Pose
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork
from models.raster import Rasterizer
from models.shoot_file import Shoot, ShootCamera
from tracking.video.flow import local_contrast, pair_flow
from tracking.video.outline import vertex_normals
from tracking.video.personalise import face_shape
from tracking.video.skull import RIGID
from tracking.video.solver import HUBER, OUTER_CORNERS, FrameState, Pull, Target, pose_motion, solve_frames

ROUNDS = 2
NOISE = 0.6  # of the flow at a landmark, % of the inter-ocular distance (solver.NOISE)
ITERATIONS = 4
# The same of hair and ears, in which strands err alike, so that all their vertices count as so many independent ones.
LOFT_NOISE, LOFT_INDEPENDENT = 1.0, 20.0
FACING = 0.2  # cosine of the angle between normal and sight
DEPTH_STEPS = (0.006, 0.003)  # of the distance
TRUSTED_PX = 1.5  # disagreement of flow and reverse flow beyond which a landmark stays where the drawing has it


class Seen(NamedTuple):
    """Where a picture shows what a drawing shows elsewhere. landmarks [468, 2]: the face's, in pixels of the camera;
    hessian [6, 6], gradient [6]: how hair and ears pull at the pose (solver.Pull)."""

    landmarks: Array
    hessian: Array
    gradient: Array


@torch.inference_mode()
def refine_heads(
    network: AvatarNetwork,
    rig: HeadRig,
    shoot: Shoot,
    camera: ShootCamera,
    heads: list[HeadState],
    moments: NDArray[np.int64],
    rasterize: Rasterizer,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> list[HeadState]:
    """heads: T_camera_head each, as found in `camera`'s pictures of these moments. Gaze is left as it is."""
    network.eval()
    shape, alone = face_shape(rig), np.arange(len(heads), dtype=np.int32)
    for turn in range(ROUNDS):
        geometry = placed_geometry(shoot, rig, heads, moments, camera.T_world_camera)
        store = ViewStore(shoot, geometry, network.config.size, rasterize)
        seen: list[Seen] = []
        for k, head in enumerate(heads):
            store.views.clear()
            drawn = store.draw(network, View(k, camera))
            seen.append(where_seen(rig, camera.camera, head, drawn.g, drawn.truth, drawn.sample.view.crop))
            tick(turn * len(heads) + k + 1, ROUNDS * len(heads))
        state = state_of(heads)
        target, pull = evidence(seen, state.weights, alone, camera.camera)
        state = solve_frames(shape, state, target, camera.camera.fx, ITERATIONS, NOISE, pull)
        heads = state.heads(np.stack([h.gaze for h in heads]))

    def difference(head: HeadState, k: int) -> float:
        geometry = placed_geometry(shoot, rig, [head], moments[k : k + 1], camera.T_world_camera)
        drawn = ViewStore(shoot, geometry, network.config.size, rasterize).draw(network, View(0, camera))
        return float(((drawn.g - drawn.truth).abs() * drawn.inside).mean())

    return [settled_depth(head, functools.partial(difference, k=k)) for k, head in enumerate(heads)]


def state_of(heads: list[HeadState]) -> FrameState:
    poses = [head.T_world_head for head in heads]
    weights = np.stack([head.expression for head in heads]).astype(np.float64)
    return FrameState(np.stack([p.rotation for p in poses]), np.stack([p.position for p in poses]), weights)


def where_seen(
    rig: HeadRig, camera: Camera, head: HeadState, drawing: Tensor, picture: Tensor, crop: Crop, contrast: bool = False
) -> Seen:
    """By the flow from the drawing of `head` (T_camera_head) to the picture, [3, S, S] of `crop` each; where it is not
    to be trusted, things stay where the drawing has them. contrast: flow of local contrast (tracking.video.flow),
    for a drawing in another light."""
    mesh = rig.vertices(head.expression, head.gaze, head.T_world_head).astype(np.float64)
    loft = mesh[_facing(rig, mesh)]
    at = camera.project(np.concatenate([mesh[rig.landmark_vertices[:FACE]], loft]))[:, :2]
    moved, trusted = _flow(drawing, picture, crop, at, contrast)
    # hair and ears: no expression moves them, and they are a hand's breadth behind the face
    percent = 100 / np.linalg.norm(np.subtract(*at[list(OUTER_CORNERS)]))
    motion = pose_motion(loft, head.T_world_head.position, camera.fx) * percent
    left = moved[FACE:] * percent
    weight = trusted[FACE:] * np.minimum(1, HUBER * LOFT_NOISE / np.maximum(np.linalg.norm(left, axis=1), 1e-9))
    weight *= LOFT_INDEPENDENT / (LOFT_NOISE**2 * max(len(loft), 1))
    hessian = np.einsum("nai,n,naj->ij", motion, weight, motion)
    return Seen(at[:FACE] + moved[:FACE], hessian, np.einsum("nai,n,na->i", motion, weight, left))


def evidence(seen: list[Seen], scores: Array, segment: NDArray[np.int32], camera: Camera) -> tuple[Target, Pull]:
    """For solve_frames: what was seen of N frames. scores [N, 52]: the weights that theirs stay near to."""
    landmarks = np.stack([one.landmarks for one in seen]).astype(np.float32)
    target = Target.of(landmarks, scores.astype(np.float32), segment, np.array([camera.cx, camera.cy]))
    return target, Pull(np.stack([one.hessian for one in seen]), np.stack([one.gradient for one in seen]))


def settled_depth(head: HeadState, difference: Callable[[HeadState], float]) -> HeadState:
    """The head moved along the sight to where `difference`, of its drawing and the picture, is least: by parabolas."""

    def at(distance: float) -> HeadState:
        pose = head.T_world_head
        return replace(head, T_world_head=Pose(pose.position * distance, pose.orientation))

    best = (difference(head), 1.0)
    for step in DEPTH_STEPS:
        middle, distance = best
        near, far = ((difference(at(d)), d) for d in (distance * (1 - step), distance * (1 + step)))
        best = min(best, near, far)
        if (curvature := near[0] + far[0] - 2 * middle) > 0:
            lowest = distance * (1 + step * float(np.clip((near[0] - far[0]) / (2 * curvature), -1.5, 1.5)))
            best = min(best, (difference(at(lowest)), lowest))
    return at(best[1])


def _facing(rig: HeadRig, mesh: Array) -> NDArray[np.int64]:
    """The vertices of hair, ears and skull that the torso does not hold and that look at the camera, in whose frame the
    mesh [V, 3] is."""
    facing = -(vertex_normals(mesh, rig.triangles) * mesh).sum(axis=1) > FACING * np.linalg.norm(mesh, axis=1)
    loft = rig.regions["cranium"]
    return loft[facing[loft] & (rig.head_weight[loft] > RIGID)].astype(np.int64)


def _flow(drawing: Tensor, picture: Tensor, crop: Crop, at: Array, contrast: bool) -> tuple[Array, NDArray[np.bool_]]:
    """From the drawing to the picture at points [n, 2]: [n, 2] pixels of the camera, 0 where it is not to be trusted
    [n]."""
    scale = crop.size / crop.side
    points = (at - [crop.left, crop.top]) * scale
    first, second = _grey(drawing), _grey(picture)
    if contrast:
        first, second = local_contrast(first), local_contrast(second)
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    moved, disagreement = pair_flow(method, first, second, points, points)
    trusted = disagreement < TRUSTED_PX
    return np.where(trusted[:, None], moved, 0.0) / scale, trusted


def _grey(picture: Tensor) -> NDArray[np.uint8]:
    rgb = (picture.permute(1, 2, 0).float().clamp(0, 1) * 255 + 0.5).byte().contiguous().numpy()
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8)
