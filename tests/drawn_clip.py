"""A clip that an avatar drew itself of its own performance, and its exact track: what is to be found again is known to
the last pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.arkit import HeadState
from models.avatar_file import Avatar
from models.evaluation.offline import draw_frame
from models.files import file_sha256
from models.geometry import Pose, matrix_to_quaternion
from models.track_file import Mattes, Track, VideoSource
from models.training.frames import FrameStore
from models.video_frames import read_frames
from models.video_write import write_video
from renderer.raster import make_rasterizer
from tracking.video.stabilise import stabilised_crops

FPS = 30.0
DISTANCE = 0.6 / 636.4  # metres per pixel of focal length: the head about as large as it was filmed


def film_avatar(folder: Path, avatar: Avatar, frames: int) -> Track:
    """Writes drawn.mp4 into `folder`; the track of its `frames` frames from the performance's begin."""
    camera, some = avatar.camera, slice(0, frames)
    shot = avatar.performance
    rest = Pose(np.array([0.0, 0.0, -DISTANCE * camera.fx]), np.array([0.0, 0.0, 0.0, 1.0]))
    poses = [rest @ Pose(*of) for of in zip(shot.position[some], shot.orientation[some], strict=True)]
    position = np.stack([pose.position for pose in poses])
    segment = np.zeros(frames, np.int32)
    path = folder / "drawn.mp4"
    blank = [np.full((camera.height, camera.width, 3), 128, np.uint8)] * frames
    track = Track(
        video=_filmed(path, blank),
        camera=camera,
        rig=avatar.rig,
        frame_index=np.arange(frames, dtype=np.int32),
        time_ns=np.round(np.arange(frames) * 1e9 / FPS).astype(np.int64),
        expression=shot.expression[some],
        gaze=shot.gaze[some],
        position=position,
        orientation=np.stack([pose.orientation for pose in poses]),
        crop=stabilised_crops(camera, position, segment),
        landmarks=np.zeros((frames, 478, 2), np.float32),
        error_percent=np.zeros(frames, np.float32),
        segment=segment,
        mattes=Mattes.pack([blank[0][..., 0]] * frames, camera.width, camera.height),
        plate=blank[0],
        statistics={"made": "exactly"},
    )
    marks = [camera.project(track.vertices(k)[avatar.rig.landmark_vertices].astype(np.float64)) for k in range(frames)]
    track = replace(track, landmarks=np.stack(marks)[..., :2].astype(np.float32))
    store = FrameStore(track, path, avatar.network.config.size, make_rasterizer())
    pictures = []
    for k in range(frames):
        with torch.inference_mode():
            drawn = draw_frame(avatar.network.eval(), store, k).g
        g = (drawn.permute(1, 2, 0).clamp(0, 1) * 255 + 0.5).byte().numpy()
        back = cv2.invertAffineTransform(track.crop_of(k, store.size).cv2_affine())
        size = (camera.width, camera.height)
        pictures.append(np.asarray(cv2.warpAffine(g, back, size, borderValue=(128, 128, 128)), np.uint8))
    return replace(track, video=_filmed(path, pictures))


def _filmed(path: Path, pictures: list[NDArray[np.uint8]]) -> VideoSource:
    write_video(path, pictures, FPS)
    height, width = pictures[0].shape[:2]
    count = sum(1 for _ in read_frames(path))
    return VideoSource(path.name, str(path), path.stat().st_size, file_sha256(path), FPS, width, height, count)


def put_wrong(track: Track, seed: int = 0) -> Track:
    """As tracking errs: a slow drift of a degree and some millimetres, more in depth, and half of the expression."""
    rng, n = np.random.default_rng(seed), len(track)
    turns, shifts = rng.choice([-1, 1], (2, 3)) * np.array([np.full(3, np.radians(0.8)), [0.001, 0.001, 0.006]])
    sway = np.cos(2 * np.pi * np.arange(n) / n)[:, None]  # the mean over the clip is right
    moved = Rotation.from_rotvec(sway * turns).as_matrix() @ np.stack([track.pose(k).rotation for k in range(n)])
    return replace(
        track,
        position=track.position + sway * shifts,
        orientation=np.stack([matrix_to_quaternion(one) for one in moved]),
        expression=0.5 * track.expression,
    )


def apart(a: HeadState, b: HeadState) -> tuple[float, float, float]:
    """Degrees, and metres across and along the sight, between two heads in a camera's frame."""
    between = a.T_world_head.rotation.T @ b.T_world_head.rotation
    angle = np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)))
    shift = a.T_world_head.position - b.T_world_head.position
    return float(angle), float(np.linalg.norm(shift[:2])), float(abs(shift[2]))
