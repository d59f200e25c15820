"""Bad input raises an error that names the argument and what came; good input of any kind is fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit.columns import columns
from tests.oracle import assert_agree

X = np.arange(10.0)
Y = 2 * X + 1
NAN, INF = float("nan"), float("inf")


def line_of(fit: ff.LineFit) -> tuple[float, float]:
    return fit.slope, fit.intercept


def with_value(value: float, *where: int) -> Any:
    changed = Y.copy()
    changed[list(where)] = value
    return changed


ONE_DIMENSIONAL = r"must be one-dimensional, .* got an array of shape"
TWO_VALUES = "x must hold at least two different values.*got"


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:-1], "x and y must have the same length; got 10 and 9"),
        (np.ones((5, 2)), np.ones(5), rf"x {ONE_DIMENSIONAL} \(5, 2\)"),
        (X, Y[None], rf"y {ONE_DIMENSIONAL} \(1, 10\)"),
        (X, 3.0, rf"y {ONE_DIMENSIONAL} \(\)"),
        ([], [], "x and y must hold at least two points for a line; got 0"),
        ([1.0], [2.0], "x and y must hold at least two points for a line; got 1"),
        (np.full(10, 3.5), Y, f"{TWO_VALUES} 3.5 at all 10 points"),
        ([0, 0, 0], [1, 2, 3], f"{TWO_VALUES} 0.0 at all 3 points"),
        (X, with_value(NAN, 3), "y must be finite; got NaN at index 3, the only one.*='omit'"),
        (with_value(NAN, 4, 7), Y, "x must be finite; got NaN at index 4, the first of 2.*nan_pol"),
        (X, with_value(INF, 5, 6), "y must be finite; got infinity at index 5, the first of 2"),
        (with_value(-INF, 9), Y, "x must be finite; got infinity at index 9, the only one"),
        (np.ma.masked_array(X, X > 0), Y, "two points .* got 1 after leaving out 9 masked"),
    ],
)
def test_wrong_values(x: Any, y: Any, message: str, backend: Any) -> None:
    with pytest.raises(ValueError, match=message):
        ff.fit_line(x, y, backend=backend)


@pytest.mark.parametrize(
    ("bad", "came"),
    [
        (X + 1j, "complex"),
        (np.array(["a"] * 10), "text"),
        (["1", "2"] * 5, "real numbers; got str '1' at index 0"),
        ("0123456789", "str '0123456789'"),
        (None, "None"),
        ({"a": 1}, "dict"),
        ([[1.0, 2.0], [3.0]] * 5, "list"),
        (object(), "real numbers; got object .* at index 0"),
        (np.zeros(10, dtype=[("a", float)]), "text or records"),
    ],
)
def test_wrong_types(bad: Any, came: str) -> None:
    with pytest.raises(TypeError, match=f"^x must .*{came}"):
        ff.fit_line(bad, Y)
    with pytest.raises(TypeError, match=f"^y must .*{came}"):
        ff.fit_line(X, bad)


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64", "longdouble"]
DTYPES = [*INTEGERS, *FLOATS, ">f8", ">f4", ">i4", "<u2", ">f2", "?"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_type(dtype: str, backend: Any) -> None:
    x = np.array([0, 1, 1, 0, 1, 0]) if dtype == "?" else np.array([0, 1, 2, 100, 3, 90])
    y = 2.0 * x + np.array([0, 1, 0, 1, 0, 0])
    expected = ff.fit_line(x.astype(float), y, backend=backend)
    got = ff.fit_line(x.astype(dtype), y, backend=backend)
    assert_agree(got, expected, slope=1e-13, intercept=1e-13)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "longdouble"])
@pytest.mark.parametrize("step", [1, 2**40])
@pytest.mark.parametrize("start", [1_700_000_000_000_000_000, 2**62, 2**63 - 2000, 2**53 + 1])
def test_integers_beyond_float64_keep_their_differences(
    dtype: str, start: int, step: int, backend: Any
) -> None:
    """Time stamps in nanoseconds, 1 ns apart; in float64 they would be multiples of 256 ns."""
    step = step if start < 2**63 - 2000 else 1
    x = np.array([start + step * i for i in range(500)], dtype=dtype)
    y = np.arange(500) * 2.0 * step
    fit = ff.fit_line(x, y, backend=backend)
    assert fit.slope == pytest.approx(2.0, rel=1e-14)
    assert fit.intercept == pytest.approx(-2.0 * start, rel=1e-15)
    assert fit.loss < 1e-20 * step**2
    other = ff.fit_line(y, x, backend=backend)
    assert (other.slope, other.intercept) == pytest.approx((0.5, float(start)), rel=1e-14)
    with pytest.raises(ValueError, match="at least two different values"):
        ff.fit_line(np.full_like(x, start), y, backend=backend)


def test_negative_widespread_and_nullable_integers() -> None:
    pd = pytest.importorskip("pandas")
    negative = -(2**63) + 1 + np.arange(100, dtype=np.int64)
    nullable = pd.Series(1_700_000_000_000_000_000 + np.arange(100), dtype="Int64")
    for x in (negative, nullable):
        assert ff.fit_line(x, np.arange(100.0)).slope == pytest.approx(1.0, rel=1e-14)
    x = np.array([1 - 2**63, 0, 2**63 - 1], dtype=np.int64)
    assert ff.fit_line(x, [-1.0, 0.0, 1.0]).slope == pytest.approx(2.0**-63, rel=1e-14)


def test_a_longdouble_beyond_float64_is_an_error() -> None:
    if np.finfo(np.longdouble).max == np.finfo(float).max:
        pytest.skip("longdouble is float64 here")
    x = np.array([1, 2, 3], dtype=np.longdouble) * np.longdouble("1e4000")
    with pytest.raises(ValueError, match="x must be finite; got infinity at index 0"):
        ff.fit_line(x, [1, 2, 3])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_float_arrays_are_read_in_place(dtype: Any, tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", X.astype(dtype))
    frozen = X.astype(dtype)
    frozen.flags.writeable = False
    table = np.column_stack([X, Y]).astype(dtype)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for values in (X.astype(dtype), table[:, 0], table[:, :1], table[::-1, 1], frozen, mapped):
        column = columns(values, Y).x
        assert np.shares_memory(column, values)
        assert not column.flags.writeable
        assert values.flags.writeable == (values is not frozen and values is not mapped)


def test_the_negative_weight_of_a_point_that_is_left_out_is_not_named(backend: Any) -> None:
    weights = [-1.0, 1.0, -2.0, 1.0]
    with pytest.raises(ValueError, match="got -2.0 at index 2, the only one"):
        ff.fit_line(
            [NAN, 1, 2, 3], [1, 2, 3, 4], sample_weight=weights, nan_policy="omit", backend=backend
        )


def test_unaligned_arrays() -> None:
    records = np.zeros(10, dtype=np.dtype([("skip", "i1"), ("x", "f8"), ("y", "f8")]))
    records["x"], records["y"] = X, Y
    assert not records["x"].flags.aligned
    assert columns(
        records["x"], records["y"]
    ).x.flags.aligned  # unaligned ones are several times slower
    assert line_of(ff.fit_line(records["x"], records["y"])) == pytest.approx((2.0, 1.0), rel=1e-14)


def containers() -> dict[str, Any]:
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    return {
        "list": (X.tolist(), Y.tolist()),
        "tuple": (tuple(X.tolist()), tuple(Y.tolist())),
        "range": (range(10), range(1, 21, 2)),
        "column": (X[:, None], Y[:, None]),
        "pandas": (pd.Series(X), pd.Series(Y)),
        "pandas Int64": (pd.Series(X.astype(int), dtype="Int64"), pd.Series(Y, dtype="Float64")),
        "pandas, on Arrow": (pd.Series(X, dtype="double[pyarrow]"), pd.Series(Y)),
        "pandas, one column": (pd.DataFrame({"x": X}), pd.DataFrame({"y": Y})),
        "pandas boolean": (pd.Series(X > 4), pd.Series(X > 4, dtype="boolean")),
        "polars": (pl.Series(X), pl.Series(Y.astype(int))),
        "polars frame": (pl.DataFrame({"x": X}), pl.DataFrame({"y": Y})),
        "pyarrow": (pa.array(X), pa.array(Y.astype(int))),
        "pyarrow chunks": (pa.chunked_array([X[:3], X[3:]]), pa.chunked_array([Y[:7], Y[7:]])),
    }


def test_containers() -> None:
    for name, (x, y) in containers().items():
        expected = (1.0, 0.0) if name == "pandas boolean" else (2.0, 1.0)
        assert line_of(ff.fit_line(x, y)) == pytest.approx(expected, abs=1e-13), name


def test_missing_values_of_every_library_are_nan() -> None:
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    values = [1, None, 3, 5, 8]
    y = [3.0, 99.0, 7.0, 11.0, 17.0]
    for x in (
        *(pd.Series(values, dtype=dtype) for dtype in ("Int64", "int64[pyarrow]", None)),
        *(pl.Series(values), pa.array(values), pa.chunked_array([values[:2], values[2:]])),
    ):
        with pytest.raises(ValueError, match="x must be finite; got NaN at index 1"):
            ff.fit_line(x, y)
        fit = ff.fit_line(x, y, nan_policy="omit")
        assert line_of(fit) == pytest.approx((2.0, 1.0), rel=1e-13), type(x)
        assert (fit.n_points, fit.n_omitted) == (4, 1)


def test_text_columns_of_every_library_and_lazy_polars_are_refused() -> None:
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    for x in (pd.Series(list("abc")), pl.Series(list("abc")), pa.array(list("abc"))):
        with pytest.raises(TypeError, match="x must hold real numbers"):
            ff.fit_line(x, [1, 2, 3])
    with pytest.raises(TypeError, match="x must be an array of numbers; got Expr"):
        ff.fit_line(pl.col("x"), Y)


@pytest.mark.parametrize("policy", ["raise", "omit"])
def test_masked_points_are_left_out(policy: Any) -> None:
    x = np.ma.masked_array(X, mask=X == 3)
    y = np.ma.masked_array(np.where(X == 5, 1e9, Y), mask=X == 5)
    fit = ff.fit_line(x, y, nan_policy=policy)
    assert line_of(fit) == pytest.approx((2.0, 1.0), rel=1e-13)
    assert (fit.n_points, fit.n_omitted) == (8, 2)
    with pytest.raises(ValueError, match="y must be finite; got NaN at index 7"):
        ff.fit_line(x, with_value(NAN, 7))
    assert ff.fit_line(np.ma.masked_invalid(with_value(INF, 2)), Y).n_points == 9


OBJECT = "or such an object; got"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "huberish"}, ValueError, "loss must be 'squared_error' or .*; got 'huberish'"),
        ({"loss": 3}, TypeError, f"loss must be .* or 'tukey' {OBJECT} int 3"),
        ({"loss": float}, TypeError, "loss must be .* got type <class"),
        ({"solver": "sgd"}, ValueError, "'auto' or 'exact' or 'gradient_descent' or .* got 'sgd'"),
        ({"solver": None}, TypeError, f"solver must be .* {OBJECT} NoneType None"),
        ({"solver": ff.Huber}, TypeError, "solver must be .* got type <class"),
        ({"backend": "jax"}, ValueError, "backend must be 'numba' or 'numpy'; got 'jax'"),
        ({"nan_policy": "drop"}, ValueError, "nan_policy must be 'raise' or .* got 'drop'"),
        ({"n_threads": 0}, ValueError, "n_threads must be an integer of at least 1; got 0"),
        ({"n_threads": 1.5}, TypeError, "n_threads must be an integer .* got float 1.5"),
        ({"n_threads": 2, "backend": "numpy"}, ValueError, "n_threads must be None or 1 with"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ff.fit_line(X, Y, **options)


def test_the_callers_arrays_are_unchanged(backend: Any) -> None:
    given, expected = [X.copy(), with_value(NAN, 3)], [X, with_value(NAN, 3)]
    ff.fit_line(*given, nan_policy="omit", backend=backend)
    np.testing.assert_array_equal(given, expected)
    assert all(values.flags.writeable for values in given)
