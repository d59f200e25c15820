"""Numbers in whatever people hold them: the same line, or an error that says what to write instead."""

from __future__ import annotations

import datetime
import pathlib
import types
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit import containers

pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))

# Without the second point, y = 2 x + 1.
Y = [3.0, 99.0, 7.0, 11.0, 17.0]
GAPS: list[Any] = [1, None, 3, 5, 8]
FULL = [1, 49, 3, 5, 8]
STAMP = 1_700_000_000_000_000_000
DECIMALS = [None if v is None else Decimal(v) for v in GAPS]


class Dlpack:
    """An array that offers DLPack's protocol alone."""

    def __init__(self, array: Any) -> None:
        self.__dlpack__ = array.__dlpack__
        self.__dlpack_device__ = array.__dlpack_device__


class Variable:
    """A variable of netCDF4: its array has fill values, and its slices are masked."""

    set_auto_mask = None

    def __getitem__(self, key: Any) -> Any:
        return np.ma.masked_equal([1.0, 1e36, 3.0, 5.0, 8.0], 1e36)[key]

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.array([1.0, 1e36, 3.0, 5.0, 8.0])


WITH_GAPS: dict[str, Any] = {
    "pandas sparse": lambda: pd.Series(pd.arrays.SparseArray([1.0, np.nan, 3.0, 5.0, 8.0])),
    "pandas category": lambda: pd.Series(GAPS, dtype="category"),
    "pandas object": lambda: pd.Series([1, pd.NA, 3.0, 5, 8], dtype=object),
    "pandas Int8": lambda: pd.Series(GAPS, dtype="Int8"),
    "pandas decimals": lambda: pd.Series(DECIMALS, dtype=pd.ArrowDtype(pa.decimal128(9, 2))),
    "polars": lambda: pl.Series(GAPS),
    "polars decimals": lambda: pl.Series(DECIMALS),
    "polars 128 bits": lambda: pl.Series(GAPS, dtype=pl.Int128),
    "pyarrow": lambda: pa.array(GAPS),
    "pyarrow chunks": lambda: pa.chunked_array([GAPS[:2], GAPS[2:]]),
    "pyarrow dictionary": lambda: pa.array(GAPS).dictionary_encode(),
    "pyarrow decimals": lambda: pa.array(DECIMALS),
    "list": lambda: GAPS,
    "list of decimals": lambda: DECIMALS,
    "fractions": lambda: [Fraction(1), None, 3.0, 5, np.float32(8)],
    "netCDF4": Variable,
    "masked": lambda: types.SimpleNamespace(unmasked=np.array(FULL), mask=[0, 1, 0, 0, 0]),
}


@pytest.mark.parametrize("kind", WITH_GAPS)
def test_missing_numbers_are_left_out(kind: str) -> None:
    fit = ff.fit_line(WITH_GAPS[kind](), Y, nan_policy="omit")
    assert (fit.slope, fit.intercept) == pytest.approx((2.0, 1.0), rel=1e-14)
    assert (fit.n_points, fit.n_omitted) == (4, 1)
    if kind not in ("netCDF4", "masked"):  # masked points are left out by every policy
        with pytest.raises(ValueError, match=r"x must be finite; got NaN at index 1"):
            ff.fit_line(WITH_GAPS[kind](), Y)


@pytest.mark.parametrize(
    "make",
    [
        lambda v: pd.Series(pd.arrays.SparseArray(v)),
        lambda v: pd.Series(v, dtype="category"),
        pd.Index,
        lambda v: pa.array(v).dictionary_encode(),
        lambda v: Dlpack(np.array(v, dtype=float)),
        lambda v: np.array(v, dtype=object),
        lambda v: list(map(Decimal, v)),
    ],
)
def test_numbers_without_gaps(make: Any) -> None:
    fit = ff.fit_line(make(FULL), 2.0 * np.array(FULL) + 1.0)
    assert (fit.slope, fit.intercept) == pytest.approx((2.0, 1.0), rel=1e-14)


