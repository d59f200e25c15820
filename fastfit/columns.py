"""Clean columns: x, y and their weights as one-dimensional arrays of floats that the passes can read."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.containers import values_of
from fastfit.times import NAT, TimeUnit, counts_like, counts_of, is_time, unit_for

Column = NDArray[np.float64] | NDArray[np.float32]


class Columns(NamedTuple):
    """Clean columns: the caller passed ``x + x_offset`` and ``y + y_offset``.

    Attributes
    ----------
    x, y : ndarray
        Columns that the passes can read, with NaN for missing values.
    x_offset, y_offset : float
        0, except for numbers that float64 cannot hold, such as time stamps in nanoseconds.
    w : ndarray or None
        Weights.
    w_name : str
        What errors call the weights.
    unit_sigma : float
        Standard deviation of a point of weight 1.
    n_effective : ndarray, float or None
        With sigma: how often each point occurs, or the number of points.
    kept : ndarray of bool or None
        Which points are not masked; None for all.
    times : TimeUnit or None
        How x counts time; None for numbers.
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
    times: TimeUnit | None = None

    @property
    def n_masked(self) -> int:
        """Number of masked points, which were left out."""
        return 0 if self.kept is None else int(self.kept.size - self.x.size)


def columns(
    x: Any,
    y: Any,
    sample_weight: Any = None,
    sigma: Any = None,
    *,
    unit_sigma: float | None = None,
    datetime_unit: str | None = None,
) -> Columns:
    """Return x, y and their weights as one-dimensional arrays of floats, without masked points.

    float64 and float32 arrays are not copied, even if they are strided, read-only or memory-mapped. Other numbers are
    converted once, to the smallest float that holds them exactly; 64-bit integers and longdouble in x and y that
    float64 cannot hold are shifted first, so that their differences stay exact. Times in x are such integers.

    Parameters
    ----------
    x, y : array_like, shape (n,) or (n, 1)
        Numbers in any container that ``containers.values_of`` reads; x may hold times.
    sample_weight, sigma : array_like, shape (n,) or (n, 1), or a number; optional
        Weights of the points, and standard deviations of y, whose inverse squares are weights. A number holds for all
        points. Negative and NaN weights are found later, by the first pass.
    unit_sigma : float, optional
        Standard deviation of a point of weight 1; by default, a power of two near the smallest sigma.
    datetime_unit : str, optional
        Unit of times in x.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If an argument is not a single column, lengths or labels differ, or a sigma is not above 0.
    """
    if sample_weight is sigma is None and _is_column(x) and _is_column(y) and x.size == y.size:
        if datetime_unit is not None:
            _refuse_unit(x)
        return Columns(_read_only_view(x), _read_only_view(y))  # fast path for the usual case
    require_same_labels(x, y, sample_weight, sigma)
    masks: list[Any] = []
    (x, x_offset, times), (y, y_offset, _) = (
        _column(x, "x", masks, datetime_unit),
        _column(y, "y", masks),
    )
    if datetime_unit is not None and times is None:
        _refuse_unit(x)
    if x.size != y.size:
        raise ValueError(f"x and y must have the same length; got {x.size:,} and {y.size:,}")
    n_effective = w = None
    w_name, unit = "sample_weight", 1.0
    if sample_weight is not None:
        w = _column_of(sample_weight, "sample_weight", masks, x.size)
    own = None if sigma is None else _column_of(sigma, "sigma", masks, x.size)
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
    return Columns(x, y, x_offset, y_offset, w, w_name, unit, n_effective, kept, times)


def _refuse_unit(x: NDArray[Any]) -> None:
    raise ValueError(
        f"datetime_unit must be None unless x holds times; x holds numbers ({x.dtype})"
    )


def require_same_labels(
    x: Any, y: Any, sample_weight: Any = None, sigma: Any = None, **others: Any
) -> None:
    """Raise ValueError about columns of pandas or xarray whose labels differ: by place, they would be other points."""
    given = {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma, **others}
    if all(each is None or type(each) is np.ndarray for each in given.values()):
        return
    found = {name: _labels(values) for name, values in given.items() if hasattr(values, "shape")}
    firsts: dict[str, tuple[str, Any]] = {}
    for name, labelled in found.items():
        if labelled is None:
            continue
        kind, labels = labelled
        first, others = firsts.setdefault(kind, (name, labels))
        is_other = labels is not others and len(labels) == len(others)
        if is_other and not labels.equals(others):
            is_pandas = kind == "of pandas"
            join = (
                "pandas.concat([...], axis=1, join='inner')" if is_pandas else "xarray.align(...)"
            )
            raise ValueError(
                f"{first} and {name} must have the same labels, as both are {kind}; pair them by place with "
                f".to_numpy(), or by label with a join ({join})"
            )


