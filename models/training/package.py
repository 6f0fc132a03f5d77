"""From a finished training to an avatar file: manifest, performance, background, thumbnail."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_NAMES
from models.avatar_file import MAX_PLATE_SIDE, Avatar
from models.camera import Camera
from models.geometry import Pose, euler_from_matrix
from models.network.avatar_network import AvatarNetwork, count_parameters
from models.network.harmonics import view_direction
from models.performance import Performance
from models.track_file import Track

THUMBNAIL = 96  # pixels; stored in the manifest, so it must stay small
MAX_PERFORMANCE_FRAMES = 1800


def rest_pose(track: Track) -> Pose:
    """T_camera_rest: upright, facing the camera, where the head mostly was. Performances are relative to it."""
    return Pose(np.median(track.position, axis=0))


def performance_of(track: Track) -> Performance:
    """What the head did in the video's longest uninterrupted run, relative to the rest pose."""
    runs, counts = np.unique(track.segment, return_counts=True)
    chosen = np.flatnonzero(track.segment == runs[counts.argmax()])[:MAX_PERFORMANCE_FRAMES]
    T_rest_camera = rest_pose(track).inverse()
    poses = [T_rest_camera @ track.pose(int(i)) for i in chosen]
    return Performance(
        track.time_ns[chosen].copy(),
        track.expression[chosen].copy(),
        track.gaze[chosen].copy(),
        np.stack([p.position for p in poses]),
        np.stack([p.orientation for p in poses]),
    )


def seen_ranges(track: Track) -> dict[str, Any]:
    """From where the head was seen: 1st and 99th percentiles in degrees of the view direction in the head's frame (yaw
    positive: from the subject's left; pitch positive: from above) and of the head's roll; and of each expression."""
    directions = np.stack([view_direction(track.pose(i), np.zeros(3)) for i in range(len(track))])
    rolls = [euler_from_matrix(track.pose(i).rotation)[2] for i in range(len(track))]
    yaw = np.arctan2(directions[:, 0], directions[:, 2])
    pitch = np.arcsin(np.clip(directions[:, 1], -1, 1))
    low, high = np.degrees(np.percentile(np.stack([yaw, pitch, rolls], axis=1), [1, 99], axis=0))
    ranges: dict[str, Any] = {
        f"{name}_degrees": [round(float(a), 1), round(float(b), 1)]
        for name, a, b in zip(("view_yaw", "view_pitch", "roll"), low, high, strict=True)
    }
    top = np.percentile(track.expression, 99, axis=0)
    ranges["expression_p99"] = {n: round(float(v), 2) for n, v in zip(ARKIT_NAMES, top, strict=True) if v >= 0.01}
    return ranges


def encode_thumbnail(rgb: NDArray[np.uint8]) -> str:
    """PNG in base64 of [H, W, 3] uint8, scaled to THUMBNAIL pixels."""
    small = cv2.resize(rgb, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    ok, data = cv2.imencode(".png", np.ascontiguousarray(small[..., ::-1]))
    assert ok
    return base64.b64encode(data.tobytes()).decode("ascii")


def make_avatar(
    network: AvatarNetwork, track: Track, name: str, picture: NDArray[np.uint8], details: dict[str, Any]
) -> Avatar:
    """`picture`: a drawn frame for the thumbnail; details: training, figures and credits for the manifest."""
    camera, plate = track.camera, track.plate
    factor = min(1.0, MAX_PLATE_SIDE / max(plate.shape[:2]), 640 / max(plate.shape[:2]))
    if factor < 1:
        w, h = round(camera.width * factor), round(camera.height * factor)
        plate = np.asarray(cv2.resize(plate, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
        fx, fy = w / camera.width, h / camera.height
        camera = Camera(camera.fx * fx, camera.fy * fy, camera.cx * fx, camera.cy * fy, w, h)
    rest = rest_pose(track)
    manifest = {
        "name": name,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "size": network.config.size,
        "head": {"model": track.rig.name, "vertices": len(track.rig.neutral), "triangles": len(track.rig.triangles)},
        "parameters": count_parameters(network),
        "rest_position_m": [round(float(v), 4) for v in rest.position],
        "ranges": seen_ranges(track),
        "thumbnail": encode_thumbnail(picture),
        **details,
    }
    return Avatar(network, track.rig, performance_of(track), camera, np.ascontiguousarray(plate), manifest)
