"""How far the eyes really look up and down, read off the clip's own pictures.

A detector's irises stay near the middle of the eye: on a rendered clip they show half of each look up or down. But an
iris is dark, and the sclera around it bright. That is too little to find it in one frame, half covered by a lid as it
is; one gain for the whole clip comes out well. (An offset does not: lids throw shadows on the upper half of the eye.)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.head.rig import HeadRig
from models.track_file import Track
from models.video_frames import read_frames
from tracking.video.gaze import BLINK, LIMIT, turned
from tracking.video.observe import Progress
from tracking.video.solver import FACE, Floats

LIDS = (
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
)  # of the subject's left and right eye, from the outer corner over the upper lid; the inner corner is the ninth
INNER = 8
IRIS_M = 0.0059  # radius; people's are alike to a few percent
INSIDE, RING = 0.9, (1.1, 1.8)  # in radii: what is compared with what
ENLARGED = 4  # the picture, so that an iris of a few pixels is no staircase
LASHES = 2  # enlarged pixels along the lids that are left out
LEAST_SEEN, COVERED = 0.15, 0.25  # of the iris between the lids; how much less the rest counts for it (a power)
WIDE_OPEN = 0.35  # blink weight up to which a frame counts
FRAMES = 120
PITCHES, YAWS = np.arange(-0.64, 0.65, 0.04), np.arange(-0.1, 0.11, 0.05)  # radians; yaws around the detected one
GAINS, OFFSETS = np.arange(0.6, 3.01, 0.1), np.arange(-0.4, 0.41, 0.04)
RELUCTANCE = 0.002  # of the contrast, for a gain of 2: eyes that never look up say nothing


def with_seen_pitch(track: Track, video: Path, progress: Progress) -> Track:
    """The track with gaze whose pitch is as large as `video` shows it, unchanged where no eye is open in it."""
    wide = np.flatnonzero((track.expression[:, list(BLINK)] < WIDE_OPEN).all(axis=1))
    if len(wide) == 0:
        return track
    some = wide[np.unique(np.linspace(0, len(wide) - 1, FRAMES).round().astype(int))]
    seen = np.zeros((len(some), 2, len(PITCHES)))
    for row, (_, _, rgb) in enumerate(read_frames(video, track.frame_index[some].tolist())):
        k, grey = int(some[row]), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        for eye in range(2):
            seen[row, eye] = contrasts(track.rig, track.camera, track.head(k), eye, track.landmarks[k], grey)
        progress("eyes", row + 1, len(some))
    pitch = track.gaze[:, 1::2].astype(np.float64)
    middle = np.median(pitch[some], axis=0)
    gain = seen_gain(seen, pitch[some] - middle, middle)
    gaze = track.gaze.copy()
    gaze[:, 1::2] = np.clip(middle + gain * (pitch - middle), -LIMIT[1], LIMIT[1])
    return dataclasses.replace(track, gaze=gaze, statistics=track.statistics | {"gaze_pitch_gain": round(gain, 2)})


def contrasts(
    rig: HeadRig, camera: Camera, head: HeadState, eye: int, landmarks: NDArray[np.float32], grey: NDArray
) -> Floats:
    """[len(PITCHES)] by how many grey levels an iris that looks so far up or down would be darker than what is around
    it between the lids, less the less of it can be seen; 0 where nothing says. landmarks: [478, 2] of the picture."""
    lids = landmarks[list(LIDS[eye])].astype(np.float64)
    low, high = lids.min(axis=0) - 4, lids.max(axis=0) + 4
    width, height = ((high - low) * ENLARGED).astype(int).tolist()
    to_patch = np.c_[np.eye(2) * ENLARGED, (0.5 - low) * ENLARGED - 0.5]
    patch = cv2.warpAffine(grey, to_patch, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    between = np.zeros((height, width), np.uint8)
    cv2.fillPoly(between, [((lids - low) * ENLARGED).round().astype(np.int32)], 1)
    row, column = np.nonzero(cv2.erode(between, np.ones((3, 3), np.uint8), iterations=LASHES))
    value = np.asarray(patch)[row, column].astype(np.float64)

    own = rig.landmark_vertices[FACE:]
    own = own[rig.eye_weight[eye, own] > 0.5]
    if len(own) == 0 or len(value) == 0:
        return np.zeros(len(PITCHES))
    weights = head.expression.astype(np.float64)
    still = rig.neutral + np.tensordot(weights, rig.expression_deltas.astype(np.float64), 1)
    centre = rig.eye_centers[eye].astype(np.float64)
    yaw = head.gaze[2 * eye] + YAWS
    angles = np.stack(np.meshgrid(PITCHES, yaw, indexing="ij")[::-1], axis=-1).reshape(-1, 2)
    arm = turned(np.broadcast_to(still[own].mean(axis=0) - centre, (len(angles), 3)), angles)
    facing = arm / np.linalg.norm(arm, axis=1, keepdims=True)
    aside = np.cross([0.0, 1.0, 0.0], facing)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    disc = centre + arm[:, None] + IRIS_M * np.stack([np.zeros_like(arm), aside, np.cross(facing, aside)], axis=1)
    corners = rig.landmark_vertices[[LIDS[eye][0], LIDS[eye][INNER]]]
    misfit = lids[[0, INNER]].mean(axis=0) - _seen(camera, head, still[corners]).mean(axis=0)
    at, right, up = np.moveaxis(_seen(camera, head, disc) + misfit, 1, 0)
    axes = np.stack([right - at, up - at], axis=-1)  # [G, 2, 2]
    pixel = np.stack([column, row], axis=1) / ENLARGED + low + 0.5 / ENLARGED
    place = np.einsum("gij,gpj->gpi", np.linalg.inv(axes), pixel - at[:, None])
    radius = np.linalg.norm(place, axis=-1)
    inside, around = radius < INSIDE, (radius > RING[0]) & (radius < RING[1])
    share = inside.sum(axis=1) / (np.pi * INSIDE**2 * np.abs(np.linalg.det(axes)) * ENLARGED**2)
    dark, bright = (part @ value / np.maximum(part.sum(axis=1), 1) for part in (inside, around))
    known = (share > LEAST_SEEN) & around.any(axis=1)
    contrast = np.where(known, (bright - dark) * np.minimum(share, 1) ** COVERED, 0.0)
    return contrast.reshape(len(PITCHES), len(YAWS)).max(axis=1)


def _seen(camera: Camera, head: HeadState, points: Floats) -> Floats:
    """[..., 2] pixels of points [..., 3] of the head, whose T_world_head is T_camera_head."""
    return camera.project(head.T_world_head.apply(points))[..., :2]


def seen_gain(seen: Floats, pitch: Floats, middle: Floats) -> float:
    """The gain on `pitch` [n, 2], around its middle [2], at which the contrasts `seen` [n, 2, len(PITCHES)] are highest
    on the whole, wherever the middle really is."""

    def contrast(gain: float, offset: float) -> float:
        step = PITCHES[1] - PITCHES[0]
        place = np.clip((middle + gain * pitch + offset - PITCHES[0]) / step, 0, len(PITCHES) - 1.001)
        below = place.astype(int)
        low, high = (np.take_along_axis(seen, (below + k)[..., None], axis=2)[..., 0] for k in (0, 1))
        return float((low + (place - below) * (high - low)).mean()) * (1 - RELUCTANCE * np.log2(gain) ** 2)

    best = {gain: max(contrast(gain, offset) for offset in OFFSETS.tolist()) for gain in GAINS.round(6).tolist()}
    found = max(best, key=lambda gain: (best[gain], gain == 1.0))
    return 1.0 if found in (min(best), max(best)) else found  # at the range's end there is no maximum