def test_booleans_with_gaps() -> None:
    values = [True, False, None, True]
    for x in (pd.Series(values, dtype="bool[pyarrow]"), pd.Series(values, dtype="boolean")):
        fit = ff.fit_line(x, [3.0, 1.0, 9.0, 3.0], nan_policy="omit")
        assert (fit.slope, fit.intercept) == pytest.approx((2.0, 1.0), rel=1e-14)
    fit = ff.fit_line(pl.Series(values), [3.0, 1.0, 9.0, 3.0], nan_policy="omit")
    assert fit.n_points == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda v: pd.Series(v, dtype="Int64"),
        lambda v: pd.Series(v, dtype="int64[pyarrow]"),
        lambda v: pd.Series(v, dtype=object),
        pl.Series,
        pa.array,
        list,
    ],
)
def test_64_bit_integers_keep_their_digits_beside_a_gap(make: Any) -> None:
    """A nanosecond apart; as floats they would all be equal."""
    x = make([None if v is None else STAMP + v for v in GAPS])
    fit = ff.fit_line(x, Y, nan_policy="omit")
    assert (fit.slope, fit.intercept) == (2.0, float(1 - 2 * STAMP))


@pytest.mark.parametrize("library", ["polars", "csv"])
def test_64_bit_integers_of_files_keep_their_digits_beside_a_gap(
    tmp_path: pathlib.Path, library: str
) -> None:
    table = pl.DataFrame({"t": [None if v is None else STAMP + v for v in GAPS], "v": Y})
    path = tmp_path / ("t.csv" if library == "csv" else "t.parquet")
    (table.write_csv if library == "csv" else table.write_parquet)(path)
    fit = ff.fit_line(ff.scan(path, x="t", y="v"), nan_policy="omit")
    assert (fit.slope, fit.intercept) == (2.0, float(1 - 2 * STAMP))


