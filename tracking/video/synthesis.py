"""Heads in pictures, refined until the avatar's own drawing of them lies on the picture (analysis by synthesis).

A landmark detector errs by a percent of the face's size, in another way in each picture: half a centimetre of depth at
arm's length, which from 30 degrees aside is seen as a shift. The drawing is made of the same skin as the picture, so
that optical flow between the two is far finer.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.arkit import HeadState
from models.evaluation.alignment import FACE, placed_geometry
from models.evaluation.views import View, ViewStore
from models.geometry import Array
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork
from models.raster import Rasterizer
from models.shoot_file import Shoot, ShootCamera
from tracking.video.flow import pair_flow
from tracking.video.personalise import face_shape
from tracking.video.solver import FrameState, Target, project, solve_frames

ROUNDS = 2
NOISE = 0.6  # of the flow at a landmark, % of the inter-ocular distance (solver.NOISE)
ITERATIONS = 4
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
        for k in range(len(heads)):
            seen_at[k, :FACE] = drawn_at[k] + _flow(store, network, View(k, camera), drawn_at[k])
            tick(turn * len(heads) + k + 1, ROUNDS * len(heads))
        target = Target.of(seen_at.astype(np.float32), weights.astype(np.float32), alone, centre)
        state = solve_frames(shape, state, target, focal, ITERATIONS, NOISE)
        heads = state.heads(np.stack([h.gaze for h in heads]))
    return heads


def _flow(store: ViewStore, network: AvatarNetwork, view: View, at: Array) -> Array:
    """[L, 2] pixels of the camera: from the drawing to the picture at the landmarks [L, 2]."""
    store.views.clear()
    drawn = store.draw(network, view)
    crop = drawn.sample.view.crop
    scale = crop.size / crop.side
    points = (at - [crop.left, crop.top]) * scale
    first, second = (_grey(picture) for picture in (drawn.g, drawn.truth))
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    moved, disagreement = pair_flow(method, first, second, points, points)
    return np.where(disagreement[:, None] < TRUSTED_PX, moved, 0.0) / scale


def _grey(picture: torch.Tensor) -> NDArray[np.uint8]:
    rgb = (picture.permute(1, 2, 0).float().clamp(0, 1) * 255 + 0.5).byte().contiguous().numpy()
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8)
