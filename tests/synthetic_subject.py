"""A subject whose truth is known: a painted ball of a head, drawn exactly, as a video and as its track."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from models.camera import Camera, head_crop
from models.files import file_sha256
from models.geometry import Pose, quaternion_from_euler
from models.head.protocol import REQUIRED_REGIONS
from models.head.rig import HeadRig
from models.raster import Rasterizer
from models.track_file import Mattes, Track, VideoSource
from renderer.raster import make_rasterizer


def ball_rig(rows: int = 20, columns: int = 28) -> HeadRig:
    """An ellipsoid of a head's size with one expression (jawOpen pulls the lower front down)."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    polar, around = np.pi * (1 - v), 2 * np.pi * (u - 0.5)  # u = 0.5 is the front, v = 1 the top
    points = np.stack(
        [0.075 * np.sin(polar) * np.sin(around), 0.11 * np.cos(polar), 0.09 * np.sin(polar) * np.cos(around)], -1
    )
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    neutral = points.reshape(-1, 3).astype(np.float32)
    n = len(neutral)
    deltas = np.zeros((52, n, 3), np.float32)
    low = np.clip(-neutral[:, 1] / 0.11, 0, 1) * (neutral[:, 2] > 0)
    deltas[17, :, 1] = -0.03 * low
    front = np.flatnonzero(neutral[:, 2] > 0.02)
    regions = {name: np.arange(4, dtype=np.int32) for name in REQUIRED_REGIONS}
    return HeadRig(
        name="ball",
        triangles=triangles,
        uv=np.stack([u, v], -1).reshape(-1, 2).astype(np.float32) * 0.9 + 0.05,
        neutral=neutral,
        expression_deltas=deltas,
        eye_centers=np.array([[0.03, 0.03, 0.07], [-0.03, 0.03, 0.07]], np.float32),
        eye_weight=np.zeros((2, n), np.float32),
        head_weight=np.ones(n, np.float32),
        neck_pivot=np.array([0, -0.1, -0.02], np.float32),
        regions=regions,
        landmark_vertices=np.resize(front, 478).astype(np.int32),
    )


def paint(uv: np.ndarray) -> np.ndarray:
    """Colours [..., 3] in 0..255 of the ball at uv [..., 2]: patches that change sharply."""
    u, v = uv[..., 0], uv[..., 1]
    red = 140 + 80 * np.sign(np.sin(40 * u) * np.sin(30 * v))
    green = 120 + 60 * np.sin(23 * u + 9 * v)
    blue = 110 + 70 * np.sign(np.sin(17 * v - 11 * u))
    return np.stack([red, green, blue], -1)


def film(folder: Path, frames: int = 90, side: int = 96, rasterize: Rasterizer | None = None) -> tuple[Track, Path]:
    """Writes ball.mp4 into `folder`; returns its exact track and the video's path."""
    rasterize = rasterize or make_rasterizer()
    rig, camera = ball_rig(), Camera(1.6 * side, 1.6 * side, side / 2, side / 2, side, side)
    t = np.arange(frames) / 30
    poses = [
        Pose(
            np.array([0.01 * np.sin(2 * s), 0.008 * np.cos(3 * s), -0.6]),
            quaternion_from_euler(0.35 * np.sin(1.7 * s), 0.15 * np.sin(2.3 * s + 1), 0.05 * np.sin(s)),
        )
        for s in t
    ]
    expression = np.zeros((frames, 52), np.float32)
    expression[:, 17] = 0.5 + 0.5 * np.sin(5 * t)
    yy, xx = np.mgrid[:side, :side] / side
    plate = np.stack([60 + 80 * xx, 90 + 60 * yy, 150 - 50 * xx], -1).astype(np.uint8)
    gaze = np.zeros((frames, 4), np.float32)
    images, mattes, landmarks, crops = [], [], [], []
    for i in range(frames):
        pixels = camera.project(rig.vertices(expression[i], gaze[i], poses[i]).astype(np.float64)).astype(np.float32)
        raster = rasterize(pixels, rig.triangles, rig.uv, side, side)
        image = np.where(raster.coverage[..., None], paint(raster.attributes), plate)
        images.append(image.clip(0, 255).astype(np.uint8))
        mattes.append((raster.coverage * 255).astype(np.uint8))
        landmarks.append(pixels[rig.landmark_vertices, :2])
        crop = head_crop(camera, poses[i].position, side)
        crops.append([crop.center_x, crop.center_y, crop.side])
    path = folder / "ball.mp4"
    _encode(path, images)
    return (
        Track(
            video=VideoSource(path.name, str(path), path.stat().st_size, file_sha256(path), 30.0, side, side, frames),
            camera=camera,
            rig=rig,
            frame_index=np.arange(frames, dtype=np.int32),
            time_ns=(np.arange(frames) * 1e9 / 30).astype(np.int64),
            expression=expression,
            gaze=gaze,
            position=np.stack([p.position for p in poses]),
            orientation=np.stack([p.orientation for p in poses]),
            crop=np.array(crops, np.float32),
            landmarks=np.array(landmarks, np.float32),
            error_percent=np.zeros(frames, np.float32),
            segment=np.zeros(frames, np.int32),
            mattes=Mattes.pack(mattes, side, side),
            plate=plate,
            statistics={"made": "exactly"},
        ),
        path,
    )


def _encode(path: Path, images: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "8"}
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
