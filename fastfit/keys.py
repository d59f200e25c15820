"""Keys of groups, of any kind, to small integers: by the table's own library, without a loop over rows in Python."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator, Mapping, MappingView, Sequence, Set
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastfit.containers import is_masked, values_of
from fastfit.validation import what_came

_CHUNK = 2**14  # rows numbered at a time, so that temporary arrays stay in cache
_SMALL = 100_000  # rows below which importing a library takes longer than it saves
_NUMBERS = {int: np.int64, float: np.float64, bool: np.bool_}
_MISSING = ("NoneType", "NAType", "NaTType")
_NO_COLUMNS = (str, bytes, Mapping, MappingView, Set, Iterator)


class Groups(NamedTuple):
    """The groups of rows that have the same keys.

    Attributes
    ----------
    codes : ndarray of int32 or int64, shape (n_rows,)
        Group of each row, numbered in order of first appearance; -1 if a key is missing. int64 from 2**31 groups on.
    keys : dict of str to ndarray
        Values of each key by its name, one for each group. Times of a time zone are in UTC.
    order : ndarray of intp or None
        The groups sorted by their keys, the first key first; None if keys cannot be compared.
    """

    codes: NDArray[np.int32 | np.int64]
    keys: dict[str, NDArray[Any]]
    order: NDArray[np.intp] | None

    @property
    def n(self) -> int:
        """Number of groups."""
        return len(next(iter(self.keys.values())))

    @property
    def n_missing(self) -> int:
        """Number of rows with a missing key."""
        return int(np.count_nonzero(self.codes < 0))


class _Key(NamedTuple):
    """A column of keys: codes of its rows, its distinct values, and what to sort these by (None: the values)."""

    codes: NDArray[Any]
    values: NDArray[Any]
    ranks: NDArray[Any] | None = None


def groups_of(by: Any, names: Sequence[str | None] | None, n: int | None) -> Groups:
    """Return the groups of rows that have the same keys.

    Parameters
    ----------
    by : list of array_like, shape (n,)
        Columns of keys: any hashable values. None, NaN, NaT, null and masked values are missing.
    names : sequence of str or None, optional
        Names of the keys. Without one, a key has the name of its Series, else "key", or "key_0", "key_1", ...
    n : int, optional
        Number of rows; by default, the length of the first column.

    Raises
    ------
    TypeError
        If a column holds no keys, or a key that is not hashable.
    ValueError
        If there are no columns, one has two dimensions, lengths differ, or names are not unique.
    """
    if not isinstance(by, (list, tuple)):
        raise TypeError(f"by must be a list of columns of keys; got {what_came(by)}")
    if not by:
        raise ValueError("by must hold at least one column of keys; got none")
    columns = []
    for place, values in enumerate(by):
        name = f"by[{place}]" if len(by) > 1 else "by"
        column = _key_of(values, name)
        n = column.codes.size if n is None else n
        if column.codes.size != n:
            must_hold = f"{name} must hold a key for each of {n:,} rows"
            raise ValueError(f"{must_hold}; got {column.codes.size:,}")
        columns.append(column)
    unique = names_of(by, names)
    codes: NDArray[Any] = columns[0].codes
    members = [np.arange(len(columns[0].values))]  # the code that each group has, for each key
    for column in columns[1:]:
        size = max(len(column.values), 1)
        kind = np.int32 if members[0].size * size < 2**31 else np.int64  # never above 2**62
        pairs: NDArray[Any] = np.multiply(codes, size, dtype=kind)
        pairs += column.codes
        missing: NDArray[np.bool_] = np.less(codes, 0) | np.less(column.codes, 0)
        codes, pairs = _coded(pairs, missing)
        members = [*(each[pairs // size] for each in members), pairs % size]
    codes = np.ascontiguousarray(codes, np.int32 if members[0].size < 2**31 else np.int64)
    keys = (column.values[each] for column, each in zip(columns, members, strict=True))
    return Groups(codes, dict(zip(unique, keys, strict=True)), _order(columns, members))


def names_of(by: Sequence[Any], names: Sequence[str | None] | None) -> list[str]:
    """Return the names of columns of keys, given or their own, as text."""
    found: list[str] = []
    given = [None] * len(by) if names is None else names
    for place, (name, values) in enumerate(zip(given, by, strict=True)):
        has_name = name is None and _library_of(values) in ("pandas", "polars", "xarray")
        own = getattr(values, "name", None) if has_name else name
        default = f"key_{place}" if len(by) > 1 else "key"
        own = default if own is None or own == "" else str(own)
        if own in found:
            raise ValueError(f"by must hold keys whose names differ; got {own!r} twice")
        found.append(own)
    return found


def _order(columns: list[_Key], members: list[NDArray[Any]]) -> NDArray[np.intp] | None:
    """Return the groups sorted by their keys; None if keys cannot be compared."""
    ranks, sizes = [], []
    for column, codes in zip(columns, members, strict=True):
        values = column.values if column.ranks is None else column.ranks
        used = np.flatnonzero(np.bincount(codes, minlength=len(values)))
        try:  # numbers differ, so that a sort need not be stable, and is three times as fast
            order = np.argsort(values[used], kind="stable" if values.dtype == object else None)
        except TypeError:
            return None
        if len(columns) == 1:
            return order
        rank = np.empty(len(values), np.intp)
        rank[used[order]] = np.arange(used.size)
        ranks.append(rank[codes])
        sizes.append(used.size)
    if math.prod(sizes) >= 2**63:
        return np.lexsort(ranks[::-1])
    place = ranks[0]
    for each, size in zip(ranks[1:], sizes[1:], strict=True):
        place = place * size + each
    return np.argsort(place)


# Containers


def _library_of(values: Any) -> str:
    return type(values).__module__.partition(".")[0]


def _key_of(values: Any, name: str) -> _Key:
    """Return a column of any container as codes and values; ``name`` is the argument that errors name."""
    if values is None or isinstance(values, _NO_COLUMNS):
        _refuse(values, name)
    library = _library_of(values)
    if library == "xarray" and hasattr(values, "data"):
        return _key_of(values.data, name)
    if library in _READERS:
        return _READERS[library](values, name)
    missing = None
    if isinstance(values, (list, tuple)):
        array = _array_of(values)
    else:
        missing = np.ma.getmaskarray(values) if is_masked(values) else None
        array = np.asarray(values)
    if array.ndim != 1:
        _refuse(values, name)
    return _of_array(array, missing, name)


def _refuse(values: Any, name: str) -> NoReturn:
    """Raise the error about an argument that is no column."""
    must_be = f"{name} must be a one-dimensional column of keys"
    shape = np.shape(values) if isinstance(values, np.ndarray) else getattr(values, "shape", ())
    if len(shape) > 1:
        raise ValueError(f"{must_be}; got {type(values).__name__} of shape {tuple(shape)}")
    hint = "; write list(...) around it" if isinstance(values, (Iterator, MappingView)) else ""
    hint = " (a column is named with data=table)" if isinstance(values, str) else hint
    raise TypeError(f"{must_be}; got {what_came(values)}{hint}")


def _refuse_nanoseconds(name: str) -> NoReturn:
    """Raise the error about times of day that ``datetime.time`` would round."""
    raise ValueError(
        f"{name} must hold times of day in whole microseconds, as datetime.time has them; got nanoseconds: cast it to "
        "integers"
    )


def _array_of(items: Sequence[Any]) -> NDArray[Any]:
    """Return a list as numbers or times if all items have one such type, else as objects."""
    kinds = set(map(type, items))
    kind = kinds.pop() if len(kinds) == 1 else object
    try:
        if kind in _NUMBERS:
            return np.array(items, dtype=_NUMBERS[kind])
        if issubclass(kind, np.generic) and len(dtypes := {item.dtype for item in items}) == 1:
            return np.array(items, dtype=dtypes.pop())
    except OverflowError:  # integers beyond 64 bits
        pass
    return np.fromiter(items, dtype=object, count=len(items))


def _of_values(values: Any, name: str) -> _Key:
    """Return a column of numbers or times of a table."""
    found = values_of(values, name)
    return _of_array(found.array, found.missing, name)


def _of_booleans(values: Any, name: str) -> _Key:
    key = _of_values(values, name)
    return key._replace(values=key.values.astype(np.bool_))


def _of_categories(
    slots: NDArray[Any], missing: NDArray[np.bool_], categories: Any, is_ordered: bool, name: str
) -> _Key:
    """Return a column whose rows are places in its categories, of which some may be missing or alike."""
    distinct = _key_of(categories, name)
    if len(distinct.values) < distinct.codes.size:
        slots = np.where(missing, -1, distinct.codes[np.where(missing, 0, slots)])
        missing = slots < 0
    codes, used = _coded(slots, missing)
    return _Key(codes, distinct.values[used], used if is_ordered else None)


def _of_pandas(values: Any, name: str) -> _Key:
    if getattr(values, "ndim", 0) != 1:
        _refuse(values, name)
    dtype, kind = values.dtype, type(values.dtype).__name__
    if isinstance(dtype, np.dtype):
        return _of_array(np.asarray(values), None, name)
    array = getattr(values, "array", values)
    if kind == "CategoricalDtype":
        return _of_categories(
            array.codes, array.codes < 0, array.categories, bool(array.ordered), name
        )
    if kind == "ArrowDtype":
        return _of_pyarrow(array.__arrow_array__(), name)
    if dtype.kind in "biufmM":
        return _of_values(values, name)
    import pandas

    codes, found = pandas.factorize(values)
    return _Key(codes, np.asarray(found, dtype=object))


def _of_polars(values: Any, name: str) -> _Key:
    import polars as pl

    if not isinstance(values, pl.Series):
        _refuse(values, name)
    dtype, n = values.dtype, len(values)
    if dtype == pl.Boolean:
        return _of_booleans(values, name)
    has_array = dtype.is_integer() and not str(dtype).endswith("128")
    if has_array or dtype.is_float() or dtype in (pl.Date, pl.Datetime, pl.Duration):
        return _of_values(values, name)
    if dtype == pl.Time and (values.to_physical() % 1000 != 0).any():
        _refuse_nanoseconds(name)
    if dtype in (pl.String, pl.Binary, pl.Decimal, pl.Time) and _library("pyarrow", n) is not None:
        return _of_pyarrow(_in_pyarrow(values), name)
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        physical = (values.cast(pl.Categorical) if dtype == pl.String else values).to_physical()
        codes, used = _coded(physical.fill_null(0).to_numpy(), values.is_null().to_numpy())
        first_rows = np.searchsorted(np.maximum.accumulate(codes), np.arange(used.size))
        texts = values.gather(first_rows).cast(pl.String).to_list()
        return _Key(codes, _objects(texts), used if dtype == pl.Enum else None)
    return _of_objects(_objects(values.to_list()), name)


def _in_pyarrow(values: Any) -> Any:
    """Return a column of Polars as an array of PyArrow; strings are copied only if its version needs that."""
    import polars as pl
    import pyarrow as pa

    found = values.to_arrow(compat_level=pl.CompatLevel.newest())
    try:  # PyArrow may not support dictionaries of string_view, the layout of Polars
        found[:1].dictionary_encode()
    except pa.ArrowNotImplementedError:
        return values.to_arrow()
    return found


def _of_pyarrow(values: Any, name: str) -> _Key:
    import pyarrow as pa
    from pyarrow import types

    if not isinstance(values, (pa.Array, pa.ChunkedArray)):
        _refuse(values, name)
    kind, is_dictionary = values.type, types.is_dictionary(values.type)
    if types.is_boolean(kind):
        return _of_booleans(values, name)
    of_numpy = types.is_integer, types.is_floating, types.is_date, types.is_timestamp
    if any(is_kind(kind) for is_kind in (*of_numpy, types.is_duration)):
        return _of_values(values, name)
    try:
        found = values if is_dictionary else values.dictionary_encode()
    except pa.ArrowNotImplementedError:  # lists, structs
        found = None
    if found is None or types.is_null(kind):
        return _of_objects(_objects(values.to_pylist()), name)
    if isinstance(found, pa.ChunkedArray):
        try:
            found = found.unify_dictionaries().combine_chunks()
        except pa.ArrowInvalid:  # several dictionaries that hold nulls
            return _of_pyarrow(values.cast(kind.value_type), name)
    if is_dictionary:
        missing = found.indices.is_null().to_numpy(zero_copy_only=False)
        slots = found.indices.fill_null(0).to_numpy()
        return _of_categories(slots, missing, found.dictionary, kind.ordered, name)
    indices = found.indices.fill_null(-1) if found.null_count else found.indices
    try:
        keys = found.dictionary.to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        if not types.is_time(kind):
            raise
        _refuse_nanoseconds(name)
    return _Key(indices.to_numpy(), keys)


_READERS = {"pandas": _of_pandas, "polars": _of_polars, "pyarrow": _of_pyarrow}


# Arrays


def _of_array(array: NDArray[Any], missing: NDArray[np.bool_] | None, name: str) -> _Key:
    kind = array.dtype.kind
    if kind not in "biufcmMSUOT":
        raise TypeError(f"{name} must hold hashable keys; got {array.dtype}")
    if kind in "OT":
        array = array.astype(object)
        if missing is not None:
            array[missing] = None
        return _of_objects(array, name)
    dtype = array.dtype.newbyteorder("=")
    array = array.astype(dtype, copy=False)
    if kind in "mMfc":
        gone = np.isnat(array) if kind in "mM" else np.isnan(array)
        missing = gone if missing is None else gone | missing
    if kind in "mMb":
        array = array.view(np.uint8 if kind == "b" else np.int64)
    codes, values = _coded(array, missing)
    return _Key(codes, values.view(dtype))


def _objects(items: list[Any]) -> NDArray[Any]:
    return np.fromiter(items, dtype=object, count=len(items))


def _of_objects(array: NDArray[Any], name: str) -> _Key:
    pandas = _library("pandas", array.size)
    try:
        if pandas is not None:
            return _Key(*pandas.factorize(array))
        items = array.tolist()
        numbers = dict.fromkeys(items)
    except TypeError:
        for place, item in enumerate(array):
            try:
                hash(item)
            except TypeError:
                raise TypeError(
                    f"{name} must hold hashable keys; got {what_came(item)} at index {place:,}"
                ) from None
        raise
    present = [item for item in numbers if not _is_missing(item)]
    codes = dict.fromkeys(numbers, -1) | {item: code for code, item in enumerate(present)}
    return _Key(np.fromiter(map(codes.__getitem__, items), np.intp, len(items)), _objects(present))


def _is_missing(item: Any) -> bool:
    return type(item).__name__ in _MISSING or bool(item != item)  # noqa: PLR0124  # NaN, NaT


# Numbers


def _coded(
    array: NDArray[Any], missing: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the codes of rows, -1 for missing ones, and the distinct values in order of first appearance."""
    if missing is not None and missing.any():
        present = ~missing
        some, values = _coded(array[present], None)
        codes = np.full(array.size, -1, some.dtype)
        codes[present] = some
        return codes, values
    if not array.size:
        return np.empty(0, np.int32), array
    if array.dtype.kind in "iu":
        low, high = int(array.min()), int(array.max())
        if high - low < 4 * array.size + 1024:
            return _by_table(array, low, high - low + 1)
    return _by_hash(array)


