"""Many lines at once: each is the line that its own points have, whatever the others hold."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
import types
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit.outcome import Status
from tests.conftest import compiles, compiles_much, needs_compiler

ULP = 2.0**-52
# float32 has loops of its own, which compile for long.
FLOAT32 = pytest.param(np.float32, marks=pytest.mark.slow)
# So has an x whose distances are no whole numbers of a spacing.
rests = pytest.mark.slow
FIELDS = ("slope", "intercept", "stderr", "intercept_stderr", "rvalue", "residual_std", "loss")


class Exact:
    """The least-squares line of points, by rational arithmetic."""

    def __init__(self, x: Any, y: Any, w: Any = None) -> None:
        keeps = ~np.isnan(x) & ~np.isnan(y)
        xs, ys = ([Fraction(float(value)) for value in each[keeps]] for each in (x, y))
        ws = [Fraction(1)] * len(xs) if w is None else [Fraction(float(v)) for v in w[keeps]]
        points = list(zip(xs, ys, ws, strict=True))
        total = sum(ws, Fraction(0))
        self.x_mean = sum((k * a for a, _, k in points), Fraction(0)) / total
        self.y_mean = sum(k * b for _, b, k in points) / total
        self.xx = sum((k * (a - self.x_mean) ** 2 for a, _, k in points), Fraction(0))
        self.yy = sum(k * (b - self.y_mean) ** 2 for _, b, k in points)
        xy = sum((k * (a - self.x_mean) * (b - self.y_mean) for a, b, k in points), Fraction(0))
        self.slope = xy / self.xx
        self.intercept = self.y_mean - self.slope * self.x_mean
        self.left = sum(
            (k * (b - self.intercept - self.slope * a) ** 2 for a, b, k in points), Fraction(0)
        )
        self.total = total

    @property
    def scale(self) -> tuple[float, float]:
        """Sizes that errors of slope and intercept are measured by."""
        slope = max(abs(float(self.slope)), math.sqrt(self.yy / self.xx), 1e-300)
        level = max(abs(float(self.y_mean)), math.sqrt(self.yy / self.total))
        return slope, max(level, slope * abs(float(self.x_mean)), 1e-300)


def hostile(n: int, x: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Return series that lose digits where arithmetic is careless."""
    z, i = rng.normal(size=n), np.arange(n)
    series = {
        "noise": z,
        "offset": 1e13 + 10.0 * rng.random(n),
        "steep": 3.0 * x + z,
        "ramp": 3.0 * (x - x[0]) + 1e-9 * z,
        "constant": np.full(n, 0.1),
        "block": np.where((i > n / 3) & (i < n / 2), 1e12, 0.0) + z,
        "late": np.where(i < n - n // 8, np.nan, z + 2.0 * x),
        "gaps": np.where(rng.random(n) < 0.3, np.nan, z + 1e10),
        "inner": np.where((i < 20) | (i > n - 20), np.nan, z + 3.0 * x),
        "two": np.where((i > 0) & (i < n - 1), np.nan, z),
    }
    for name, place in (("first", 0), ("middle", n // 2), ("last", n - 1)):
        series[f"outlier {name}"] = np.where(i == place, 1e12, z)
    return series


@pytest.mark.parametrize("layout", ["rows", "lines"])
@pytest.mark.parametrize(
    ("n", "places"),
    [
        (101, "index"),
        (1000, "epoch"),
        pytest.param(101, "fractions", marks=compiles),
        *(
            pytest.param(*each, marks=compiles_much)
            for each in (
                (1000, "index"),
                (101, "epoch"),
                (1000, "fractions"),
                (101, "shuffled"),
                (1000, "shuffled"),
            )
        ),
    ],
)
@needs_compiler
def test_lines_are_right_to_the_last_digits(
    n: int, places: str, layout: str, rng: np.random.Generator
) -> None:
    x = {
        "index": np.arange(n) * 1.0,
        "fractions": np.linspace(0.0, 1.0, n),
        "epoch": 1.7e18 + np.arange(n) * 8.64e13,
        "shuffled": 100.0 * rng.permutation(rng.random(n)),
    }[places]
    series = hostile(n, x, rng)
    y = np.array([*series.values()])
    fits = ff.fit_lines(x, y, axis=1) if layout == "lines" else ff.fit_lines(x, y.T.copy())
    for k, (name, points) in enumerate(series.items()):
        exact = Exact(x, points)
        slope, level = exact.scale
        assert abs(Fraction(float(fits.slope[k])) - exact.slope) <= 4 * ULP * slope, name
        assert abs(Fraction(float(fits.intercept[k])) - exact.intercept) <= 8 * ULP * level, name
        left = fits.loss[k] * fits.n_points[k]
        assert left == pytest.approx(float(exact.left), rel=1e-14, abs=1e-40 * float(exact.yy))
    constant = [*series].index("constant")
    assert (fits.slope[constant], fits.loss[constant]) == (0.0, 0.0)


def cube(rng: np.random.Generator, dtype: Any = np.float64) -> tuple[Any, Any]:
    """Return x and values of 5 by 3 lines of 40 points, along the first axis, with gaps."""
    x = np.arange(40) * 0.5 - 3.0
    y = rng.normal(size=(40, 5, 3)) + x[:, None, None]
    y[rng.random(y.shape) < 0.1] = np.nan
    return x, y.astype(dtype)


def assert_same_bits(fits: Any, others: Any) -> None:
    """Require the same bits."""
    for name in ("slope", "intercept", "loss", "stderr", "n_points", "codes"):
        np.testing.assert_array_equal(getattr(fits, name), getattr(others, name), err_msg=name)


@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}], ids=["plain", "origin"])
@pytest.mark.parametrize(
    "given",
    [
        *("y", "weights"),
        *(
            pytest.param(k, marks=compiles_much)
            for k in ("sigma", "both", "known sigma", "own x", "all")
        ),
    ],
)
def test_each_line_is_that_of_fit_line(
    given: str, options: dict[str, Any], rng: np.random.Generator
) -> None:
    x, y = cube(rng)
    arrays: dict[str, Any] = {}
    if given in ("weights", "both", "all"):
        arrays["sample_weight"] = rng.integers(0, 3, size=y.shape) * 0.75
    if given in ("sigma", "known sigma"):
        arrays["sigma"] = rng.uniform(0.5, 2.0, size=40)
    if given == "both":
        arrays["sigma"] = rng.uniform(0.5, 2.0, size=y.shape)
    if given in ("own x", "all"):
        x = x[:, None, None] + rng.normal(size=y.shape)
    if given == "known sigma":
        options = {**options, "absolute_sigma": True}
    fits = ff.fit_lines(x, y, **arrays, **options)
    assert fits.shape == (5, 3)
    for place in np.ndindex(5, 3):
        whole = (slice(None), *place)
        own = {name: v if v.ndim == 1 else v[whole] for name, v in arrays.items()}
        own_x = x if x.ndim == 1 else x[whole]
        line = ff.fit_line(own_x, y[whole], **own, nan_policy="omit", **options)
        for name in (*FIELDS, "pvalue", "n_points", "n_omitted"):
            found, expected = getattr(fits, name)[place], getattr(line, name)
            assert found == pytest.approx(expected, rel=1e-12, abs=1e-14), name
            assert getattr(fits[place], name) == pytest.approx(found, rel=1e-13, abs=1e-15), name
        np.testing.assert_allclose(fits.covariance[place], line.covariance, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(fits.conf_int(0.9)[place], line.conf_int(0.9), rtol=1e-12)
        np.testing.assert_allclose(fits[place].conf_int(), line.conf_int(), rtol=1e-12)
        np.testing.assert_allclose(fits.predict(own_x)[whole], line.predict(own_x), rtol=1e-12)
        np.testing.assert_allclose(fits.predict(2.5)[place], line.predict(2.5), rtol=1e-12)


LAYOUTS: dict[str, Any] = {
    "first axis": lambda y: (y, 0),
    "last axis": lambda y: (np.moveaxis(y, 0, -1).copy(), -1),
    "middle axis": lambda y: (np.moveaxis(y, 0, 1).copy(), 1),
    "moved": lambda y: (np.moveaxis(y.copy(), 0, 1), 1),
    "Fortran": lambda y: (np.asfortranarray(y), 0),
    "every other": lambda y: (np.repeat(np.repeat(y, 2, axis=0), 2, axis=2)[::2, :, ::2], 0),
    "reversed": lambda y: (y[::-1].copy()[::-1], 0),
    "read-only": lambda y: (np.broadcast_to(y, y.shape), 0),
    "swapped bytes": lambda y: (y.astype(y.dtype.newbyteorder()), 0),
    "masked": lambda y: (np.ma.masked_invalid(y), 0),
    "long double": lambda y: (y.astype(np.longdouble), 0),
    "nested lists": lambda y: (y.tolist(), 0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, FLOAT32])
def test_however_values_lie_in_memory(layout: str, dtype: Any, rng: np.random.Generator) -> None:
    x, y = cube(rng, dtype)
    expected = ff.fit_lines(x, y.astype(np.float64))
    values, axis = LAYOUTS[layout](y)
    fits = ff.fit_lines(x, values, axis=axis)
    assert fits.shape == (5, 3)
    for name in (*FIELDS, "n_points", "n_omitted"):
        np.testing.assert_allclose(getattr(fits, name), getattr(expected, name), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64, bool, np.float16])
