"""Whatever the caller passed, made into clean one-dimensional arrays, or into an error that says what to change."""

from __future__ import annotations

import functools
import math
import numbers
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Column = NDArray[np.float64] | NDArray[np.float32]


def lookup(value: Any, known: Mapping[str, type[T]], name: str) -> T:
    """Return the default object that a string stands for; an object of a known type passes as it is."""
    if isinstance(value, str):
        if value not in known:
            raise ValueError(f"{name} must be {one_of(known)}; got {value!r}")
        return known[value]()
    if not isinstance(value, tuple(known.values())):
        raise TypeError(f"{name} must be {one_of(known)} or such an object; got {what_came(value)}")
    return cast(T, value)


def require_one_of(value: object, known: Iterable[str], name: str) -> None:
    """Raise ValueError unless the value is one of the strings known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be {one_of(known)}; got {value!r}")


def one_of(names: Iterable[str]) -> str:
    """Return the names as they are listed in an error message."""
    return " or ".join(repr(name) for name in names)


class Columns(NamedTuple):
    """Clean columns: what was passed is ``x + x_offset`` and ``y + y_offset``.

    The offsets are 0 but for numbers beyond float64, such as time stamps in nanoseconds. ``w`` holds the weights, or
    is None; ``w_name`` says what they were made of, ``w_unit`` the standard deviation that a weight of 1 stands for,
    and ``repeats`` how often each point stands, where that is not what the weights say. ``kept`` tells which points
    are left where some were masked.
    """

    x: Column
    y: Column
    x_offset: float = 0.0
    y_offset: float = 0.0
    w: Column | None = None
    w_name: str = "sample_weight"
    w_unit: float = 1.0
    repeats: Column | float | None = None
    kept: NDArray[np.bool_] | None = None

    @property
    def n_masked(self) -> int:
        """How many points were left out as masked."""
        return 0 if self.kept is None else int(self.kept.size - self.x.size)


def columns(
    x: Any, y: Any, sample_weight: Any = None, sigma: Any = None, *, w_unit: float | None = None
) -> Columns:
    """Return x, y and their weights as one-dimensional arrays of floats, without the points that are masked.

    float64 and float32 come back as they are, strided, read-only or memory-mapped ones too. Other numbers are
    converted once, to the smallest float that holds them exactly; 64-bit integers and longdouble of x and y
    beyond float64 are shifted first, so that their differences stay exact.

    Parameters
    ----------
    x, y : array_like, shape (n,) or (n, 1)
        NumPy arrays, masked arrays, lists, or columns of pandas, Polars or PyArrow.
    sample_weight, sigma : array_like, shape (n,) or (n, 1), or a number; optional
        Weights of the points, and standard deviations of y, of which the weights are the inverse squares. A number
        stands for all points. Whether a weight is negative or NaN is left to those who read it.
    w_unit : float, optional
        The standard deviation that a weight of 1 is to stand for; by default, one near the smallest sigma.

    Raises
    ------
    TypeError
        If any of them does not hold real numbers.
    ValueError
        If any is not a single column, if lengths differ, or if a sigma is not above 0.
    """
    given = (x, y, sample_weight, sigma)
    masks = [_mask(v) for v in given if type(v) is not np.ndarray and is_masked(v)]
    (x, x_offset), (y, y_offset) = _column(x, "x"), _column(y, "y")
    if x.size != y.size:
        raise ValueError(f"x and y must have the same length; got {x.size:,} and {y.size:,}")
    repeats = w = None
    w_name, unit = "sample_weight", 1.0
    if sample_weight is not None:
        w = _column_of(sample_weight, "sample_weight", x.size)
    own = None if sigma is None else _column_of(sigma, "sigma", x.size)
    kept = None
    if masks:
        kept = ~functools.reduce(np.logical_or, (np.broadcast_to(mask, x.shape) for mask in masks))
        x, y = _read_only_view(x[kept]), _read_only_view(y[kept])
        w, own = (None if column is None else column[kept] for column in (w, own))
    if own is not None:
        # Sigma does not tell how many points there are; weights do.
        repeats = float(x.size) if w is None else w
        w_name = "sigma" if w is None else "sample_weight or sigma"
        squares, unit = _inverse_squares(own, x, y, kept, w_unit)
        w = squares if w is None else w * squares
    if w is not None:
        w = _read_only_view(w)
    return Columns(x, y, x_offset, y_offset, w, w_name, unit, repeats, kept)


def _column_of(values: Any, name: str, size: int) -> Column:
    """Return a column of so many numbers; a single number stands for all of them."""
    array = real_array(values, name)
    if array.ndim == 0:
        return np.broadcast_to(array.astype(np.float64), size)
    column, _ = _column(array, name, shifted=False)
    if column.size != size:
        raise ValueError(
            f"{name} must have the length of x and y, or be one number; got {column.size:,} and {size:,}"
        )
    return column


def _inverse_squares(
    sigma: Column, x: Column, y: Column, kept: NDArray[np.bool_] | None, unit: float | None
) -> tuple[Column, float]:
    """Return ``(unit / sigma)**2`` and the unit: if not given, a power of two near the smallest sigma without NaN."""
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero((sigma <= 0.0) | (sigma == np.inf))
    if wrong.size:
        position = wrong[0] if kept is None else np.flatnonzero(kept)[wrong[0]]
        raise ValueError(
            f"sigma must be finite and above 0; got {float(sigma[wrong[0]])!r} at index {position:,}"
        )
    if unit is None:
        there = sigma[~(np.isnan(sigma) | np.isnan(x) | np.isnan(y))]
        unit = math.ldexp(1.0, math.frexp(float(there.min()))[1] - 1) if there.size else 1.0
    with np.errstate(over="ignore", under="ignore"):
        return np.square(unit / sigma.astype(np.float64)), unit


def what_came(value: Any) -> str:
    """Return type and value in one line, cut off if it is long."""
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def is_masked(values: Any) -> bool:
    """Whether values are a masked array."""
    # Not imported for this: it takes 30 ms, and who has a masked array has imported it.
    masked_arrays = sys.modules.get("numpy.ma")
    return masked_arrays is not None and isinstance(values, masked_arrays.MaskedArray)


def _mask(values: Any) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.ma.getmaskarray(values).reshape(-1)
    return mask


def _column(values: Any, name: str, *, shifted: bool = True) -> tuple[Column, float]:
    if type(values) is np.ndarray and values.ndim == 1 and _is_ready(values):
        return _read_only_view(values), 0.0
    array = real_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one-dimensional, or a single column; got an array of shape {array.shape}"
        )
    offset = 0.0
    if not _is_ready(array):
        exact_in_float32 = array.dtype.itemsize <= 2 or array.dtype.char == "f"
        if shifted:
            array, offset = _shifted(array)
        with np.errstate(over="ignore"):  # beyond float64 is infinity, which is looked for
            array = array.astype(np.float32 if exact_in_float32 else np.float64)
    return _read_only_view(array), offset


def _is_ready(array: NDArray[Any]) -> bool:
    """Whether the kernels take an array as it is."""
    return array.dtype.char in "df" and array.dtype.isnative and array.flags.aligned


def _read_only_view(array: NDArray[Any]) -> Column:
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def _shifted(array: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return numbers that float64 would round less a float64 that leaves them small, and that float64."""
    if array.size and array.dtype.char in "gG":
        first = float(array.flat[0])
        return (array - first, first) if math.isfinite(first) else (array, 0.0)
    if array.size and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        low, high = int(array.min()), int(array.max())
        # Below 2**53 integers are exact as they are; a spread above it is rounded relative to itself.
        if max(-low, high) > 2**53 and high - low < 2**62:
            offset = float(low)
            if int(offset) > low:
                offset = math.nextafter(offset, -math.inf)
            return array - array.dtype.type(int(offset)), offset
    return array, 0.0


