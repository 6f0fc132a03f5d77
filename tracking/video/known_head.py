"""Follows a head that is known already, filmed by a camera that is known, through single pictures or a clip."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.errors import UserError
from models.head.rig import HeadRig
from tracking.video.fit import first_guess
from tracking.video.gaze import solve_gaze
from tracking.video.landmarks import FaceLandmarker
from tracking.video.observe import Progress, nearest_rotation
from tracking.video.personalise import face_shape
from tracking.video.solver import Target, solve_frames

NOISE = (3.0, 1.2, 0.6)  # how well the rig is taken to explain the landmarks, from coarse to fine (solver.NOISE)
ITERATIONS = 4


def follow_known_head(
    rig: HeadRig,
    camera: Camera,
    images: Iterable[NDArray[np.uint8]],
    landmarker: FaceLandmarker,
    fps: float | None,
    progress: Progress,
) -> tuple[list[HeadState], NDArray[np.int64]]:
    """(heads with T_camera_head, the indices of the pictures that they are of): pictures without a face are left out.

    images: rgb uint8 [H, W, 3] of `camera`; fps: of a clip, None for pictures that have nothing to do with each other.
    Of several faces the largest counts. Behind shut lids the gaze is taken from the pictures around. Raises UserError
    when no picture shows a face.
    """
    found: list[int] = []
    faces = []
    for i, image in enumerate(images):
        seen = landmarker.detect(image)
        if seen:
            found.append(i)
            faces.append(max(seen, key=lambda face: face.size))
        progress("landmarks", i + 1, 0)
    if not faces:
        raise UserError("no face is found in any of the pictures; is this a shoot of a head from the front?")
    index = np.array(found, np.int64)
    landmarks = np.stack([face.landmarks for face in faces])
    scores = np.stack([face.scores for face in faces])
    rotation = np.stack([nearest_rotation(face.transform[:3, :3]) for face in faces])
    if fps is None:
        segment = np.arange(len(index), dtype=np.int32)
        time_ns = index * 1_000_000_000
    else:
        segment = np.cumsum(np.diff(index, prepend=index[:1]) > 1).astype(np.int32)
        time_ns = np.round(index * (1e9 / fps)).astype(np.int64)
    shape = face_shape(rig)
    target = Target.of(landmarks, scores, segment, np.array([camera.cx, camera.cy]))
    state = first_guess(shape, target, rotation, camera.fx)
    for k, noise in enumerate(NOISE):
        state = solve_frames(shape, state, target, camera.fx, ITERATIONS, noise)
        progress("fit", k + 1, len(NOISE))
    gaze = solve_gaze(rig, state, target, landmarks, time_ns, camera.fx)
    return state.heads(gaze), index