def test_numbers_of_any_type(dtype: Any, rng: np.random.Generator) -> None:
    y = rng.integers(0, 2 if dtype is bool else 100, size=(30, 4)).astype(dtype)
    x = np.arange(30, dtype=np.int16)
    expected = ff.fit_lines(x * 1.0, y.astype(float))
    assert_same_bits(ff.fit_lines(x, y), expected)
    assert_same_bits(ff.fit_lines(x, y.T, axis=1), expected)


def test_integers_that_floats_cannot_hold() -> None:
    y = 2**60 + np.array([[0, 5], [1, 4], [2, 3], [3, 2]])
    fits = ff.fit_lines([0, 1, 2, 3], y)
    np.testing.assert_array_equal(fits.slope, [1.0, -1.0])
    np.testing.assert_array_equal(fits.loss, [0.0, 0.0])


def test_each_column_of_a_table_is_a_line(rng: np.random.Generator) -> None:
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    times = pd.date_range("2024-01-01", periods=20)
    y = rng.normal(size=(20, 3))
    expected = ff.fit_lines(times.to_numpy(), y, datetime_unit="D")
    for table in (pd.DataFrame(y, times), pl.DataFrame(y)):
        fits = ff.fit_lines(times, table, datetime_unit="D")
        np.testing.assert_allclose(fits.slope, expected.slope, rtol=1e-13)
    whole = pd.DataFrame({"a": [1, None, 3], "b": [1, 3, 5]}, dtype="Int64")
    np.testing.assert_array_equal(ff.fit_lines([0, 1, 2], whole).slope, [1.0, 2.0])


