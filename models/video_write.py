"""Pictures as an H.264 video, for tracking: constant rate, exact timestamps, hardly any loss."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.files import atomic_path

CLOCK_HZ = 90_000


def write_video(path: Path, images: Iterable[NDArray[np.uint8]], fps: float, crf: int = 12) -> int:
    """MP4 (H.264, yuv420p, BT.709) of rgb uint8 [H, W, 3] sRGB pictures of one, even size. Returns how many.

    crf: x264's quality, lower is finer. Raises UserError when the file cannot be written or `images` is empty,
    ValueError for odd or changing sizes; an older file then stays as it was.
    """
    import av
    from av.video.reformatter import ColorRange, Colorspace

    count, shape = 0, (0, 0)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream: Any = None
        for image in images:
            if stream is None:
                shape = image.shape[:2]
                if shape[0] % 2 or shape[1] % 2:
                    raise ValueError(f"write_video: {shape[1]}x{shape[0]} is odd, which yuv420p cannot hold")
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = shape
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = Fraction(1, CLOCK_HZ)
                stream.codec_context.colorspace = Colorspace.ITU709
                stream.codec_context.color_range = ColorRange.MPEG
                stream.options = {"crf": str(crf), "preset": "slow", "bf": "0"}
            if image.shape != (*shape, 3):
                raise ValueError(f"write_video: picture {count} is {image.shape}, the first {shape}")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = round(count * CLOCK_HZ / fps), Fraction(1, CLOCK_HZ)
            container.mux(stream.encode(frame))
            count += 1
        if stream is None:
            raise UserError(f"no pictures to write to {path}")
        container.mux(stream.encode())
    return count
