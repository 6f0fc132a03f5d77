"""Heads in pictures, refined until the avatar's own drawing of them lies on the picture (analysis by synthesis).

A landmark detector errs by a percent of the face's size, in another way in each picture: half a centimetre of depth at
arm's length, which from 30 degrees aside is seen as a shift. The drawing is made of the same skin as the picture, so
that optical flow between the two is far finer. Then what is rigid says where the head is (tracking.video.direct), and
with the head held there flow says what the face does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.arkit import HeadState
from models.camera import Camera
from models.evaluation.alignment import FACE, placed_geometry
from models.evaluation.views import View, ViewStore
from models.geometry import Array, Pose
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork, composite
from models.network.harmonics import view_direction
from models.raster import Rasterizer
from models.shoot_file import Shoot, ShootCamera
from models.training.frames import Sample, stack_pictures, stack_views
from tracking.video.direct import Drawing, aligned, rigidity
from tracking.video.flow import local_contrast, pair_flow
from tracking.video.irises import looked
from tracking.video.personalise import face_shape
from tracking.video.solver import FrameState, Pull, Target, solve_frames

ROUNDS, STEPS = 3, 4
NOISE = 0.6  # of the flow at a landmark, % of the inter-ocular distance (solver.NOISE)
ITERATIONS = 4
HELD = np.diag(np.r_[np.full(3, 1e8), np.full(3, 1e10)])  # a pose that no landmark moves: 1e-4 radians, 1e-5 metres
TRUSTED_PX = 1.5  # disagreement of flow and reverse flow beyond which a landmark stays where the drawing has it


class Seen(NamedTuple):
    """A picture's head. rotation [3, 3], position [3]: of T_camera_head; landmarks [468, 2]: where the picture shows
    what the drawing of it shows at the face's landmarks, in pixels of the camera."""

    rotation: Array
    position: Array
    landmarks: Array


class Still(NamedTuple):
    """What the networks are told of every picture alike: harmonics [1, 9], expression [1, 52]. From these they have
    learned in which frames of their clip the track was wrong, and draw those where the picture has them. Told the same
    of all, the mesh alone says where things are."""

    harmonics: Tensor
    expression: Tensor


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
    """heads: T_camera_head each, as found in `camera`'s pictures of these moments."""
    network.eval()
    shape, alone, rigid = face_shape(rig), np.arange(len(heads), dtype=np.int32), rigidity(rig)
    calm = still_of(network, [head.T_world_head for head in heads], np.zeros(52))
    given = np.stack([head.expression for head in heads])

    def drawn(head: HeadState, k: int, still: Still | None) -> Drawing:
        geometry = placed_geometry(shoot, rig, [head], moments[k : k + 1], camera.T_world_camera)
        store = ViewStore(shoot, geometry, network.config.size, rasterize)
        return draw_told(network, store.view(View(0, camera)), still)

    for turn in range(ROUNDS):
        seen: list[Seen] = []
        for k, head in enumerate(heads):
            if turn > 0:
                head = aligned(rigid, camera.camera, head, functools.partial(drawn, k=k, still=calm), STEPS)
            seen.append(where_seen(rig, camera.camera, head, drawn(head, k, None)))
            tick(turn * len(heads) + k + 1, (ROUNDS + 1) * len(heads))
        target = target_of(seen, given, alone, camera.camera)
        state = state_of(seen, np.stack([head.expression for head in heads]))
        pull = hold(len(heads)) if turn > 0 else None
        state = solve_frames(shape, state, target, camera.camera.fx, ITERATIONS, NOISE, pull)
        heads = state.heads(np.stack([h.gaze for h in heads]))
    for k, head in enumerate(heads):  # lids are where they are now
        heads[k] = looked(rig, camera.camera, head, functools.partial(drawn, k=k, still=calm))
        tick(ROUNDS * len(heads) + k + 1, (ROUNDS + 1) * len(heads))
    return heads


def still_of(network: AvatarNetwork, poses: Sequence[Pose], expression: Array) -> Still:
    """poses: T_camera_head, of which the mean direction is taken; expression [52]."""
    mean = np.mean([view_direction(pose, np.zeros(3)) for pose in poses], axis=0)
    direction = torch.from_numpy((mean / np.linalg.norm(mean))[None].astype(np.float32))
    return Still(network.harmonics(direction), torch.from_numpy(expression[None].astype(np.float32)))


def draw_told(network: AvatarNetwork, sample: Sample, still: Still | None) -> Drawing:
    """A sample as G draws it that is told `still` of it, if anything else than what is so."""
    pictures, view = stack_pictures([sample]), stack_views([sample], network.harmonics)
    if still is not None:
        view = view._replace(sh=still.harmonics, state=torch.cat([still.expression, view.state[:, 52:]], dim=1))
    output = network.draw(view, network.sample(view)).output
    drawn = composite(output.rgb.float(), output.mask.float(), pictures.plate)
    return Drawing(drawn[0], pictures.image[0], sample)


def where_seen(rig: HeadRig, camera: Camera, head: HeadState, drawing: Drawing, contrast: bool = False) -> Seen:
    """By the flow from the drawing of `head` (T_camera_head) to the picture; where it is not to be trusted, landmarks
    stay where the drawing has them. contrast: flow of local contrast (tracking.video.flow), for a drawing in another
    light."""
    index = rig.landmark_vertices[:FACE]
    mesh = rig.vertices(head.expression, head.gaze, head.T_world_head)[index].astype(np.float64)
    at = camera.project(mesh)[:, :2]
    pose = head.T_world_head
    return Seen(pose.rotation, pose.position, at + _flow(drawing, at, contrast))


def target_of(seen: list[Seen], scores: NDArray[np.floating], segment: NDArray[np.int32], camera: Camera) -> Target:
    """For solve_frames: what was seen of N frames. scores [N, 52]: the weights that theirs stay near to."""
    landmarks = np.stack([one.landmarks for one in seen]).astype(np.float32)
    return Target.of(landmarks, scores.astype(np.float32), segment, np.array([camera.cx, camera.cy]))


def state_of(seen: list[Seen], weights: NDArray[np.floating]) -> FrameState:
    """N frames' poses as they were seen, with weights [N, 52]."""
    rotation, position = (np.stack([getattr(one, name) for one in seen]) for name in ("rotation", "position"))
    return FrameState(rotation, position, weights.astype(np.float64))


def hold(count: int) -> Pull:
    """For solve_frames: the poses of so many frames stay what they are."""
    return Pull(np.tile(HELD, (count, 1, 1)), np.zeros((count, 6)))


def _flow(drawing: Drawing, at: Array, contrast: bool) -> Array:
    """From the drawing to the picture at points [n, 2]: [n, 2] pixels of the camera, 0 where not to be trusted."""
    crop = drawing.sample.view.crop
    scale = crop.size / crop.side
    points = (at - [crop.left, crop.top]) * scale
    first, second = _grey(drawing.drawn), _grey(drawing.picture)
    if contrast:
        first, second = local_contrast(first), local_contrast(second)
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    moved, disagreement = pair_flow(method, first, second, points, points)
    return np.where((disagreement < TRUSTED_PX)[:, None], moved, 0.0) / scale


def _grey(picture: Tensor) -> NDArray[np.uint8]:
    rgb = (picture.permute(1, 2, 0).float().clamp(0, 1) * 255 + 0.5).byte().contiguous().numpy()
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8)