def test_a_memory_map_is_read_in_place(tmp_path: Any, rng: np.random.Generator) -> None:
    x, y = cube(rng)
    np.save(tmp_path / "y.npy", y)
    assert_same_bits(
        ff.fit_lines(x, np.load(tmp_path / "y.npy", mmap_mode="r")), ff.fit_lines(x, y)
    )


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("layout", ["rows", "lines"])
def test_bits_depend_on_the_line_alone(layout: str, rng: np.random.Generator) -> None:
    n, m = 530, 1300  # more than one tile, and more than one chunk of points
    x = np.arange(n) * 1.0
    y = rng.normal(size=(n, m)) + 0.01 * x[:, None]
    y[:, 3] = 1e12 * (x == 0)  # is summed again
    y[:, 4] = 3.0 * x + 1e-9 * rng.normal(size=n)
    gappy = y.copy()
    gappy[rng.random(y.shape) < 0.05] = np.nan
    gappy[:, 7:] = y[:, 7:]

    def fitted(values: Any, **options: Any) -> Any:
        if layout == "rows":
            return ff.fit_lines(x, np.ascontiguousarray(values), **options)
        return ff.fit_lines(x, np.ascontiguousarray(values.T), axis=1, **options)

    whole = fitted(y)
    for n_threads in (1, 2):
        assert_same_bits(fitted(y, n_threads=n_threads), whole)
    assert_same_bits(fitted(y[:, 2:9]), whole[2:9])
    assert_same_bits(fitted(y[:, 600:]), whole[600:])
    with_gaps = fitted(gappy)
    assert_same_bits(with_gaps[7:], whole[7:])
    assert_same_bits(fitted(gappy[:, :2]), with_gaps[:2])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 15, 16, 17, 511, 512, 513, 1025])
def test_any_number_of_points(n: int, rng: np.random.Generator) -> None:
    x = rng.permutation(n) - 0.5 * n
    y = 2.0 * x[:, None] + rng.normal(size=(n, 3))
    y[rng.random(y.shape) < 0.1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ff.ConvergenceWarning)
        found = [
            ff.fit_lines(x, y),
            ff.fit_lines(x, y.T.copy(), axis=1),
            ff.fit_lines(x, y, backend="numpy"),
        ]
    for fits in found:
        np.testing.assert_array_equal(fits.n_points, (~np.isnan(y)).sum(axis=0))
        for k in np.flatnonzero(fits.n_points > 1):
            exact = Exact(x, y[:, k])
            assert fits.slope[k] == pytest.approx(float(exact.slope), rel=1e-13)
            left = fits.loss[k] * fits.n_points[k]
            assert left == pytest.approx(float(exact.left), rel=1e-13, abs=1e-28)
        assert np.isnan(fits.slope[fits.n_points < 2]).all()


@pytest.mark.parametrize("n", [10, 519])
@pytest.mark.parametrize("layout", ["rows", "lines"])
def test_gaps_in_the_last_points_alone(n: int, layout: str) -> None:
    x = np.arange(n) * 1.0
    y = np.outer(x, [1.0, 2.0, 3.0]) + np.cos(np.outer(x, [1.0, 2.0, 3.0]))
    y[n - 2, 0] = np.nan
    fits = ff.fit_lines(x, y) if layout == "rows" else ff.fit_lines(x, y.T.copy(), axis=1)
    assert fits.n_points.tolist() == [n - 1, n, n]
    for k, line in enumerate(fits):
        expected = ff.fit_line(x, y[:, k], nan_policy="omit")
        assert line.stderr == pytest.approx(expected.stderr, rel=1e-13)


@pytest.mark.slow
@pytest.mark.long
@needs_compiler
def test_robust_lines_are_those_of_fit_line(rng: np.random.Generator) -> None:
    x, y = cube(rng)
    y[3] += 20.0  # the rest is in test_robust_lines.py
    cases: list[dict[str, Any]] = [{"f_scale": 1.5}, {}]
    for options in cases:
        fits = ff.fit_lines(x, y, loss="huber", **options)
        for place in np.ndindex(5, 3):
            line = ff.fit_line(x, y[:, *place], loss="huber", nan_policy="omit", **options)
            for name in ("slope", "intercept", "f_scale", "stderr", "loss"):
                found, expected = getattr(fits, name)[place], getattr(line, name)
                assert found == pytest.approx(expected, rel=1e-6), name


