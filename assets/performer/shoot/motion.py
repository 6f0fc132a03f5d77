"""What the performer does in a shoot: which moments of a take, and how the head moves meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

from assets.performer.shoot.live_link import RATE_HZ, Take
from models.arkit import ARKIT_INDEX, HeadState
from models.errors import UserError
from models.geometry import Pose, euler_from_matrix, quaternion_from_euler, quaternion_to_matrix

Array = NDArray[np.float64]
PACE = 18.0  # summed change of all weights per second that a lively passage has: slower ones are walked over faster
MAX_HASTE = 8.0  # but never faster than this
WINDOW_S = 2.0
BLEND_S = 0.25  # each side of a cut
# What the head turns about, in its own frame (HeadRig.neck_pivot): turning moves the ears' midpoint as a neck does.
NECK_PIVOT_M = np.array([0.0, -0.098, -0.028])
YAW, PITCH, ROLL = np.radians([25.0, 8.0, 5.0])  # as far as a person in a chat turns
COUNTER_TURN = 0.7  # of the head's turn: the eyes stay with whom they talk to while the head turns (the VOR)
GAZE_LIMIT = np.array([0.6, 0.45])  # yaw, pitch, radians
SWAY_M = np.array([0.020, 0.010, 0.025])  # right and left, up and down, to and fro on the chair


# The weights that go with gaze > 0 and gaze < 0, for left yaw, left pitch, right yaw, right pitch.
_LOOKS = tuple(
    (ARKIT_INDEX["eyeLook" + plus], ARKIT_INDEX["eyeLook" + minus])
    for plus, minus in (
        ("OutLeft", "InLeft"), ("DownLeft", "UpLeft"), ("InRight", "OutRight"), ("DownRight", "UpRight"),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """What happens in a shoot: `states` of its moments, each `1 / fps` s after the one before when `continuous`."""

    states: tuple[HeadState, ...]
    fps: int
    continuous: bool


def score(take: Take, moments: int, fps: int, seed: int, *, liveliness: float, spread: bool) -> Score:
    """`moments` of the take with head motion, the same for the same arguments.

    liveliness: speed of the head's motion, 1 for a calm conversation. spread: the moments that differ most, each for
    itself with little head motion, and not a performance in time. Raises UserError when the take is too short.
    """
    if spread:
        part = take.at(distinct_moments(take, moments).astype(np.float64))
        # so far apart in time that the poses have nothing to do with each other
        poses = head_motion(np.arange(0.0, 7.0 * moments, 7.0), seed, extent=0.2)
    else:
        part = cut(take, walk(take, fps), moments, fps)
        poses = head_motion(np.arange(float(moments)) / fps, seed, liveliness)
        part = counter_turned(part, poses, gaze_slopes(take))
    states = tuple(
        HeadState(e.astype(np.float32), g.astype(np.float32), p)
        for e, g, p in zip(part.expression, part.gaze, poses, strict=True)
    )
    return Score(states, fps, not spread)


def activity(take: Take) -> Array:
    """[N - 1] summed change of all weights per frame, smoothed over a third of a second."""
    quiet = _smooth(take.expression, 1.0)  # the sensor's own noise is no motion
    return _smooth(np.abs(np.diff(quiet, axis=0)).sum(axis=1)[:, None], 5.0)[:, 0]


def walk(take: Take, fps: int) -> Array:
    """Frame numbers of the whole take in the order of time: real time where the face is lively, faster where still."""
    change = np.maximum(activity(take), 1e-4)
    haste = np.clip(PACE / RATE_HZ / change, 1.0, MAX_HASTE)
    # slow down before something happens, and change the haste smoothly: a blink must not begin at a rush
    haste = _smooth(minimum_filter1d(haste, 15)[:, None], 4.0)[:, 0]
    time = np.concatenate([[0.0], np.cumsum(1 / haste)])  # when each frame is reached, in frames at RATE_HZ
    return np.interp(np.arange(0, time[-1], RATE_HZ / fps), time, np.arange(len(time)))


def cut(take: Take, walked: Array, moments: int, fps: int) -> Take:
    """A performance of `moments`: of the walked take's windows those that together show the most, cut softly.

    Raises UserError when the take holds less than that.
    """
    if len(walked) < moments:
        raise UserError(f"the motion gives {len(walked)} moments, fewer than the {moments} asked for; use --frames")
    length = max(2, round(WINDOW_S * fps))
    shown = take.at(walked)
    starts = _windows(shown.expression, moments, length)
    # where each output moment lies in the walk, and the same for the passage after the next cut
    here = np.concatenate([start + np.arange(length) for start in starts])[:moments]
    out = take.at(np.interp(here, np.arange(len(walked)), walked))
    half = max(1, round(BLEND_S * fps))
    for k in range(1, len(starts)):
        at = k * length
        if starts[k] == starts[k - 1] + length or at >= moments:
            continue  # no cut: the walk goes on
        span = np.arange(max(0, at - half), min(moments, at + half))
        x = (span - at + half + 0.5) / (2 * half)
        weight = (x * x * (3 - 2 * x))[:, None]
        before = take.at(np.interp(starts[k - 1] + length + span - at, np.arange(len(walked)), walked))
        after = take.at(np.interp(starts[k] + span - at, np.arange(len(walked)), walked))
        out.expression[span] = (1 - weight) * before.expression + weight * after.expression
        out.gaze[span] = (1 - weight) * before.gaze + weight * after.gaze
    return out


def _windows(expression: Array, moments: int, length: int) -> list[int]:
    """Starts of the windows, ascending. Greedy: the next is the one that adds most to the reach of each weight."""
    starts = np.arange(0, max(len(expression) - length, 0) + 1, length)
    count = -(-moments // length)
    if count > len(starts):  # the last window does not fit whole: take the walk's beginning
        return [int(length * k) for k in range(count)]
    reach = np.stack([expression[s : s + length].max(axis=0) for s in starts])
    moved = np.stack([np.abs(np.diff(expression[s : s + length], axis=0)).sum() for s in starts])
    best = np.zeros(expression.shape[1])
    chosen: list[int] = []
    for _ in range(count):
        gain = np.maximum(reach - best, 0).sum(axis=1) + 0.01 * moved
        gain[chosen] = -1
        pick = int(gain.argmax())
        chosen.append(pick)
        best = np.maximum(best, reach[pick])
    return sorted(int(starts[k]) for k in chosen)


def distinct_moments(take: Take, count: int) -> NDArray[np.int64]:
    """[count] ascending frame numbers that differ most in expression and gaze (farthest-point sampling), the calmest
    first in the choosing. Raises UserError when the take is shorter."""
    if len(take.expression) < count:
        have = len(take.expression)
        raise UserError(f"the motion file has {have} frames, fewer than the {count} asked for; use --frames")
    features = np.concatenate([take.expression, take.gaze], axis=1)
    chosen = [int(np.linalg.norm(features - np.median(features, axis=0), axis=1).argmin())]
    distance = np.full(len(features), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(features - features[chosen[-1]], axis=1))
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return np.sort(np.array(chosen))


def head_motion(time_s: NDArray[np.floating], seed: int, liveliness: float = 1.0, extent: float = 1.0) -> list[Pose]:
    """T_world_head at these times [N]: a seated person who looks about, within YAW, PITCH and ROLL times `extent`.

    The world's origin is the head's rest. Smooth for any frame rate: a sum of sines with random frequencies and phases.
    """
    rng = np.random.default_rng([seed, 0x6865])

    def wave(low_hz: float, high_hz: float, sigma: float) -> Array:
        f = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), 16)) * liveliness
        a = 1 / f
        a *= sigma * np.sqrt(2) / np.linalg.norm(a)
        return (a * np.sin(2 * np.pi * f * time_s[:, None] + rng.uniform(0, 2 * np.pi, 16))).sum(axis=1)

    # looking to one side and back, with smaller turns and nods on top; tanh keeps within what a neck likes to do
    yaw = YAW * np.tanh(wave(0.08, 0.45, 0.6) + wave(0.4, 1.2, 0.08))
    pitch = PITCH * np.tanh(wave(0.08, 0.4, 0.55) + wave(0.5, 1.6, 0.15))
    roll = ROLL * np.tanh(wave(0.08, 0.5, 0.5) + 0.4 * yaw / YAW)
    sway = SWAY_M * np.tanh(np.stack([wave(0.04, 0.3, 0.6) for _ in range(3)], axis=1))
    orientation = [quaternion_from_euler(*(extent * np.array(a))) for a in zip(yaw, pitch, roll, strict=True)]
    return [
        Pose(NECK_PIVOT_M - quaternion_to_matrix(q) @ NECK_PIVOT_M + extent * s, q)
        for q, s in zip(orientation, sway, strict=True)
    ]


def gaze_slopes(take: Take) -> Array:
    """[4] how much the take's look weights (out minus in, or down minus up) change per radian of each gaze angle."""
    slopes = np.zeros(4)
    for k, (plus, minus) in enumerate(_LOOKS):
        angle, signed = take.gaze[:, k], take.expression[:, plus] - take.expression[:, minus]
        spread = angle.var()
        slopes[k] = np.cov(angle, signed, bias=True)[0, 1] / spread if spread > 1e-8 else 0.0
    return slopes


def counter_turned(part: Take, poses: list[Pose], slopes: Array) -> Take:
    """The take with eyes that turn against the head by COUNTER_TURN, and look weights that move the lids with them."""
    turns = np.array([euler_from_matrix(pose.rotation)[:2] for pose in poses])
    gaze = part.gaze.reshape(-1, 2, 2)
    limit = np.maximum(GAZE_LIMIT, np.abs(gaze))  # what the performer did stays
    gaze = np.clip(gaze - COUNTER_TURN * turns[:, None], -limit, limit).reshape(-1, 4)
    expression = part.expression.copy()
    for k, (plus, minus) in enumerate(_LOOKS):
        signed = expression[:, plus] - expression[:, minus] + slopes[k] * (gaze[:, k] - part.gaze[:, k])
        expression[:, plus], expression[:, minus] = np.clip(signed, 0, 1), np.clip(-signed, 0, 1)
    return Take(expression, gaze)


def _smooth(values: Array, sigma: float) -> Array:
    """Gaussian along axis 0 (frames), ends repeated."""
    half = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    padded = np.pad(values, [(half, half), (0, 0)], mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)
