"""Multiply-adds and bytes of what torch really runs: each operation's inputs read once and its outputs written once.

Compiled kernels (numba, Triton) and replayed CUDA graphs are not torch's, and are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from renderer.cpu_bytes import has_byte_products
from renderer.cpu_convolution import can_prepack


@dataclass(frozen=True, slots=True)
class Counted:
    macs: int
    bytes: int


class _Traffic(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view and func.namespace in ("aten", "mkldnn", "onednn"):
            touched = {id(t): t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)}
            if "empty" not in str(func):  # room alone is not touched
                self.bytes += sum(t.numel() * t.element_size() for t in touched.values())
        return out


def _prepacked(x: list[int], weight: list[int], *rest: Any, out_shape: list[int], **more: Any) -> int:
    """Of a convolution whose weights were laid out beforehand (renderer.cpu_convolution): torch's table lacks it."""
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _in_bytes(x: list[int], *rest: Any, out_shape: list[int], **more: Any) -> int:
    """Of a product or a convolution in int8 (renderer.cpu_bytes)."""
    inputs = x[1:] if len(x) == 2 else rest[2][1:]  # after scale and zero, the convolution's weight
    return 2 * math.prod(out_shape) * math.prod(inputs)


def _known() -> dict[Any, Any]:
    known: dict[Any, Any] = {torch.ops.mkldnn._convolution_pointwise: _prepacked} if can_prepack() else {}
    if has_byte_products():
        known |= {torch.ops.onednn.qconv2d_pointwise: _in_bytes, torch.ops.onednn.qlinear_pointwise: _in_bytes}
    return known


def count(work: Callable[[], object]) -> Counted:
    """Of one call of `work`, in the calling thread."""
    with FlopCounterMode(display=False, custom_mapping=_known()) as arithmetic:
        work()
    with torch.inference_mode(), _Traffic() as traffic:
        work()
    return Counted(arithmetic.get_total_flops() // 2, traffic.bytes)
