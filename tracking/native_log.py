"""Native libraries write to the process's stderr past Python; this keeps what only their authors want to read out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_log() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for the duration of the block: for short set-up calls, not for work.

    It holds for the whole process; what goes wrong inside must come back as an exception. VISAVIS_DEBUG=1 lets
    everything through, for the case that a library aborts.
    """
    if os.environ.get("VISAVIS_DEBUG") == "1":
        yield
        return
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr, as under Windows' pythonw
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
