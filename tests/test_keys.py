"""Keys to codes: every container of keys, compared with a dict of Python, and with groups of pandas and Polars."""

from __future__ import annotations

import datetime
import functools
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr

from fastfit.keys import Groups, groups_of

RNG = np.random.default_rng(23)
NAN = float("nan")
LIBRARIES = {
    "all": (),
    "no pandas": ("pandas",),
    "no pyarrow": ("pyarrow",),
    "NumPy only": ("pandas", "pyarrow"),
}


@pytest.fixture(params=LIBRARIES)
def blocked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Libraries that cannot be imported."""
    names = LIBRARIES[request.param]
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
    return names


def skip_if_blocked(column: Any, blocked: tuple[str, ...]) -> None:
    library = type(column).__module__.partition(".")[0]
    if library in blocked or (library == "pandas" and blocked):  # its text needs PyArrow
        pytest.skip("the column is of that library")


def is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or bool(value != value)  # noqa: PLR0124


def oracle(*columns: Any) -> tuple[list[int], list[tuple[Any, ...]]]:
    """Return codes and keys by a dict, row by row."""
    numbers: dict[tuple[Any, ...], int] = {}
    codes = [
        -1 if any(map(is_missing, row)) else numbers.setdefault(row, len(numbers))
        for row in zip(*columns, strict=True)
    ]
    return codes, list(numbers)


def assert_groups(groups: Groups, codes: list[int], keys: list[tuple[Any, ...]]) -> None:
    """Check codes, keys and their order against those of the dict."""
    assert groups.codes.dtype == np.int32
    assert groups.codes.flags.c_contiguous
    assert groups.codes.tolist() == codes
    assert groups.n == len(keys)
    assert groups.n_missing == codes.count(-1)
    columns = (column.tolist() for column in groups.keys.values())
    assert list(zip(*columns, strict=True)) == keys
    assert groups.order is not None
    assert [keys[place] for place in groups.order] == sorted(keys)


WORDS = ["b", "a", None, "b", "\U0001f600", "\uffff", "a"]
THERE = ["b", "a", "a", "b", "\U0001f600", "\uffff", "a"]
GONE = [word is None for word in WORDS]
SLOTS = pa.array([1, 3, 4, 1, 0, 5, 2], pa.int8())
ALIKE = pa.DictionaryArray.from_arrays(SLOTS, pa.array([WORDS[4], "b", "a", "a", None, WORDS[5]]))
OWN = np.dtypes.StringDType(na_object=None)
WORD_COLUMNS: dict[str, Any] = {
    "list": WORDS,
    "tuple": tuple(WORDS),
    "object": np.array(WORDS, dtype=object),
    "masked U": np.ma.masked_array(THERE, GONE),
    "masked object": np.ma.masked_array(np.array(THERE, dtype=object), GONE),
    "StringDType": np.array(WORDS, dtype=OWN),
    "Series": pd.Series(WORDS),
    "Series of objects": pd.Series(WORDS, dtype=object),
    "string": pd.Series(WORDS, dtype="string", index=range(7, 0, -1)),
    "text as objects": pd.Series(WORDS, dtype=pd.StringDtype("python")),
    "Index": pd.Index(WORDS),
    "ArrowDtype": pd.Series(WORDS, dtype=pd.ArrowDtype(pa.string())),
    "Categorical": pd.Categorical(WORDS),
    "category": pd.Series(WORDS, dtype="category"),
    "unused": pd.Series(pd.Categorical(WORDS, ["z", *sorted(set(THERE)), "y"])),
    "polars": pl.Series(WORDS),
    "polars chunks": pl.concat([pl.Series(WORDS[:3]), pl.Series(WORDS[3:])], rechunk=False),
    "polars Categorical": pl.Series(WORDS, dtype=pl.Categorical),
    "polars Object": pl.Series(WORDS, dtype=pl.Object),
    "arrow": pa.array(WORDS),
    "arrow slice": pa.array(["z", *WORDS])[1:],
    "arrow view": pa.array(WORDS, pa.string_view()),
    "arrow chunks": pa.chunked_array([WORDS[:3], [], WORDS[3:]]),
    "dictionary": pa.array(WORDS).dictionary_encode(),
    "dictionary slice": pa.array(["z", *WORDS]).dictionary_encode()[1:],
    "dictionaries": pa.chunked_array(
        [pa.array(part).dictionary_encode() for part in (WORDS[:3], WORDS[3:])]
    ),
    "dictionary of alike": ALIKE,
    "dictionaries of alike": pa.chunked_array([ALIKE[:3], ALIKE.take(pa.array([3, 4, 5, 6]))]),
    "xarray": xr.DataArray(np.array(WORDS, dtype=object), dims="row"),
}


@pytest.mark.parametrize("kind", WORD_COLUMNS)
def test_words(kind: str, blocked: tuple[str, ...]) -> None:
    column = WORD_COLUMNS[kind]
    skip_if_blocked(column, blocked)
    assert_groups(groups_of([column], None, len(WORDS)), *oracle(WORDS))


WIDE = [5, -2, 5, 10**15, -2, None]
DAYS = [datetime.date(2024, 3, day) if day else None for day in (5, 2, 5, 0, 31)]
TIMES = [None if day is None else datetime.datetime(day.year, 3, day.day, 7) for day in DAYS]
SPANS = [None if time is None else time - datetime.datetime(2024, 3, 9) for time in TIMES]
CLOCK = [None if time is None else datetime.time(time.day % 24, 1) for time in TIMES]
CENTS = [Decimal("1.10"), Decimal("-3.00"), None, Decimal("1.10")]
FLAGS = [True, None, False, True]
FLOATS = [2.5, 0.0, -0.0, NAN, 1e300, -np.inf, 2.5]
BIG = [2**63 + 5, 2**64 - 1, 2**63 + 5]
MILD = [-128, 127, -128, 0]
# Values as Python has them, the column, and the type of its keys.
COLUMNS: dict[str, tuple[list[Any], Any, Any]] = {
    "ints": (WIDE[:5], WIDE[:5], np.int64),
    "ints and None": (WIDE, WIDE, object),
    "ints beyond 64 bits": ([2**70, 1], [2**70, 1], object),
    "int8": (MILD, np.array(MILD, dtype=np.int8), np.int8),
    "big endian": (WIDE[:5], np.array(WIDE[:5], dtype=">i8"), np.int64),
    "every second": (MILD[::2], np.array(MILD)[::2], np.int64),
    "uint64": (BIG, np.array(BIG, dtype=np.uint64), np.uint64),
    "wide uint64": ([*BIG, 0], np.array([*BIG, 0], dtype=np.uint64), np.uint64),
    "Int64": (WIDE, pd.Series(WIDE, dtype="Int64"), np.int64),
    "Sparse": (MILD, pd.Series(pd.arrays.SparseArray(MILD)), np.int64),
    "RangeIndex": ([3, 4], pd.RangeIndex(3, 5), np.int64),
    "polars Int64": (WIDE, pl.Series(WIDE), np.int64),
    "polars Int128": ([2**70, None], pl.Series([2**70, None], dtype=pl.Int128), object),
    "arrow int64": (WIDE, pa.chunked_array([WIDE[:2], WIDE[2:]]), np.int64),
    "floats": (FLOATS, FLOATS, np.float64),
    "float16": ([1.5, NAN, 1.5], np.array([1.5, NAN, 1.5], np.float16), np.float16),
    "longdouble": (FLOATS, np.array(FLOATS, np.longdouble), np.longdouble),
    "Float64": ([1.5, None], pd.Series([1.5, None], dtype="Float64"), np.float64),
    "polars Float32": ([1.5, None, NAN], pl.Series([1.5, None, NAN], dtype=pl.Float32), np.float32),
    "arrow float": (FLOATS, pa.array(FLOATS), np.float64),
    "arrow dictionary": (FLOATS, pa.array(FLOATS).dictionary_encode(), np.float64),
    "bools": ([True, False], [True, False], np.bool_),
    "boolean": (FLAGS, pd.Series(FLAGS, dtype="boolean"), np.bool_),
    "polars Boolean": (FLAGS, pl.Series(FLAGS), np.bool_),
    "arrow bool": (FLAGS, pa.array(FLAGS), np.bool_),
    "dates": (DAYS, DAYS, object),
    "datetime64[D]": (DAYS, np.array(DAYS, dtype="M8[D]"), "M8[D]"),
    "list of datetime64": (DAYS, list(np.array(DAYS, dtype="M8[D]")), "M8[D]"),
    "datetime64[us]": (TIMES, pd.Series(np.array(TIMES, dtype="M8[us]")), "M8[us]"),
    "zone": (TIMES, pd.Series(np.array(TIMES, "M8[us]")).dt.tz_localize("UTC"), "M8[us]"),
    "polars Date": (DAYS, pl.Series(DAYS), "M8[D]"),
    "polars Datetime": (TIMES, pl.Series(TIMES), "M8[us]"),
    "polars Duration": (SPANS, pl.Series(SPANS), "m8[us]"),
    "polars Time": (CLOCK, pl.Series(CLOCK), object),
    "arrow date32": (DAYS, pa.array(DAYS), "M8[D]"),
    "arrow timestamp": (TIMES, pa.array(TIMES, pa.timestamp("us", "Asia/Tokyo")), "M8[us]"),
    "arrow time64": (CLOCK, pa.array(CLOCK), object),
    "polars Decimal": (CENTS, pl.Series(CENTS), object),
    "arrow decimal": (CENTS, pa.array(CENTS), object),
    "bytes": ([b"b", b"a"], np.array([b"b", b"a"]), "S1"),
    "polars Binary": ([b"b", None], pl.Series([b"b", None]), object),
    "periods": (list("ba"), pd.Series(pd.PeriodIndex(["2024-02", "2024-01"], freq="M")), object),
    "all missing": ([None, None], [None, None], object),
    "polars Null": ([None, None], pl.Series([None, None]), object),
    "arrow null": ([None, None], pa.array([None, None]), object),
    "one row": ([7], [7], np.int64),
    "no rows": ([], [], object),
    "no floats": ([], np.empty(0), np.float64),
    "no words of pandas": ([], pd.Series([], dtype="category"), object),
    "no words of polars": ([], pl.Series([], dtype=pl.String), object),
    "no words of arrow": ([], pa.chunked_array([], pa.string()), object),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_numbers_times_and_others(kind: str, blocked: tuple[str, ...]) -> None:
    values, column, dtype = COLUMNS[kind]
    skip_if_blocked(column, blocked)
    groups = groups_of([column], None, None)
    assert groups.keys["key"].dtype == dtype
    if kind == "periods":
        groups = groups._replace(keys={"key": np.array(values)})
    assert_groups(groups, *oracle(values))


@pytest.mark.parametrize("is_ordered", [True, False])
def test_categories_are_sorted_in_their_order_if_they_have_one(is_ordered: bool) -> None:
    words, kinds = ["b", "a", None, "c"], ["c", "z", "a", "b"]
    slots = pa.array([3, 2, None, 0], pa.int8())
    columns: list[Any] = [
        pd.Categorical(words, kinds, ordered=is_ordered),
        pa.DictionaryArray.from_arrays(slots, pa.array(kinds), ordered=is_ordered),
        pl.Series(words, dtype=pl.Enum(kinds) if is_ordered else pl.Categorical),
    ]
    for column in columns:
        groups = groups_of([column], ["w"], 4)
        assert groups.keys["w"].tolist() == ["b", "a", "c"]
        assert groups.order is not None
        assert groups.order.tolist() == ([2, 1, 0] if is_ordered else [1, 0, 2])


N = 100_000
SMALL = RNG.integers(0, 300, N)
# Columns of many rows, each of which takes another path.
MANY: dict[str, Any] = {
    "short range": SMALL - 20,
    "sorted": np.sort(SMALL),
    "all differ": RNG.permutation(N),
    "wide": RNG.integers(-(2**62), 2**62, 300)[SMALL],
    "float": np.where(SMALL < 9, NAN, np.round(SMALL / 40) * RNG.choice([-1, 1], N)),
    "U": np.char.add("s", SMALL.astype("U3")),
    "object": np.array([f"s{number}" for number in range(300)], dtype=object)[SMALL],
    "polars": SMALL.astype("U3").astype(object),
}
PICKS = [*([each] for each in MANY), ["short range", "U"], ["all differ", "wide"]]
PICKS += [["all differ"] * 4, ["wide", "float", "polars"], ["float", "sorted", "short range"]]


@functools.cache
def oracle_of_many(*picks: str) -> tuple[list[int], list[tuple[Any, ...]]]:
    return oracle(*(list(MANY[name].tolist()) for name in picks))


@pytest.mark.parametrize("picks", PICKS, ids="-".join)
def test_many_rows(picks: list[str], blocked: tuple[str, ...]) -> None:
    columns = [pl.Series(MANY[name]) if name == "polars" else MANY[name] for name in picks]
    assert_groups(groups_of(columns, list("abcd"[: len(picks)]), N), *oracle_of_many(*picks))


@pytest.mark.parametrize("n_keys", [1, 2, 3])
def test_groups_are_those_of_pandas_and_polars(n_keys: int) -> None:
    n = 3_000
    words = RNG.choice(np.array(["b", "a", "c", None], dtype=object), n)
    frame = pd.DataFrame({"w": words, "f": RNG.choice([1.5, NAN, -2.0], n)})
    frame["c"] = pd.Categorical(RNG.choice(["y", "x"], n), ["x", "q", "y"])
    names = ["w", "f", "c"][:n_keys]
    groups = groups_of([frame[name] for name in names], None, n)
    assert list(groups.keys) == names
    for is_sorted in (False, True):
        by_pandas = frame.groupby(names, sort=is_sorted, dropna=True, observed=True).ngroup()
        codes = groups.codes
        if is_sorted:
            assert groups.order is not None
            codes = np.where(codes < 0, -1, np.argsort(groups.order)[codes])
        assert codes.tolist() == by_pandas.fillna(-1).astype(int).tolist()
    table = pl.DataFrame(
        {name: [None if is_missing(v) else v for v in frame[name]] for name in names}
    )
    found = table.drop_nulls().group_by(names, maintain_order=True).first()
    again = groups_of([table[name] for name in names], None, n)
    assert again.codes.tolist() == groups.codes.tolist()
    for name in names:
        assert again.keys[name].tolist() == found[name].to_list() == groups.keys[name].tolist()


def test_keys_of_python_are_alike_as_in_a_dict(blocked: tuple[str, ...]) -> None:
    pairs = [(1, "b"), (1, "a"), (1, "b"), None]
    assert_groups(groups_of([pairs], None, 4), *oracle(pairs))
    numbers = [True, 1, 1.0, 0, False, Decimal(1), NAN, np.datetime64("NaT"), pd.NA, pd.NaT]
    groups = groups_of([numbers], None, None)
    assert groups.codes.tolist() == [0, 0, 0, 1, 1, 0, -1, -1, -1, -1]
    assert groups.keys["key"].tolist() == [True, 0]


def test_keys_that_cannot_be_compared_have_no_order(blocked: tuple[str, ...]) -> None:
    groups = groups_of([[1, "a", None, 1], [2, 2, 2, 2]], None, 4)
    assert groups.codes.tolist() == [0, 1, -1, 0]
    assert groups.order is None
    # Values that occur in no group do not count.
    groups = groups_of([[1, "a", 0], [2, None, 2]], None, 3)
    assert groups.order is not None
    assert groups.order.tolist() == [1, 0]


def test_times_of_day_and_text_of_polars_in_pieces() -> None:
    hours = pl.Series([3_600_000_000_000, 1000], dtype=pl.Time)
    for column in (hours, hours.to_arrow()):
        times = groups_of([column], None, None)
        assert times.keys["key"].tolist() == [datetime.time(1), datetime.time(0, 0, 0, 1)]
        assert times.codes.tolist() == [0, 1]
    words = pl.Series("k", ["a", None, "b", "a", "more than twelve characters"])
    pieces = pl.concat([words, words], rechunk=False)
    for given, codes in ((words, [0, -1, 1, 0, 2]), (pieces, [0, -1, 1, 0, 2] * 2)):
        found = groups_of([given], None, None)
        assert found.codes.tolist() == codes
        assert found.keys["k"].tolist() == ["a", "b", "more than twelve characters"]


def test_names() -> None:
    columns = [pd.Series([1], name="a"), pl.Series([1]), [1], xr.DataArray([1], name="d"), [1]]
    names = [None, None, None, None, "own"]
    assert list(groups_of(columns, names, 1).keys) == ["a", "key_1", "key_2", "d", "own"]
    assert list(groups_of([pd.Series([1], name=0)], None, 1).keys) == ["0"]
    with pytest.raises(ValueError, match=r"by must hold keys whose names differ; got 'a' twice"):
        groups_of([columns[0], [1]], [None, "a"], 1)


def lazily() -> Iterator[int]:
    yield 1


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "text": ("station", TypeError, r"by must be a list of columns of keys; got str 'station'"),
    "none": ([], ValueError, r"by must hold at least one column of keys; got none"),
    "name": (["station"], TypeError, r"by must be a .* column of keys; got str 'station' \(a col"),
    "None": ([None], TypeError, r"by must be a one-dimensional column of keys; got NoneType None"),
    "number": ([3], TypeError, r"by must be a one-dimensional column of keys; got int 3"),
    "generator": ([[1], lazily()], TypeError, r"by\[1\] must be .*; got generator .*write list"),
    "mapping": ([{"a": 1}], TypeError, r"by must be a one-dimensional column .* got dict"),
    "two dimensions": ([np.ones((2, 3))], ValueError, r"by must .* got ndarray of shape \(2, 3\)"),
    "frame": ([pd.DataFrame({"a": [1]})], ValueError, r"by .* got DataFrame of shape \(1, 1\)"),
    "polars": ([pl.DataFrame({"a": [1]})], ValueError, r"by .* got DataFrame of shape \(1, 1\)"),
    "query": ([pl.col("a")], TypeError, r"by must be a one-dimensional column of keys; got Expr"),
    "table": ([pa.table({"a": [1]})], ValueError, r"by .* got Table of shape \(1, 1\)"),
    "scalar": ([pd.Timestamp(0)], TypeError, r"by must be .* got Timestamp"),
    "lengths": ([[1, 2], [1]], ValueError, r"by\[1\] must hold a key for each of 2 rows; got 1"),
    "a list": ([[(1,), [2]]], TypeError, r"by must hold hashable keys; got list \[2\] at index 1"),
    "a dict": ([[1], [{}]], TypeError, r"by\[1\] must hold hashable keys; got dict {} at index 0"),
    "lists": ([pl.Series([[1]])], TypeError, r"by must hold hashable keys; got list \[1\] at ind"),
    "structs": ([pa.array([{"a": 1}])], TypeError, r"by must hold hashable keys; got dict"),
    "records": ([np.zeros(2, "i4,f8")], TypeError, r"by must hold hashable keys; got \[\('f0'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_argument_and_what_came(case: str) -> None:
    by, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        groups_of(by, None, None)


@pytest.mark.usefixtures("blocked")
def test_lists_in_objects_are_told_by_any_library() -> None:
    with pytest.raises(TypeError, match=r"by must hold hashable keys; got list \[\] at index 1"):
        groups_of([np.array([1, [], 2], dtype=object)], None, None)


def test_the_length_is_that_of_the_rows() -> None:
    with pytest.raises(ValueError, match=r"by must hold a key for each of 3 rows; got 2"):
        groups_of([[1, 2]], None, 3)
