"""The whole way from a video file to a `Track`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.errors import UserError
from models.files import file_sha256
from models.head.rig import HeadRig
from models.head.visavis_head import VisavisHead
from models.track_file import Mattes, Track, VideoSource
from models.video_frames import probe_video, read_frames
from tracking.video.eyes import with_seen_pitch
from tracking.video.fit import Fit, fit_clip, hold_poses, outliers
from tracking.video.flow import follow_pixels
from tracking.video.landmarks import FaceLandmarker
from tracking.video.mattes import Matter, clean_plate, matte_size, plate_frames
from tracking.video.observe import MIN_FRAMES, Observations, Progress, observe_video
from tracking.video.outline import evenly_turned, fit_outline
from tracking.video.segmentation import PersonNetwork
from tracking.video.silhouette import fit_silhouette
from tracking.video.solver import FACE, Floats
from tracking.video.stabilise import stabilised_crops

FIT_FAILED = "the fit does not explain it"
SILHOUETTE_FRAMES = 30


def track_video(
    path: Path,
    face_model: Path,
    progress: Progress,
    limit: int | None = None,
    focal: float | None = None,
    segmentation_model: Path | None = None,
) -> Track:
    """Track one person's head through a video.

    limit: only the first so many frames; focal: the camera's focal length in pixels, when known;
    segmentation_model: see tracking.video.segmentation. Raises UserError for a video that cannot be read or does not
    show a face for at least MIN_FRAMES frames.
    """
    network = PersonNetwork(segmentation_model) if segmentation_model is not None else None
    info = probe_video(path)
    with FaceLandmarker(face_model) as landmarker:
        seen = observe_video(path, landmarker, progress, limit)
    detected = seen.landmarks
    images = (rgb for _, _, rgb in read_frames(path, seen.frame_index.tolist()))
    seen = dataclasses.replace(seen, landmarks=follow_pixels(images, detected, seen.segments(), progress))
    fit = fit_clip(VisavisHead(), seen, info.width, info.height, progress, focal)
    bad = outliers(fit.error_percent)
    kept = ~bad
    if kept.sum() < MIN_FRAMES:
        raise UserError(f"{path}: the head could be fitted in only {kept.sum()} frames; give a clip of one clear face")
    seen = dataclasses.replace(seen, lost=seen.lost | {int(i): FIT_FAILED for i in seen.frame_index[bad]})
    seen = _subset(seen, kept)
    fit = fit.subset(kept)
    mattes, plate = _mattes_and_plate(path, seen, fit.camera, network, progress)
    shaped = shaped_to_mattes(fit.rig, fit.camera, fit.heads, mattes)
    held = hold_poses(dataclasses.replace(fit, rig=shaped), seen, mattes, progress)
    # the loft anew, as its frames now stand
    fit = dataclasses.replace(held, rig=shaped_to_mattes(fit.rig, fit.camera, held.heads, mattes))
    track = Track(
        video=VideoSource(
            name=path.name, path=str(path.resolve()), byte_size=path.stat().st_size, sha256=file_sha256(path),
            fps=info.fps, width=info.width, height=info.height, frames_total=seen.frames_total,
        ),
        camera=fit.camera,
        rig=fit.rig,
        frame_index=seen.frame_index,
        time_ns=seen.time_ns,
        expression=fit.expression,
        gaze=fit.gaze,
        position=fit.position,
        orientation=fit.orientation,
        crop=stabilised_crops(fit.camera, fit.position, seen.segments()),
        landmarks=np.ascontiguousarray(seen.landmarks[..., :2]),
        error_percent=fit.error_percent,
        segment=seen.segments(),
        mattes=mattes,
        plate=plate,
        statistics=_statistics(seen, fit, detected[kept]),
    )  # fmt: skip
    return with_seen_pitch(track, path, progress)


def shaped_to_mattes(rig: HeadRig, camera: Camera, heads: list[HeadState], mattes: Mattes) -> HeadRig:
    """The rig with its loft fitted to the mattes: as wide as they are, then every part of it that the turning shows."""
    rotation = np.stack([head.T_world_head.rotation for head in heads])
    position = np.stack([head.T_world_head.position for head in heads])

    def meshes(rig: HeadRig, of: NDArray[np.int64]) -> list[Floats]:
        chosen = (heads[i] for i in of)
        return [rig.vertices(h.expression, h.gaze, h.T_world_head).astype(np.float64) for h in chosen]

    some = np.unique(np.linspace(0, len(heads) - 1, SILHOUETTE_FRAMES).round().astype(np.int64))
    rig = fit_silhouette(rig, camera, meshes(rig, some), rotation[some], position[some], [mattes[i] for i in some])
    some = evenly_turned(rotation, SILHOUETTE_FRAMES)
    return fit_outline(rig, camera, meshes(rig, some), rotation[some], [mattes[i] for i in some])


def _subset(seen: Observations, kept: NDArray[np.bool_]) -> Observations:
    names = ("frame_index", "time_ns", "landmarks", "scores", "rotation")
    return dataclasses.replace(seen, **{name: getattr(seen, name)[kept] for name in names})


def _statistics(seen: Observations, fit: Fit, detected: NDArray[np.float32]) -> dict[str, Any]:
    """Of the kept frames; detected: their landmarks [N, 478, 3] before they were made to follow the pixels."""
    slid = np.linalg.norm((detected - seen.landmarks)[:, :FACE, :2], axis=-1)
    return {
        "kept": len(fit.position),
        "lost": {str(index): reason for index, reason in sorted(seen.lost.items())},
        "lost_by_reason": dict(Counter(seen.lost.values())),
        "repeated": [int(i) for i in seen.repeated],
        "second_faces": seen.second_faces,
        "error_percent_median": float(np.median(fit.error_percent)),
        "error_percent_p95": float(np.percentile(fit.error_percent, 95)),
        "error_px_median": float(np.median(fit.error_px)),
        "detector_slide_px_median": float(np.median(slid)),
        "focal_px": float(fit.camera.fx),
        "distance_m_median": float(np.median(-fit.position[:, 2])),
    }


def _mattes_and_plate(
    path: Path, seen: Observations, camera: Camera, network: PersonNetwork | None, progress: Progress
) -> tuple[Mattes, NDArray[np.uint8]]:
    """Two passes over the video: some frames for the colour models and the plate, then every kept frame."""
    width, height = matte_size(camera.width, camera.height)
    landmarks = seen.landmarks[..., :2] * (width / camera.width)

    def small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    count = len(seen.frame_index)
    progress("mattes", 0, count)
    some = plate_frames(count, camera.width, camera.height)
    full = [rgb for _, _, rgb in read_frames(path, seen.frame_index[some].tolist())]
    reduced = [small(rgb) for rgb in full]
    matter = Matter.learn(reduced, [landmarks[i] for i in some], network)
    plate, where = clean_plate(full, [matter.matte(a, landmarks[i]) for a, i in zip(reduced, some, strict=True)])
    known = small(plate), small(where.astype(np.uint8)) > 0
    del full, reduced

    def each():
        for k, (_, _, rgb) in enumerate(read_frames(path, seen.frame_index.tolist())):
            yield matter.matte(small(rgb), landmarks[k], known)
            progress("mattes", k + 1, count)

    return Mattes.pack(each(), width, height), plate