def test_long_fits_say_how_far_they_have_come(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[float, str]] = []

    @contextlib.contextmanager
    def display() -> Any:
        yield types.SimpleNamespace(share=lambda *each: said.append(each))

    monkeypatch.setattr("fastfit.points.files.progress.display", display)
    x, y = np.arange(20.0), rng.normal(size=(20, 1100))
    whole = ff.fit_lines(x, y)
    assert said == []
    monkeypatch.setattr("fastfit.lines.batched._LONG", 1)
    monkeypatch.setattr("fastfit.kernels.tiles._AT_A_TIME", 1)
    monkeypatch.setattr("fastfit.kernels.tiles._GROUPS", 1)
    monkeypatch.setattr("fastfit.kernels.many.TILE", 512)
    for n_threads in (1, 2):
        assert_same_bits(ff.fit_lines(x, y, n_threads=n_threads), whole)
    assert said[-1] == (1.0, "1,100 of 1,100 lines")
    assert 0.0 < said[0][0] < 1.0
    said.clear()
    assert_same_bits(ff.fit_lines(x, y, progress=False), whole)
    assert said == []
    monkeypatch.setattr("fastfit.lines.layout._AT_A_TIME", 4000)
    whole_numbers = np.rint(10.0 * y)
    expected = ff.fit_lines(x, whole_numbers, progress=False)
    assert_same_bits(ff.fit_lines(x, whole_numbers.astype(int)), expected)  # converted in parts
    assert [text for _, text in said][:2] == ["200 of 1,100 lines", "400 of 1,100 lines"]


def test_the_reference_finds_the_same_lines(rng: np.random.Generator) -> None:
    x, y = cube(rng)
    options: list[dict[str, Any]] = [
        {},
        {"fit_intercept": False},
        {"sample_weight": rng.random(y.shape)},
        {"sigma": rng.random(40) + 0.5},
    ]
    for more in options:
        ours, reference = (ff.fit_lines(x, y, **more, backend=b) for b in ("numba", "numpy"))
        for name in FIELDS:
            values = getattr(ours, name), getattr(reference, name)
            np.testing.assert_allclose(*values, rtol=1e-12, atol=1e-13, err_msg=name)


def test_times_are_whole_numbers_in_the_unit_asked_for() -> None:
    start = np.datetime64("2024-03-01T00:00:00.000000001")
    times = start + np.arange(40) * np.timedelta64(1, "D")
    y = np.arange(40)[:, None] * np.array([2.0, -1.0]) + 5.0
    fits = ff.fit_lines(times, y, datetime_unit="D")
    np.testing.assert_array_equal(fits.slope, [2.0, -1.0])
    assert fits.datetime_unit == "D"
    one = ff.fit_line(times, y[:, 0], datetime_unit="D")
    assert fits.intercept[0] == pytest.approx(one.intercept, rel=1e-15)
    np.testing.assert_allclose(fits.predict(times), y, rtol=1e-12)
    assert fits.predict(times[3])[0] == pytest.approx(11.0, rel=1e-12)
    assert fits[1].predict(times[3]) == pytest.approx(2.0, rel=1e-12)


# Lines that cannot be fitted


def test_a_bad_line_spoils_no_other_and_one_warning_counts_them() -> None:
    x = np.arange(10.0)
    y = np.outer(x, np.ones(8)) + np.sin(np.arange(80.0)).reshape(10, 8)
    good = ff.fit_lines(x, y)
    y[4, 1] = np.inf
    y[:, 2] = np.nan
    y[1:, 3] = np.nan
    y[:, 4] = [*[1e200] * 5, *[-1e200] * 5]
    y[:, 5] = 1e-200 * np.sin(x)
    with pytest.warns(ff.ConvergenceWarning) as warned:
        fits = ff.fit_lines(x, y)
    assert [str(each.message) for each in warned] == [
        "4 of 8 lines could not be fitted and are NaN (1 too few points, 3 infinite); fits.status says "
        "why"
    ]
    assert warned[0].filename == __file__
    assert [each.name for each in fits.status] == [
        *("CONVERGED", "INFINITE", "TOO_FEW_POINTS", "TOO_FEW_POINTS", "INFINITE", "INFINITE"),
        *("CONVERGED", "CONVERGED"),
    ]
    bad = ~fits.converged
    for name in (*FIELDS, "pvalue"):
        assert np.isnan(getattr(fits, name)[bad]).all(), name
    assert_same_bits(fits[~bad], good[~bad])
    assert fits[1].status is ff.Status.INFINITE
    assert "infinity" in fits[1].message
    assert math.isnan(fits[1].predict(3.0))


