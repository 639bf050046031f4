"""LANES numbers at once as one value of compiled code, held in the processor's vector registers.

Numba leaves vectors to LLVM's loop vectoriser, which has to make sure that arrays do not overlap, at run time and in every short
loop. Values of this type need no such proof: `load` and `store` move LANES neighbours, and arithmetic is by ordinary operators.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16
BLOCK = 8  # lanes, and states, that are turned into each other at once
_EIGHT = ir.VectorType(ir.DoubleType(), BLOCK)
_VECTOR, _BITS = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(64), LANES)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"Lanes{LANES}")


lanes = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _splat(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _arithmetic(symbol: Callable[[Any, Any], Any], instruction: str) -> None:
    @infer_global(symbol)
    class _Template(ConcreteTemplate):
        cases = [  # noqa: RUF012
            signature(lanes, lanes, lanes),
            signature(lanes, lanes, types.float64),
            signature(lanes, types.float64, lanes),
        ]

    def lower(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        pair = (a if kind == lanes else _splat(builder, a) for kind, a in zip(signed.args, arguments, strict=True))
        return getattr(builder, instruction)(*pair)

    for left, right in ((lanes, lanes), (lanes, types.float64), (types.float64, lanes)):
        lower_builtin(symbol, left, right)(lower)


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _arithmetic(_symbol, _instruction)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index_type: Any, index: Any) -> Any:
    """To `array[index]`, or to the first number there if the index is for fewer dimensions. Indices are not checked."""
    unpacked = cgutils.unpack_tuple(builder, index, len(index_type))
    indices = [context.cast(builder, i, kind, types.intp) for i, kind in zip(unpacked, index_type, strict=True)]
    indices += [context.get_constant(types.intp, 0)] * (array_type.ndim - len(indices))
    where = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, where, indices, wraparound=False)


@intrinsic
def number(typing: Any, array: Any, index: Any) -> Any:
    """`array[index]`, one number: an index for each dimension, none of them negative."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, array, arguments[0], index, arguments[1]), align=8)

    return types.float64(array, index), generate


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """`array[index]`: an index for each dimension but the last."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        first = _pointer(context, builder, array, arguments[0], index, arguments[1])
        return builder.load(builder.bitcast(first, _VECTOR.as_pointer()), align=8)

    return lanes(array, index), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index] = value`."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        first = _pointer(context, builder, array, arguments[0], index, arguments[1])
        builder.store(arguments[2], builder.bitcast(first, _VECTOR.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(array, index, lanes), generate


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Of BLOCK values of BLOCK numbers each: first neighbours change places, then pairs, then fours."""
    for apart in (1, 2, 4):
        masks = [[i + (BLOCK - apart if i & apart else 0) for i in range(BLOCK)]]
        masks.append([i + (BLOCK if i & apart else apart) for i in range(BLOCK)])
        constants = [ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), mask) for mask in masks]
        for i in range(BLOCK):
            if not i & apart:
                pair = rows[i], rows[i + apart]
                rows[i], rows[i + apart] = (builder.shuffle_vector(*pair, constant) for constant in constants)
    return rows