class Shifted(NamedTuple):
    """Numbers as ``values + offset``, where a float64 alone would round them; the offset is 0 for most."""

    values: Any
    offset: float


def shifted(values: Any, name: str) -> Shifted:
    """Return real numbers of any shape as float64, with what had to be taken from them; or raise TypeError."""
    array, offset = _shifted(real_array(values, name))
    return Shifted(array.astype(np.float64, copy=False), offset)


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
        hint = " (of files, pass what fastfit.scan returns)" if isinstance(values, str) else ""
        raise TypeError(f"{name} must be an array of numbers; got {what_came(values)}{hint}")
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
        raise TypeError(f"{name} must be an array of numbers; got {what_came(values)}") from error


def _from_pandas(values: Any) -> NDArray[Any]:
    from pandas.api.types import is_numeric_dtype

    dtype = getattr(values, "dtype", None)  # a DataFrame has none
    if isinstance(dtype, np.dtype) or dtype is None:
        return np.asarray(values)
    if is_numeric_dtype(dtype) and values.isna().any():
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if is_numeric_dtype(dtype):
        return np.asarray(values.to_numpy(dtype=dtype.numpy_dtype))
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
    return f"Python objects such as {what_came(example)}; convert them to float64, and None to NaN, first"


def finite_or_none(value: Any) -> Any:
    """Return value, or None for a float that JSON cannot hold: NaN or infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def true_or_false(value: Any, name: str) -> bool:
    """Return value, or raise if it is neither True nor False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name} must be True or False; got {value!r}")


def finite_number(value: Any, name: str, must_be: str, *, above: float = -math.inf) -> float:
    """Return value as a float, or raise if it is no finite number above the bound."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)):
        try:
            number = float(value)
        except OverflowError:  # an int beyond float64
            number = math.inf
        if math.isfinite(number) and number > above:
            return number
        raise ValueError(f"{name} must be {must_be}; got {value!r}")
    raise TypeError(f"{name} must be {must_be}; got {what_came(value)}")


def positive_integer(value: Any, name: str) -> int:
    """Return value as an int, or raise if it is no integer above zero."""
    if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_)):
        if int(value) >= 1:
            return int(value)
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
    raise TypeError(f"{name} must be an integer of at least 1; got {what_came(value)}")
