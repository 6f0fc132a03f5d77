"""The two sets of kernels that the GPU path can run on: Triton's, and their plain twins."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple


class Kernels(NamedTuple):
    """Their arguments are told where Triton's are written: raster.py, sampling.py, norms.py."""

    name: str
    rasterize: Callable[..., None]
    sample_texture: Callable[..., None]
    prepare_coarse: Callable[..., None]
    prepare_fine: Callable[..., None]
    finish: Callable[..., None]
    norm_constants: Callable[..., None]
    activate: Callable[..., None]
    enlarge_taps: Callable[..., None]


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def load_triton() -> None:
    """Where it is installed; elsewhere nothing."""
    if has_triton():
        importlib.import_module("triton")


def triton_kernels() -> Kernels:
    """What production runs. Raises ModuleNotFoundError where Triton is not installed."""
    from renderer.gpu import norms, raster, sampling

    return Kernels(
        "triton", raster.rasterize, sampling.sample_texture, sampling.prepare_coarse, sampling.prepare_fine,
        sampling.finish, norms.norm_constants, norms.activate, norms.enlarge_taps,
    )  # fmt: skip


def plain_kernels() -> Kernels:
    """The twins, on CPU tensors; for tests and for `bench_gpu --device cpu`."""
    from renderer.gpu import plain

    return Kernels(
        "plain", plain.rasterize, plain.sample_texture, plain.prepare_coarse, plain.prepare_fine, plain.finish,
        plain.norm_constants, plain.activate, plain.enlarge_taps,
    )  # fmt: skip
