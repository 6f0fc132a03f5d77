"""Sums of products of bytes inside numba, as processors with AVX-512's VNNI have them: four to a lane, eight lanes."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import extending, types
from numpy.typing import NDArray

from renderer.simd import LANES, vector

Bytes = NDArray[np.uint8]
TOGETHER = 4  # bytes to a lane
_INTS = ir.VectorType(ir.IntType(32), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES * TOGETHER)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
intrinsic: Any = extending.intrinsic
register_model: Any = extending.register_model


def has_dot() -> bool:
    """Whether this processor has the instruction; elsewhere `dot` must not be compiled."""
    features = binding.get_host_cpu_features()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and bool(features.get("avx512vnni")) and bool(features.get("avx512vl"))


class _Integers(types.Type):
    def __init__(self) -> None:
        super().__init__(name="int32x8")


integers = _Integers()


@register_model(_Integers)
class _IntegersModel(extending.models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:  # type: ignore[no-untyped-def]
        super().__init__(dmm, fe_type, _INTS)


def _loaded(context, builder, array_type, array, index, kind, align):  # type: ignore[no-untyped-def]
    data = context.make_array(array_type)(context, builder, array).data
    return builder.load(builder.bitcast(builder.gep(data, [index]), kind.as_pointer()), align=align)


@intrinsic
def load_integers(typingctx, array, index):  # type: ignore[no-untyped-def]
    """Eight elements of an int32 array from `index`."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        array, index = args
        return _loaded(context, builder, sig.args[0], array, index, _INTS, 4)

    return integers(array, types.intp), generate


@intrinsic
def dot(typingctx, sums, bytes_, at, weights, row):  # type: ignore[no-untyped-def]
    """sums + in each lane k the sum of four products: bytes_[at : at + 4] (uint8) times weights[row + 4 k : + 4]
    (int8)."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        sums, pixels, at, weights, row = args
        four = _loaded(context, builder, sig.args[1], pixels, at, ir.IntType(32), 1)
        lane = builder.insert_element(ir.Constant(_INTS, ir.Undefined), four, ir.Constant(ir.IntType(32), 0))
        spread = builder.shuffle_vector(lane, ir.Constant(_INTS, ir.Undefined), ir.Constant(_INTS, [0] * LANES))
        taps = _loaded(context, builder, sig.args[3], weights, row, _BYTES, 1)
        kind = ir.FunctionType(_INTS, [_INTS, _BYTES, _BYTES])
        function = builder.module.declare_intrinsic("llvm.x86.avx512.vpdpbusd.256", fnty=kind)
        return builder.call(function, [sums, builder.bitcast(spread, _BYTES), taps])

    return integers(integers, bytes_, types.intp, weights, types.intp), generate


@intrinsic
def floats(typingctx, a):  # type: ignore[no-untyped-def]
    """Eight int32 as float32."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.sitofp(args[0], _FLOATS)

    return vector(integers), generate
