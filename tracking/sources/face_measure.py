"""From the faces in a webcam picture to the viewer's eye position and to a head for the avatar to mirror.

Camera frame: at the webcam, x to the right of its picture, y up, -z the way it looks, metres. The webcam looks at the
viewer, so its x axis points to the viewer's left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_INDEX, ARKIT_MIRROR, HeadState
from models.geometry import Array, Pose, euler_from_matrix, matrix_to_quaternion, quaternion_from_euler
from tracking.filters import OneEuroFilter, predict
from tracking.sources.base import NEUTRAL_DISTANCE_M
from tracking.video.landmarks import Face
from tracking.viewer import soft_limit

EYE_CORNERS = (33, 133, 362, 263)  # they stay where they are when the eyes turn or close, as irises do not
EYES_IN_FACE_CM = np.array([0.0, 2.62, 3.47])  # their midpoint in MediaPipe's canonical face
LANDMARKER_FOV_DEG = 63.0  # vertical field of view that MediaPipe assumes for every picture
EYES_IN_HEAD_M = np.array([0.0, 0.03, 0.085])  # midpoint of the eyes from the midpoint of the ears, head frame
GAZE_YAW_RAD, GAZE_PITCH_RAD = 0.52, 0.40  # eye rotation at a look score of 1
MIRROR_HEAD = np.array([-1.0, 1.0, 1.0, -1.0, 1.0, -1.0])  # shift x, y, z, yaw, pitch, roll
GRACE_NS = 400_000_000  # a face missed for less than this is still the same face
REST_GAP_NS = 5_000_000_000  # who comes back after longer sits differently, or is somebody else
REST_FACES = 10  # the performer's rest pose is averaged over so many pictures


@dataclass(frozen=True, slots=True)
class WebcamConfig:
    """camera_offset_m: the camera from the screen's centre, screen frame. camera_tilt_deg > 0 looks up.

    The limits keep the mirrored head within what an avatar can show (soft: approached, never passed).
    """

    horizontal_fov_deg: float = 65.0
    camera_offset_m: tuple[float, float, float] = (0.0, 0.16, 0.0)
    camera_tilt_deg: float = 0.0
    viewing_distance_m: float = NEUTRAL_DISTANCE_M
    mirror: bool = True
    head_yaw_deg: float = 20.0
    head_pitch_deg: float = 15.0
    head_roll_deg: float = 15.0
    head_shift_m: float = 0.06

    @property
    def head_limits(self) -> Array:
        """[6]: metres for the shift, radians for yaw, pitch, roll."""
        turn = np.radians([self.head_yaw_deg, self.head_pitch_deg, self.head_roll_deg])
        return np.concatenate([np.full(3, self.head_shift_m), turn])

    @property
    def T_screen_camera(self) -> Pose:
        return Pose(
            np.array(self.camera_offset_m, np.float64),
            quaternion_from_euler(math.pi, math.radians(self.camera_tilt_deg)),
        )


def head_rotation(face: Face) -> Array:
    """[3, 3] rotation of the head (x to the subject's left, y up, z out of the face) in the camera frame."""
    u, _, vt = np.linalg.svd(face.transform[:3, :3])
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def eye_in_camera(face: Face, width: int, height: int, config: WebcamConfig) -> Array:
    """Midpoint [3] between the eyes, camera frame: direction from the picture, distance from the whole face's size.

    The landmarker fits a face of average size, seen through its own assumed lens; ours scales the distance.
    """
    focal = width / 2 / math.tan(math.radians(config.horizontal_fov_deg) / 2)
    assumed = height / 2 / math.tan(math.radians(LANDMARKER_FOV_DEG) / 2)
    fitted_cm = face.transform[:3, :3] @ EYES_IN_FACE_CM + face.transform[:3, 3]
    depth = max(-0.01 * float(fitted_cm[2]) * focal / assumed, 0.05)
    u, v = face.landmarks[EYE_CORNERS, :2].mean(axis=0, dtype=np.float64)
    return np.array([(u - width / 2) * depth / focal, (height / 2 - v) * depth / focal, -depth])


def _gaze_matrix() -> NDArray[np.float32]:
    """[4, 52]: HeadState.gaze from ARKit's eight eyeLook weights."""
    matrix = np.zeros((4, 52), np.float32)
    for row, side, outward in ((0, "Left", 1.0), (2, "Right", -1.0)):
        matrix[row, ARKIT_INDEX[f"eyeLookOut{side}"]] = outward * GAZE_YAW_RAD
        matrix[row, ARKIT_INDEX[f"eyeLookIn{side}"]] = -outward * GAZE_YAW_RAD
        matrix[row + 1, ARKIT_INDEX[f"eyeLookDown{side}"]] = GAZE_PITCH_RAD
        matrix[row + 1, ARKIT_INDEX[f"eyeLookUp{side}"]] = -GAZE_PITCH_RAD
    return matrix


GAZE_FROM_SCORES = _gaze_matrix()


def head_from_vector(vector: Array) -> HeadState:
    """From [62]: 52 weights, 4 gaze angles, shift (metres), yaw, pitch, roll (radians, small, so they blend well)."""
    expression = np.clip(vector[:52], 0, 1).astype(np.float32)
    yaw, pitch, roll = vector[59:].tolist()
    pose = Pose(vector[56:59], quaternion_from_euler(yaw, pitch, roll))
    return HeadState(expression, vector[52:56].astype(np.float32), pose)


@dataclass(frozen=True, slots=True, eq=False)
class FaceSample:
    """One filtered measurement. `track` changes whenever it is not the continuation of the sample before.

    eye: [3] metres, screen frame. head: [6] shift (metres) and yaw, pitch, roll (radians) of the head relative to its
    rest, in its rest frame; None while the rest is being learnt. Velocities are per second. expression: [52].
    """

    time_ns: int
    track: int
    eye: Array
    eye_velocity: Array
    head: Array | None
    head_velocity: Array
    expression: NDArray[np.float32]

    def head_vector(self, display_time_ns: int, config: WebcamConfig) -> Array | None:
        """[62] (see head_from_vector) for the avatar, within its limits, mirrored when the configuration says so."""
        if self.head is None:
            return None
        head = predict(self.head, self.head_velocity, display_time_ns - self.time_ns)
        head = soft_limit(head, config.head_limits)
        expression = self.expression
        if config.mirror:
            head = head * MIRROR_HEAD
            expression = expression[ARKIT_MIRROR]
        return np.concatenate([expression, GAZE_FROM_SCORES @ expression, head], dtype=np.float64)


@dataclass(slots=True)
class FaceFollower:
    """Keeps to one face from picture to picture, filters it and learns its rest pose. No thread, no clock."""

    config: WebcamConfig = field(default_factory=WebcamConfig)
    _track: int = 0
    _face: Face | None = None
    _time_ns: int = 0
    _eye: OneEuroFilter = field(default_factory=lambda: OneEuroFilter(1.2, 25.0, 3.0))
    _shift: OneEuroFilter = field(default_factory=lambda: OneEuroFilter(1.5, 25.0, 3.0))
    _turn: OneEuroFilter = field(default_factory=lambda: OneEuroFilter(1.5, 5.0, 3.0))
    _expression: OneEuroFilter = field(default_factory=lambda: OneEuroFilter(3.0, 3.0, 5.0))
    _rest_seen: list[tuple[Array, Array]] = field(default_factory=list)  # head position, rotation
    _rest: Pose | None = None

    def forget_rest(self) -> None:
        """The next pictures define the performer's rest pose anew."""
        self._rest, self._rest_seen = None, []

    def choose(self, faces: Sequence[Face], time_ns: int) -> Face | None:
        """The face that continues the last one; the nearest (largest) when there is none to continue.

        While the followed face is missed for less than GRACE_NS nobody else is taken for it.
        """
        if self._face is not None and time_ns - self._time_ns <= GRACE_NS:
            last = self._face
            close = [f for f in faces if np.hypot(*(f.center - last.center)) < 0.5 * last.size]
            return min(close, key=lambda f: float(np.hypot(*(f.center - last.center))), default=None)
        return max(faces, key=lambda f: f.size, default=None)

    def update(self, faces: Sequence[Face], width: int, height: int, time_ns: int) -> FaceSample | None:
        """The faces found in a picture of that size; None when the followed face is not among them."""
        face = self.choose(faces, time_ns)
        if face is None:
            return None
        if time_ns - self._time_ns > REST_GAP_NS:
            self.forget_rest()
        if self._face is None or time_ns - self._time_ns > GRACE_NS:
            self._track += 1
            for filter_ in (self._eye, self._shift, self._turn, self._expression):
                filter_.reset()
        self._face, self._time_ns = face, time_ns
        in_camera = eye_in_camera(face, width, height, self.config)
        eye = self._eye(self.config.T_screen_camera.apply(in_camera), time_ns)
        rotation = head_rotation(face)
        head, velocity = self._relative_head(in_camera - rotation @ EYES_IN_HEAD_M, rotation, time_ns)
        expression = np.clip(self._expression(face.scores.astype(np.float64), time_ns), 0, 1).astype(np.float32)
        return FaceSample(time_ns, self._track, eye, _velocity(self._eye), head, velocity, expression)

    def _relative_head(self, position: Array, rotation: Array, time_ns: int) -> tuple[Array | None, Array]:
        if self._rest is None:
            self._rest_seen.append((position, rotation))
            if len(self._rest_seen) < REST_FACES:
                return None, np.zeros(6)
            u, _, vt = np.linalg.svd(sum(r for _, r in self._rest_seen))  # the mean rotation, in the chordal sense
            mean = np.mean([p for p, _ in self._rest_seen], axis=0)
            self._rest, self._rest_seen = Pose(mean, matrix_to_quaternion(u @ vt)), []
            self._shift.reset()
            self._turn.reset()
        inverse = self._rest.rotation.T
        shift = self._shift(inverse @ (position - self._rest.position), time_ns)
        turn = self._turn(np.array(euler_from_matrix(inverse @ rotation)), time_ns)
        return np.concatenate([shift, turn]), np.concatenate([_velocity(self._shift), _velocity(self._turn)])


def _velocity(filter_: OneEuroFilter) -> Array:
    return np.zeros(3) if filter_.velocity is None else filter_.velocity