def test_lines_without_points_are_no_reason_to_warn() -> None:
    y = np.full((10, 3), np.nan)
    y[:, 1] = np.arange(10)
    fits = ff.fit_lines(np.arange(10), y)
    np.testing.assert_array_equal(fits.slope, [np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(fits.n_omitted, [10, 0, 10])


def test_weights_that_no_line_can_have(rng: np.random.Generator) -> None:
    x, y = np.arange(20.0), rng.normal(size=(20, 5))
    w = rng.random((20, 5))
    good = ff.fit_lines(x, y, sample_weight=w)
    w[3, 1], w[:, 2], w[5, 3] = -1.0, 0.0, np.inf
    with pytest.warns(ff.ConvergenceWarning, match="3 of 5 lines .*3 bad weights"):
        fits = ff.fit_lines(x, y, sample_weight=w)
    assert [each.name == "BAD_WEIGHTS" for each in fits.status] == [False, True, True, True, False]
    assert_same_bits(fits[[0, 4]], good[[0, 4]])
    sigma = np.where(w > 0.0, 1.0, w)
    with pytest.warns(ff.ConvergenceWarning, match="2 of 5 lines .*2 bad weights"):
        assert np.isnan(ff.fit_lines(x, y, sigma=sigma).slope[[1, 2]]).all()


@pytest.mark.slow  # compiles for ten seconds
def test_points_far_along_an_x_of_their_own_after_gaps() -> None:
    x = np.arange(16.0) + 1e10
    y = np.where(np.arange(16) < 12, np.nan, np.arange(16.0) ** 2)
    fits = ff.fit_lines(np.stack([x, x], 1), np.stack([y, y], 1))
    np.testing.assert_array_equal(fits.slope, [27.0, 27.0])
    np.testing.assert_array_equal(fits.n_points, [4, 4])
    x[3] = np.inf
    with pytest.warns(ff.ConvergenceWarning, match="1 of 2 lines .*1 infinite"):
        fits = ff.fit_lines(
            np.stack([x, np.arange(16.0)], 1)[3:6], np.array([[1.0, 1], [2, np.nan], [3, 3]])
        )
    assert fits.status[0] is ff.Status.INFINITE


@rests
def test_points_left_at_one_x_determine_no_line() -> None:
    x = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.0, 0.0, 0.0, 0.0])
    y = np.array([0.8, *[np.nan] * 4, -0.2, 1.1, -0.4, -1.3])[:, None]
    w = np.array([0.41, 0.19, 0.87, 0.92, 0.31, 0.37, 0.76, 0.28, 0.8])
    for values, axis in ((y, 0), (np.hstack([y, y]), 0), (np.vstack([y.T, y.T]), 1)):
        with pytest.warns(ff.ConvergenceWarning, match="constant x"):
            fits = ff.fit_lines(x, values, axis=axis, sample_weight=w)
        assert {*fits.status} == {ff.Status.CONSTANT_X}


def test_a_constant_y_has_no_correlation() -> None:
    x = 1980 + np.arange(526) / 12
    y = np.full((526, 2), 0.005137634080440824)
    y[:12], y[-3:] = np.nan, np.nan
    for fits in (ff.fit_lines(x, y), ff.fit_lines(x, y.T.copy(), axis=1)):
        np.testing.assert_array_equal(fits.slope, [0.0, 0.0])
        np.testing.assert_array_equal(fits.intercept, [y[20, 0]] * 2)
        assert np.isnan([fits.rvalue, fits.pvalue]).all()


@rests
def test_a_constant_y_beside_a_point_without_weight_has_no_correlation() -> None:
    w = [1, 1, 1, 1, 1, 0]
    y = np.array([[0.0, 0.0]] * 5 + [[1.0, 1.0]])
    fits = ff.fit_lines([1.6, 0.7, -1.0, -0.2, -0.3, 2.4], y, sample_weight=w)
    np.testing.assert_array_equal(fits.slope, [0.0, 0.0])
    assert np.isnan(fits.rvalue).all()


def test_lines_through_the_origin_of_numbers_that_floats_cannot_hold() -> None:
    y = np.array([[3, 1], [6, 2], [9, 3]]) * 2**57
    fits = ff.fit_lines([1, 2, 3], y, fit_intercept=False)
    np.testing.assert_array_equal(fits.slope, [3.0 * 2**57, 1.0 * 2**57])
    np.testing.assert_array_equal(fits.intercept, [0.0, 0.0])


def test_one_weight_for_all_points(rng: np.random.Generator) -> None:
    x, y = cube(rng)
    one = ff.fit_lines(x, y, sigma=0.5, absolute_sigma=True)
    each = ff.fit_lines(x, y, sigma=np.full(40, 0.5), absolute_sigma=True)
    assert_same_bits(one, each)
    with pytest.warns(ff.ConvergenceWarning, match="15 of 15 lines .*15 bad weights"):
        ff.fit_lines(x, y, sigma=np.inf)


