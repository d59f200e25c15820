"""Whatever holds values, to a NumPy array: NumPy, lists, pandas, Polars, PyArrow, xarray and tensors.

Missing values are kept apart from numbers, so that 64-bit integers keep their digits when some are missing. An object
that holds more than plain numbers (units, a mask that cannot be read, memory of a GPU) is an error that says what to
write instead.
"""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
import os
import re
import sys
from collections.abc import Iterator, KeysView, Mapping, Set, ValuesView
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.validation import what_came

# Types of objects that stand for a missing value, by their names.
_MISSING = ("NoneType", "NAType", "NaTType")


class Values(NamedTuple):
    """Values of a container.

    Attributes
    ----------
    array : ndarray
        Real numbers, or times as datetime64 or timedelta64; without a copy if possible.
    missing : ndarray of bool or None
        Which values are missing; these hold any number. NaN and NaT in ``array`` are missing besides.
    masked : ndarray of bool or None
        Which values are masked: such points are left out, whatever the policy about missing values.
    has_zone : bool
        Whether they are times of a time zone, converted to UTC.
    """

    array: NDArray[Any]
    missing: NDArray[np.bool_] | None = None
    masked: NDArray[np.bool_] | None = None
    has_zone: bool = False


def values_of(values: Any, name: str) -> Values:
    """Return the values of a container; ``name`` is the argument that errors name.

    Raises
    ------
    TypeError
        If they are no real numbers or times, or cannot be read without losing units or a mask.
    """
    if type(values) is np.ndarray:
        return _checked(Values(values), name)
    if isinstance(values, Values):
        return _checked(values, name)
    _refuse_what_holds_no_values(values, name)
    library = type(values).__module__.partition(".")[0]
    try:
        found = _READERS.get(library, _of_protocols)(values, name)
    except Refusal as error:
        raise TypeError(str(error)) from None
    except MemoryError:
        raise
    except Exception as error:  # of any library, whose advice is passed on
        why = " ".join(str(error).split())
        must_be = f"{name} must be an array of numbers; got {what_came(values)}"
        raise TypeError(f"{must_be}: {why}" if why else must_be) from error
    return _checked(found, name)


class Refusal(Exception):  # noqa: N818  # callers see a TypeError
    """What a container that is no array of numbers must be."""


def is_masked(values: Any) -> bool:
    """Return whether values are a masked array of NumPy."""
    # numpy.ma takes 30 ms to import, and has been imported if there is a masked array.
    masked_arrays = sys.modules.get("numpy.ma")
    return masked_arrays is not None and isinstance(values, masked_arrays.MaskedArray)


def name_of(values: Any, default: str) -> str:
    """Return the name of a column, as pandas, Polars and xarray have it."""
    name = getattr(values, "name", None)
    return name if isinstance(name, str) and name else default


def _refuse_what_holds_no_values(values: Any, name: str) -> None:
    """Raise TypeError for None, text, paths, mappings, sets and what can be read only once."""
    if isinstance(values, str):
        hint = " (a column is named with data=table, files are passed as fastfit.scan(...))"
        if _is_date(values):
            hint = f" (a time is numpy.datetime64({values!r}))"
    elif isinstance(values, os.PathLike):
        hint = " (files are passed as fastfit.scan(...))"
    elif isinstance(values, (Iterator, KeysView, ValuesView)):
        hint = "; write list(...) around it"
    elif values is None or isinstance(values, (bytes, Mapping, Set)):
        hint = ""
    else:
        return
    got = "None" if values is None else what_came(values)
    raise TypeError(f"{name} must be an array of numbers; got {got}{hint}")


def _how_to_convert(text: str) -> str:
    """Return how text becomes numbers or times."""
    if _is_date(text):
        return "; convert times with pandas.to_datetime"
    if re.fullmatch(r"\s*[-+]?[\d.]*,\d+\s*", text):
        return "; read decimal commas with pandas.read_csv(..., decimal=',')"
    return "; convert text with pandas.to_numeric"


def _is_date(text: str) -> bool:
    return re.match(r"\s*\d{4}-\d", text) is not None


# Libraries


def _of_pandas(values: Any, name: str) -> Values:
    dtype = getattr(values, "dtype", None)  # a DataFrame has none
    if dtype is None and getattr(values, "ndim", 1) == 2 and values.shape[1] != 1:
        raise Refusal(_named_columns(name, values))
    kind = type(dtype).__name__
    if kind == "ArrowDtype":
        return _of_pyarrow(getattr(values, "array", values).__arrow_array__(), name)
    if kind == "DatetimeTZDtype":
        utc = (values.dt if hasattr(values, "dt") else values).tz_convert(None)
        return Values(np.asarray(utc), has_zone=True)
    if kind == "PeriodDtype":
        raise Refusal(f"{name} must hold numbers or times; got {dtype}: use .to_timestamp()")
    plain = getattr(dtype, "numpy_dtype", None)  # of nullable integers, floats and booleans
    if plain is None or kind == "SparseDtype":
        return Values(np.asarray(values))
    missing = np.asarray(values.isna())
    if not missing.any():
        return Values(values.to_numpy(dtype=plain))
    return Values(values.to_numpy(dtype=plain, na_value=plain.type(0)), missing)


