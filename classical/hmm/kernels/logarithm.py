"""The logarithm of LANES numbers at once (`hindcast.classical.hmm.kernels.vector`), which Numba would take one by one."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit
from numba.extending import intrinsic

from hindcast.classical.hmm.kernels.vector import LANES, lanes

_VECTOR, _BITS = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(64), LANES)
_ROOT_HALF, _TWO_52, _ONE = 0x3FE6A09E667F3BCD, 0x4330000000000000, 0x3FF0000000000000  # as bits


def _constant(bits: int) -> Any:
    return ir.Constant(_BITS, [bits] * LANES)


def _shifted_exponent(builder: Any, bits: Any) -> Any:
    """k << 52, of a number 2**k · m with sqrt(1/2) <= m < sqrt(2) and k >= 0."""
    return builder.and_(builder.sub(bits, _constant(_ROOT_HALF)), _constant(0x7FF << 52))


@intrinsic
def _mantissa(typing: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _BITS)
        return builder.bitcast(builder.sub(bits, _shifted_exponent(builder, bits)), _VECTOR)

    return lanes(lanes), generate


@intrinsic
def _one_over_power(typing: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        exponent = _shifted_exponent(builder, builder.bitcast(arguments[0], _BITS))
        return builder.bitcast(builder.sub(_constant(_ONE), exponent), _VECTOR)

    return lanes(lanes), generate


@intrinsic
def _exponent_above_two_52(typing: Any, x: Any) -> Any:
    """2**52 + k: the low bits of a number of that size count ones."""

    def generate(context: Any, builder: Any, signed: Any, arguments: Any) -> Any:
        exponent = _shifted_exponent(builder, builder.bitcast(arguments[0], _BITS))
        return builder.bitcast(builder.or_(builder.lshr(exponent, _constant(52)), _constant(_TWO_52)), _VECTOR)

    return lanes(lanes), generate


@njit(cache=True, nogil=True, fastmath={"contract"}, forceinline=True)
def log1p_of_positive(x: Any) -> Any:
    """log(1 + x) for 0 <= x < 1e300, to about two units in the last place.

    1 + x, with what its rounding lost, is 2**k (1 + f), and log(1 + f) = 2 atanh(s) with s = f / (2 + f): s times a polynomial in
    s², of fdlibm's e_log.c. Inlined by LLVM, so that it keeps its own flags: reassociated, what rounding lost would vanish.
    """
    u = x + 1.0
    lost = x - (u - 1.0)
    f = (_mantissa(u) - 1.0) + lost * _one_over_power(u)
    s = f / (f + 2.0)
    z = s * s
    p = z * 0.14798198605116586 + 0.15313837699209373
    p = p * z + 0.1818357216161805
    p = p * z + 0.22222198432149784
    p = p * z + 0.2857142874366239
    p = p * z + 0.3999999999940942
    p = p * z + 0.6666666666666735
    return (_exponent_above_two_52(u) - 4503599627370496.0) * 0.6931471805599453 + s * (p * z + 2.0)