def test_constant_x_and_few_points() -> None:
    x = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    y = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    with pytest.warns(ff.ConvergenceWarning, match="1 of 2 lines .*1 constant x"):
        fits = ff.fit_lines(x, y)
    assert fits.status[0] is ff.Status.CONSTANT_X
    assert fits.slope[1] == 1.5
    with pytest.warns(ff.ConvergenceWarning, match="2 of 2 lines .*2 constant x"):
        ff.fit_lines([3.0, 3.0, 3.0], y)
    with pytest.warns(ff.ConvergenceWarning, match="2 of 2 lines .*2 too few points"):
        ff.fit_lines([1.0, 2.0, 3.0], y, min_points=4)
    assert ff.fit_lines([1.0, 2.0, 3.0], y, min_points=3).converged.all()


def test_missing_values_by_policy(rng: np.random.Generator) -> None:
    x, y = np.arange(20.0), rng.normal(size=(20, 3))
    whole = ff.fit_lines(x, y)
    y[4, 1] = np.nan
    with pytest.raises(
        ValueError, match=r"must not hold NaN with nan_policy='raise'; .* in 1 of 3"
    ):
        ff.fit_lines(x, y, nan_policy="raise")
    with pytest.warns(ff.ConvergenceWarning, match="1 of 3 lines"):
        fits = ff.fit_lines(x, y, nan_policy="propagate")
    assert_same_bits(fits[[0, 2]], whole[[0, 2]])
    assert fits.status[1] is ff.Status.NOT_FINITE
    assert np.isnan([fits.slope[1], fits.stderr[1], fits.loss[1]]).all()
    x[2] = np.nan  # of all lines
    np.testing.assert_array_equal(ff.fit_lines(x, y).n_points, [19, 18, 19])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2, 3], 5.0), ValueError, "y must have at least one dimension"),
        (
            ([1, 2], np.ones((3, 4))),
            ValueError,
            r"x must have the shape \(3,\), as y has 3 points al",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"axis": 2}),
            ValueError,
            "axis must be at least -2 and below 2",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"axis": 0.5}),
            TypeError,
            "axis must be an integer; got 0.5",
        ),
        (([1, np.inf, 3], np.ones((3, 4))), ValueError, "x must be finite; got inf at index 1"),
        (
            ([-1e308, 2, 1e308], np.ones((3, 4))),
            ValueError,
            "x must have distances whose squares",
        ),
        (
            ([1, 2, 3e200], np.ones((3, 4))),
            ValueError,
            "x must have distances whose squares",
        ),
        (([1, 2, 3], [["a"], ["b"], ["c"]]), TypeError, "y must hold real numbers"),
        (([1, 2, 3], np.array([[{}], [1], [2]])), TypeError, "y must hold real numbers"),
        ((["a", "b", "c"], np.ones((3, 4))), TypeError, "x must hold real numbers"),
        (
            ([1, 2, 3], np.ones((3, 4)), {"min_points": 1}),
            ValueError,
            "min_points must be an integer of at least 2",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"min_points": 2.5}),
            TypeError,
            "min_points must be an integ",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"loss": "huber", "sigma": [1, 1, 1]}),
            ValueError,
            "sigma must be None unless loss is 'squared_error'",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"sigma": [1, 2]}),
            ValueError,
            r"sigma must have the shape \(3,",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"absolute_sigma": True}),
            ValueError,
            "absolute_sigma must be F",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"nan_policy": "drop"}),
            ValueError,
            "nan_policy must be 'raise'",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"backend": "jax"}),
            ValueError,
            "backend must be 'numba' or",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"n_threads": 0}),
            ValueError,
            "n_threads must be an integer",
        ),
        (
            ([1, 2, 3], np.ones((3, 4)), {"datetime_unit": "D"}),
            ValueError,
            "datetime_unit must be None",
        ),
        (
            ([1, 2, 3], np.broadcast_to(1.0, (3, 10**15))),
            MemoryError,
            "1,000,000,000,000,000 lines nee",
        ),
    ],
)
def test_bad_input(arguments: Any, error: type[Exception], message: str) -> None:
    x, y, *options = arguments
    with pytest.raises(error, match=message):
        ff.fit_lines(x, y, **(options[0] if options else {}))


def test_a_wrong_axis_is_advised_on() -> None:
    with pytest.raises(
        ValueError, match=r"got \(5,\); if the points of a line lie along axis 1, pass axis=1$"
    ):
        ff.fit_lines(np.arange(5), np.ones((3, 5)))


def test_no_lines_and_no_points() -> None:
    empty = ff.fit_lines([1.0, 2.0, 3.0], np.ones((3, 0)))
    assert (empty.shape, empty.slope.shape, len(empty)) == ((0,), (0,), 0)
    assert repr(empty) == "LineFits: 0 lines of shape (0,)"
    assert empty.to_dict()["slope"] == []
    assert ff.fit_lines([], np.ones((0, 3))).n_points.tolist() == [0, 0, 0]
    with pytest.warns(ff.ConvergenceWarning, match="2 of 2 lines"):
        ff.fit_lines([1.0], np.ones((1, 2)))


# The result


