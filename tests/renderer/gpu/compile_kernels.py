"""Compiles every Triton kernel for cards that are not here: what the interpreter accepts, the compiler may refuse.

python -m tests.renderer.gpu.compile_kernels float16 80 90

Launches are recorded instead of run, with the types of their arguments. Prints one line for each kernel and card.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]  # Linux only
from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

from renderer.gpu import norms, raster, sampling
from renderer.gpu.device_raster import empty_device_raster

_TYPES = {
    torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.uint8: "*u8", torch.int32: "*i32",
    torch.int64: "*i64",
}  # fmt: skip


class Compiled:
    """Stands in for a kernel; launching it compiles it for `targets`."""

    def __init__(self, kernel: Any, targets: list[int]) -> None:
        self.kernel, self.targets = kernel, targets

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.launch

    def launch(self, *arguments: Any, **named: Any) -> None:
        options = {"num_warps": named.pop("num_warps", 4)}
        names = [p.name for p in self.kernel.params]
        given = {**dict(zip(names, arguments, strict=False)), **named}
        fixed = {p.name: given[p.name] for p in self.kernel.params if p.is_constexpr}
        signature = {name: "constexpr" if name in fixed else _type(given[name]) for name in names}
        for target in self.targets:
            source = ASTSource(self.kernel, signature, fixed)
            compiled: Any = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
            print(f"{self.kernel.fn.__name__} sm_{target}: {len(compiled.asm['cubin'])} bytes")


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return _TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def main() -> None:
    dtype = getattr(torch, sys.argv[1])
    targets = [int(word) for word in sys.argv[2:]]
    for module in (raster, sampling, norms):
        vars(module)["on_device"] = lambda _: contextlib.nullcontext()
        for name, value in list(vars(module).items()):
            if isinstance(value, triton.JITFunction) and name in _KERNELS:
                setattr(module, name, Compiled(value, targets))
    s, t = 64, 32
    floats = torch.zeros(s, s, 4)
    drawn = empty_device_raster(s, s, 4, torch.device("cpu"))
    triangles = torch.zeros(1000, 3, dtype=torch.int32)
    raster.rasterize(torch.zeros(500, 3), triangles, torch.zeros(500, 4), drawn)
    raster.rasterize(torch.zeros(500, 3), triangles, torch.zeros(500, 2), drawn._replace(attributes=floats[..., :2]))
    texture, colour, scale = torch.zeros(t, t, 16, dtype=dtype), torch.zeros(t, t, 4, dtype=dtype), torch.zeros(16)
    out = torch.zeros(s, s, 48, dtype=dtype)
    f5, coarse = torch.zeros(s // 2, s // 2, 8, dtype=dtype), torch.zeros(s // 4, s // 4, 40, dtype=dtype)
    source, hidden = floats[..., :2].contiguous(), floats[..., 0].contiguous()
    sampling.sample_texture(texture, floats, drawn.triangle, scale, out)
    light = torch.zeros(32, 32, 4)
    for sparse in (False, True):
        sampling.prepare_coarse(coarse, source, hidden, out, not sparse)
        sampling.prepare_fine(
            texture, floats, drawn.triangle, scale, f5, floats, colour, light, source, hidden, floats, out, sparse,
            not sparse,
        )  # fmt: skip
    broken = torch.zeros(1, dtype=torch.int32)
    sampling.finish(floats, out, hidden, torch.zeros(s, s, 4, dtype=torch.uint8), broken)
    for channels, groups in ((128, 128), (24, 3)):
        x, constants = torch.zeros(s, s, channels, dtype=dtype), torch.zeros(channels)
        partial = torch.zeros(norms.partial_shape(s, s, channels))
        norms.norm_constants(x, groups, 1e-5, constants, constants, partial, constants, constants)
        norms.activate(x, constants, constants, 0.2, x)
        norms.enlarge_taps(x.new_zeros(s // 2, s // 2, 9, channels), constants, x)


_KERNELS = {
    "_find_nearest", "_resolve", "_sample_texture", "_prepare_coarse", "_prepare_fine", "_finish", "_partial_sums",
    "_constants", "_activate", "_enlarge_taps",
}  # fmt: skip

if __name__ == "__main__":
    main()
