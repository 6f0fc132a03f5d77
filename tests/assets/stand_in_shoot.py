"""Small shoots of the stand-in, for tests of what reads them, and their exact track."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from assets.performer.shoot.motion import Score, head_motion
from assets.performer.shoot.plans import CameraPlace, Plan
from assets.performer.shoot.pool import WorkerSetup
from assets.performer.shoot.runner import Material, shoot
from models.arkit import ARKIT_INDEX, HeadState
from models.camera import head_crop
from models.shoot_file import Shoot
from models.track_file import Mattes, Track, VideoSource
from tests.assets.stand_in import StandIn

FRONT_AND_SIDES = (CameraPlace(0.0, 0.0), CameraPlace(30.0, 0.0), CameraPlace(-15.0, 15.0))
MOVING = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft", "mouthPucker")


def moving_states(count: int) -> tuple[HeadState, ...]:
    """A few weights that move each in its own time, some gaze, and a person's head motion."""
    t = np.arange(count)
    states = []
    for i, pose in enumerate(head_motion(t / 4, 5)):
        expression = np.zeros(52, np.float32)
        for k, name in enumerate(MOVING):
            expression[ARKIT_INDEX[name]] = 0.35 + 0.35 * np.sin(0.7 * i + 2 * k)
        gaze = np.array([0.2, 0.05, 0.2, 0.05], np.float32) * np.float32(np.sin(i))
        states.append(HeadState(expression, gaze, pose))
    return tuple(states)


def film_stand_in(folder: Path, moments: int = 12, size: int = 96, pictures: bool = True) -> Shoot:
    """Twelve moments from three cameras."""
    plan = Plan("stand-in", moments, 30, size, 16, 3, FRONT_AND_SIDES)
    performer = StandIn(folder / "w")
    material = Material(performer, performer.landmarks, Score(moving_states(moments), 30, True), {})
    setup = WorkerSetup(sys.executable, "tests.assets.stand_in:StandIn", {}, folder / ".scratch")
    return shoot(plan, material, setup, folder / "shoot", 1, lambda *_: None, pictures)


def exact_track(made: Shoot) -> Track:
    """The first camera's pictures as a track without any error."""
    view, rig = made.cameras[0], StandIn(made.folder.parent / "w").rig
    camera, count = view.camera, len(made)
    poses = [view.T_world_camera.inverse() @ made.head(i).T_world_head for i in range(count)]
    crops = [head_crop(camera, p.position, 64) for p in poses]
    side = min(64, camera.width)
    mattes = [np.asarray(cv2.resize(made.matte(i, view), (side, side)), np.uint8) for i in range(count)]
    landmarks = np.stack([view.project(made.landmarks(i))[:, :2] for i in range(count)])
    return Track(
        video=VideoSource("shoot.mp4", "/nowhere/shoot.mp4", 1, "0" * 64, 30.0, camera.width, camera.height, count),
        camera=camera,
        rig=rig,
        frame_index=np.arange(count, dtype=np.int32),
        time_ns=(np.arange(count) * 1e9 / 30).astype(np.int64),
        expression=made.expression,
        gaze=made.gaze,
        position=np.stack([p.position for p in poses]),
        orientation=np.stack([p.orientation for p in poses]),
        crop=np.array([[c.center_x, c.center_y, c.side] for c in crops], np.float32),
        landmarks=landmarks.astype(np.float32),
        error_percent=np.zeros(count, np.float32),
        segment=np.zeros(count, np.int32),
        mattes=Mattes.pack(mattes, side, side),
        plate=made.plate(view),
        statistics={"made": "exactly"},
    )
