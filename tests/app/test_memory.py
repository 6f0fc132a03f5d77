"""What a process frees it uses again, without the system's help."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import resource, sys, threading
import torch
from app.memory import keep_freed_memory

assert keep_freed_memory(*map(bool, map(int, sys.argv[2:])))

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    for _ in range(30):
        torch.ones(int(sys.argv[1]) << 18)

def late():
    use()
    before = faults()
    use()
    print(faults() - before)

use()
thread = threading.Thread(target=late)
thread.start()
thread.join()
"""


def _faults(mebibytes: int, any_size: bool) -> int:
    words = [sys.executable, "-c", COUNT, str(mebibytes), str(int(any_size))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own settings")
def test_a_training_batch_costs_no_page_faults_again_whichever_thread_takes_it() -> None:
    """Thirty buffers of 48 MiB, of 12 000 pages each, after as many that made room."""
    assert _faults(48, any_size=True) < 2_000
    assert _faults(48, any_size=False) > 200_000, "what the setting is for"
