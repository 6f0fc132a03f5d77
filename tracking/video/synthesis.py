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

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.arkit import HeadState
from models.evaluation.alignment import FACE, placed_geometry
from models.evaluation.views import View, ViewStore
from models.geometry import Array, Pose
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork
from models.raster import Rasterizer
from models.shoot_file import Shoot, ShootCamera
from tracking.video.flow import pair_flow
from tracking.video.outline import vertex_normals
from tracking.video.personalise import face_shape
from tracking.video.skull import RIGID
from tracking.video.solver import HUBER, OUTER_CORNERS, FrameState, Pull, Target, pose_motion, project, solve_frames

ROUNDS = 2
NOISE = 0.6  # of the flow at a landmark, % of the inter-ocular distance (solver.NOISE)
ITERATIONS = 4
# The same of hair and ears, in which strands err alike, so that all their vertices count as so many independent ones.
LOFT_NOISE, LOFT_INDEPENDENT = 1.0, 20.0
FACING = 0.2  # cosine of the angle between normal and sight
DEPTH_STEPS = (0.006, 0.003)  # of the distance
TRUSTED_PX = 1.5  # disagreement of flow and reverse flow beyond which a landmark stays where the drawing has it


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
    shape, focal = face_shape(rig), camera.camera.fx
    centre = np.array([camera.camera.cx, camera.camera.cy])
    alone = np.arange(len(heads), dtype=np.int32)
    for turn in range(ROUNDS):
        poses = [h.T_world_head for h in heads]
        weights = np.stack([h.expression for h in heads]).astype(np.float64)
        state = FrameState(np.stack([p.rotation for p in poses]), np.stack([p.position for p in poses]), weights)
        drawn_at = project(shape, state, focal, centre)[0]
        geometry = placed_geometry(shoot, rig, heads, moments, camera.T_world_camera)
        store = ViewStore(shoot, geometry, network.config.size, rasterize)
        seen_at = np.zeros((len(heads), FACE + 10, 2))
        hessian, gradient = np.zeros((len(heads), 6, 6)), np.zeros((len(heads), 6))
        for k, head in enumerate(heads):
            mesh = rig.vertices(head.expression, head.gaze, head.T_world_head).astype(np.float64)
            loft = mesh[_facing(rig, mesh)]
            at = np.concatenate([drawn_at[k], camera.camera.project(loft)[:, :2]])
            moved, trusted = _flow(store, network, View(k, camera), at)
            seen_at[k, :FACE] = drawn_at[k] + moved[:FACE]
            # hair and ears: no expression moves them, and they are a hand's breadth behind the face
            percent = 100 / np.linalg.norm(np.subtract(*drawn_at[k, OUTER_CORNERS]))
            motion = pose_motion(loft, head.T_world_head.position, focal) * percent
            left = moved[FACE:] * percent
            weight = trusted[FACE:] * np.minimum(1, HUBER * LOFT_NOISE / np.maximum(np.linalg.norm(left, axis=1), 1e-9))
            weight *= LOFT_INDEPENDENT / (LOFT_NOISE**2 * max(len(loft), 1))
            hessian[k] = np.einsum("nai,n,naj->ij", motion, weight, motion)
            gradient[k] = np.einsum("nai,n,na->i", motion, weight, left)
            tick(turn * len(heads) + k + 1, ROUNDS * len(heads))
        target = Target.of(seen_at.astype(np.float32), weights.astype(np.float32), alone, centre)
        state = solve_frames(shape, state, target, focal, ITERATIONS, NOISE, Pull(hessian, gradient))
        heads = state.heads(np.stack([h.gaze for h in heads]))

    def difference(head: HeadState, k: int) -> float:
        geometry = placed_geometry(shoot, rig, [head], moments[k : k + 1], camera.T_world_camera)
        drawn = ViewStore(shoot, geometry, network.config.size, rasterize).draw(network, View(0, camera))
        return float(((drawn.g - drawn.truth).abs() * drawn.inside).mean())

    return [settled_depth(head, functools.partial(difference, k=k)) for k, head in enumerate(heads)]


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


def _flow(store: ViewStore, network: AvatarNetwork, view: View, at: Array) -> tuple[Array, NDArray[np.bool_]]:
    """From the drawing to the picture at points [n, 2]: [n, 2] pixels of the camera, 0 where it is not to be trusted
    [n]."""
    store.views.clear()
    drawn = store.draw(network, view)
    crop = drawn.sample.view.crop
    scale = crop.size / crop.side
    points = (at - [crop.left, crop.top]) * scale
    first, second = (_grey(picture) for picture in (drawn.g, drawn.truth))
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    moved, disagreement = pair_flow(method, first, second, points, points)
    trusted = disagreement < TRUSTED_PX
    return np.where(trusted[:, None], moved, 0.0) / scale, trusted


def _grey(picture: torch.Tensor) -> NDArray[np.uint8]:
    rgb = (picture.permute(1, 2, 0).float().clamp(0, 1) * 255 + 0.5).byte().contiguous().numpy()
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8)
