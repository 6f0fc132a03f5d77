"""Which engine a card gets: ours, smaller where its memory does not suffice, or the plain one, which says why."""

from __future__ import annotations

import gc
import logging

import torch

from models.avatar_file import Avatar
from models.errors import UserError
from renderer.engine_cpu import unknown_to_kernels
from renderer.engine_protocol import Engine
from renderer.gpu.kernels import Kernels, has_triton, triton_kernels

log = logging.getLogger(__name__)

STEP, LEAST = 32, 64  # of picture sizes: the networks halve five times


def smaller_sizes(size: int) -> list[int]:
    """`size` and what is tried after it: three quarters each time, down to LEAST."""
    sizes = [size]
    while sizes[-1] > LEAST:
        sizes.append(max(LEAST, sizes[-1] * 3 // 4 // STEP * STEP))
    return sizes


def make_gpu_engine(avatar: Avatar, device: str, size: int | None = None) -> Engine:
    """Raises UserError when not even the smallest picture fits."""
    from renderer.engine import PlainEngine

    unknown = unknown_to_kernels(avatar.network.config)
    if unknown or not has_triton():
        return PlainEngine(avatar, device, size, unknown or "Triton is not installed")
    return largest_that_fits(avatar, device, triton_kernels(), size)


def largest_that_fits(avatar: Avatar, device: str, kernels: Kernels, size: int | None = None) -> Engine:
    from renderer.gpu.engine import GpuEngine

    wanted = size or avatar.network.config.size
    for smaller in smaller_sizes(wanted):
        note = "" if smaller == wanted else f"{smaller} px: out of memory at {wanted}"
        try:
            return GpuEngine(avatar, device, kernels, smaller, note=note)
        except torch.OutOfMemoryError:
            log.warning("%s: out of memory at %d px: trying a smaller picture", device, smaller)
        gc.collect()  # the failed engine's memory goes with it
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise UserError(f"{device}: too little free memory even for {LEAST} px; close other programs or use --devices cpu")
