"""`python -m tracking.accuracy clip.track SHOOT`: how right a track is, against a shoot's exact truth.

The track must be of the video that `python -m assets.performer encode` made of that shoot's camera.
"""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray

from models.arkit import ARKIT_NAMES, HeadState
from models.errors import UserError
from models.evaluation.alignment import FACE, robust_similarity
from models.evaluation.views import outline_iou
from models.files import atomic_write
from models.geometry import Array
from models.head.rig import HeadRig
from models.head.visavis_head import default_head
from models.shoot_file import Shoot, ShootCamera, read_shoot
from models.track_file import Track, load_track
from models.triangles import nearest_on_mesh
from models.video_frames import read_frames
from tracking.face_model import find_face_model
from tracking.video.eyes import WIDE_OPEN
from tracking.video.fit import first_guess, fit_clip
from tracking.video.gaze import BLINK
from tracking.video.landmarks import FaceLandmarker
from tracking.video.observe import Observations, Progress, nearest_rotation
from tracking.video.personalise import face_shape
from tracking.video.solver import FACE_OVAL, Target

SURFACE_FRAMES = 100  # frames in which distances to the true surface are measured
FRONTAL_DEGREES = 10.0  # of the head's turn from the clip's mean
NAMES = {
    "tracked": "tracked",
    "mediapipe_alone": "MediaPipe alone",
    "faultless": "true landmarks",
    "faultless_known_focal": "and focal length",
}
ROWS = {
    "rotation_degrees": "rotation, degrees",
    "translation_mm": "translation, mm",
    "vertices_mm": "face landmarks, mm",
    "depth_mm": "of that, the frame's depth",
    "vertices_without_depth_mm": "landmarks without it",
    "vertices_without_constant_mm": "without constant offsets",
    "slide_mm": "of that, across the sight",
    "surface_mm": "face surface, mm",
}
ACTIVE = 0.03  # standard deviation of a true weight, below which it says nothing about following


@dataclass(frozen=True)
class AccuracyConfig:
    """Measure a track against the truth of the shoot that it tracks, beside what MediaPipe alone would have given, and
    what the fit would make of landmarks without error, the focal length estimated or known."""

    track: Annotated[Path, tyro.conf.Positional]
    """The track of the shoot's encoded video."""

    shoot: Annotated[Path, tyro.conf.Positional]
    """The folder of the shoot. The truth alone will do (--truth-only), but for the mattes."""

    camera: str | None = None
    """Which camera was encoded; the first when left out."""

    face_model: Path | None = None
    """MediaPipe's face_landmarker.task; fetched once into the user's cache when left out."""

    json: Path | None = None
    """Write the figures to this file."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What someone thinks the head did in N frames, in the camera's frame: landmarks [N, 468, 3] and position [N, 3] in
    a unit of their own, rotation [N, 3, 3] of a head frame of their own, weights [N, 52]."""

    landmarks: Array
    rotation: Array
    position: Array
    weights: Array


def measure(estimate: Estimate, shoot: Shoot, camera: ShootCamera, moments: NDArray[np.int64]) -> dict[str, Any]:
    """Errors after *one* rigid motion and scale for the whole clip, the robust best for the face's landmarks. moments:
    [N] which of the shoot's the estimate is of.

    rotation_degrees: after that, and after one constant rotation between the two head frames, which are conventions;
    translation_mm: of the head's origin, after one constant offset for the same reason; vertices_mm: landmark to
    landmark, which includes where the two heads have "the same" landmark. Of that, depth_mm: by how much a frame's face
    is too near or too far, which one picture hardly shows; vertices_without_depth_mm: what is left without it;
    vertices_without_constant_mm: without each landmark's own constant offset, depth included; slide_mm: the same
    across the line of sight, which is how far what is drawn slides on the skin. surface_mm: from the landmarks (without
    the face's oval) to the true surface; weights: mean absolute error and correlation per weight that moves.
    """
    T_camera_world = camera.T_world_camera.inverse()
    true_points = np.stack([T_camera_world.apply(shoot.landmarks(int(i))[:FACE].astype(float)) for i in moments])
    true_poses = [T_camera_world @ shoot.head(int(i)).T_world_head for i in moments]
    true_rotation = np.stack([p.rotation for p in true_poses])
    true_position = np.stack([p.position for p in true_poses])
    found = robust_similarity(estimate.landmarks.reshape(-1, 3), true_points.reshape(-1, 3))
    points = found.apply(estimate.landmarks)
    rotation = found.rotation @ estimate.rotation
    # the head frames differ by a constant: the mean of what is left over
    offset = _mean_rotation(rotation.transpose(0, 2, 1) @ true_rotation)
    left = (rotation @ offset).transpose(0, 2, 1) @ true_rotation
    angle = np.degrees(np.arccos(np.clip((np.trace(left, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    arm = np.einsum("nji,nj->ni", true_rotation, true_position - found.apply(estimate.position))
    shift = np.linalg.norm(arm - np.median(arm, axis=0), axis=1) * 1000
    error = (points - true_points) * 1000
    sight = true_position / np.linalg.norm(true_position, axis=1, keepdims=True)
    depth = np.median(np.einsum("nlc,nc->nl", error, sight), axis=1)
    flat = error - (depth[:, None] * sight)[:, None]
    own = np.einsum("nji,nlj->nli", true_rotation, error)  # in the head's frame
    own -= np.median(own, axis=0)
    along = np.einsum("nlj,nj->nl", own, np.einsum("nji,nj->ni", true_rotation, sight))
    return {
        "frames": len(moments),
        "scale": round(found.scale, 4),
        "turned_degrees": round(float(np.degrees(np.arccos(np.clip((np.trace(found.rotation) - 1) / 2, -1, 1)))), 2),
        "rotation_degrees": _spread(angle),
        "translation_mm": _spread(shift),
        "vertices_mm": _spread(np.linalg.norm(error, axis=2)),
        "depth_mm": _spread(np.abs(depth)),
        "vertices_without_depth_mm": _spread(np.linalg.norm(flat, axis=2)),
        "vertices_without_constant_mm": _spread(np.linalg.norm(own, axis=2)),
        "slide_mm": _spread(np.sqrt(np.maximum((own**2).sum(axis=2) - along**2, 0))),
        "surface_mm": _spread(_to_surface(points, shoot, camera, moments)),
        "weights": _weights(estimate.weights, shoot.expression[moments].astype(np.float64)),
    }


def _mean_rotation(rotations: Array) -> Array:
    u, _, vt = np.linalg.svd(rotations.sum(axis=0))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def _spread(values: NDArray[np.floating]) -> dict[str, float]:
    median, p95 = np.percentile(values, [50, 95])
    return {"median": round(float(median), 3), "p95": round(float(p95), 3), "mean": round(float(values.mean()), 3)}


def _to_surface(points: Array, shoot: Shoot, camera: ShootCamera, moments: NDArray[np.int64]) -> Array:
    """[n, L] mm: distance of points [N, 468, 3] (camera frame), the oval left out, to the true skin of some frames."""
    chosen = np.setdiff1d(np.arange(FACE), FACE_OVAL)
    first, end = shoot.parts.get("face", (0, len(shoot.triangles)))
    triangles = shoot.triangles[first:end]
    T_camera_world = camera.T_world_camera.inverse()
    rows = []
    for k in np.unique(np.linspace(0, len(moments) - 1, SURFACE_FRAMES).round().astype(int)).tolist():
        corners = T_camera_world.apply(shoot.vertices(int(moments[k])).astype(float))[triangles]
        rows.append(nearest_on_mesh(points[k, chosen], corners)[2] * 1000)
    return np.stack(rows)


def matte_overlap(track: Track, shoot: Shoot, camera: ShootCamera) -> dict[str, Any]:
    """The IoU of the track's mattes and the true ones, both cut at one half, at the true size: means over "all" frames,
    those that are "frontal" (the head within FRONTAL_DEGREES of its middle) and those that are "turned" farther."""
    size = (camera.camera.width, camera.camera.height)
    facing = np.stack([shoot.head(int(i)).T_world_head.rotation[:, 2] for i in track.frame_index])
    middle = facing.mean(axis=0) / np.linalg.norm(facing.mean(axis=0))
    frontal = facing @ middle > np.cos(np.radians(FRONTAL_DEGREES))
    found = []
    for k, i in enumerate(track.frame_index.tolist()):
        seen = np.asarray(cv2.resize(track.matte(k), size, interpolation=cv2.INTER_LINEAR)) > 127
        found.append(outline_iou(seen, shoot.matte(i, camera) > 127))
    overlap = np.array(found)
    groups = {"all": np.ones(len(overlap), bool), "frontal": frontal, "turned": ~frontal}
    return {
        name: {"iou": round(float(overlap[of].mean()), 4), "frames": int(of.sum())}
        for name, of in groups.items()
        if of.any()
    }


def gaze_followed(track: Track, shoot: Shoot) -> dict[str, dict[str, float]]:
    """How the track's eyes follow the true ones while both are open (if ever), per axis: by how much they turn when
    those turn by one ("gain", least squares), and how far off they are, degrees, each eye's median offset aside, since
    where an eye looks straight ahead is a convention."""
    moments = track.frame_index.astype(np.int64)
    true, expression = np.stack([shoot.head(int(i)).gaze for i in moments]), shoot.expression[moments]
    wide = (expression[:, list(BLINK)] < WIDE_OPEN).all(axis=1)
    wide |= not wide.any()
    found = {}
    for axis, name in enumerate(("yaw", "pitch")):
        told, is_ = (g[wide, axis::2] - g[wide, axis::2].mean(axis=0) for g in (track.gaze, true))
        error = np.degrees(told - is_)
        gain = round(float((told * is_).sum() / max((is_**2).sum(), 1e-12)), 3)
        found[name] = {"gain": gain, **_spread(np.abs(error - np.median(error, axis=0)))}
    return found


def _weights(estimated: Array, true: Array) -> dict[str, Any]:
    active = np.flatnonzero(true.std(axis=0) > ACTIVE)
    table: dict[str, dict[str, float]] = {}
    for k in active.tolist():
        moves = estimated[:, k].std() > 1e-6
        follows = float(np.corrcoef(estimated[:, k], true[:, k])[0, 1]) if moves else 0.0
        error = float(np.abs(estimated[:, k] - true[:, k]).mean())
        table[ARKIT_NAMES[k]] = {"error": round(error, 4), "correlation": round(follows, 3)}
    errors, follow = ([row[key] for row in table.values()] or [0.0] for key in ("error", "correlation"))
    return {
        "mean_error": round(float(np.mean(errors)), 4),
        "median_correlation": round(float(np.median(follow)), 3),
        "each": table,
    }


def track_estimate(track: Track) -> Estimate:
    return _estimate(track.rig, [track.head(i) for i in range(len(track))])


def _estimate(rig: HeadRig, heads: list[HeadState]) -> Estimate:
    """Of heads whose T_world_head are T_camera_head."""
    index = rig.landmark_vertices[:FACE]
    return Estimate(
        np.stack([rig.vertices(h.expression, h.gaze, h.T_world_head)[index] for h in heads]).astype(np.float64),
        np.stack([h.T_world_head.rotation for h in heads]),
        np.stack([h.T_world_head.position for h in heads]),
        np.stack([h.expression for h in heads]).astype(np.float64),
    )


def detect(
    track: Track, images: Iterable[NDArray[np.uint8]], landmarker: FaceLandmarker, tick: Callable[[int, int], None]
) -> Observations:
    """What MediaPipe alone sees in the track's frames, whose images are given; frames without a face are left out.
    Raises UserError when all are."""
    found: list[int] = []
    faces = []
    for k, image in enumerate(images):
        if seen := landmarker.detect(image):
            found.append(k)
            faces.append(max(seen, key=lambda face: face.size))
        tick(k + 1, len(track))
    if not faces:
        raise UserError(f"MediaPipe finds no face in {track.video.name}; nothing to compare with")
    breaks = track.frame_index[1:][np.diff(track.segment) != 0] - 1  # between the track's runs
    lost = np.union1d(breaks, np.setdiff1d(track.frame_index, track.frame_index[found]))
    return Observations(
        frame_index=track.frame_index[found],
        time_ns=track.time_ns[found],
        landmarks=np.stack([face.landmarks for face in faces]),
        scores=np.stack([face.scores for face in faces]),
        rotation=np.stack([nearest_rotation(face.transform[:3, :3]) for face in faces]),
        repeated=np.array([], np.int32),
        lost=dict.fromkeys(lost.tolist(), "no face"),
        frames_total=track.video.frames_total,
    )


def detector_estimate(track: Track, seen: Observations) -> Estimate:
    """What MediaPipe alone would give: its scores and rotation, the mean head, and the position that puts the
    landmarks' centre and size right."""
    shape = face_shape(default_head().mean)
    alone = np.arange(len(seen.landmarks), dtype=np.int32)
    target = Target.of(seen.landmarks, seen.scores, alone, np.array([track.camera.cx, track.camera.cy]))
    state = first_guess(shape, target, seen.rotation, track.camera.fx)
    points = shape.neutral + np.tensordot(state.weights, shape.basis, 1)
    points = points @ state.rotation.transpose(0, 2, 1) + state.position[:, None]
    return Estimate(points, state.rotation, state.position, state.weights)


def faultless_estimate(
    track: Track, seen: Observations, shoot: Shoot, camera: ShootCamera, focal: float | None, progress: Progress
) -> Estimate:
    """What our fit would make of landmarks without any error, the truth's own projected into the camera's pictures:
    what is left is due to one camera that does not show depth. focal: pixels, when it may be known as well."""
    true = np.stack([camera.project(shoot.landmarks(int(i)))[:, :2] for i in seen.frame_index])
    landmarks = np.dstack([true, np.zeros(true.shape[:2])]).astype(np.float32)
    width, height = track.camera.width, track.camera.height
    fit = fit_clip(default_head(), replace(seen, landmarks=landmarks), width, height, progress, focal)
    return _estimate(fit.rig, fit.heads)


def accuracy(config: AccuracyConfig) -> dict[str, Any]:
    """All of it. Raises UserError when track and shoot do not belong together."""
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    track, shoot = load_track(config.track), read_shoot(config.shoot, pictures=False)
    camera = shoot.cameras[0] if config.camera is None else shoot.camera(config.camera)
    size = (track.camera.width, track.camera.height)
    if track.video.frames_total != len(shoot) or size != (camera.camera.width, camera.camera.height):
        raise UserError(
            f"{config.track} tracks {track.video.frames_total} frames of {size[0]}x{size[1]}, {config.shoot} has "
            f"{len(shoot)} of {camera.camera.width}x{camera.camera.height}: give the track of this shoot's own video"
        )
    report: dict[str, Any] = {
        "track": track.video.name,
        "shoot": shoot.name,
        "camera": camera.name,
        "focal_px": {"track": round(track.camera.fx, 2), "truth": round(camera.camera.fx, 2)},
        "tracked": measure(track_estimate(track), shoot, camera, track.frame_index.astype(np.int64)),
        "gaze": gaze_followed(track, shoot),
    }
    if shoot.pictures:
        report["mattes"] = matte_overlap(track, shoot, camera)
    video = track.video.locate(config.track)
    images = (rgb for _, _, rgb in read_frames(video, track.frame_index.tolist()))
    with Bars(transient=True) as bars, FaceLandmarker(find_face_model(config.face_model)) as landmarker:
        task = bars.add_task("MediaPipe alone", total=len(track))
        seen = detect(track, images, landmarker, lambda done, total: bars.update(task, completed=done))
        moments = seen.frame_index.astype(np.int64)
        report["mediapipe_alone"] = measure(detector_estimate(track, seen), shoot, camera, moments)
        for name, focal in (("faultless", None), ("faultless_known_focal", camera.camera.fx)):
            task = bars.add_task(NAMES[name], total=1)

            def show(stage: str, done: int, total: int, task: TaskID = task) -> None:
                bars.update(task, completed=done, total=total)

            estimate = faultless_estimate(track, seen, shoot, camera, focal, show)
            report[name] = measure(estimate, shoot, camera, moments)
    return report


def print_table(report: dict[str, Any]) -> None:
    ours, theirs = report["tracked"], report["mediapipe_alone"]
    focal = report["focal_px"]
    print(f"{report['track']} against {report['shoot']}, camera {report['camera']}: {ours['frames']} frames")
    print(f"focal length {focal['track']:.0f} px, in truth {focal['truth']:.0f} px")
    if "mattes" in report:
        overlap = ", ".join(f"{row['iou']:.3f} {name} ({row['frames']})" for name, row in report["mattes"].items())
        print(f"mattes, IoU with the truth's: {overlap}")
    for axis, row in report["gaze"].items():
        off = f"{row['median']:.2f}, {row['p95']:.2f} degrees off"
        print(f"eyes, {axis}: turn by {row['gain']:.2f} of the truth, {off}")
    sides = [report[name] for name in NAMES]
    print(f"{'':26}{''.join(f'{name:>20}' for name in NAMES.values())}   (median, 95th percentile)")
    for key, name in ROWS.items():
        cells = (f"{side[key]['median']:.2f}, {side[key]['p95']:.2f}" for side in sides)
        print(f"{name:26}{''.join(f'{cell:>20}' for cell in cells)}")
    for key, name in (("mean_error", "weights, mean error"), ("median_correlation", "weights, correlation")):
        cells = (f"{side['weights'][key]:.3f}" for side in sides)
        print(f"{name:26}{''.join(f'{cell:>20}' for cell in cells)}")
    print(f"\n{'weight':24}{'error':>9}{'follows':>9}{'error':>11}{'follows':>9}")
    for name, row in sorted(ours["weights"]["each"].items(), key=lambda item: item[1]["correlation"]):
        other = theirs["weights"]["each"].get(name, {"error": float("nan"), "correlation": float("nan")})
        print(f"{name:24}{row['error']:9.3f}{row['correlation']:9.2f}{other['error']:11.3f}{other['correlation']:9.2f}")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 well, 2 wrong input."""
    config = tyro.cli(AccuracyConfig, prog="python -m tracking.accuracy", args=argv, description=AccuracyConfig.__doc__)
    try:
        report = accuracy(config)
        print_table(report)
        if config.json:
            with atomic_write(config.json) as file:
                file.write((json_module.dumps(report, indent=2) + "\n").encode())
    except UserError as error:
        print(f"accuracy: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
