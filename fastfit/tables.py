"""Columns of a table by name: pandas, Polars, PyArrow, Dask, xarray, or a mapping."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def named_columns(
    data: Any, x: Any, y: Any, sample_weight: Any = None, sigma: Any = None
) -> tuple[Any, Any, Any, Any]:
    """Return the arguments of a fit, with the columns of a table in place of their names.

    Raises
    ------
    TypeError
        If data is no table, or no argument is a name.
    ValueError
        If a column is not there, or its name is not unique; the message lists the names there are.
    """
    given = {"x": x, "y": y, "sample_weight": sample_weight, "sigma": sigma}
    asked = {
        name: value
        for name, value in given.items()
        if isinstance(value, str) or (name in "xy" and _is_integer(value))
    }
    if not asked:
        raise TypeError("x and y must be names of columns where data is given; got none")
    names = _names_of(data)
    own = {name: _own_name(name, str(column), names) for name, column in asked.items()}
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):  # a query of Polars
        if any(value is not None for name, value in given.items() if name not in asked):
            raise TypeError("all columns must be names where data is a LazyFrame")
        from fastfit.points.files.scan import scan

        return scan(data, **own), None, None, None
    x, y, sample_weight, sigma = (
        data[own[name]] if name in own else value for name, value in given.items()
    )
    return x, y, sample_weight, sigma


def table_columns(
    data: Any, columns: dict[str, Any], by: list[Any]
) -> tuple[dict[str, Any], list[Any], list[str | None]]:
    """Return the arguments of a fit of groups, with columns in place of their names; and the names of the keys.

    Raises
    ------
    TypeError, ValueError
        As :func:`named_columns` does.
    """
    labels = ["by" if len(by) == 1 else f"by[{k}]" for k in range(len(by))]
    given = {**columns, **dict(zip(labels, by, strict=True))}
    names = _names_of(data)
    own = {
        label: _own_name(label, str(value), names)
        for label, value in given.items()
        if isinstance(value, str) or (label in ("x", "y", *labels) and _is_integer(value))
    }
    if not own:
        raise TypeError("x, y and by must be names of columns where data is given; got none")
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):  # a query of Polars
        data = data.select(list(dict.fromkeys(own.values()))).collect()
    found = {label: data[own[label]] if label in own else value for label, value in given.items()}
    key_names = [str(own[label]) if label in own else None for label in labels]
    return {name: found[name] for name in columns}, [found[label] for label in labels], key_names


def kind_of(data: Any) -> str:
    """Return the library that a table comes from."""
    return type(data).__module__.partition(".")[0]


def table_of(library: str, columns: dict[str, Any], types: dict[str, Any]) -> Any:
    """Return a table of Polars or PyArrow. Columns that ``types`` names get that type, if it is one of this library.

    Raises
    ------
    ImportError
        If the library is missing.
    """
    module = importlib.import_module(library)
    column_of = _of_polars if library == "polars" else _of_pyarrow
    found = {}
    for name, values in columns.items():
        kind = types.get(name)
        is_own = isinstance(kind, module.DataType)
        found[name] = column_of(module, np.asarray(values), kind if is_own else None)
    return module.DataFrame(found) if library == "polars" else module.table(found)


def _of_polars(pl: Any, values: NDArray[Any], kind: Any) -> Any:
    """Return a column of Polars, of a type if there is one."""
    if values.dtype == object:
        try:
            values = pl.Series(values.tolist(), dtype=None if values.size else pl.String)
        except (TypeError, pl.exceptions.PolarsError):  # of several types
            return pl.Series(values)
    column = pl.Series(values)
    zone = getattr(kind, "time_zone", None)
    if zone is not None:
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return column if kind is None else column.cast(kind)


def _of_pyarrow(pa: Any, values: NDArray[Any], kind: Any) -> Any:
    """Return a column of PyArrow, of a type if there is one."""
    column = (
        pa.array(values) if values.size or values.dtype != object else pa.array([], pa.string())
    )
    return column if kind is None else column.cast(kind)


def of_pandas(name: str, values: Any, types: dict[str, Any]) -> Any:
    """Return an index of pandas; of the type of a column with this name, if that has categories or a time zone."""
    pd = importlib.import_module("pandas")
    kind = types.get(name)
    if isinstance(kind, pd.CategoricalDtype):
        return pd.CategoricalIndex(values, dtype=kind, name=name)
    if isinstance(kind, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(values, name=name).tz_localize("UTC").tz_convert(kind.tz)
    if getattr(values, "dtype", None) == np.float16:  # of which pandas has no index
        values = values.astype(np.float32)
    return pd.Index(values, name=name)


def _names_of(data: Any) -> list[Any]:
    """Return the names of the columns of a table."""
    if hasattr(data, "collect_schema"):
        return list(data.collect_schema())
    if hasattr(data, "schema") and hasattr(data, "column"):  # of PyArrow
        return list(data.schema.names)
    if getattr(getattr(data, "dtype", None), "names", None):  # an array of records
        return list(data.dtype.names)
    for attribute in ("column_names", "columns", "variables", "keys"):
        names = getattr(data, attribute, None)
        if names is not None:
            return list(names() if callable(names) else names)
    kind = type(data).__name__
    raise TypeError(f"data must be a table with named columns, or a mapping; got {kind}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _own_name(name: str, column: str, names: Sequence[Any]) -> Any:
    """Return the name of a column as the table has it, such as a number."""
    texts = list(map(str, names))
    if texts.count(column) == 1:
        return names[texts.index(column)]
    there = f"it has {', '.join(map(repr, texts[:20]))}" + (", ..." if len(texts) > 20 else "")
    if column in texts:
        raise ValueError(f"{name} must name one column of data; it has several named {column!r}")
    near = difflib.get_close_matches(column, texts, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must name a column of data; got {column!r}: {there}{hint}")
