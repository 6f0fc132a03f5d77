"""Which numbers a device multiplies fast."""

from __future__ import annotations

import torch


def has_fast_bfloat16(device: torch.device | None = None) -> bool:
    """Whether `device` (None: the CPU) multiplies bfloat16 natively. Elsewhere float32 is faster: a training step on a
    CPU with AVX2 alone takes 6.6 times as long in bfloat16 (tests.benchmarks.bench_training)."""
    if device is not None and device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device is not None and device.type != "cpu":
        return True
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())