def _blocks(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
    """Pointers to what `take_rows` and `add_rows` move, for each BLOCK lanes: to the lanes, a state each, and to the rows."""
    (lanes_type, index_type, rows_type, first_type, _), (array, index, rows, first, state) = signed.args, arguments
    kind = _EIGHT.as_pointer()
    start = _pointer(context, builder, lanes_type, array, index_type, index)
    data = context.make_array(rows_type)(context, builder, rows).data
    first_rows = context.make_array(first_type)(context, builder, first).data
    for lane in range(0, LANES, BLOCK):
        of_states = [builder.gep(start, [ir.Constant(ir.IntType(64), k * LANES + lane)]) for k in range(BLOCK)]
        of_rows = []
        for v in range(lane, lane + BLOCK):
            row = builder.zext(builder.load(builder.gep(first_rows, [ir.Constant(ir.IntType(64), v)])), ir.IntType(64))
            of_rows.append(builder.gep(data, [builder.add(row, state)]))
        yield [builder.bitcast(p, kind) for p in of_states], [builder.bitcast(p, kind) for p in of_rows]


@intrinsic
def take_rows(typing: Any, out: Any, index: Any, table: Any, first: Any, state: Any) -> Any:
    """`out[index]`, BLOCK states in lanes, from a row for each lane: the numbers of `table` from first[lane] + state on."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        for of_states, of_rows in _blocks(context, builder, signed, arguments):
            rows = [builder.load(pointer, align=8) for pointer in of_rows]
            for value, pointer in zip(_transposed(builder, rows), of_states, strict=True):
                builder.store(value, pointer, align=8)
        return context.get_dummy_value()

    return types.void(out, index, table, first, state), generate


@intrinsic
def add_rows(typing: Any, x: Any, index: Any, sums: Any, first: Any, state: Any) -> Any:
    """The other way: adds `x[index]`, BLOCK states in lanes, to the numbers of `sums` from first[lane] + state on."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        for of_states, of_rows in _blocks(context, builder, signed, arguments):
            rows = [builder.load(pointer, align=8) for pointer in of_states]
            for value, pointer in zip(_transposed(builder, rows), of_rows, strict=True):
                builder.store(builder.fadd(builder.load(pointer, align=8), value), pointer, align=8)
        return context.get_dummy_value()

    return types.void(x, index, sums, first, state), generate


@intrinsic
def splat(typing: Any, number: Any) -> Any:
    """The same number in every lane."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[0])

    return lanes(types.float64), generate


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """The larger of each pair; `b` where `a` is not a number."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return lanes(lanes, lanes), generate


@intrinsic
def where_larger(typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """`x` where `a` is larger than `b`, `y` elsewhere."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments[:2]), *arguments[2:])

    return lanes(lanes, lanes, lanes, lanes), generate


@intrinsic
def total(typing: Any, a: Any) -> Any:
    """The sum over the lanes, in pairs."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        (summed,), width = arguments, LANES
        while width > 1:
            width //= 2
            halves = (ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(i, i + width))) for i in (0, width))
            low, high = (builder.shuffle_vector(summed, summed, half) for half in halves)
            summed = builder.fadd(low, high)
        return builder.extract_element(summed, ir.Constant(ir.IntType(32), 0))

    return types.float64(lanes), generate


@intrinsic
def any_below(typing: Any, a: Any, bound: Any) -> Any:
    """Whether a lane is below `bound`."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        below = builder.fcmp_ordered("<", arguments[0], _splat(builder, arguments[1]))
        bits = builder.bitcast(below, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(lanes, types.float64), generate


@intrinsic
def _power_of_two(typing: Any, shifted: Any) -> Any:
    """2**n, of n in the low bits of `shifted`: moved to where a double keeps its exponent, less the bias of 1023."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        n = builder.bitcast(arguments[0], _BITS)
        exponent = builder.add(builder.shl(n, ir.Constant(_BITS, [52] * LANES)), ir.Constant(_BITS, [1023 << 52] * LANES))
        return builder.bitcast(exponent, _VECTOR)

    return lanes(lanes), generate


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def exp_of_negative(x: Any) -> Any:
    """exp(x) for x <= 0 to about one unit in the last place; below -708, and where x is not a number, exp(-708).

    x = n ln 2 + r with |r| <= ln 2 / 2; exp(r) by its Taylor polynomial (Cody and Waite 1980). Inlined by LLVM, not by numba, so
    that it keeps its own flags: reassociated, the rounding to n would vanish.
    """
    x = larger(x, splat(-708.0))
    shifted = x * 1.4426950408889634 + 6755399441055744.0  # 1.5 * 2**52: rounds to the nearest n, and leaves n in the low bits
    n = shifted - 6755399441055744.0
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    p = r * 2.08767569878681e-09 + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _power_of_two(shifted)
