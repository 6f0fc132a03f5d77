"""Decoding a video file frame by frame, with caps, for tracking and for training."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError

MAX_VIDEO_SIDE = 8192
MAX_VIDEO_BYTES = 32 << 30
MAX_VIDEO_FRAMES = 108_000  # half an hour at 60 fps

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the container says. `frames` is its own count or an estimate from the duration; 0 when it does not say."""

    width: int  # upright, after the rotation that the file asks for
    height: int
    fps: float
    frames: int


def probe_video(path: Path) -> VideoInfo:
    """Size and rate of a video. Raises UserError for anything that `read_frames` could not read."""
    for _index, _time, rgb in read_frames(path, limit=1):
        with _open(path) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 30.0)
            frames = int(stream.frames)
            if not frames and container.duration:
                frames = round(container.duration / 1e6 * fps)
        return VideoInfo(rgb.shape[1], rgb.shape[0], fps, frames)
    raise UserError(f"{path} holds no video frame that can be decoded; record it again or convert it to MP4")


def read_frames(
    path: Path, indices: Collection[int] | None = None, max_side: int | None = None, limit: int | None = None
) -> Iterator[tuple[int, int, Image]]:
    """Yields (frame index, time in ns from the first frame, upright rgb uint8 [H, W, 3] sRGB) in order.

    indices: only these frames (decoding stops after the last of them); limit: only the first so many; max_side: scale
    down so that the longer side is at most this. Raises UserError when the file is missing, empty, without video,
    beyond the caps, or cannot be decoded; a stream that breaks off after its first frames just ends.
    """
    import av

    wanted = None if indices is None else {int(i) for i in indices}
    end = MAX_VIDEO_FRAMES if limit is None else limit
    if wanted is not None:
        end = min(end, max(wanted, default=-1) + 1)
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or stream.guessed_rate or 30.0)
        first_pts: int | None = None
        previous_ns = -1
        index = -1
        try:
            for index, frame in enumerate(container.decode(stream)):
                if index >= end:
                    if limit is None and wanted is None:
                        raise UserError(f"{path} has more than {MAX_VIDEO_FRAMES} frames; cut it shorter")
                    return
                time_ns = round(index / rate * 1e9)
                if frame.pts is not None and frame.time_base is not None:
                    first_pts = frame.pts if first_pts is None else first_pts
                    time_ns = round((frame.pts - first_pts) * frame.time_base * 1_000_000_000)
                time_ns = previous_ns = max(time_ns, previous_ns + 1)
                if wanted is None or index in wanted:
                    yield index, time_ns, _upright_rgb(frame, max_side)
        except (av.FFmpegError, ValueError) as error:
            if index < 0:
                raise UserError(f"cannot decode {path} ({error}); convert it to H.264 in MP4") from error
        if index < 0:
            raise UserError(f"{path} holds no video frame that can be decoded; record it again or convert it to MP4")


def _open(path: Path) -> Any:
    import av

    path = Path(path)
    if not path.is_file():
        raise UserError(f"video {path} does not exist; check the path")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"video {path} is empty (zero bytes); record or copy it again")
    if size > MAX_VIDEO_BYTES:
        raise UserError(f"video {path} is larger than {MAX_VIDEO_BYTES >> 30} GiB; cut it shorter")
    try:
        # the file protocol alone: a playlist posing as a video must not open addresses on the network
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a video that can be opened ({error}); convert it to H.264 in MP4") from error
    if not container.streams.video:
        container.close()
        raise UserError(f"{path} has no video stream (an audio file?); give a video of a face")
    stream = container.streams.video[0]
    if max(stream.width, stream.height) > MAX_VIDEO_SIDE:
        container.close()
        raise UserError(f"{path} is {stream.width}x{stream.height}, beyond {MAX_VIDEO_SIDE} pixels; scale it down")
    return container


def _upright_rgb(frame: Any, max_side: int | None) -> Image:
    width, height = frame.width, frame.height
    if max(width, height) > MAX_VIDEO_SIDE:
        raise UserError(f"a frame of the video is {width}x{height}, beyond {MAX_VIDEO_SIDE} pixels; scale it down")
    if max_side is not None and max(width, height) > max_side:
        scale = max_side / max(width, height)
        width, height = max(2, round(width * scale)), max(2, round(height * scale))
    rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    quarter_turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb
