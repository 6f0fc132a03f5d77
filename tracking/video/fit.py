"""The fit of a whole clip: one identity, one camera, and in each frame the pose, 52 weights and the gaze.

Identity and focal length are found on a few dozen frames spread over the clip, then all frames' poses and weights,
then the subject's own neutral and basis are regressed from the residuals; the last two alternate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.geometry import Pose, matrix_to_quaternion, quaternion_to_matrix
from models.head.rig import HeadRig
from models.head.visavis_head import VisavisHead
from models.track_file import Mattes
from tracking.video.gaze import solve_gaze
from tracking.video.observe import Observations, Progress
from tracking.video.personalise import face_shape, personalised, regress_offsets
from tracking.video.skull import outline_pull
from tracking.video.smooth import smooth_pull
from tracking.video.solver import (
    FACE,
    Floats,
    FrameState,
    Pull,
    Shape,
    Target,
    landmark_weights,
    residuals,
    solve_frames,
    solve_shared,
)
from tracking.video.steady import steadied

# Of the longer side. Selfie cameras and webcams are 0.7 to 0.9, a head-and-shoulders crop of theirs 1.2 to 2. A deeper
# face in nearer view looks nearly the same, so that the prior may help but must not decide: with landmarks of the
# rendered *mono* (384 px, MediaPipe's errors kept) carried to cameras of 420, 550, 700, 815 and 1000 px, a sigma of 0.6
# finds 456, 573, 683, 750 and 835, one of 0.2 about 1.3 only 474, 523, 558, 576 and 596; rotations are off by 0.89
# degrees in the mean then, not 1.10. Crops of real videos (d6, d9, address) come out at 1.7 to 2.1, 0.56 to 1 m away.
DEFAULT_FOCAL = 1.5
FOCAL_SIGMA = 0.6  # of its logarithm
SHARED_FRAMES = 48
# How far off the landmarks a shape may be, % of the inter-ocular distance: of the pooled shape, then of the subject's
# own from round to round. Begun too tight, weights would take up what is the neutral face's. It is never taken to be
# as small as the residuals at the end (0.2 to 0.5): landmarks lie 2 to 3 % off the skin in a way that changes with the
# expression, and 52 weights can be bent to explain most of that. Fine movements (rolled lips, dimples) would follow the
# landmarks' errors, though the scores knew better; wide ones (jaw, pout) outweigh the scores at any noise.
POOLED_NOISE = 3.0
ROUND_NOISE = (2.0, 2.0, 1.2)
HELD_STEPS = 3
OUTLIER_PERCENT = 4.0  # frames whose error is beyond this, and far beyond the clip's own, are given up


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    camera: Camera
    rig: HeadRig
    position: NDArray[np.float64]  # [N, 3] of T_camera_head
    orientation: NDArray[np.float64]  # [N, 4]
    expression: NDArray[np.float32]  # [N, 52]
    gaze: NDArray[np.float32]  # [N, 4]
    error_percent: NDArray[np.float32]  # [N] mean landmark distance, % of the distance between the outer eye corners
    error_px: NDArray[np.float32]  # [N] the same in pixels

    @property
    def state(self) -> FrameState:
        return FrameState(quaternion_to_matrix(self.orientation), self.position, self.expression.astype(np.float64))

    @property
    def heads(self) -> list[HeadState]:
        """T_camera_head each."""
        poses = map(Pose, self.position, self.orientation)
        return [HeadState(*of) for of in zip(self.expression, self.gaze, poses, strict=True)]

    def subset(self, kept: NDArray[np.bool_]) -> Fit:
        """These frames."""
        names = ("position", "orientation", "expression", "gaze", "error_percent", "error_px")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def fit_clip(
    head: VisavisHead,
    observations: Observations,
    width: int,
    height: int,
    progress: Progress,
    focal: float | None = None,
) -> Fit:
    """Fit a clip of `width` x `height` pixels. focal: in pixels, when known; estimated otherwise."""
    center = np.array([width / 2, height / 2])
    segment = observations.segments()
    target = Target.of(observations.landmarks, observations.scores, segment, center)
    mean, modes = face_shape(head.mean), head.identity_deltas[:, head.mean.landmark_vertices[:FACE]].astype(np.float64)
    start_focal = DEFAULT_FOCAL * max(width, height) if focal is None else focal
    sigma = FOCAL_SIGMA if focal is None else 1e-6
    steps = 3 + 3 * len(ROUND_NOISE)
    progress("fit", 0, steps)

    index = _spread_frames(observations.scores, observations.rotation, SHARED_FRAMES)
    few = target.subset(index)
    state = first_guess(mean, few, observations.rotation[index], start_focal)
    state = solve_frames(mean, state, few, start_focal, 6, POOLED_NOISE)
    identity, found_focal, _ = solve_shared(mean, modes, state, few, start_focal, sigma, 8, POOLED_NOISE)
    progress("fit", 1, steps)

    rig = base_rig = head.rig(identity.astype(np.float32))
    pooled = shape = face_shape(base_rig)
    state = first_guess(shape, target, observations.rotation, found_focal)
    state = solve_frames(shape, state, target, found_focal, 5, POOLED_NOISE)
    progress("fit", 3, steps)
    for turn, noise in enumerate(ROUND_NOISE):
        state = steadied(state, segment)
        rig = personalised(base_rig, regress_offsets(pooled, state, target, found_focal))
        progress("fit", 4 + 3 * turn, steps)
        shape = face_shape(rig)
        state = solve_frames(shape, state, target, found_focal, 2 if turn < len(ROUND_NOISE) - 1 else 3, noise)
        progress("fit", 6 + 3 * turn, steps)

    camera = Camera(found_focal, found_focal, float(center[0]), float(center[1]), width, height)
    return _fitted(camera, rig, state, target, observations)


def hold_poses(fit: Fit, observations: Observations, mattes: Mattes, progress: Progress) -> Fit:
    """The fit of these frames with poses that the mattes' outlines hold and that do not tremble (tracking.video.skull
    and smooth). Its rig should have been shaped to the mattes."""
    camera, shape, segment = fit.camera, face_shape(fit.rig), observations.segments()
    center = np.array([camera.cx, camera.cy])
    target = Target.of(observations.landmarks, observations.scores, segment, center)

    def show(done: int, total: int) -> None:
        progress("outlines", done, total)

    def solved(state: FrameState, pull: Pull) -> FrameState:
        return solve_frames(shape, state, target, camera.fx, HELD_STEPS, ROUND_NOISE[-1], pull)

    state = fit.state
    state = solved(state, outline_pull(fit.rig, camera, state, fit.gaze, mattes, target.scale, show))
    state = solved(state, smooth_pull(state, observations.time_ns, segment))
    return _fitted(camera, fit.rig, state, target, observations)


def _fitted(camera: Camera, rig: HeadRig, state: FrameState, target: Target, observations: Observations) -> Fit:
    gaze = solve_gaze(rig, state, target, observations.landmarks, observations.time_ns, camera.fx)
    distance = np.linalg.norm(residuals(face_shape(rig), state, target, camera.fx), axis=-1).mean(axis=1)
    return Fit(
        camera=camera,
        rig=rig,
        position=state.position,
        orientation=continuous_quaternions(state.rotation),
        expression=np.clip(state.weights, 0, 1).astype(np.float32),
        gaze=gaze,
        error_percent=(distance * target.scale).astype(np.float32),
        error_px=distance.astype(np.float32),
    )


def outliers(error_percent: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Frames that the fit does not explain: a hand before the face, a false find."""
    median = float(np.median(error_percent))
    spread = float(np.median(np.abs(error_percent - median)))
    return error_percent > max(OUTLIER_PERCENT, 2 * median, median + 8 * spread)


def first_guess(shape: Shape, target: Target, rotation: Floats, focal: float) -> FrameState:
    """MediaPipe's orientation and scores, and the position that puts the landmarks' centre and size right."""
    points = (shape.neutral + np.tensordot(target.scores, shape.basis, 1)) @ rotation.transpose(0, 2, 1)
    weights = landmark_weights()[None, :, None]
    seen, flat = target.pixels, points[..., :2] * np.array([1.0, -1.0])
    seen_center, flat_center = (np.average(a, axis=1, weights=weights[0, :, 0]) for a in (seen, flat))
    seen_size, flat_size = (
        np.sqrt((weights * (a - c[:, None]) ** 2).sum(axis=(1, 2)))
        for a, c in ((seen, seen_center), (flat, flat_center))
    )
    depth = focal * flat_size / np.maximum(seen_size, 1e-6) + points[..., 2].mean(axis=1)
    offset = (seen_center - target.center) * depth[:, None] / focal - flat_center
    position = np.stack([offset[:, 0], -offset[:, 1], -depth], axis=1)
    return FrameState(rotation, position, target.scores.copy())


def _spread_frames(scores: NDArray[np.float32], rotation: Floats, count: int) -> NDArray[np.int64]:
    """Indices of up to `count` frames that differ most in expression and pose (farthest-point sampling)."""
    features = np.concatenate([scores, 3 * rotation[:, :, 2]], axis=1)
    chosen = [int(np.linalg.norm(features - features.mean(axis=0), axis=1).argmin())]
    distance = np.full(len(features), np.inf)
    while len(chosen) < min(count, len(features)):
        distance = np.minimum(distance, np.linalg.norm(features - features[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return np.sort(np.array(chosen))


def continuous_quaternions(rotation: Floats) -> Floats:
    """[N, 4] of rotations [N, 3, 3], signs chosen so that neighbours lie in one hemisphere."""
    quaternions = np.stack([matrix_to_quaternion(r) for r in rotation])
    flips = np.cumsum(np.einsum("ni,ni->n", quaternions[1:], quaternions[:-1]) < 0) % 2
    return quaternions * np.r_[1, 1 - 2 * flips][:, None]
