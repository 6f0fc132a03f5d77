"""The fitted mesh drawn over its video, to be looked at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.files import atomic_path
from models.track_file import Track
from models.video_frames import read_frames
from tracking.video.observe import Progress

MESH, FACE, EYES, WINDOW = (90, 160, 255), (80, 255, 120), (255, 220, 60), (255, 255, 255)  # rgb


def write_preview(path: Path, video: Path, track: Track, progress: Progress) -> None:
    """MP4 (H.264, yuv420p, the video's own timing): wireframe, stabilised window, and why frames were lost.

    Raises UserError when it cannot be written; an older file then stays as it was.
    """
    import av

    kept = {int(index): i for i, index in enumerate(track.frame_index)}
    lost = {int(index): str(reason) for index, reason in track.statistics.get("lost", {}).items()}
    total = int(track.frame_index[-1]) + 1
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(track.fps).limit_denominator(1001))
        stream.width, stream.height = track.camera.width // 2 * 2, track.camera.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90_000)
        stream.options = {"crf": "20", "preset": "veryfast", "bf": "0"}
        last: int | None = None
        pts = -1
        for index, time_ns, rgb in read_frames(video, limit=total):
            if index in kept or index in lost:  # a repeated frame shows the mesh before it
                last = kept.get(index)
            picture = rgb.copy()
            if last is not None:
                draw_mesh(picture, track, last)
            if index in lost:
                cv2.putText(picture, lost[index], (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 60, 60), 2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: stream.height, : stream.width]))
            pts = max(pts + 1, round(time_ns * 90_000 / 1e9))
            frame.pts, frame.time_base = pts, Fraction(1, 90_000)
            container.mux(stream.encode(frame))
            progress("preview", index + 1, total)
        container.mux(stream.encode())


def draw_mesh(picture: NDArray[np.uint8], track: Track, i: int) -> None:
    """Draw kept frame i's mesh into rgb uint8 [H, W, 3]: the triangles that face the camera."""
    rig = track.rig
    pixels = track.camera.project(track.vertices(i).astype(np.float64))
    flat = pixels[:, :2]
    a, b, c = (flat[rig.triangles[:, k]] for k in range(3))
    # counter-clockwise seen from outside is clockwise in an image whose y points down: negative area
    facing = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) < 0
    triangles = rig.triangles[facing & (pixels[rig.triangles, 2] > 0).all(axis=1)]
    colour = np.zeros(len(rig.neutral), np.int8)
    colour[rig.landmark_vertices[:468]] = 1
    colour[(rig.eye_weight > 0.5).any(axis=0)] = 2
    kinds = colour[triangles].max(axis=1)
    lines = picture.copy()
    for kind, rgb in enumerate((MESH, FACE, EYES)):
        polygons = (flat[triangles[kinds == kind]] * 16 - 8).round().astype(np.int32)
        cv2.polylines(lines, list(polygons), True, rgb, 1, cv2.LINE_AA, 4)
    x, y, side = track.crop[i]
    corner = (int(x - side / 2), int(y - side / 2)), (int(x + side / 2), int(y + side / 2))
    cv2.rectangle(lines, *corner, WINDOW, 1)
    cv2.addWeighted(lines, 0.55, picture, 0.45, 0, dst=picture)