def _labels(values: Any) -> tuple[str, Any] | None:
    """Return what a column with labels is, and its labels; None for other columns."""
    library, kind = type(values).__module__.partition(".")[0], type(values).__name__
    if library == "pandas" and kind in ("Series", "DataFrame"):
        return "of pandas", values.index
    if library == "xarray" and kind == "DataArray" and values.ndim == 1:
        labels = values.indexes.get(values.dims[0])
        return None if labels is None else (f"DataArrays along {values.dims[0]!r}", labels)
    return None


def _column_of(values: Any, name: str, masks: list[Any], size: int) -> Column:
    """Return a column of this size; a single number is repeated."""
    found = values_of(values, name)
    if found.array.ndim == 0:
        _refuse_times(found.array, name)
        number, least = float(found.array), "above 0" if name == "sigma" else "at least 0"
        if not 0.0 <= number < math.inf or (name == "sigma" and number == 0.0):
            raise ValueError(f"{name} must be finite and {least}; got {number!r}")
        return np.broadcast_to(np.float64(number), size)
    column, _, _ = _column(values, name, masks, shifted=False)
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


def _column(
    values: Any,
    name: str,
    masks: list[Any],
    datetime_unit: str | None = None,
    *,
    shifted: bool = True,
) -> tuple[Column, float, TimeUnit | None]:
    """Return a column, its offset, and how it counts time; a mask is appended to ``masks``."""
    if _is_column(values):
        return _read_only_view(values), 0.0, None
    array, missing, masked, _ = values_of(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one-dimensional, or a single column; got an array of shape {array.shape}"
        )
    if masked is not None:
        masks.append(masked.reshape(-1))
    missing = None if missing is None else missing.reshape(-1)
    times = None
    if is_time(array):
        if name != "x":
            _refuse_times(array, name)
        times = unit_for(array, datetime_unit, name)
        array = counts_of(array, times, name)
    offset = 0.0
    if not _is_ready(array):
        exact_in_float32 = array.dtype.itemsize <= 2 or array.dtype.char == "f"
        if shifted:
            array, offset, missing = _shifted(array, missing, masked, name, times)
        with np.errstate(over="ignore"):  # beyond float64 is infinity, which is looked for
            if not _is_ready(array):
                array = array.astype(np.float32 if exact_in_float32 else np.float64)
    if missing is not None and missing.any():
        array = np.where(missing, array.dtype.type(np.nan), array)
    return _read_only_view(array), offset, times


def _refuse_times(array: NDArray[Any], name: str) -> None:
    if is_time(array):
        numbers = f"numpy.asarray({name}, 'datetime64[s]').astype(float)"
        if array.dtype.kind == "m":
            numbers = f"numpy.asarray({name}) / numpy.timedelta64(1, 's')"
        raise TypeError(
            f"{name} must hold real numbers; got times ({array.dtype}): convert them, as with {numbers}"
        )


def _is_column(values: Any) -> bool:
    return type(values) is np.ndarray and values.ndim == 1 and _is_ready(values)


def _is_ready(array: NDArray[Any]) -> bool:
    """Return whether the kernels can read an array without conversion."""
    return array.dtype.char in "df" and array.dtype.isnative and array.flags.aligned


