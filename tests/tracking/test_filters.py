from __future__ import annotations

import numpy as np
import pytest

from tracking.filters import OneEuroFilter, SmoothSwitch, predict

S = 1_000_000_000


def run(filter_: OneEuroFilter, times_ns: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return np.array([filter_(sample, int(t)) for t, sample in zip(times_ns, samples, strict=True)])


def test_a_constant_stays_and_the_first_sample_passes() -> None:
    filter_ = OneEuroFilter(1.0, 5.0)
    times = np.cumsum(np.random.default_rng(0).integers(5, 60, 200)) * 1_000_000
    out = run(filter_, times, np.tile([0.1, -2.0, 0.6], (200, 1)))
    assert np.abs(out - [0.1, -2.0, 0.6]).max() < 1e-12
    assert filter_.velocity is not None and np.abs(filter_.velocity).max() < 1e-9


def test_jitter_at_rest_is_taken_out_and_motion_is_not_held_back() -> None:
    """The trade-off it exists for: calmer than a fast fixed low-pass, prompter than a slow one."""
    times = np.arange(0, 8, 1 / 30) * S
    seconds = times / S
    motion = np.where(seconds < 4, 0.0, np.sin((seconds - 4) * 2 * np.pi * 0.5) * 0.15)
    samples = (motion + np.random.default_rng(1).normal(0, 0.003, len(times)))[:, None]
    rest, moving = slice(30, 115), slice(130, None)

    def jitter_and_error(filter_: OneEuroFilter) -> tuple[float, float]:
        out = run(filter_, times, samples)[:, 0]
        return float(out[rest].std()), float(np.sqrt(np.mean((out - motion)[moving] ** 2)))

    adaptive = jitter_and_error(OneEuroFilter(1.2, 25.0, 3.0))
    slow = jitter_and_error(OneEuroFilter(1.2, 0.0))
    fast = jitter_and_error(OneEuroFilter(10.0, 0.0))
    assert adaptive[0] < 0.6 * 0.003 and adaptive[0] < fast[0]
    assert adaptive[1] < 0.5 * slow[1]
    assert adaptive[1] < 1.3 * fast[1]


def test_irregular_sampling_gives_the_same_step_response() -> None:
    rng = np.random.default_rng(2)
    regular = np.arange(1, 400) * 10_000_000
    irregular = np.sort(rng.choice(np.arange(1, 4000), 900, replace=False)) * 1_000_000
    for filter_cutoff in (0.5, 2.0):
        ends = []
        for times in (regular, irregular):
            filter_ = OneEuroFilter(filter_cutoff)
            filter_(np.zeros(1), 0)
            out = run(filter_, times, np.ones((len(times), 1)))[:, 0]
            ends.append(np.interp([0.1 * S, 0.3 * S, 1.0 * S], times, out))
        # the continuous system's response, 1 - exp(-2 pi f t), within what 10 ms steps allow
        exact = 1 - np.exp(-2 * np.pi * filter_cutoff * np.array([0.1, 0.3, 1.0]))
        assert np.abs(ends[0] - ends[1]).max() < 0.03 and np.abs(ends[0] - exact).max() < 0.05


def test_the_velocity_is_that_of_the_motion() -> None:
    filter_ = OneEuroFilter(1.2, 25.0, 3.0)
    times = np.arange(0, 2, 1 / 30) * S
    run(filter_, times, (0.2 * times / S)[:, None])
    assert filter_.velocity is not None and filter_.velocity[0] == pytest.approx(0.2, rel=0.1)


def test_old_and_repeated_times_change_nothing() -> None:
    filter_ = OneEuroFilter(1.0)
    filter_(np.zeros(2), 5 * S)
    before = filter_(np.ones(2), 6 * S).copy()
    assert (filter_(np.full(2, 9.0), 6 * S) == before).all() and (filter_(np.full(2, 9.0), 2 * S) == before).all()


def test_a_sample_that_is_no_number_is_refused_and_leaves_the_filter_alone() -> None:
    filter_ = OneEuroFilter(1.0)
    filter_(np.zeros(2), 0)
    with pytest.raises(ValueError, match="not finite"):
        filter_(np.array([0.0, np.nan]), S)
    assert np.isfinite(filter_(np.ones(2), 2 * S)).all()


def test_prediction_is_linear_capped_and_never_backwards() -> None:
    value, velocity = np.array([1.0]), np.array([2.0])
    assert predict(value, velocity, 40_000_000)[0] == pytest.approx(1.08)
    assert predict(value, velocity, 10 * S)[0] == pytest.approx(1.16)
    assert predict(value, velocity, -S)[0] == 1.0


def test_prediction_beats_the_late_measurement() -> None:
    """Filtered measurements of a swaying viewer, 50 ms old: predicted, they must be nearer the truth."""
    filter_ = OneEuroFilter(1.2, 25.0, 3.0)

    def truth(t: float) -> np.ndarray:
        return np.array([0.12 * np.sin(2 * np.pi * 0.4 * t)])

    late, predicted = [], []
    for i in range(300):
        t = i / 30
        value = filter_(truth(t), int(t * S))
        assert filter_.velocity is not None
        if i > 30:
            late.append(value - truth(t + 0.05))
            predicted.append(predict(value, filter_.velocity, 50_000_000) - truth(t + 0.05))
    assert np.abs(predicted).mean() < 0.5 * np.abs(late).mean()


def test_a_switch_is_continuous_however_often_one_switches() -> None:
    switch = SmoothSwitch(500_000_000)
    targets = {0: np.array([0.0]), 1: np.array([1.0]), 2: np.array([-3.0])}
    outputs = []
    for i in range(700):
        channel = (0, 1, 0, 2, 1, 1, 1)[i // 100] if i % 100 > 20 or i > 600 else (i // 7) % 3
        outputs.append(switch(targets[channel], channel, i * 5_000_000)[0])
    assert np.abs(np.diff(outputs)).max() < 4.5 * 1.5 * 0.01 + 1e-9
    assert outputs[0] == 0.0 and outputs[-1] == pytest.approx(1.0)
    # and a moving target is followed exactly once the fade is over
    assert switch(np.array([1.7]), 1, 700 * 5_000_000)[0] == pytest.approx(1.7)
