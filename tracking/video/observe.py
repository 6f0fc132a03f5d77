"""From a video to one chosen face per distinct frame: sorts out repeated frames, lost faces and bystanders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.video_frames import probe_video, read_frames
from tracking.video.landmarks import Face, FaceLandmarker

MIN_FRAMES = 8
JUMP = 0.35  # of the face's box diagonal; more between neighbouring frames is another face or a false find
FORGET_AFTER = 12  # frames without the face, after which it may reappear anywhere

Progress = Callable[[str, int, int], None]  # stage, done, total (0: unknown)


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """K frames with a face. Indices count in the video's own frames."""

    frame_index: NDArray[np.int32]  # [K]
    time_ns: NDArray[np.int64]  # [K]
    landmarks: NDArray[np.float32]  # [K, 478, 3] video pixels
    scores: NDArray[np.float32]  # [K, 52]
    rotation: NDArray[np.float64]  # [K, 3, 3] MediaPipe's first guess of the head's orientation in the camera
    repeated: NDArray[np.int32]  # indices of frames that only repeat the one before
    lost: dict[int, str] = field(default_factory=dict)  # index -> why
    frames_total: int = 0
    second_faces: int = 0  # frames in which another face was seen and left alone

    def segments(self) -> NDArray[np.int32]:
        """[K] run ids: a new run begins where a frame was lost. Repeated frames do not break a run."""
        lost = np.array(sorted(self.lost), dtype=np.int64)
        passed = np.searchsorted(lost, self.frame_index)
        return np.cumsum(np.diff(passed, prepend=passed[:1]) > 0).astype(np.int32)


def observe_video(path: Path, landmarker: FaceLandmarker, progress: Progress, limit: int | None = None) -> Observations:
    """Detect in every frame, then drop repeats and choose the face that continues. Raises UserError for a video
    without at least MIN_FRAMES distinct frames with a face."""
    expected = probe_video(path).frames
    if limit is not None:
        expected = min(expected, limit)
    indices: list[int] = []
    times: list[int] = []
    faces: list[list[Face]] = []
    differences: list[float] = []
    previous: NDArray[np.int16] | None = None
    for index, time_ns, rgb in read_frames(path, limit=limit):
        stride = max(1, max(rgb.shape) // 640)  # enough pixels to tell a repeat, also in 4K
        current = rgb[::stride, ::stride].astype(np.int16)
        same_size = previous is not None and previous.shape == current.shape
        differences.append(float(np.abs(current - previous).mean()) if same_size else np.inf)  # type: ignore[operator]
        previous = current
        indices.append(index)
        times.append(time_ns)
        # an exact repeat has the landmarks of the frame before
        faces.append(faces[-1] if differences[-1] == 0 else landmarker.detect(rgb))
        progress("landmarks", len(indices), expected)
    if len(indices) < MIN_FRAMES:
        raise UserError(f"{path} has only {len(indices)} frame(s), too few to track; give a clip of some seconds")
    repeated = find_repeats(np.array(differences))
    kept = [i for i in range(len(indices)) if not repeated[i]]
    chosen, reasons = choose_faces([faces[i] for i in kept])
    lost = {indices[kept[k]]: reason for k, reason in reasons.items()}
    good = [(kept[k], face) for k, face in enumerate(chosen) if face is not None]
    if len(good) < MIN_FRAMES:
        why = ", ".join(f"{reason}: {count}" for reason, count in Counter(lost.values()).most_common())
        raise UserError(
            f"{path} shows a usable face in only {len(good)} of {len(kept)} frames ({why}); "
            "give a clip of one well-lit face"
        )
    return Observations(
        frame_index=np.array([indices[i] for i, _ in good], np.int32),
        time_ns=np.array([times[i] for i, _ in good], np.int64),
        landmarks=np.stack([face.landmarks for _, face in good]),
        scores=np.stack([face.scores for _, face in good]),
        rotation=np.stack([nearest_rotation(face.transform[:3, :3]) for _, face in good]),
        repeated=np.array(indices, np.int32)[repeated],
        lost=lost,
        frames_total=len(indices),
        second_faces=sum(len(faces[i]) > 1 for i in kept),
    )


def find_repeats(differences: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames only repeat the one before. differences: [N] mean absolute difference to it, first entry ignored.

    A repeat differs by the codec's noise alone, so its difference is far below those around it. Where repeats follow
    a cadence (25 fps padded to 30, say), the beat also tells them in still passages.
    """
    count = len(differences)
    repeated = np.zeros(count, bool)
    for i in range(1, count):
        around = np.r_[differences[max(1, i - 4) : i], differences[i + 1 : i + 5]]
        # scenes at rest have small differences everywhere: only a clear drop counts, or no difference at all
        drop = len(around) > 0 and differences[i] < 0.2 * np.median(around)
        repeated[i] = differences[i] == 0 or bool(drop)
    found = np.flatnonzero(repeated)
    if len(found) < 5:
        return repeated
    for period in range(2, 13):
        phase = int(np.bincount(found % period, minlength=period).argmax())
        beat = np.arange(phase if phase else period, count, period)
        if repeated[beat].mean() > 0.8 and repeated[beat].sum() > 0.8 * len(found):
            around = np.stack([differences[np.clip(beat + k, 1, count - 1)] for k in (-2, -1, 1, 2)])
            on_beat = beat[differences[beat] < np.median(around, axis=0)]
            # off the beat, a frame that merely hardly moves is no repeat
            repeated &= differences < 1.5 * np.median(differences[on_beat])
            repeated[on_beat] = True
            break
    return repeated


def choose_faces(faces: Sequence[Sequence[Face]]) -> tuple[list[Face | None], dict[int, str]]:
    """The face that continues from frame to frame (the largest at first), and why frames have none."""
    chosen: list[Face | None] = []
    reasons: dict[int, str] = {}
    last: Face | None = None
    missed = 0
    for k, found in enumerate(faces):
        face: Face | None = None
        if not found:
            reasons[k] = "no face"
        elif last is None:
            face = max(found, key=lambda f: f.size)
        else:
            reference = last
            face = min(found, key=lambda f: float(np.linalg.norm(f.center - reference.center)))
            step = float(np.linalg.norm(face.center - last.center))
            ratio = face.size / last.size
            if step > JUMP * last.size * (1 + 0.25 * missed) or not 0.67 < ratio < 1.5:
                face, reasons[k] = None, "sudden jump"
        missed = 0 if face is not None else missed + 1
        if face is not None or missed > FORGET_AFTER:
            last = face
        chosen.append(face)
    return chosen, reasons


def nearest_rotation(m: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3, 3] of a matrix [3, 3] that is nearly one."""
    u, _, v = np.linalg.svd(m)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
