"""Eight floats at once inside numba: the kernels say what is a vector instead of hoping that the compiler sees it.

LLVM's own vectoriser gives up on the kernels' short channel loops (it cannot prove that their arrays are apart, and
sixteen channels do not fill its unrolled body). These lower to plain LLVM vectors, hence to any CPU's own width.
Arrays are C-contiguous and hold float32 or bfloat16, which numba lacks and which travels as uint16; into bytes (uint8)
values are stored rounded and kept within 0..255. Arithmetic is float32. Indices count elements from the array's start
and are not checked.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import extending, types
from numba.core.typing import templates
from numpy.typing import NDArray

Values = NDArray[Any]  # float32, the bits of bfloat16 as uint16, or (to be written only) bytes as uint8
Number = Any  # float, or a numpy scalar, which type checkers take for an array
LANES = 8
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_SHORTS = ir.VectorType(ir.IntType(16), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_FAST = ("contract", "nsz")
# numba's decorators replace what they decorate, which type checkers cannot follow
intrinsic: Any = extending.intrinsic
register_model: Any = extending.register_model
infer_global: Any = templates.infer_global


def bits_of(tensor: torch.Tensor) -> Values:
    """A view of the memory of a contiguous float32, bfloat16 or uint8 tensor."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def floats_of(values: Values) -> NDArray[np.float32]:
    """What float32, the bits of bfloat16 or bytes stand for."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def nhwc(tensor: torch.Tensor) -> Values:
    """[1, C, H, W] as [H, W, C]: a view where torch kept the channels last, as channels-last weights make it."""
    return bits_of(tensor.permute(0, 2, 3, 1).contiguous())[0]


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x8")


vector = _Vector()


@register_model(_Vector)
class _VectorModel(extending.models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:  # type: ignore[no-untyped-def]
        super().__init__(dmm, fe_type, _FLOATS)


def _binary(function: Any, lower: str) -> None:
    @infer_global(function)
    class _Typed(templates.ConcreteTemplate):
        cases = [templates.signature(vector, vector, vector)]  # noqa: RUF012

    @extending.lower_builtin(function, vector, vector)
    def _(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return getattr(builder, lower)(args[0], args[1], flags=_FAST)


_binary(operator.add, "fadd")
_binary(operator.sub, "fsub")
_binary(operator.mul, "fmul")


def _same(kind: ir.Type, value: int) -> ir.Constant:
    return ir.Constant(kind, [value] * LANES if isinstance(kind, ir.VectorType) else value)


def _pointer(context, builder, array_type, array, index, kind):  # type: ignore[no-untyped-def]
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _is_half(array: Any) -> bool:
    return array.dtype == types.uint16


def _rounded(builder, value, ints, shorts):  # type: ignore[no-untyped-def]
    """float32 to the nearest bfloat16, ties to even as torch rounds; NaN stays one unless its low half holds it all."""
    bits = builder.bitcast(value, ints)
    odd = builder.and_(builder.lshr(bits, _same(ints, 16)), _same(ints, 1))
    up = builder.add(builder.add(bits, _same(ints, 0x7FFF)), odd)
    return builder.trunc(builder.lshr(up, _same(ints, 16)), shorts)


def _is_byte(array: Any) -> bool:
    return array.dtype == types.uint8


def _in_byte(builder, value, floats, ints, small):  # type: ignore[no-untyped-def]
    """float32 to the nearest of 0..255."""
    least, most = ir.Constant(floats, _repeated(floats, 0.0)), ir.Constant(floats, _repeated(floats, 255.0))
    value = builder.fadd(value, ir.Constant(floats, _repeated(floats, 0.5)))
    value = builder.select(builder.fcmp_ordered(">", value, least), value, least)  # NaN becomes 0
    value = builder.select(builder.fcmp_ordered("<", value, most), value, most)
    return builder.trunc(builder.fptosi(value, ints), small)


def _repeated(kind: ir.Type, value: float) -> Any:
    return [value] * LANES if isinstance(kind, ir.VectorType) else value


def _shuffled(context, builder, sig, args, mask):  # type: ignore[no-untyped-def]
    """A vector of scalars: lane k is args[mask[k]]."""
    source = ir.Constant(_FLOATS, ir.Undefined)
    for k, (value, kind) in enumerate(zip(args, sig.args, strict=True)):
        value = context.cast(builder, value, kind, types.float32)
        source = builder.insert_element(source, value, ir.Constant(ir.IntType(32), k))
    return builder.shuffle_vector(source, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_INTS, mask))


@intrinsic
def splat(typingctx, value):  # type: ignore[no-untyped-def]
    """float32 to eight of it."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _shuffled(context, builder, sig, args, [0] * LANES)

    return vector(value), generate