def test_lines_by_place(rng: np.random.Generator) -> None:
    x, y = cube(rng)
    fits = ff.fit_lines(x, y)
    assert len(fits) == 5
    assert [each.shape for each in fits] == [(3,)] * 5
    assert fits[1, 2].slope == fits.slope[1, 2] == fits[1][2].slope
    assert_same_bits(fits[fits.slope > 1.0], fits[np.nonzero(fits.slope > 1.0)])
    for again in (pickle.loads(pickle.dumps(fits)), copy.deepcopy(fits)):
        assert_same_bits(again, fits)
        assert again[1, 2].stderr == fits.stderr[1, 2]
    single = ff.fit_lines(x, y[:, 0, 0])
    assert single.shape == ()
    assert single[()].slope == single.slope == fits.slope[0, 0]
    with pytest.raises(TypeError, match=r"fits\[\(\)\] is it"):
        len(single)
    with pytest.raises(IndexError):
        fits[7]
    for axis in range(3):
        moved = np.moveaxis(np.nan_to_num(y), 0, axis)
        whole = ff.fit_lines(x, moved, axis=axis)
        line = whole.predict(x)
        assert line.shape == moved.shape
        left = np.moveaxis(line, axis, -1)[2]
        some = np.moveaxis(whole[2].predict(x), max(axis - 1, 0), -1)
        np.testing.assert_array_equal(some, left)
    single.to_dict()
    assert single.to_frame().shape == (1, 11)
    with pytest.raises(ValueError, match="this fit has no points to draw"):
        fits[0, 0].plot()


def test_tables_and_texts(rng: np.random.Generator) -> None:
    pd = pytest.importorskip("pandas")
    x, y = cube(rng)
    y[:, 0, 0] = np.nan
    fits = ff.fit_lines(x, y)
    table = fits.to_frame()
    assert table.shape == (15, 11)
    assert table.index.names == ["axis_0", "axis_1"]
    assert table.loc[(1, 2), "stderr"] == fits.stderr[1, 2]
    assert table.loc[(0, 0), "status"] == "TOO_FEW_POINTS"
    assert isinstance(fits[0].to_frame().index, pd.RangeIndex)
    pytest.importorskip("xarray")
    dataset = fits.to_xarray()
    assert dataset["stderr"].dims == ("axis_0", "axis_1")
    assert float(dataset["stderr"][1, 2]) == fits.stderr[1, 2]
    plain = fits.to_dict()
    assert plain["slope"][0][0] is None
    assert plain["pvalue"][1][2] == fits.pvalue[1, 2]
    assert repr(fits).startswith("LineFits: 15 lines of shape (5, 3), 1 not fitted, median slope ")
    rows = dict(line.split(maxsplit=1) for line in fits.summary().splitlines() if line.strip())
    assert rows["converged"] == "14"
    assert float(rows["slope"].split()[2]) == pytest.approx(np.nanmedian(fits.slope), rel=1e-3)
    assert fits._repr_html_().startswith("<pre>lines")


def test_a_grid_is_a_map_and_others_are_lines(rng: np.random.Generator) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot as plt

    x, y = cube(rng)
    y[:, 0, 0] = np.nan
    y[:, 1] -= x[:, None]  # without a slope
    fits = ff.fit_lines(x, y)
    ax = fits.plot()
    assert ax.get_title() == "15 lines, 1 not fitted"
    images: list[Any] = [image.get_array() for image in ax.get_images()]
    coloured, grey = images
    is_clear = fits.pvalue < 0.05
    assert 8 < is_clear.sum() < 14
    np.testing.assert_array_equal(coloured.mask, ~is_clear)
    np.testing.assert_array_equal(coloured[is_clear], fits.slope[is_clear])
    np.testing.assert_array_equal(grey.mask, is_clear | np.isnan(fits.slope))
    fan = fits[1].plot(level=0.999)
    assert fan.get_title() == "3 lines"
    segments = [s for lines in fan.collections for s in lines.get_segments()]
    for (left, low), (right, high) in segments:
        assert x.min() - 1.0 < left < right < x.max() + 1.0
        slope = (high - low) / (right - left)
        assert np.isclose(fits.slope[1], slope, rtol=1e-9).any()
    assert fits[1, 1].slope in fits[1].slope
    assert fits.plot(fan) is fan
    with pytest.raises(ValueError, match="plot needs lines of one or two dimensions; got 3"):
        ff.fit_lines(x, y[..., None]).plot()
    plt.close("all")


# Tables


def test_tables_keep_the_names_of_their_columns() -> None:
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    y = np.random.default_rng(3).normal(size=(30, 3))
    index = pd.date_range("2024-01-01", periods=30)
    frame = pd.DataFrame(y, index, ["a", "b", "c"])
    fits = ff.fit_lines(index, frame, datetime_unit="D")
    assert fits.to_frame().index.tolist() == ["a", "b", "c"]
    assert fits[[True, False, True]].to_frame().index.tolist() == ["a", "c"]
    assert fits[1:].to_frame().index.tolist() == ["b", "c"]
    assert repr(fits).endswith("per D")
    pairs = frame.set_axis(pd.MultiIndex.from_tuples([("p", 1), ("p", 2), ("q", 1)]), axis=1)
    pd.testing.assert_index_equal(ff.fit_lines(index, pairs).to_frame().index, pairs.columns)
    rows = ff.fit_lines(np.arange(3.0), frame, axis=1)
    assert rows.to_frame().index.tolist() == index.tolist()
    table = pl.DataFrame({"s": y[:, 0], "t": y[:, 1]})
    assert ff.fit_lines(np.arange(30), table).to_frame().index.tolist() == ["s", "t"]