def _named_columns(name: str, table: Any) -> str:
    names = ", ".join(map(repr, list(table.columns)[:5]))
    return (
        f"{name} must be one column; got a {type(table).__name__} of {len(table.columns)}: name them with data=, as in "
        f"fit_line('x', 'y', data=frame); it has {names}"
    )


def _of_polars(values: Any, name: str) -> Values:
    import polars as pl

    if isinstance(values, (pl.Expr, pl.LazyFrame)):
        raise Refusal(
            f"{name} must be an array of numbers; got {type(values).__name__} of Polars, which holds no values yet: "
            "collect it, or name the column with data=frame"
        )
    if isinstance(values, pl.DataFrame):
        if values.width != 1:
            raise Refusal(_named_columns(name, values))
        return Values(values.to_numpy())
    dtype = values.dtype
    if dtype == pl.Time:
        raise Refusal(f"{name} must hold numbers or times; got times of day: cast to pl.Duration")
    if dtype.is_decimal() or dtype in (pl.Int128, pl.Null):
        values, dtype = values.cast(pl.Float64), pl.Float64()
    if not values.null_count() or dtype.is_float() or dtype.is_temporal():
        has_zone = getattr(dtype, "time_zone", None) is not None
        return Values(values.to_numpy(), has_zone=has_zone)  # nulls as NaN or NaT
    missing = values.is_null().to_numpy()
    if dtype.is_integer() or dtype == pl.Boolean:
        values = values.cast(pl.UInt8 if dtype == pl.Boolean else dtype).fill_null(0)
    return Values(values.to_numpy(), missing)


def _of_pyarrow(values: Any, name: str) -> Values:
    import pyarrow as pa
    from pyarrow import compute, types

    if isinstance(values, pa.Array):
        values = pa.chunked_array([values])
    if types.is_dictionary(values.type):
        values = compute.cast(values, values.type.value_type)
    kind, unit = values.type, ""
    if types.is_decimal(kind):
        values = values.cast(pa.string()).cast(pa.float64())  # its own cast is not the nearest
    elif types.is_null(kind):
        values = values.cast(pa.float64())
    elif types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif types.is_date(kind):
        unit, values = "M8[D]", values.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    elif types.is_timestamp(kind) or types.is_duration(kind):
        unit = f"{'M8' if types.is_timestamp(kind) else 'm8'}[{kind.unit}]"
        values = values.cast(pa.int64())
    elif not (types.is_integer(kind) or types.is_floating(kind)):
        raise Refusal(f"{name} must hold real numbers or times; got {kind}")
    missing = None
    if values.null_count:
        missing = compute.is_null(values).to_numpy()
        values = compute.fill_null(values, pa.scalar(0, values.type))
    array = np.asarray(values.to_numpy())
    has_zone = types.is_timestamp(kind) and kind.tz is not None
    return Values(array.view(unit) if unit else array, missing, has_zone=has_zone)


def _of_xarray(values: Any, name: str) -> Values:
    return values_of(values.data, name)


def _of_protocols(values: Any, name: str) -> Values:
    """Return the values of an object by what it offers: a mask, NumPy's protocol, or DLPack's."""
    if isinstance(values, (list, tuple)):
        array = np.asarray(values)
        return Values(np.array(values, dtype=object) if array.dtype.kind in "US" else array)
    if hasattr(values, "set_auto_mask"):  # a variable of netCDF4, whose slices are masked arrays
        values = values[...]
    if is_masked(values):
        return Values(np.asarray(values), masked=np.ma.getmaskarray(values))
    for attribute in ("magnitude", "value"):
        if hasattr(values, attribute) and hasattr(values, "unit" + "s" * (attribute[0] == "m")):
            raise Refusal(
                f"{name} must be an array of numbers; got {type(values).__name__} with units, which would be lost: "
                f"pass its .{attribute}"
            )
    mask = getattr(values, "mask", None)
    if mask is not None:
        if not hasattr(values, "unmasked") or callable(mask):
            raise Refusal(
                f"{name} must be an array of numbers; got {type(values).__name__}, whose mask cannot be read: "
                "pass numpy.ma.masked_array(values, mask)"
            )
        return Values(np.asarray(values.unmasked), masked=np.asarray(mask, dtype=bool))
    if hasattr(values, "__array__") or not hasattr(values, "__dlpack__"):
        return Values(np.asarray(values))
    if hasattr(values, "__cuda_array_interface__"):
        raise ValueError("its numbers are in the memory of a GPU; copy them to the host first")
    return Values(np.from_dlpack(values))


_READERS = {
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_pyarrow,
    "xarray": _of_xarray,
}


# Types


