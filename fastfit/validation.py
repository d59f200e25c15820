"""Whatever the caller passed, made into clean one-dimensional arrays, or into an error that says what to change."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Column = NDArray[np.float64] | NDArray[np.float32]


def lookup(value: Any, known: Mapping[str, type[T]], name: str) -> T:
    """Return the default object that a string stands for; anything with the right methods passes as it is."""
    if isinstance(value, str):
        if value not in known:
            raise ValueError(f"{name} must be {one_of(known)}; got {value!r}")
        return known[value]()
    methods = [method for method in vars(next(iter(known.values()))) if not method.startswith("_")]
    if isinstance(value, type) or not any(callable(getattr(value, m, None)) for m in methods):
        raise TypeError(
            f"{name} must be {one_of(known)} or such an object; got {_what_came(value)}"
        )
    result: T = value
    return result


def one_of(names: Iterable[str]) -> str:
    """Return the names as they are listed in an error message."""
    return " or ".join(repr(name) for name in names)


def columns(x: Any, y: Any) -> tuple[Column, Column, int]:
    """Return x and y as one-dimensional arrays of floats, and how many masked points were left out.

    float64 and float32 come back as they are, strided, read-only or memory-mapped ones too. Other numbers are
    converted once, to the smallest float that holds them exactly (64-bit integers and longdouble are
    rounded to float64).

    Parameters
    ----------
    x, y : array_like, shape (n,) or (n, 1)
        NumPy arrays, masked arrays, lists, or columns of pandas, Polars or PyArrow.

    Raises
    ------
    TypeError
        If either does not hold real numbers.
    ValueError
        If either is not a single column, if lengths differ, or if there are fewer than two points.
    """
    x_mask, y_mask = _mask(x), _mask(y)
    x, y = _column(x, "x"), _column(y, "y")
    if x.size != y.size:
        raise ValueError(f"x and y must have the same length; got {x.size:,} and {y.size:,}")
    masked = 0
    if x_mask is not None or y_mask is not None:
        keep = np.ones(x.size, dtype=bool)
        for mask in (x_mask, y_mask):
            if mask is not None:
                keep &= ~mask
        masked = int(keep.size - np.count_nonzero(keep))
        x, y = x[keep], y[keep]
    require_two_points(x.size, "masked", masked)
    return x, y, masked


def require_two_points(count: int, reason: str = "", left_out: int = 0) -> None:
    """Raise ValueError if there are too few points for a line."""
    if count < 2:
        after = f" after leaving out {left_out:,} {reason}" if left_out else ""
        raise ValueError(f"x and y must hold at least two points for a line; got {count}{after}")


def _what_came(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _mask(values: Any) -> NDArray[np.bool_] | None:
    masked_arrays = sys.modules.get(
        "numpy.ma"
    )  # 30 ms to import; who has a masked array has done it
    if masked_arrays is not None and isinstance(values, masked_arrays.MaskedArray):
        mask: NDArray[np.bool_] = masked_arrays.getmaskarray(values).reshape(-1)
        return mask
    return None


def _column(values: Any, name: str) -> Column:
    array = real_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one-dimensional, or a single column; got an array of shape {array.shape}"
        )
    if array.dtype.char not in "df" or not array.dtype.isnative or not array.flags.aligned:
        exact_in_float32 = array.dtype.itemsize <= 2 or array.dtype.char == "f"
        with np.errstate(
            over="ignore"
        ):  # longdouble beyond float64 turns to infinity, which is looked for
            array = array.astype(np.float32 if exact_in_float32 else np.float64)
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def real_array(values: Any, name: str) -> NDArray[Any]:
    """Return an array of real numbers, of whatever type and shape they came in, or raise TypeError."""
    array = _as_array(values, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got {_kind(array)}")
    return array


def _as_array(values: Any, name: str) -> NDArray[Any]:
    """Return whatever was passed as an ndarray of its own type, without a copy where possible."""
    if values is None:
        raise TypeError(f"{name} must be an array of numbers; got None")
    if isinstance(values, (str, bytes, Mapping, set)):
        raise TypeError(f"{name} must be an array of numbers; got {_what_came(values)}")
    library = type(values).__module__.partition(".")[0]
    try:
        if library == "pandas":
            return _from_pandas(values)
        if library == "pyarrow":
            import pyarrow

            whole = isinstance(values, pyarrow.ChunkedArray)
            return np.asarray(values.to_numpy() if whole else values.to_numpy(zero_copy_only=False))
        if library == "polars":
            return np.asarray(values.to_numpy())
        return np.asarray(values)
    except (TypeError, ValueError, AttributeError) as error:
        raise TypeError(f"{name} must be an array of numbers; got {_what_came(values)}") from error


def _from_pandas(values: Any) -> NDArray[Any]:
    dtype = getattr(values, "dtype", None)  # a DataFrame has none
    if isinstance(dtype, np.dtype) or dtype is None:
        return np.asarray(values)
    if dtype._is_numeric or getattr(dtype, "_is_boolean", False):
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(values, dtype=object)


def _kind(array: NDArray[Any]) -> str:
    if array.dtype.kind == "c":
        return f"complex numbers ({array.dtype}); pass the real part, or the modulus"
    if array.dtype.kind in "mM":
        return f"dates or times ({array.dtype}); convert them to numbers first, such as seconds"
    if array.dtype.kind in "USTV":
        return f"text or records ({array.dtype})"
    first = array.flat[0] if array.size else None
    example = next((item for item in array.flat if not isinstance(item, numbers.Real)), first)
    return f"Python objects such as {_what_came(example)}; convert them to float64, and None to NaN, first"


def finite_number(value: Any, name: str, must_be: str, *, above: float = -math.inf) -> float:
    """Return value as a float, or raise if it is no finite number above the bound."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)):
        number = float(value)
        if math.isfinite(number) and number > above:
            return number
        raise ValueError(f"{name} must be {must_be}; got {value!r}")
    raise TypeError(f"{name} must be {must_be}; got {_what_came(value)}")


def positive_integer(value: Any, name: str) -> int:
    """Return value as an int, or raise if it is no integer above zero."""
    if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_)):
        if int(value) >= 1:
            return int(value)
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
    raise TypeError(f"{name} must be an integer of at least 1; got {_what_came(value)}")