def _by_table(array: NDArray[Any], low: int, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return codes and distinct values of integers in a short range, by a table of the range."""
    wide = np.uint64 if array.dtype == np.uint64 else np.int64
    kind = np.int32 if min(size, array.size) < 2**31 else np.int64
    table, n = np.full(size, -1, kind), 0
    codes: NDArray[Any] = np.empty(array.size, kind)
    found = []
    for start in range(0, array.size, _CHUNK):
        slots = np.subtract(array[start : start + _CHUNK], low, dtype=wide).view(np.int64)
        out = codes[start : start + _CHUNK]
        table.take(slots, out=out, mode="clip")
        if out.min() < 0:
            new = slots[out < 0]
            new = new[np.concatenate(([True], new[1:] != new[:-1]))]
            marks = -2 - np.arange(new.size, dtype=kind)
            table[new[::-1]] = marks[::-1]  # of equal values, the first one stays
            new = new[table[new] == marks]
            table[new] = np.arange(n, n + new.size)
            table.take(slots, out=out, mode="clip")
            n += new.size
            found.append(new)
    return codes, (np.concatenate(found).view(wide) + wide(low)).astype(array.dtype)


def _by_hash(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return codes and distinct values of numbers or text, by a library's hash table if there is one."""
    n, width = array.size, array.dtype.itemsize
    is_plain = width > 0 and array.dtype.char not in "gG"  # hash tables round long doubles
    pa = _library("pyarrow", n) if is_plain else None
    pandas = _library("pandas", n) if is_plain and pa is None else None
    if pa is not None:  # hash the bits, where -0.0 is 0.0: up to four times as fast as pandas
        same = np.ascontiguousarray(array + 0 if array.dtype.kind in "fc" else array)
        if width in (1, 2, 4, 8):
            rows = pa.array(same.view(f"u{width}"))
        else:
            buffers = [None, pa.py_buffer(same.view(np.uint8))]
            rows = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), n, buffers)
        found = rows.dictionary_encode()
        bits = found.dictionary.buffers()[1]
        return found.indices.to_numpy(), np.frombuffer(bits, array.dtype, len(found.dictionary))
    if pandas is not None:
        codes, values = pandas.factorize(array)
        return codes, values
    values, first_rows, codes = np.unique(array, return_index=True, return_inverse=True)
    order = np.argsort(first_rows)
    ranks = np.empty(order.size, np.intp)
    ranks[order] = np.arange(order.size)
    return ranks[codes], values[order]


def _library(name: str, n: int) -> Any:
    """Return pandas or PyArrow if it is installed and n rows are worth its import, else None."""
    if n < _SMALL and name not in sys.modules:
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
