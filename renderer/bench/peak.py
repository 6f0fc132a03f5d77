"""What this machine can do at most, measured: a large product in the networks' precision, and a large copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from models.avatar_file import Avatar
from models.precision import has_fast_bfloat16
from renderer.bench.samples import synchronise
from renderer.cpu_bytes import can_multiply_bytes
from renderer.engine import make_engine
from renderer.engine_cpu import unknown_to_kernels

SIDE = {"cpu": 1536, "cuda": 8192}
COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # far more than any cache holds


@dataclass(frozen=True, slots=True)
class Peak:
    """gflops: of a product of square matrices, two operations to a multiply-add. gbytes: read and written a second."""

    dtype: str
    threads: int
    gflops: float
    gbytes: float


def measure_peak(device: str, dtype: torch.dtype, threads: int = 1, tries: int = 7) -> Peak:
    """The best of `tries`, with `threads` on a CPU."""
    kind = "cuda" if torch.device(device).type == "cuda" else "cpu"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        n = SIDE[kind]
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        whole = dtype == torch.int8  # whose sums are int32
        out = torch.empty(n, n, dtype=torch.int32 if whole else dtype, device=device)
        multiply = torch._int_mm if whole else torch.mm
        product = _best(lambda: multiply(a, b, out=out), device, tries)
        source = torch.zeros(COPY_BYTES[kind] // 4, device=device)
        target = torch.empty_like(source)
        copy = _best(lambda: target.copy_(source), device, tries)
    finally:
        torch.set_num_threads(before)
    name = str(dtype).removeprefix("torch.")
    return Peak(name, threads, round(2 * n**3 / product, 1), round(2 * COPY_BYTES[kind] / copy, 2))


def precision(avatar: Avatar, device: str) -> torch.dtype:
    """What the networks run in on `device`."""
    if torch.device(device).type == "cpu":
        if not has_fast_bfloat16() or unknown_to_kernels(avatar.network.config):
            return torch.float32
        return torch.int8 if can_multiply_bytes() else torch.bfloat16
    engine = make_engine(avatar, device)
    try:
        return getattr(engine, "dtype", torch.float32)  # engines that do not say draw as trained
    finally:
        engine.close()


def _best(work: Callable[[], object], device: str, tries: int) -> float:
    """ns of the fastest try."""
    best = float("inf")
    for _ in range(tries + 1):  # the first one finds cold pages and kernels
        synchronise(device)
        start = time.perf_counter_ns()
        work()
        synchronise(device)
        best = min(best, time.perf_counter_ns() - start)
    return best
