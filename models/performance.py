"""A recorded performance: what a head did, relative to its own rest pose, and how to loop it without a jump."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.errors import UserError
from models.geometry import Array, Pose, slerp

MAX_FRAMES = 100_000
MAX_DISTANCE_M = 10.0
SEAM_NS = 600_000_000
REST = 10  # percentile of a weight that counts as the face at rest: most weights are raised now and then only
_FIELDS = ("time_ns", "expression", "gaze", "position", "orientation")


def loop_time(elapsed_ns: int, duration_ns: int, seam_ns: int = SEAM_NS) -> tuple[int, int, float]:
    """(a, b, w): where an endless loop over [0, duration] stands; show (1 - w) * at(a) + w * at(b).

    A crossfade at the seam: each round but the first starts by fading from the end of the recording into its beginning.
    The rounds overlap by the seam, so the loop's period is duration - seam. At most a third of the recording is seam.
    """
    if duration_ns <= 0:
        return 0, 0, 0.0
    seam = min(seam_ns, duration_ns // 3)
    period = duration_ns - seam
    lap, t = divmod(max(elapsed_ns, 0), period)
    if lap == 0 or t >= seam:
        return t, t, 0.0
    x = t / seam
    return period + t, t, x * x * (3 - 2 * x)


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """N samples in time, N >= 1.

    time_ns: [N] int64, strictly increasing. expression: [N, 52] in [0, 1]. gaze: [N, 4] radians (see HeadState).
    position: [N, 3] metres and orientation: [N, 4] unit xyzw: T_rest_head, the head relative to its rest pose.
    Raises ValueError, saying what is wrong, for anything else.
    """

    time_ns: NDArray[np.int64]
    expression: NDArray[np.float32]
    gaze: NDArray[np.float32]
    position: Array
    orientation: Array

    def __post_init__(self) -> None:
        n = self.time_ns.shape[0] if self.time_ns.ndim == 1 else -1
        if not 1 <= n <= MAX_FRAMES:
            raise ValueError(f"a performance needs 1 to {MAX_FRAMES} frames, got time_ns {self.time_ns.shape}")
        if self.time_ns.dtype != np.int64:
            raise ValueError(f"time_ns must be int64, not {self.time_ns.dtype}")
        # compared as values: a difference may overflow when the file lies
        if (self.time_ns[1:] <= self.time_ns[:-1]).any() or np.abs(self.time_ns).max(initial=0) > 2**61:
            raise ValueError("time_ns does not increase strictly")
        for name, width in (("expression", 52), ("gaze", 4), ("position", 3), ("orientation", 4)):
            array = getattr(self, name)
            if array.shape != (n, width):
                raise ValueError(f"{name} is {array.shape}, not {(n, width)}")
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are no finite numbers")
        if self.expression.min() < -1e-3 or self.expression.max() > 1 + 1e-3:
            raise ValueError("expression leaves [0, 1]")
        if np.abs(self.gaze).max() > np.pi or np.abs(self.position).max() > MAX_DISTANCE_M:
            raise ValueError("gaze or position is out of any head's range")
        if np.abs(np.linalg.norm(self.orientation, axis=1) - 1).max() > 1e-3:
            raise ValueError("orientation holds quaternions that are not of unit length")

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def duration_ns(self) -> int:
        return int(self.time_ns[-1] - self.time_ns[0])

    def at(self, offset_ns: int) -> HeadState:
        """Interpolated between the samples around time_ns[0] + offset_ns; held at both ends."""
        t = int(self.time_ns[0]) + offset_ns
        j = int(np.searchsorted(self.time_ns, t, side="right"))
        if j == 0 or j == len(self.time_ns):
            i = min(j, len(self.time_ns) - 1)
            return HeadState(self.expression[i], self.gaze[i], Pose(self.position[i], self.orientation[i]))
        i = j - 1
        w = (t - int(self.time_ns[i])) / int(self.time_ns[j] - self.time_ns[i])
        return HeadState(
            _mix(self.expression[i], self.expression[j], w),
            _mix(self.gaze[i], self.gaze[j], w),
            Pose((1 - w) * self.position[i] + w * self.position[j], slerp(self.orientation[i], self.orientation[j], w)),
        )

    def sample(self, time_ns: int) -> HeadState:
        """The endless loop at time_ns (0 = its start); T_world_head holds T_rest_head. Continuous everywhere."""
        a, b, w = loop_time(time_ns, self.duration_ns)
        if w == 0.0:
            return self.at(a)
        return blend_heads(self.at(a), self.at(b), w)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The five arrays by field name, for a tensor file."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in _FIELDS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], source: str = "the performance") -> Performance:
        """From to_tensors(). Raises UserError naming `source` for anything a file may lie about."""
        missing = [name for name in _FIELDS if name not in tensors]
        if missing:
            raise UserError(f"{source}: the recorded performance lacks {', '.join(missing)}; make the file again")
        time_ns, expression, gaze, position, orientation = (np.asarray(tensors[name]) for name in _FIELDS)
        try:
            return cls(
                time_ns,
                expression.astype(np.float32),
                gaze.astype(np.float32),
                position.astype(np.float64),
                orientation.astype(np.float64),
            )
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{source}: the recorded performance is not usable ({error}); make the file again"
            ) from None


def _mix(a: NDArray[np.float32], b: NDArray[np.float32], w: float) -> NDArray[np.float32]:
    return (a + np.float32(w) * (b - a)).astype(np.float32, copy=False)


def blend_heads(a: HeadState, b: HeadState, w: float) -> HeadState:
    """a at w = 0, b at w = 1, everything in between."""
    return HeadState(
        _mix(a.expression, b.expression, w), _mix(a.gaze, b.gaze, w), a.T_world_head.interpolate(b.T_world_head, w)
    )


def relative(source: Performance, own: Performance) -> Performance:
    """`source` with its face at rest and its usual look exchanged for those of `own`: weights for the same expression
    differ between two people by what each face is like at rest, and by how each was tracked."""
    shift = np.percentile(own.expression, REST, axis=0) - np.percentile(source.expression, REST, axis=0)
    look = np.median(own.gaze, axis=0) - np.median(source.gaze, axis=0)
    return replace(
        source,
        expression=np.clip(source.expression + shift, 0, 1).astype(np.float32),
        gaze=np.clip(source.gaze + look, -np.pi, np.pi).astype(np.float32),
    )