def _read_only_view(array: NDArray[Any]) -> Column:
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def _either(a: NDArray[np.bool_] | None, b: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    return a if b is None else b.reshape(-1) if a is None else a | b.reshape(-1)


def _shifted(
    array: NDArray[Any],
    missing: NDArray[np.bool_] | None,
    masked: NDArray[np.bool_] | None,
    name: str,
    times: TimeUnit | None,
) -> tuple[NDArray[Any], float, NDArray[np.bool_] | None]:
    """Return ``values - offset`` and the offset where float64 cannot hold the values, and which are missing.

    What is missing or masked does not count; of times, NaT is missing, too.
    """
    if array.dtype.char not in "gG" and not (array.dtype.kind in "iu" and array.itemsize == 8):
        return array, 0.0, missing
    ignored = _either(missing, masked)
    present = array if ignored is None else array[~ignored]
    if present.size and array.dtype.char in "gG":
        finite = present[np.isfinite(present)]
        first = float(finite[0]) if finite.size else 0.0
        return (array - first, first, missing) if math.isfinite(first) else (array, 0.0, missing)
    if present.size and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        low, high = int(present.min()), int(present.max())
        if low == NAT and times is not None:
            nat = array == NAT
            missing = nat if missing is None else nat | missing.reshape(nat.shape)
            return _shifted(array, missing, masked, name, times)
        if low == NAT:
            where = int(np.flatnonzero((array == NAT) & (True if ignored is None else ~ignored))[0])
            raise ValueError(
                f"{name} must not hold {NAT}, which is a missing time (NaT) as an integer; got it at index {where:,}. "
                "Pass the times themselves, or leave that point out"
            )
        # Integers below 2**53 are exact; differences above 2**62 are rounded relative to their own size.
        if max(-low, high) > 2**53 and high - low < 2**62:
            offset = float(low)
            if int(offset) > low:
                offset = math.nextafter(offset, -math.inf)
            shift = array.dtype.newbyteorder("=").type(int(offset))
            found = np.empty(array.shape)
            np.subtract(array, shift, out=found, dtype=shift.dtype, casting="unsafe")
            return found, offset, missing
    return array, 0.0, missing


class Numbers(NamedTuple):
    """Numbers of any shape: the caller passed ``array + offset``.

    Attributes
    ----------
    array : ndarray
        Real numbers of any type, as they came if float64 can hold them.
    missing : ndarray of bool or None
        Which are missing or masked; None for none. NaN counts as well.
    offset : float
        0, except for numbers that float64 cannot hold.
    times : TimeUnit or None
        How they count time; None for numbers.
    """

    array: NDArray[Any]
    missing: NDArray[np.bool_] | None = None
    offset: float = 0.0
    times: TimeUnit | None = None


def numbers_of(values: Any, name: str, datetime_unit: str | None = None) -> Numbers:
    """Return real numbers of any shape, without converting them; times, if ``name`` is x, as counts.

    Raises
    ------
    TypeError
        If values do not hold real numbers.
    """
    if type(values) is np.ndarray and _is_ready(values):
        array, missing, masked = values, None, None
    else:
        array, missing, masked, _ = values_of(values, name)
    times = None
    if is_time(array):
        if name != "x":
            _refuse_times(array, name)
        times = unit_for(array, datetime_unit, name)
        array = counts_of(array, times, name)
    elif datetime_unit is not None and name == "x":
        _refuse_unit(array)
    gone = _either(missing, masked)
    gone = None if gone is None else gone.reshape(array.shape)
    array, offset, gone = _shifted(array, gone, None, name, times)
    return Numbers(array, gone, offset, times)


class Shifted(NamedTuple):
    """Numbers ``values + offset``; the offset is 0 unless float64 cannot hold the numbers."""

    values: Any
    offset: float


def shifted(values: Any, name: str, times: TimeUnit | None = None) -> Shifted:
    """Return real numbers of any shape as float64 and an offset, missing ones as NaN.

    With ``times``, values must be times, and their counts in its base unit are returned.

    Raises
    ------
    TypeError
        If values do not hold numbers, or times if these are expected.
    """
    array, missing, masked, _ = values_of(values, name)
    if masked is not None:
        missing = masked if missing is None else masked | missing
    if times is None:
        _refuse_times(array, name)
    else:
        array = counts_like(array, times, name)
    array, offset, missing = _shifted(array, missing, None, name, times)
    array = array.astype(np.float64, copy=False)
    return Shifted(array if missing is None else np.where(missing, np.nan, array), offset)


def real_array(values: Any, name: str) -> NDArray[Any]:
    """Return an array of real numbers with its own type and shape, missing ones as NaN, or raise TypeError."""
    array, missing, *_ = values_of(values, name)
    _refuse_times(array, name)
    return array if missing is None else np.where(missing, np.nan, array)
