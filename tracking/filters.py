"""Filters for live measurements. Time is an argument everywhere: monotonic nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.geometry import Array


def _smoothing(cutoff_hz: Array, dt_s: float) -> Array:
    """Weight of the newest sample in a first-order low-pass of that cutoff, for any sampling interval."""
    r = 2 * np.pi * cutoff_hz * dt_s
    return r / (r + 1)


@dataclass(slots=True)
class OneEuroFilter:
    """Low-pass per component whose cutoff rises with the component's speed: calm at rest, prompt in motion.

    Casiez, Roussel, Vogel, "1 Euro Filter", CHI 2012. min_cutoff_hz: less = calmer at rest; beta (Hz per unit/s):
    more = less lag in motion.
    """

    min_cutoff_hz: float = 1.0
    beta: float = 0.0
    derivative_cutoff_hz: float = 1.0
    value: Array | None = None  # [D] newest filtered value
    velocity: Array | None = None  # [D] per second, filtered
    time_ns: int = 0
    _sample: Array | None = None

    def __call__(self, sample: Array, time_ns: int) -> Array:
        """Filtered [D]. A sample that is no newer than the last one is ignored. Raises ValueError unless finite."""
        sample = np.array(sample, np.float64)
        if not np.isfinite(sample).all():
            raise ValueError("OneEuroFilter: the sample is not finite")
        if self.value is None or self.velocity is None or self._sample is None:
            self.value, self.velocity, self.time_ns, self._sample = sample, np.zeros_like(sample), time_ns, sample
            return sample
        dt = (time_ns - self.time_ns) * 1e-9
        if dt <= 0:
            return self.value
        rate = (sample - self._sample) / dt  # of the raw samples: unbiased, however far the filtered value lags
        self.velocity = self.velocity + _smoothing(np.array(self.derivative_cutoff_hz), dt) * (rate - self.velocity)
        cutoff = self.min_cutoff_hz + self.beta * np.abs(self.velocity)
        self.value = self.value + _smoothing(cutoff, dt) * (sample - self.value)
        self.time_ns, self._sample = time_ns, sample
        return self.value

    def reset(self) -> None:
        self.value = self.velocity = self._sample = None


def predict(value: Array, velocity: Array, age_ns: int, horizon_ns: int = 80_000_000) -> Array:
    """Constant-velocity extrapolation of a measurement `age_ns` old, by at most `horizon_ns`."""
    return value + velocity * (min(max(age_ns, 0), horizon_ns) * 1e-9)


def smoothstep(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


@dataclass(slots=True)
class SmoothSwitch:
    """Follows one of several targets; what would be a jump when another is chosen is worked off over `duration_ns`.

    On a switch the gap between the last output and the new target is kept as an offset that fades to nothing, so the
    output is continuous however often one switches, even in the middle of a fade.
    """

    duration_ns: int = 500_000_000
    _channel: int | None = None
    _output: Array | None = None
    _offset: Array | None = None
    _since_ns: int = 0

    def __call__(self, target: Array, channel: int, time_ns: int) -> Array:
        """target [D] of the chosen channel now; returns [D]."""
        if self._output is None or self._offset is None:
            self._channel, self._offset = channel, np.zeros_like(target)
        elif channel != self._channel:
            self._channel, self._offset, self._since_ns = channel, self._output - target, time_ns
        remaining = 1.0 - smoothstep((time_ns - self._since_ns) / self.duration_ns)
        self._output = target + self._offset * remaining
        return self._output