@intrinsic
def halves(typingctx, a, b):  # type: ignore[no-untyped-def]
    """Two float32 to four of each: the weights of two neighbouring pixels of four channels."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _shuffled(context, builder, sig, args, [0] * (LANES // 2) + [1] * (LANES // 2))

    return vector(a, b), generate


@intrinsic
def fold(typingctx, a, b):  # type: ignore[no-untyped-def]
    """The lower half of each vector plus its upper half: a's in lanes 0 to 3, b's in 4 to 7."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        half = LANES // 2
        low = [*range(half), *range(LANES, LANES + half)]
        lower = builder.shuffle_vector(*args, ir.Constant(_INTS, low))
        upper = builder.shuffle_vector(*args, ir.Constant(_INTS, [k + half for k in low]))
        return builder.fadd(lower, upper, flags=_FAST)

    return vector(vector, vector), generate


@intrinsic
def alphas(typingctx, a):  # type: ignore[no-untyped-def]
    """Two pixels, rgb and alpha each: their alphas, four times each."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.shuffle_vector(args[0], args[0], ir.Constant(_INTS, [3] * 4 + [7] * 4))

    return vector(vector), generate


@intrinsic
def opaque(typingctx, a):  # type: ignore[no-untyped-def]
    """Two pixels, rgb and alpha each, with an alpha of 1."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        ones = ir.Constant(_FLOATS, [1.0] * LANES)
        mask = [k + LANES if k % 4 == 3 else k for k in range(LANES)]
        return builder.shuffle_vector(args[0], ones, ir.Constant(_INTS, mask))

    return vector(vector), generate


@intrinsic
def load(typingctx, array, index):  # type: ignore[no-untyped-def]
    """Eight elements from `index`."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        array, index = args
        if not _is_half(sig.args[0]):
            return builder.load(_pointer(context, builder, sig.args[0], array, index, _FLOATS), align=4)
        shorts = builder.load(_pointer(context, builder, sig.args[0], array, index, _SHORTS), align=2)
        return builder.bitcast(builder.shl(builder.zext(shorts, _INTS), _same(_INTS, 16)), _FLOATS)

    return vector(array, types.intp), generate


@intrinsic
def spread(typingctx, array, index):  # type: ignore[no-untyped-def]
    """Element `index` of a float32 array, eight times."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        array, index = args
        value = builder.load(_pointer(context, builder, sig.args[0], array, index, ir.FloatType()), align=4)
        return _shuffled(context, builder, types.void(types.float32), [value], [0] * LANES)

    return vector(array, types.intp), generate


@intrinsic
def store(typingctx, array, index, value):  # type: ignore[no-untyped-def]
    """Eight elements from `index` on."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        array, index, value = args
        align = 4
        if _is_half(sig.args[0]):
            value, align = _rounded(builder, value, _INTS, _SHORTS), 2
        elif _is_byte(sig.args[0]):
            value, align = _in_byte(builder, value, _FLOATS, _INTS, _BYTES), 1
        builder.store(value, _pointer(context, builder, sig.args[0], array, index, value.type), align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def put(typingctx, array, index, value):  # type: ignore[no-untyped-def]
    """One float32 into the element at `index`."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        array, index, value = args
        value = context.cast(builder, value, sig.args[2], types.float32)
        if _is_half(sig.args[0]):
            value = _rounded(builder, value, ir.IntType(32), ir.IntType(16))
        elif _is_byte(sig.args[0]):
            value = _in_byte(builder, value, ir.FloatType(), ir.IntType(32), ir.IntType(8))
        builder.store(value, _pointer(context, builder, sig.args[0], array, index, value.type))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def larger(typingctx, a, b):  # type: ignore[no-untyped-def]
    """Lane by lane; NaN in `a` stays, as in torch's ReLU."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[1], args[0])

    return vector(vector, vector), generate


@intrinsic
def smaller(typingctx, a, b):  # type: ignore[no-untyped-def]
    """Lane by lane; NaN in `a` stays."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[1], args[0])

    return vector(vector, vector), generate
