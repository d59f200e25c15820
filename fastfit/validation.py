"""Checks of arguments: they become clean one-dimensional arrays, or an error that says what to change."""

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
    """Return the object with default options for a name; objects of a known type are returned as they are."""
    if isinstance(value, str):
        if value not in known:
            raise ValueError(f"{name} must be {one_of(known)}; got {value!r}")
        return known[value]()
    if not isinstance(value, tuple(known.values())):
        raise TypeError(f"{name} must be {one_of(known)} or such an object; got {what_came(value)}")
    return cast(T, value)


def require_one_of(value: object, known: Iterable[str], name: str) -> None:
    """Raise ValueError unless the value is one of these strings."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be {one_of(known)}; got {value!r}")


def one_of(names: Iterable[str]) -> str:
    """Return the names, quoted and joined by "or", for an error message."""
    return " or ".join(repr(name) for name in names)


class Columns(NamedTuple):
    """Clean columns: the caller passed ``x + x_offset`` and ``y + y_offset``.

    Attributes
    ----------
    x, y : ndarray
        Columns that the passes can read.
    x_offset, y_offset : float
        0, except for numbers that float64 cannot hold, such as time stamps in nanoseconds.
    w : ndarray or None
        Weights.
    w_name : str
        Arguments that the weights come from.
    unit_sigma : float
        Standard deviation of a point of weight 1.
    n_effective : ndarray, float or None
        How often each point occurs, if the weights do not say so.
    kept : ndarray of bool or None
        Points that are not masked, if some are.
    """

    x: Column
    y: Column
    x_offset: float = 0.0
    y_offset: float = 0.0
    w: Column | None = None
    w_name: str = "sample_weight"
    unit_sigma: float = 1.0
    n_effective: Column | float | None = None
    kept: NDArray[np.bool_] | None = None

    @property
    def n_masked(self) -> int:
        """Number of masked points, which were left out."""
        return 0 if self.kept is None else int(self.kept.size - self.x.size)


def columns(
    x: Any, y: Any, sample_weight: Any = None, sigma: Any = None, *, unit_sigma: float | None = None
) -> Columns:
    """Return x, y and their weights as one-dimensional arrays of floats, without masked points.

    float64 and float32 arrays are not copied, even if they are strided, read-only or memory-mapped. Other numbers are
    converted once, to the smallest float that holds them exactly; 64-bit integers and longdouble in x and y that
    float64 cannot hold are shifted first, so that their differences stay exact.

    Parameters
    ----------
    x, y : array_like, shape (n,) or (n, 1)
        NumPy arrays, masked arrays, lists, or columns of pandas, Polars or PyArrow.
    sample_weight, sigma : array_like, shape (n,) or (n, 1), or a number; optional
        Weights of the points, and standard deviations of y, whose inverse squares are weights. A number holds for all
        points. Negative and NaN weights are found later, by the first pass.
    unit_sigma : float, optional
        Standard deviation of a point of weight 1; by default, a power of two near the smallest sigma.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If an argument is not a single column, lengths differ, or a sigma is not above 0.
    """
    if sample_weight is sigma is None and _is_column(x) and _is_column(y) and x.size == y.size:
        return Columns(_read_only_view(x), _read_only_view(y))  # soon, as it is nearly always so
    given = (x, y, sample_weight, sigma)
    masks = [_mask(v) for v in given if type(v) is not np.ndarray and is_masked(v)]
    (x, x_offset), (y, y_offset) = _column(x, "x"), _column(y, "y")
    if x.size != y.size:
        raise ValueError(f"x and y must have the same length; got {x.size:,} and {y.size:,}")
    n_effective = w = None
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
        # A sigma does not change how often a point occurs; a sample_weight does.
        n_effective = float(x.size) if w is None else w
        w_name = "sigma" if w is None else "sample_weight or sigma"
        squares, unit = _inverse_squares(own, x, y, kept, unit_sigma)
        w = squares if w is None else w * squares
    if w is not None:
        w = _read_only_view(w)
    return Columns(x, y, x_offset, y_offset, w, w_name, unit, n_effective, kept)


def _column_of(values: Any, name: str, size: int) -> Column:
    """Return a column of this size; a single number is repeated."""
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
    """Return ``(unit / sigma)**2`` and the unit; by default a power of two near the smallest sigma."""
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
    """Return type and value in one line of at most 60 characters or so, for an error message."""
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def is_masked(values: Any) -> bool:
    """Return whether values are a masked array."""
    # numpy.ma takes 30 ms to import, and has been imported if there is a masked array.
    masked_arrays = sys.modules.get("numpy.ma")
    return masked_arrays is not None and isinstance(values, masked_arrays.MaskedArray)


def _mask(values: Any) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.ma.getmaskarray(values).reshape(-1)
    return mask


def _column(values: Any, name: str, *, shifted: bool = True) -> tuple[Column, float]:
    if _is_column(values):
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


def _is_column(values: Any) -> bool:
    return type(values) is np.ndarray and values.ndim == 1 and _is_ready(values)


def _is_ready(array: NDArray[Any]) -> bool:
    """Return whether the kernels can read an array without conversion."""
    return array.dtype.char in "df" and array.dtype.isnative and array.flags.aligned


def _read_only_view(array: NDArray[Any]) -> Column:
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def _shifted(array: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Split values that float64 cannot hold into ``(values - offset, offset)``; the offset is a float64."""
    if array.size and array.dtype.char in "gG":
        first = float(array.flat[0])
        return (array - first, first) if math.isfinite(first) else (array, 0.0)
    if array.size and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        low, high = int(array.min()), int(array.max())
        # Integers below 2**53 are exact; differences above 2**62 are rounded relative to their own size.
        if max(-low, high) > 2**53 and high - low < 2**62:
            offset = float(low)
            if int(offset) > low:
                offset = math.nextafter(offset, -math.inf)
            return array - array.dtype.type(int(offset)), offset
    return array, 0.0


class Shifted(NamedTuple):
    """Numbers ``values + offset``; the offset is 0 unless float64 cannot hold the numbers."""

    values: Any
    offset: float


def shifted(values: Any, name: str) -> Shifted:
    """Return real numbers of any shape as float64 and an offset, or raise TypeError."""
    array, offset = _shifted(real_array(values, name))
    return Shifted(array.astype(np.float64, copy=False), offset)


def real_array(values: Any, name: str) -> NDArray[Any]:
    """Return an array of real numbers with its own type and shape, or raise TypeError."""
    array = _as_array(values, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got {_kind(array)}")
    return array


def _as_array(values: Any, name: str) -> NDArray[Any]:
    """Return values as an ndarray of their own type, without a copy if possible."""
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
    """Return value, or raise TypeError if it is neither True nor False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name} must be True or False; got {value!r}")


def finite_number(value: Any, name: str, must_be: str, *, above: float = -math.inf) -> float:
    """Return value as a float, or raise unless it is a finite number above the bound."""
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
    """Return value as an int, or raise unless it is an integer above zero."""
    if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_)):
        if int(value) >= 1:
            return int(value)
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
    raise TypeError(f"{name} must be an integer of at least 1; got {what_came(value)}")
