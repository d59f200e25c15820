"""What compiled code has in the place of a function, chosen by the types of its arguments; and Numba told of them all.

Importing this module tells Numba of every function that kernels are compiled from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from fastfit import vector_math
from fastfit.exact import double_double, least_squares
from fastfit.kernels import block, flags, many, median, moments, robust_lines
from fastfit.kernels import center as _center  # noqa: F401  # marks its functions
from fastfit.kernels import gradient as _gradient  # noqa: F401  # marks its functions
from fastfit.kernels import groups as _groups  # noqa: F401  # marks its functions
from fastfit.kernels import places as _places  # noqa: F401  # marks its functions
from fastfit.kernels import residuals as _residuals  # noqa: F401  # marks its functions
from fastfit.kernels import windows as _windows  # noqa: F401  # marks its functions

# Bits of a cache line of usual processors: memory is fetched by the line.
_CACHE_LINE = 64 * 8
# Functions of other rooms that kernels call, with their options.
_OPTIONS = dict.fromkeys((vector_math.exp, vector_math.log1p), flags.FORMULA) | {
    function: flags.TOTAL
    for module in (double_double, least_squares)
    for _, function in inspect.getmembers(module, inspect.isfunction)
    if function is not double_double.fused and function.__module__ == module.__name__
}
flags.MARKED.extend(_OPTIONS.items())
for _function, _options in flags.MARKED:
    register_jitable(**_options)(_function)


def _specialised(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Return a decorator for what compiled code has in place of a function, selected by argument types."""

    def register(chosen_by_type: Callable[..., Any]) -> Callable[..., Any]:
        flags.MARKED.append((chosen_by_type, options))
        overload(function, jit_options=options, strict=False)(chosen_by_type)
        return chosen_by_type

    return register


@intrinsic
def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` rounded once: an instruction of its own, which vectorises."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@_specialised(double_double.fused, flags.POINT)
def _fused(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: _fma(a, b, c)  # noqa: PLW0108  # an intrinsic is no function


@_specialised(vector_math.select, flags.POINT)
def _select(condition: Any, a: Any, b: Any) -> Any:
    return lambda condition, a, b: a if condition else b


@_specialised(block.weight, flags.POINT)
def _weight(w: Any, i: Any) -> Any:
    if isinstance(w, types.NoneType):
        return lambda w, i: 1.0
    return lambda w, i: np.float64(w[i])


@_specialised(block.weights_at, flags.DRIVER)
def _weights_at(w: Any, rows: Any) -> Any:
    return (lambda w, rows: None) if isinstance(w, types.NoneType) else lambda w, rows: w[rows]


@_specialised(median.put, flags.POINT)
def _put(values: Any, i: Any, value: Any) -> Any:
    if isinstance(values, types.NoneType):
        return lambda values, i, value: None
    return median.put


@_specialised(block.point, flags.FORMULA)
def _point(loss: Any, residual: Any) -> Any:
    return loss.instance_class.point


@_specialised(moments.keeps_point, flags.POINT)
def _keeps_point(kernel: Any, u: Any, v: Any, k: Any) -> Any:
    return kernel.instance_class.keeps_point


@_specialised(block.block_sums, flags.BLOCK_SUMS)
def _block_sums(kernel: Any, loss: Any, x: Any, y: Any, w: Any, center: Any, params: Any) -> Any:
    loop = kernel.instance_class.block
    if hasattr(kernel.instance_class, "keeps_point"):
        return lambda kernel, loss, x, y, w, center, params: loop(kernel, x, y, w, center, params)
    return lambda kernel, loss, x, y, w, center, params: loop(loss, x, y, w, center, params)


@_specialised(block.finish, flags.TOTAL)
def _finish(kernel: Any, n: Any, center: Any, totals: Any, lost: Any) -> Any:
    return kernel.instance_class.finish


@_specialised(many.lost, flags.INLINED)
def _lost(y: Any, v: Any, level: Any, above: Any, exact: Any) -> Any:
    if y.dtype == types.float32 or isinstance(exact, types.NoneType):
        return lambda y, v, level, above, exact: -0.0
    return lambda y, v, level, above, exact: many.rounded_off(v, level, above)


@_specialised(many.is_exact, flags.INLINED)
def _is_exact(y: Any, exact: Any) -> Any:
    found = y.dtype == types.float32 or not isinstance(exact, types.NoneType)
    return (lambda y, exact: True) if found else lambda y, exact: False


@_specialised(many.like_values, flags.INLINED)
def _like_values(y: Any, level: Any) -> Any:
    if y.dtype == types.float32:
        return lambda y, level: np.float64(np.float32(level))
    return lambda y, level: level


@_specialised(many.place, flags.INLINED)
def _place(x: Any, at: Any, u: Any, rest: Any, origin: Any) -> Any:
    if isinstance(x, types.NoneType):
        return lambda x, at, u, rest, origin: (u - origin, rest)
    return many.place


@intrinsic
def _prefetch(typing_context: Any, values: Any, at: Any) -> Any:
    """Have memory on its way to the second-level cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        number = ir.IntType(32)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(values, at), generate


@_specialised(many.fetch, flags.INLINED)
def _fetch(values: Any, start: Any, n: Any) -> Any:
    step = _CACHE_LINE // values.dtype.bitwidth

    def fetch(values: Any, start: Any, n: Any) -> None:
        for i in range(0, n, step):
            _prefetch(values, start + i)

    return fetch


@_specialised(many.first_origin, flags.INLINED)
def _first_origin(x: Any, exact: Any, origin: Any) -> Any:
    if isinstance(x, types.NoneType) and isinstance(exact, types.NoneType):
        return lambda x, exact, origin: 0.0
    return lambda x, exact, origin: origin


@_specialised(many.part_of, flags.INLINED)
def _part_of(rest: Any, k: Any) -> Any:
    return (lambda rest, k: None) if isinstance(rest, types.NoneType) else lambda rest, k: rest[k]


@_specialised(many.plus, flags.INLINED)
def _plus(u: Any, rest: Any) -> Any:
    return (lambda u, rest: u) if isinstance(rest, types.NoneType) else lambda u, rest: u + rest


@_specialised(many.less_rest, flags.INLINED)
def _less_rest(found: Any, slope: Any, rest: Any) -> Any:
    if isinstance(rest, types.NoneType):
        return lambda found, slope, rest: found
    return lambda found, slope, rest: double_double.fused(-slope, rest, found)


@_specialised(many.own_place, flags.INLINED)
def _own_place(x: Any, at: Any, u: Any) -> Any:
    if isinstance(x, types.NoneType):
        return lambda x, at, u: u
    return lambda x, at, u: np.float64(x[at])


@_specialised(many.weighted, flags.INLINED)
def _weighted(w: Any, k: Any, value: Any) -> Any:
    if isinstance(w, types.NoneType):
        return lambda w, k, value: value
    return lambda w, k, value: k * value


@_specialised(many.add_weight, flags.INLINED)
def _add_weight(w: Any, sums: Any, at: Any, k: Any) -> Any:
    if isinstance(w, types.NoneType):
        return lambda w, sums, at, k: None
    return many.add_weight


@_specialised(robust_lines.room_like, flags.DRIVER)
def _room_like(w: Any, room: Any) -> Any:
    return (lambda w, room: None) if isinstance(w, types.NoneType) else lambda w, room: room
