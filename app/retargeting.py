"""One person's performance on another's avatar, drawn by the live engine as a stream of cached and warped frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.avatar_file import Avatar
from models.errors import UserError
from models.evaluation.flicker import cache_frame
from models.geometry import Pose, quaternion_from_euler
from models.performance import Performance, relative
from models.track_file import Track
from models.training.package import performance_of
from models.video_frames import read_frames
from renderer.composite import composite
from renderer.engine import check_device, make_engine
from renderer.messages import RenderedFrame, ViewRequest

Image = NDArray[np.uint8]
SWING_S = 4.0  # from one side to the other and back
BACKDROP = (46, 48, 54)  # behind a head that is seen from the side: its own room would stay where it was


@dataclass(frozen=True, slots=True, eq=False)
class Retargeting:
    """with_pose: the head moves as the source's does, around the avatar's own rest pose; else it is still.
    orbit_degrees: how far the viewer swings to either side. warps_per_cache: K of the schedule."""

    avatar: Avatar
    performance: Performance
    with_pose: bool
    orbit_degrees: float
    warps_per_cache: int
    fps: float
    frames: int

    def time_ns(self, k: int) -> int:
        """Of picture k, from the performance's first sample."""
        return round(k * 1e9 / self.fps)

    def request(self, k: int) -> ViewRequest:
        """What the engine is asked to draw as picture k."""
        rest = rest_pose(self.avatar)
        head = self.performance.at(self.time_ns(k))
        T_rest_head = head.T_world_head if self.with_pose else Pose()
        angle = np.radians(self.orbit_degrees) * np.sin(2 * np.pi * k / self.fps / SWING_S)
        around = Pose(orientation=quaternion_from_euler(float(angle), 0.0))
        eye = rest @ around @ rest.inverse()
        head = HeadState(head.expression, head.gaze, rest @ T_rest_head)
        return ViewRequest(k, self.time_ns(k), self.time_ns(k), eye, self.avatar.camera, head)

    def pictures(self, device: str) -> Iterator[Image]:
        """[H, W, 3] of the avatar's camera. Picture k is warped from the cache that a steady stream would hold."""
        check_device(device)
        engine = make_engine(self.avatar, device)
        plate = self.avatar.plate
        if self.orbit_degrees:
            plate = np.empty_like(plate)
            plate[:] = BACKDROP
        try:
            cached, cache = -1, None
            for k in range(self.frames):
                wanted = max(cache_frame(k, self.warps_per_cache), 0)
                if cache is None or wanted != cached:
                    cached, cache = wanted, engine.build_cache(self.request(wanted))
                request = self.request(k)
                out = engine.warp(cache, request)
                frame = RenderedFrame(
                    k, request, out.rgba, out.crop, engine.device, self.warps_per_cache, cached, 0, out.warp_degrees
                )
                yield composite(frame, plate)
        finally:
            engine.close()


def make_retargeting(
    track_path: Path,
    track: Track,
    avatar: Avatar,
    with_pose: bool,
    orbit: float = 0.0,
    warps_per_cache: int = 2,
    frames: int = 0,
    exchange_rest: bool = False,
) -> Retargeting:
    """Of the track's longest run; `frames` of its pictures, 0 for all. exchange_rest: see `relative`.

    Raises UserError when there is hardly one frame."""
    performance = performance_of(track)
    if len(performance) < 2:
        raise UserError(
            f"the longest run of {track_path} is one frame: retargeting needs at least 2 in a row; track a longer clip"
        )
    if exchange_rest:
        performance = relative(performance, avatar.performance)
    whole = int(performance.duration_ns * track.fps / 1e9) + 1
    count = min(frames, whole) if frames else whole
    return Retargeting(avatar, performance, with_pose, orbit, warps_per_cache, track.fps, count)


def rest_pose(avatar: Avatar) -> Pose:
    """T_world_rest, the world being the frame of the camera that filmed the avatar's video. Raises UserError."""
    position = avatar.manifest.get("rest_position_m")
    if not isinstance(position, list) or len(position) != 3 or not all(isinstance(v, int | float) for v in position):
        raise UserError(f"the avatar {avatar.name!r} does not say where its head was: train it again")
    if not (np.isfinite(position).all() and -100 < position[2] < -0.05):
        raise UserError(f"the avatar {avatar.name!r} has its head at {position}, not before its camera: train it again")
    return Pose(np.array(position, np.float64))


def source_pictures(job: Retargeting, track: Track, video: Path, height: int) -> Iterator[Image]:
    """What the source's video showed at each of the job's pictures, `height` high and of even width: the kept frame
    nearest in time."""
    start = int(job.performance.time_ns[0])
    times = track.time_ns
    after = np.clip(np.searchsorted(times, [start + job.time_ns(k) for k in range(job.frames)]), 1, len(times) - 1)
    wanted = [
        int(i if times[i] - t <= t - times[i - 1] else i - 1)
        for i, t in zip(after.tolist(), (start + job.time_ns(k) for k in range(job.frames)), strict=True)
    ]
    frames = read_frames(video, indices={int(track.frame_index[i]) for i in wanted})
    at, picture = -1, np.zeros((2, 2, 3), np.uint8)
    for i in wanted:
        while at < int(track.frame_index[i]):
            at, _, rgb = next(frames, (1 << 62, 0, picture))
            if at == 1 << 62:
                raise UserError(f"{video} lacks frames that its track names: track it again")
            width = 2 * max(1, round(rgb.shape[1] * height / rgb.shape[0] / 2))
            picture = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        yield picture


def even(image: Image) -> Image:
    """Without the last row or column where their number is odd, as video wants it."""
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]


def stills_of(frames: int, columns: int = 6) -> set[int]:
    """Which pictures of a video stand for all: spread evenly, without its first and last moment."""
    return set((np.linspace(0, 1, columns + 2)[1:-1] * (frames - 1)).round().astype(int).tolist())


def sheet(pictures: list[Image], columns: int = 3, height: int = 192) -> Image:
    """[rows * height, W, 3] of pictures of one size, row by row; a last row that is not full is left out."""
    size = (round(pictures[0].shape[1] * height / pictures[0].shape[0]), height)
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures]
    columns = min(columns, len(small))
    rows = [np.concatenate(small[k : k + columns], axis=1) for k in range(0, len(small) - columns + 1, columns)]
    return np.asarray(np.concatenate(rows), np.uint8)
