"""How this process keeps its memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed blocks up to 32 MiB instead of returning them to the system after each use.

    Networks on a CPU free and take the same large buffers again and again, and fresh ones cost page faults. Returns
    whether it took effect, which it does on glibc only.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) == 1 for name, value in settings)


@contextlib.contextmanager
def collected_later() -> Iterator[None]:
    """Without garbage collections until it ends: importing makes hundreds of thousands of objects that stay, and each
    collection looks at all of them. Afterwards they are no longer looked at."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect(0)
        gc.freeze()
        if was_on:
            gc.enable()