class Tensor:
    """A tensor that advises how to get at its numbers."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("use tensor.detach().numpy() instead")


class Odd:
    """An object with a mask that cannot be told from its numbers."""

    mask = (0, 1, 0, 0, 0)

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.array(FULL)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict.fromkeys(FULL).keys(), r"got dict_keys .*; write list\(\.\.\.\) around it"),
        ((v for v in FULL), r"got generator .*; write list\(\.\.\.\) around it"),
        (zip(FULL, strict=True), r"got zip .*; write list\(\.\.\.\) around it"),
        ("2024-03-01", r"got str '2024-03-01' \(a time is numpy.datetime64\('2024-03-01'\)\)"),
        ("t", r"got str 't' \(a column is named with data=table, files .* fastfit.scan"),
        (pathlib.Path("a.csv"), r"got .*a.csv.* \(files are passed as fastfit.scan"),
        ([1, 2, "x", 4, 5], "str 'x' at index 2; convert text with pandas.to_numeric"),
        ([1, 2, "3,5", 4, 5], r"'3,5' at index 2; read decimal commas .*read_csv\(..., decimal="),
        (["2024-03-01"] * 5, "'2024-03-01' at index 0; convert times with pandas.to_datetime"),
        (pd.Series(list("abcde"), dtype="category"), "real numbers; got str 'a' at index 0"),
        (pl.Series(list("abcde"), dtype=pl.Categorical), "real numbers; got str 'a' at index 0"),
        (pl.col("t"), "got Expr of Polars, which holds no values yet: collect it"),
        (pl.LazyFrame({"t": FULL}), "got LazyFrame of Polars, which holds no values yet"),
        (pl.Series([datetime.time(1)] * 5), "got times of day: cast to pl.Duration"),
        (pa.array(list("abcde")), "real numbers or times; got string"),
        (pd.period_range("2020", periods=5, freq="D"), r"period\[D\]: use .to_timestamp\(\)"),
        (Tensor(), r"got Tensor .*: use tensor.detach\(\).numpy\(\) instead"),
        (Odd(), r"got Odd, whose mask cannot be read: pass numpy.ma.masked_array"),
        (types.SimpleNamespace(magnitude=1, units="m"), "units, .* pass its .magnitude"),
        (types.SimpleNamespace(value=1, unit="m"), "units, .* pass its .value"),
        (
            types.SimpleNamespace(__cuda_array_interface__={}, __dlpack__=None),
            "in the memory of a GPU; copy them to the host first",
        ),
    ],
)
def test_what_is_no_array_of_numbers_says_what_to_write(bad: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^x must .*{message}"):
        ff.fit_line(bad, Y)


def test_columns_of_pandas_with_other_labels_are_refused() -> None:
    x, y = pd.Series([1, 2, 3], index=[2, 1, 0]), pd.Series([1.0, 2.0, 3.5])
    with pytest.raises(ValueError, match=r"x and y must have the same labels.*\.to_numpy\(\)"):
        ff.fit_line(x, y)
    with pytest.raises(ValueError, match="y and sample_weight must have the same labels"):
        ff.fit_line(x.to_numpy(), y, sample_weight=x)
    # Arrays go by place.
    assert ff.fit_line(x, y.to_numpy()).slope == pytest.approx(1.25)


def test_columns_of_xarray_with_other_labels_are_refused() -> None:
    xr = pytest.importorskip("xarray")
    x = xr.DataArray([1.0, 2.0, 3.0], dims="t", coords={"t": [2, 1, 0]})
    y = xr.DataArray([1.0, 2.0, 3.5], dims="t", coords={"t": [0, 1, 2]})
    wrong = r"x and y must have the same labels, as both are DataArrays along 't'.*xarray.align"
    with pytest.raises(ValueError, match=wrong):
        ff.fit_line(x, y)
    with pytest.raises(ValueError, match=wrong):
        ff.fit_line(x.chunk(2), y.chunk(2))
    # Labels of one kind are compared, whatever comes before.
    series, other = pd.Series([1.0, 2.0, 3.5]), pd.Series([1.0, 2.0, 3.0], index=[2, 1, 0])
    with pytest.raises(ValueError, match="y and sigma must have the same labels.*of pandas"):
        ff.fit_line(x, series, sigma=other)
    assert ff.fit_line(x.drop_vars("t"), y).slope == pytest.approx(1.25)
    assert ff.fit_line(y["t"], y).slope == pytest.approx(1.25)


@pytest.mark.parametrize("kind", [pa.array, pl.Series, list], ids=["pyarrow", "polars", "list"])
def test_decimals_are_the_nearest_numbers(kind: Any) -> None:
    found = [Decimal(k).scaleb(-4) for k in range(123_456_700, 123_459_700)]
    expected = [float(each) for each in found]
    assert containers.values_of(kind(found), "x").array.tolist() == expected


def test_times_with_and_without_zones_do_not_mix() -> None:
    naive, zoned = datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    with pytest.raises(
        TypeError, match="x must hold times that all have a time zone, or none; .* at index 2"
    ):
        ff.fit_line([zoned, None, naive], [1.0, 2.0, 3.0], nan_policy="omit")


def test_whole_numbers_beyond_64_bits() -> None:
    x = [2**70, 2**71, 3 * 2**70]
    assert ff.fit_line(x, [1.0, 2.0, 3.0]).slope == pytest.approx(2.0**-70, rel=1e-14)
    with pytest.raises(ValueError, match="x must hold numbers within the range of float64"):
        ff.fit_line([10**400, 1, 2], [1.0, 2.0, 3.0])


def test_integers_keep_their_digits_beside_a_masked_one_far_away() -> None:
    """A fill value under the mask is not a number to be kept in range."""
    x = STAMP + 7 * np.arange(1000)
    y = np.arange(1000.0)
    mask = np.arange(1000) == 5
    for fill in (0, -(2**63)):
        masked = np.ma.masked_array(np.where(mask, fill, x), mask=mask)
        assert ff.fit_line(masked, y).slope == pytest.approx(1.0 / 7.0, rel=1e-15)


def test_text_that_is_read_again_keeps_the_digits_of_integers(tmp_path: pathlib.Path) -> None:
    """One blank makes Polars take a column for text."""
    path = tmp_path / "t.csv"
    rows = [f"{STAMP + 7 * k},{k}" for k in range(3000)]
    rows[2000] = " " + rows[2000]
    path.write_text("t,v\n" + "\n".join(rows) + "\n")
    assert ff.fit_line(ff.scan(path)).slope == pytest.approx(1.0 / 7.0, rel=1e-15)


def test_a_longdouble_that_begins_with_nan_keeps_its_digits() -> None:
    x = np.arange(5, dtype=np.longdouble) + 2.0**60
    x[0] = np.nan
    if x[1] == x[2]:
        pytest.skip("longdouble is float64 here")
    assert ff.fit_line(x, np.arange(5.0), nan_policy="omit").slope == pytest.approx(1.0)


def test_a_missing_time_as_an_integer_is_refused() -> None:
    nat = np.array(["2020-01-01", "NaT", "2020-01-03"], dtype="M8[ns]").view(np.int64)
    for x, y in ((nat, [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], nat)):
        with pytest.raises(ValueError, match=r"must not hold -9223372036854775808.*NaT.*index 1"):
            ff.fit_line(x, y, nan_policy="omit")
