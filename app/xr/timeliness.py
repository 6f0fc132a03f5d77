"""The display's thread before the workers': where they share a processor, who has a deadline goes first.

Priorities are Linux's, by thread; elsewhere only the interpreter's part is done.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Sequence

WORKERS = "visavis-worker"  # how their threads' names begin
NICER = 10  # of 19: such a thread gets a ninth of what another one gets that wants the same core
SWITCH_S = 0.0005  # how long a thread may keep the interpreter while another one wants it; Python's own: 5 ms


def workers_beside_display(devices: Sequence[str], cores: int) -> int | None:
    """How many of the workers, one to a device, take part while a software GL draws for the headset: one core is the
    display's. None: all, as they have devices of their own. With a second worker on two cores
    more frames are drawn, but the display misses more cycles."""
    return max(cores - 1, 1) if all(device.startswith("cpu") for device in devices) else None


def usable_cores() -> int:
    """Of this process."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Timeliness:
    """While a headset is worn. `hold` again and again: workers come and go."""

    def __init__(self) -> None:
        self._switch_s = sys.getswitchinterval()
        self._held: set[int] = set()  # thread ids, the system's
        gc.collect()
        gc.freeze()  # what is there now is kept: looking for garbage in all of it would take ten cycles of the display

    def hold(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        if sys.platform != "linux":
            return
        for thread in threading.enumerate():
            number = thread.native_id
            if thread.name.startswith(WORKERS) and number is not None and number not in self._held:
                with contextlib.suppress(OSError):  # it has just ended
                    os.setpriority(os.PRIO_PROCESS, number, NICER)
                self._held.add(number)

    def release(self) -> None:
        """As before, where the system lets us: some let nobody but root take a priority back."""
        gc.unfreeze()
        sys.setswitchinterval(self._switch_s)
        for number in self._held:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, number, 0)
        self._held.clear()
