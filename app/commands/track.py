"""`visavis track clip.mp4 -o clip.track`: fit a head to a video of one person."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from app.files import require_writable
from app.progress import progress
from models.errors import UserError

if TYPE_CHECKING:
    from models.track_file import Track


@dataclass(frozen=True)
class TrackConfig:
    """Fit a head to a video of one person: who it is, the camera, and what the head did in each frame."""

    video: Annotated[Path, tyro.conf.Positional]
    """The clip: one face, some seconds to some minutes."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """Where the track goes; beside the video, ending in .track, when left out."""

    preview: Path | None = None
    """Also write an MP4 with the mesh over the video."""

    face_model: Path | None = None
    """MediaPipe's face_landmarker.task; fetched once into the user's cache when left out."""

    segmentation_model: Path | None = None
    """MediaPipe's selfie_segmentation.tflite for the mattes, where colours alone cannot tell person from room."""

    focal: float | None = None
    """The camera's focal length in pixels, if you know it; estimated when left out."""

    frames: int | None = None
    """Only the first so many frames."""


def track(config: TrackConfig) -> int:
    """Track, save, and say how well it went. Raises UserError for what a person can mend."""
    out = config.out if config.out is not None else config.video.with_suffix(".track")
    _check(config, out)

    from models.track_file import save_track
    from tracking.face_model import find_face_model
    from tracking.video.preview import write_preview
    from tracking.video.track_video import track_video

    started = time.monotonic()
    with progress(transient=False) as show:
        model = find_face_model(config.face_model)
        result = track_video(config.video, model, show, config.frames, config.focal, config.segmentation_model)
        save_track(out, result)
        if config.preview is not None:
            write_preview(config.preview, config.video, result, show)
    print(summary(result))
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - started:.0f} s")
    if config.preview is not None:
        print(f"wrote {config.preview}")
    return 0


def summary(result: Track) -> str:
    """What a person wants to know about a track, in a few lines."""
    s = result.statistics
    lost = s["lost_by_reason"]
    reasons = ", ".join(f"{reason}: {count}" for reason, count in lost.items())
    lines = [
        f"{result.video.name}: {result.video.frames_total} frames, {len(result)} kept, "
        f"{len(s['repeated'])} repeats dropped",
        f"lost: {sum(lost.values())}" + (f" ({reasons})" if reasons else ""),
        f"reprojection error: median {s['error_percent_median']:.2f} % of the inter-ocular distance "
        f"({s['error_px_median']:.2f} px), 95th percentile {s['error_percent_p95']:.2f} %",
        f"camera: focal length {s['focal_px']:.0f} px, head {s['distance_m_median']:.2f} m away",
    ]
    if s["second_faces"]:
        lines.insert(2, f"a second face was seen in {s['second_faces']} frames and left alone")
    return "\n".join(lines)


def _check(config: TrackConfig, out: Path) -> None:
    """What would otherwise fail only after minutes of work."""
    if config.frames is not None and config.frames < 1:
        raise UserError("--frames must be at least 1")
    if config.focal is not None and not 10 <= config.focal <= 1e6:
        raise UserError("--focal is in pixels, between 10 and 1000000; leave it out to have it estimated")
    require_writable(config.video, out, config.preview)
