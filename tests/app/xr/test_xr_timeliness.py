"""Who goes first while a headset is worn, and that it is as before afterwards."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import deque

import pytest

from app.xr.images import fitted
from app.xr.session import PERIODS, XrSession
from app.xr.timeliness import NICER, SWITCH_S, WORKERS, Timeliness, usable_cores, workers_beside_display


def test_one_core_is_the_displays_where_the_processor_draws() -> None:
    assert workers_beside_display(["cpu (EPYC)"] * 2, 2) == 1
    assert workers_beside_display(["cpu (EPYC)"] * 2, 8) == 7
    assert workers_beside_display(["cpu (EPYC)"], 1) == 1
    assert workers_beside_display(["cuda:0", "cpu (EPYC)"], 2) is None
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_workers_are_nicer_than_the_display_and_it_ends_with_the_session() -> None:
    end, ids = threading.Event(), {}

    def work() -> None:
        ids[threading.current_thread().name] = threading.get_native_id()
        end.wait(30)

    threads = [threading.Thread(target=work, name=name, daemon=True) for name in (f"{WORKERS}-7", "recorder")]
    for thread in threads:
        thread.start()
    while len(ids) < 2:
        threading.Event().wait(0.001)

    def nice(name: str) -> int:
        return os.getpriority(os.PRIO_PROCESS, ids[name])

    switch_s, here = sys.getswitchinterval(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    timeliness = Timeliness()
    timeliness.hold()
    timeliness.hold()
    assert nice(f"{WORKERS}-7") == here + NICER and nice("recorder") == here
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S) and gc.get_freeze_count() > 1000
    timeliness.release()
    assert sys.getswitchinterval() == pytest.approx(switch_s) and gc.get_freeze_count() == 0
    if os.geteuid() == 0:
        assert nice(f"{WORKERS}-7") == here
    end.set()
    for thread in threads:
        thread.join(10)


def test_cycles_are_counted_by_the_displays_own_period_also_when_the_runtime_halves_it() -> None:
    session = XrSession.__new__(XrSession)  # no runtime: only its book-keeping
    session._last_time = session._period = 0
    session._periods = deque(maxlen=PERIODS)
    second = 1_000_000_000
    period = second // 60
    assert [session._missed(second + i * period, period) for i in range(4)] == [0, 0, 0, 0]
    assert session._missed(second + 5 * period, 2 * period) == 1
    assert [session._missed(second + (7 + 2 * i) * period, 2 * period) for i in range(3)] == [1, 1, 1]
    assert session._missed(second + 21 * period, 2 * period) == 9 and session._period == period
    for i in range(PERIODS):  # a display that was set to half the rate for good
        session._missed(second + (23 + 2 * i) * period, 2 * period)
    assert session._missed(second + (23 + 2 * PERIODS) * period, 2 * period) == 0


def test_eyes_images_keep_their_shape_when_they_are_made_smaller() -> None:
    assert fitted((2000, 2200), None) == (2000, 2200) and fitted((200, 100), 256) == (200, 100)
    assert fitted((2000, 2200), 1100) == (1000, 1100) and fitted((512, 512), 256) == (256, 256)
    assert fitted((3000, 1), 100) == (100, 1)