def _checked(found: Values, name: str) -> Values:
    """Return values as real numbers or times; Python objects are converted."""
    kind = found.array.dtype.kind
    if kind in "biufmM":
        return found
    if kind == "O":
        try:
            array, missing = _of_objects(found.array, name)
        except OverflowError as error:
            raise ValueError(f"{name} must hold numbers within the range of float64") from error
        if missing is not None and found.missing is not None:
            missing = missing | found.missing
        return found._replace(array=array, missing=found.missing if missing is None else missing)
    if found.array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return found._replace(array=found.array.astype(np.float32))
    raise TypeError(f"{name} must hold real numbers; got {_described(found.array)}")


def _described(array: NDArray[Any]) -> str:
    if array.dtype.kind == "c":
        return f"complex numbers ({array.dtype}); pass the real part, or the modulus"
    if array.dtype.kind in "UST" or array.dtype.names:
        return f"text or records ({array.dtype})"
    return f"{array.dtype}; convert it to float64 first"


def _of_objects(array: NDArray[Any], name: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return Python objects as numbers or times of one type, and which are missing.

    Whole numbers stay integers, so that they keep their digits.
    """
    items = array.reshape(-1).tolist()
    kinds = {kind: _kind_of(kind) for kind in set(map(type, items))}
    present = {kind for kind in kinds.values() if kind != "missing"}
    if "other" in present or (len(present) > 1 and not present <= {"whole", "number"}):
        expected = next((kinds[type(i)] for i in items if kinds[type(i)] != "missing"), "number")
        allowed = ("whole", "number") if expected in ("whole", "number", "other") else (expected,)
        place = next(k for k, i in enumerate(items) if kinds[type(i)] not in (*allowed, "missing"))
        what = "real numbers" if allowed[0] == "whole" else f"{expected}s throughout"
        hint = ""
        if isinstance(items[place], str):
            hint = _how_to_convert(items[place])
        raise TypeError(
            f"{name} must hold {what}; got {what_came(items[place])} at index {place:,}{hint}"
        )
    gaps = [kinds[type(item)] == "missing" for item in items]
    fill: Any = 0
    convert: Any = None
    if present == {"time"}:
        fill, convert = np.datetime64("NaT"), _as_utc
        _require_zones(items, name)
    elif present == {"duration"}:
        fill, convert = np.timedelta64("NaT"), _as_duration
    elif present != {"whole"}:
        fill, convert = math.nan, float
    filled = [
        fill if gap else convert(item) if convert else item
        for item, gap in zip(items, gaps, strict=True)
    ]
    found = np.array(filled, dtype=None if filled else np.float64)
    if found.dtype.kind in "mM":
        _require_in_range(found, filled, name)
    found = found.astype(np.float64) if found.dtype.kind == "O" else found  # beyond 64 bits
    return found.reshape(array.shape), np.array(gaps).reshape(array.shape) if any(gaps) else None


def _as_duration(item: Any) -> Any:
    return item.to_timedelta64() if hasattr(item, "to_timedelta64") else np.timedelta64(item)


def _require_in_range(array: NDArray[Any], items: list[Any], name: str) -> None:
    """Raise ValueError if times of different units have no common one within 64 bits: NumPy wraps them."""
    if len({getattr(item, "dtype", None) for item in items}) < 2:
        return
    for place, (found, item) in enumerate(zip(array, items, strict=True)):
        if not np.isnat(item) and found.astype(item.dtype) != item:
            raise ValueError(
                f"{name} must hold times within 64 bits of {array.dtype}; got {item!s} at index {place:,}"
            )


def _kind_of(kind: type) -> str:
    """Return what objects of a type are: "whole" or other "number", "time", "duration", "missing" or "other"."""
    if kind.__name__ in _MISSING:
        return "missing"
    if issubclass(kind, (datetime.timedelta, np.timedelta64)):
        return "duration"
    if issubclass(kind, numbers.Integral):
        return "whole"
    if issubclass(kind, (numbers.Real, decimal.Decimal, np.bool_)):
        return "number"
    return "time" if issubclass(kind, (datetime.date, np.datetime64)) else "other"


def _require_zones(items: list[Any], name: str) -> None:
    """Raise TypeError about the first time without a zone if others have one: it may be any time."""
    zones = [getattr(item, "tzinfo", None) is not None for item in items]
    if not any(zones):
        return
    for place, (item, has_zone) in enumerate(zip(items, zones, strict=True)):
        if not has_zone and _kind_of(type(item)) == "time":
            raise TypeError(
                f"{name} must hold times that all have a time zone, or none; got {item!s} without at index {place:,}"
            )


def _as_utc(item: Any) -> Any:
    """Return a time as datetime64; one with a time zone is converted to UTC, as pandas does."""
    if isinstance(item, datetime.datetime) and item.tzinfo is not None:
        item = item.astimezone(datetime.UTC).replace(tzinfo=None)
    if hasattr(item, "to_datetime64"):
        return item.to_datetime64()
    return np.datetime64(item) if isinstance(item, datetime.date) else item
