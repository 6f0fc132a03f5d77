"""What every Triton launch here shares: block sizes, grids, the device."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]  # Linux only
from torch import Tensor

_triton: Any = triton  # what it does with a function no type describes
jit = _triton.jit
INTERPRETED = bool(_triton.knobs.runtime.interpret)  # TRITON_INTERPRET=1, as it was when the kernels were made


def blocks(gpu: int, interpreter: int) -> int:
    """A block's size: the interpreter runs one Python step per operation and block, so there blocks are large."""
    return interpreter if INTERPRETED else gpu


def grid(items: int, block: int) -> tuple[int]:
    return (-(-items // block),)


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on torch's current device. Raises RuntimeError for a CPU tensor outside the interpreter."""
    if tensor.is_cuda:
        return torch.cuda.device(tensor.device)
    if not INTERPRETED:
        raise RuntimeError("Triton kernels need a CUDA tensor, or TRITON_INTERPRET=1")
    return contextlib.nullcontext()


def power_of_two(n: int) -> int:
    """The least that is not below n: what Triton's blocks may measure."""
    return 1 << (n - 1).bit_length()
