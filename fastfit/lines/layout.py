"""Where the points of many lines lie in an array of any number of dimensions, and how to read them without a copy."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Numbers
from fastfit.kernels.many import ROWS

# Numbers that are converted at a time: 6.4 MB as float64. Up to ten arrays of this size exist at once.
_AT_A_TIME = 800_000


class Layout(NamedTuple):
    """How the compiled loops walk through an array.

    Attributes
    ----------
    shape, strides : (int, int, int)
        Lines outside of the points, points, and lines inside of them; and how many items these are apart.
    axes : tuple of int
        The axes of the array other than that of the points, in the order in which lines are counted.
    """

    shape: tuple[int, int, int]
    strides: tuple[int, int, int]
    axes: tuple[int, ...]


def layout_of(array: NDArray[Any], axis: int) -> Layout | None:
    """Return how to walk through an array whose points lie along an axis; None if it must be copied first."""
    is_ready = array.dtype.char in "df" and array.dtype.isnative and array.flags.aligned
    if not is_ready or array.shape[axis] < ROWS or array.size == 0:
        return None
    return _layout_of(array.shape, array.strides, array.itemsize, axis)


@functools.lru_cache(maxsize=64)
def _layout_of(
    shape: tuple[int, ...], strides: tuple[int, ...], size: int, axis: int
) -> Layout | None:
    n = shape[axis]
    if any(step <= 0 or step % size for step, k in zip(strides, shape, strict=True) if k > 1):
        return None
    steps = [step // size for step in strides]
    others = [k for k in range(len(shape)) if k != axis]
    others.sort(key=lambda k: -steps[k] if shape[k] > 1 else -math.inf)
    outer = [k for k in others if shape[k] == 1 or steps[k] > steps[axis]]
    inner = [k for k in others if k not in outer]
    n_outer, outer_step = _as_one(shape, outer, steps)
    n_inner, inner_step = _as_one(shape, inner, steps)
    if inner and inner_step == 1 and n_outer is not None and n_inner is not None:
        return Layout((n_outer, n, n_inner), (outer_step, steps[axis], 1), (*outer, *inner))
    if not inner and steps[axis] == 1 and n_outer is not None:
        return Layout((1, n, n_outer), (0, 1, outer_step), tuple(outer))
    return None


def _as_one(
    shape: Sequence[int], axes: Sequence[int], steps: Sequence[int]
) -> tuple[int | None, int]:
    """Return length and step of axes as one axis; no length if they are not evenly apart."""
    length, step = 1, 0
    for k in reversed(axes):
        if shape[k] == 1:
            continue
        if length > 1 and steps[k] != step * length:
            return None, 0
        step = step if length > 1 else steps[k]
        length *= shape[k]
    return length, step


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return the memory from the first to the last item of an array as one axis, without a copy."""
    if type(array) is np.ndarray and array.flags.c_contiguous:
        return array.reshape(-1)
    steps = zip(array.shape, array.strides, strict=True)
    span = 1 + sum((k - 1) * step for k, step in steps) // array.itemsize
    plain = array.view(np.ndarray)
    return np.lib.stride_tricks.as_strided(plain, (span,), (array.itemsize,), writeable=False)


def is_like(array: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two arrays can be walked through side by side."""

    def steps(each: NDArray[Any]) -> list[int]:
        both = zip(each.strides, each.shape, strict=True)
        return [step // each.itemsize for step, k in both if k > 1]

    return (
        array.shape == other.shape
        and array.dtype.char in "df"
        and array.dtype.isnative
        and array.flags.aligned
        and steps(array) == steps(other)
    )


def blocks(shape: tuple[int, ...], n: int) -> Iterator[tuple[tuple[Any, ...], slice]]:
    """Yield indices of blocks of lines of n points, and which lines they hold, of lines of this shape in C order."""
    most = max(1, _AT_A_TIME // max(n, 1))
    split = len(shape)
    while split > 0 and math.prod(shape[split - 1 :]) <= most:
        split -= 1
    if split == 0:
        yield (), slice(0, math.prod(shape))
        return
    inside = math.prod(shape[split:])
    step = max(1, most // inside)
    first = 0
    for place in np.ndindex(*shape[: split - 1]):
        for low in range(0, shape[split - 1], step):
            high = min(low + step, shape[split - 1])
            count = (high - low) * inside
            yield (*place, slice(low, high)), slice(first, first + count)
            first += count


def rows(numbers: Numbers, axis: int, index: tuple[Any, ...]) -> NDArray[np.float64]:
    """Return the points of a block of lines as rows of float64: NaN for what is missing, and to fill up to eight."""
    part = np.moveaxis(numbers.array, axis, 0)[(slice(None), *index)]
    n = part.shape[0]
    found = np.full((max(n, ROWS), math.prod(part.shape[1:])), np.nan)
    with np.errstate(over="ignore"):
        found[:n] = part.reshape(n, found.shape[1])
    if numbers.missing is not None:
        gone = np.moveaxis(numbers.missing, axis, 0)[(slice(None), *index)]
        found[:n][gone.reshape(n, found.shape[1])] = np.nan
    return found