def test_tables_are_paired_by_place_only_if_their_labels_are_the_same() -> None:
    pd = pytest.importorskip("pandas")
    y = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [0.0, 1.0, 5.0]}, [10, 11, 12])
    x, weights = pd.Series([0.0, 1.0, 2.0], [10, 11, 12]), y + 1.0
    found = ff.fit_lines(x, y, sample_weight=weights)
    expected = ff.fit_lines(x.to_numpy(), y.to_numpy(), sample_weight=weights.to_numpy())
    np.testing.assert_array_equal(found.slope, expected.slope)
    for other in ({"x": x[::-1]}, {"sample_weight": weights[::-1]}, {"sigma": weights[::-1]}):
        given: dict[str, Any] = {"x": x, "y": y, **other}
        with pytest.raises(ValueError, match="must have the same labels"):
            ff.fit_lines(**given)


def test_columns_of_tables_without_numbers_are_named() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"y\['b'\] must"):
        ff.fit_lines([0.0, 1.0], pd.DataFrame({"a": [1.0, 2.0], "b": ["u", "v"]}))
    gaps = pd.DataFrame({"a": [1, 2, 4], "b": pd.array([1, None, 3], dtype="Int64")})
    gaps["c"] = [1.0, 2.0, pd.NA]
    fits = ff.fit_lines([0.0, 1.0, 2.0], gaps)
    assert fits.n_points.tolist() == [3, 2, 2]
    assert fits.slope.tolist() == [1.5, 1.0, 1.0]


# Faults that were found


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("step", [1.0 / 128.0, pytest.param(0.01, marks=compiles_much)])
@pytest.mark.parametrize("axis", [0, pytest.param(1, marks=compiles_much)])
def test_finite_weights_without_a_sum_are_bad(axis: int, step: float, fit_intercept: bool) -> None:
    y = 1e-3 * np.array([0.0, 1, -1, 2, 0, 1, -2, 0, 1])
    y[0] = -1e-3 if fit_intercept else 0.0
    weights = np.full((2, 9), 5e307)
    values = np.array([y, y])
    with pytest.warns(ff.ConvergenceWarning, match="2 bad weights"):
        fits = ff.fit_lines(
            np.arange(9) * step - 4.0 * step,
            values if axis else values.T.copy(),
            axis=axis,
            sample_weight=weights if axis else weights.T.copy(),
            fit_intercept=fit_intercept,
        )
    assert np.isnan(fits.slope).all()


@needs_compiler
def test_a_block_of_one_line_is_summed_as_others_are() -> None:
    """The last of 802 lines of 1,000 integers is copied with one other, the last of 801 alone."""
    y = np.round(1000 * np.random.default_rng(0).normal(size=(1000, 802))).astype(np.int64)
    x = np.arange(1000.0)
    # Loops for threads compile for long.
    many, fewer = (ff.fit_lines(x, each, n_threads=1) for each in (y, y[:, :801]))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(many, name)[:801], getattr(fewer, name))


def test_first_and_last_x_may_all_but_coincide() -> None:
    x, y = [[0.0, 1, 2, 3, 1e-160]] * 2, [[0.0, 1, 2.5, 3, 1]] * 2
    found = ff.fit_lines(x, y, axis=1)
    np.testing.assert_allclose(found.slope, ff.fit_line(x[0], y[0]).slope, 4 * ULP)


def test_the_reference_resolves_what_lies_far_from_the_center() -> None:
    options: dict[str, Any] = {"backend": "numpy"}
    gap = ff.fit_lines([0.1, 0.7, 0.9, 1e12], [1.0, 2.0, 3.0, np.nan], **options)
    exact = Exact(np.array([0.1, 0.7, 0.9]), np.array([1.0, 2.0, 3.0]))
    assert gap.slope == pytest.approx(float(exact.slope), rel=1e-15)
    level = ff.fit_lines(
        np.arange(4.0) * 0.1, [0.1] * 4, sample_weight=[0.3, 0.7, 0.9, 0.2], **options
    )
    assert level.slope == level.loss == 0.0
    with pytest.warns(ff.ConvergenceWarning, match="1 constant x"):
        one = ff.fit_lines([0.1, 1e12], [0.5, 0.5], sample_weight=[0.1, 0.0], **options)
    assert one[()].status is Status.CONSTANT_X


def test_one_robust_line_that_is_spoilt_has_no_scale() -> None:
    y = np.random.default_rng(0).normal(size=(9, 2))
    y[3, 0] = np.nan
    with pytest.warns(ff.ConvergenceWarning, match="1 not finite"):
        fits = ff.fit_lines(
            np.arange(9.0), y, loss="huber", nan_policy="propagate", backend="numpy"
        )
    f_scale = fits[0].f_scale
    assert f_scale is not None
    assert math.isnan(f_scale)
