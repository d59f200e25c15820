"""The drop-ins against SciPy's linregress and NumPy's polyfit, and against exact results where those lose digits."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats._axis_nan_policy import SmallSampleWarning

from fastfit.compat import LinregressResult, linregress, polyfit
from tests import oracle
from tests.conftest import Script, compiles, compiles_much

# From 1.18 on, SciPy returns NaN where it had zeros or an error, and keeps the type of floats.
RETURNS_NAN = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18)
# float32 alone has loops of its own, which compile for seconds.
FLOAT32 = pytest.param("f4", marks=compiles_much)
# So has an x shared by many lines whose distances have more than 51 binary digits, as of random numbers around 0.
places = pytest.mark.parametrize("place", [16.0, pytest.param(0.0, marks=compiles_much)])
FIELDS = ("slope", "intercept", "rvalue", "pvalue", "stderr", "intercept_stderr")
ALTERNATIVES: tuple[Any, ...] = ("two-sided", "less", "greater")


def cloud(seed: int, n: int = 12, k: tuple[int, ...] = ()) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *k))
    return x, rng.normal() * x + rng.normal(size=x.shape)


def exact_errors(x: Any, y: Any) -> tuple[float, float]:
    """Return the standard errors of slope and intercept, from exact sums."""
    n, x_mean, _, xx, xy, yy = oracle.moments(x, y).values()
    slope_variance = (yy - xy * xy / xx) / (n - 2) / xx
    return math.sqrt(slope_variance), math.sqrt(slope_variance * (xx / n + x_mean**2))


def with_warnings(function: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Return what a function returns and the warnings that it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return function(*arguments, **options), caught


def assert_as_scipys(*arguments: Any, **options: Any) -> Any:
    """Check what ours returns and the warnings that it gives against SciPy's, and return it."""
    (ours, caught), (theirs, warned) = (
        with_warnings(each, *arguments, **options) for each in (linregress, stats.linregress)
    )
    # NumPy warns of the arithmetic of some versions of SciPy.
    theirs_warned = [w.category for w in warned if w.category is not RuntimeWarning]
    assert [w.category for w in caught] == theirs_warned
    for name in FIELDS:
        got, expected = getattr(ours, name), getattr(theirs, name)
        assert np.shape(got) == np.shape(expected), name
        assert isinstance(got, np.ndarray) == isinstance(expected, np.ndarray), name
        # SciPy's sums of deviations lose a few of 16 digits, and its p-values twice as many.
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-14, err_msg=name)
    return ours


# linregress


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(("seed", "n"), [(1, 3), (2, 4), (3, 12), (4, 60), (5, 300)])
def test_one_line(seed: int, n: int, alternative: Any) -> None:
    x, y = cloud(seed, n)
    result = assert_as_scipys(x, y, alternative)
    assert {type(getattr(result, name)) for name in FIELDS} == {np.float64}
    assert linregress(x=x, y=y, alternative=alternative, axis=None) == result


def test_signatures() -> None:
    for functions in ((linregress, stats.linregress), (polyfit, np.polyfit)):
        ours, theirs = (inspect.signature(each).parameters.values() for each in functions)
        assert [(p.name, p.kind, p.default) for p in ours] == [
            (p.name, p.kind, p.default) for p in theirs
        ]


@pytest.mark.parametrize(
    "kind",
    [list, tuple, pd.Series, *(np.dtype(code).type for code in ("f4", "f2", "g", "i8", "u1", "?"))],
)
def test_numbers_of_any_type(kind: Any) -> None:
    x, y = np.array([0.0, 1, 1, 0, 1]), np.array([1.0, 4, 2, 0, 3])
    convert = kind if kind in (list, tuple, pd.Series) else (lambda v: v.astype(kind))
    result = linregress(convert(x), convert(y))
    # The numbers are exact in each kind, NumPy's booleans of y apart.
    expected = assert_as_scipys(x, y.astype(bool).astype(float) if kind is np.bool_ else y)
    keeps = RETURNS_NAN and kind in (np.float32, np.float16, np.longdouble)
    assert type(result.slope) is (kind if keeps else np.float64)
    digits = float(np.finfo(kind).eps) if keeps else 0.0
    for name in FIELDS:
        assert getattr(result, name) == pytest.approx(getattr(expected, name), rel=digits, abs=0.0)


def test_arrays_of_any_layout_are_left_as_they_are() -> None:
    x, y = cloud(6, 20)
    before = x.copy(), y.copy()
    x.flags.writeable = False
    for own in (x[::2], x[::2].astype(">f8")):
        assert_as_scipys(own, y[1::2])
    np.testing.assert_array_equal((x, y), before)
    assert y.flags.writeable


SHAPES_AND_AXIS = [
    ((12,), (12,), -1),
    ((12,), (12,), (0,)),
    pytest.param((6, 3), (6, 3), 0, marks=compiles),
    pytest.param((6, 3), (6, 3), -2, marks=compiles),
    pytest.param((6, 1), (6, 3), 0, marks=compiles),
    ((6,), (3, 6), 1),
    pytest.param((3, 1, 6), (5, 6), np.int64(2), marks=compiles),
    pytest.param((4, 3, 2), (4, 3, 2), (0, -1), marks=compiles),
    pytest.param((4, 3, 2), (4, 3, 2), (2, 0), marks=compiles),
    ((6, 3), (3, 6), None),
    ((6, 0), (6, 0), 0),
]


@places
@pytest.mark.parametrize("nan_policy", ["propagate", "omit", "raise"])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("x_shape", "y_shape", "axis"), SHAPES_AND_AXIS)
def test_any_shape(
    x_shape: Any, y_shape: Any, axis: Any, keepdims: bool, nan_policy: Any, place: float
) -> None:
    rng = np.random.default_rng(7)
    x, y = place + rng.normal(size=x_shape), rng.normal(size=y_shape)
    options = {"axis": axis, "keepdims": keepdims, "nan_policy": nan_policy}
    assert_as_scipys(x, y, **options)
    y.flat[:2] = np.nan
    if nan_policy == "raise" and y.size:
        with pytest.raises(ValueError, match="must not hold NaN with nan_policy='raise'; got NaN"):
            linregress(x, y, **options)
    else:
        assert_as_scipys(x, y, **options)


@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_masked_points(axis: Any, nan_policy: Any) -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(2, 7, 7))
    x_mask, y_mask = np.eye(7, dtype=bool), np.eye(7, k=2, dtype=bool)
    x[0, 0] = y[1, 3] = np.nan  # below a mask: left out with its point
    y[2, 2] = np.nan  # beside a mask: counts, as for SciPy
    masked: Any = np.ma.masked_array(x, x_mask), np.ma.masked_array(y, y_mask)
    for pair in (masked, (masked[0], np.nan_to_num(y)), (np.nan_to_num(x), masked[1])):
        assert_as_scipys(*pair, axis=axis, nan_policy=nan_policy)
    assert_as_scipys(np.ma.masked_array(np.arange(5), mask=np.arange(5) == 1), y[3, :5])


@st.composite
def lines(draw: st.DrawFn, place: float) -> tuple[Any, Any, dict[str, Any]]:
    """Draw points of many lines, perhaps with gaps, masks, an x of all lines or of some, and options."""
    shape = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    axes = tuple(draw(st.permutations(range(len(shape))))[: draw(st.integers(1, 2))])
    for k in axes:
        shape[k] = max(shape[k], 3)
    shared = [k for k in range(len(shape)) if k not in axes and draw(st.booleans())]
    x_shape = [1 if k in shared else length for k, length in enumerate(shape)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    offset = draw(st.sampled_from([place, 1e3]))
    x: Any = offset + rng.normal(size=x_shape)
    y: Any = 3.0 + draw(st.sampled_from([0.0, -2.0])) * x + rng.normal(size=shape)
    y = np.asarray(y, order=draw(st.sampled_from(["C", "F"])))
    options: dict[str, Any] = {"axis": axes if len(axes) > 1 or draw(st.booleans()) else axes[0]}
    options["nan_policy"] = draw(st.sampled_from(["propagate", "omit"]))
    options["alternative"] = draw(st.sampled_from(ALTERNATIVES))
    options["keepdims"] = draw(st.booleans())
    for values in (x, y):
        if draw(st.booleans()):
            # One point a line, so that at least two are left.
            values[rng.random(values.shape) < 0.5 / values.size] = np.nan
    if draw(st.booleans()):
        y = np.ma.masked_array(y, rng.random(y.shape) < 0.5 / y.size)
    return x, y, options


@places
@given(data=st.data())
def test_many_lines_are_as_scipys_and_as_one_after_the_other(place: float, data: Any) -> None:
    x, y, options = data.draw(lines(place))
    (found, _), (theirs, _) = (
        with_warnings(each, x, y, **options) for each in (linregress, stats.linregress)
    )
    axes = options["axis"] if isinstance(options["axis"], tuple) else (options["axis"],)
    each: Any = [
        np.moveaxis(v, axes, range(len(axes)))
        for v in (np.broadcast_to(x, y.shape), np.ma.getdata(y), np.ma.getmaskarray(y))
    ]
    shape = each[0].shape[len(axes) :]
    xs, ys, masks = (v.reshape(-1, math.prod(shape)) for v in each)
    one = [
        with_warnings(
            linregress,
            xs[:, k],
            np.ma.masked_array(ys[:, k], masks[:, k]),
            options["alternative"],
            nan_policy=options["nan_policy"],
        )[0]
        for k in range(xs.shape[1])
    ]
    for name in FIELDS:
        got, expected = getattr(found, name), np.array([getattr(line, name) for line in one])
        assert np.shape(got) == np.shape(getattr(theirs, name))
        np.testing.assert_allclose(np.ravel(got), expected, 1e-11, 1e-14, err_msg=name)
        # SciPy's loses the digits that x far from zero takes up.
        if abs(np.nanmean(x)) < 100.0 and xs.shape[0] > 4:
            np.testing.assert_allclose(got, getattr(theirs, name), 1e-9, 1e-13, err_msg=name)


@places
@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
@pytest.mark.parametrize("shares_x", [False, True])
def test_lines_that_need_care_among_others(shares_x: bool, nan_policy: Any, place: float) -> None:
    rng = np.random.default_rng(16)
    x = place + rng.normal(size=(9, 1 if shares_x else 8))
    y = rng.normal(size=(9, 8))
    y[2, 0] = np.inf
    y[4, 1] = np.nan
    y[2:, 2] = np.nan
    y[1:, 3] = np.nan
    y[:, 4] = 0.1
    y[:, 5] *= 1e200
    y[:, 6] *= 1e-200
    found, caught = with_warnings(linregress, x, y, nan_policy=nan_policy)
    one, expected = [], []
    for k, column in enumerate(y.T):
        line, warned = with_warnings(
            linregress, np.broadcast_to(x, y.shape)[:, k], column, nan_policy=nan_policy
        )
        one.append(line)
        expected += warned
    for name in FIELDS:
        lines_of_one = [getattr(line, name) for line in one]
        np.testing.assert_allclose(getattr(found, name), lines_of_one, 1e-12, err_msg=name)
    assert [(w.category, str(w.message)) for w in caught] == [
        (w.category, str(w.message)) for w in expected
    ]


@pytest.mark.parametrize("x_large", [np.inf, 1e308, 1e200])
def test_x_of_all_lines_out_of_range(x_large: float) -> None:
    x, y = cloud(17, 9, (3,))
    x[:, 0] = np.linspace(-1.0, 1.0, 9) * min(x_large, 1e308)
    x[-1, 0] = x_large
    found, caught = with_warnings(linregress, x[:, :1], y)
    n_warned = sum("infinity" in str(w.message) for w in caught)
    assert n_warned == (3 if x_large == np.inf else 0)
    for k in range(3):
        one, _ = with_warnings(linregress, x[:, 0], y[:, k])
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(found, name)[k], getattr(one, name))


@pytest.mark.parametrize("masks_x", [False, True])
@pytest.mark.parametrize("kind", ["i8", "g"])
def test_numbers_that_float64_cannot_hold_keep_their_digits(kind: str, masks_x: bool) -> None:
    far = np.array([[0, 0], [2**60, 0]]).repeat([1, 1], axis=0)[:, :, np.newaxis]
    steps: Any = np.arange(9) ** 2 % 7
    x: Any = np.broadcast_to(np.arange(9), (2, 2, 9)) + far
    y: Any = (steps + 2**62 + 0 * far).astype(kind)
    x = x.astype(kind)
    if masks_x:
        x = np.ma.masked_array(x, np.broadcast_to(np.arange(9) == 3, x.shape))
    result = linregress(x, y, axis=2)
    kept = np.arange(9) != 3 if masks_x else np.arange(9) >= 0
    expected = linregress(np.arange(9.0)[kept], steps[kept].astype(float))
    for name in ("slope", "rvalue", "pvalue", "stderr"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), rel=1e-12)


@pytest.mark.parametrize("code", ["f8", FLOAT32, "f2", "i8", "i1", "?", ">f8"])
def test_many_lines_of_numbers_of_any_type(code: str) -> None:
    rng = np.random.default_rng(20)
    x, y = rng.integers(0, 2, (2, 12, 3)).astype(code)
    x[:2], y[:, 2] = [[0], [1]], 1  # no x is constant, but a y
    found = linregress(x, y)
    for k in range(3):
        one = linregress(x[:, k], y[:, k])
        for name in FIELDS:
            got = getattr(found, name)
            assert got.dtype == getattr(one, name).dtype
            np.testing.assert_allclose(got[k], getattr(one, name), rtol=1e-12, err_msg=name)
    if code != "f2":  # which NumPy's solver refuses
        assert_all_close(polyfit(x[:, 0], y, 1), np.polyfit(x[:, 0], y, 1))


def test_among_many_lines_only_raise_refuses_nan() -> None:
    x, y = cloud(18, 9, (4,))
    y[2, 1] = np.nan
    with pytest.raises(ValueError, match="got NaN at 1 of 9 points"):
        linregress(x, y, nan_policy="raise")
    x[:, 3] = 2.0
    y[2, 1] = 0.0
    if RETURNS_NAN:
        assert np.isnan(linregress(x, y).slope).tolist() == [False, False, False, True]
        return
    with pytest.raises(ValueError, match="two different values"):
        linregress(x, y)


SMALL: list[tuple[Any, Any, dict[str, Any], int]] = [
    ([], [], {}, 1),
    ([1.0], [2.0], {"keepdims": True}, 1),
    ([1.0, np.nan, 3.0], [2.0, 3.0, np.nan], {"nan_policy": "omit"}, 1),
    ([np.nan], [2.0], {}, 0),
    (np.ma.masked_array([1.0, 2.0], [True, False]), [2.0, 3.0], {}, 1),
    (np.ones((0, 3)), np.ones((0, 3)), {}, 1),
    (np.ones((1, 3)), np.ones((1, 3)), {}, 0),
    ([[1.0, 2.0], [2.0, np.nan]], [[1.0, 2.0], [2.0, 3.0]], {"nan_policy": "omit"}, 1),
]


@pytest.mark.parametrize(("x", "y", "options", "n_warnings"), SMALL)
def test_fewer_than_two_points(x: Any, y: Any, options: Any, n_warnings: int) -> None:
    assert_as_scipys(x, y, **options)
    _, caught = with_warnings(linregress, x, y, **options)
    assert [(w.category, w.filename) for w in caught] == [
        (SmallSampleWarning, __file__)
    ] * n_warnings
    assert all("two points" in str(w.message) for w in caught)


def test_two_points_and_a_constant_y() -> None:
    for y in ([2.0, 3.0], [3.0, 2.0], [2.0, 2.0]):
        for alternative in ALTERNATIVES:
            assert_as_scipys([1.0, 4.0], y, alternative)
    # SciPy's own fails for two points with keepdims.
    pvalue = linregress([1.0, 4.0], [2.0, 3.0], keepdims=True).pvalue
    np.testing.assert_array_equal(pvalue, [np.nan if RETURNS_NAN else 0.0])
    assert_as_scipys([1.0, 2, 4], [2.0, 2, 2])
    # The mean of this y is another number than y, and what SciPy makes of that is rounding.
    slope, intercept, *rest = linregress([1.0, 2.0, 4.0], [0.1, 0.1, 0.1])
    assert (slope, intercept) == (0.0, 0.1)
    assert np.isnan(rest).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_line_through_all_points(sign: float) -> None:
    x = np.arange(5.0)
    for alternative, pvalue in (("two-sided", 0.0), ("less", sign > 0), ("greater", sign < 0)):
        found = linregress(x, 2.0 * sign * x + 1.0, alternative)  # type: ignore[arg-type]
        assert tuple(found) == (2.0 * sign, 1.0, sign, pvalue, 0.0)


# Without noise the residuals are the rounding of y, too small to be determined from moments.
@pytest.mark.parametrize("noise", [1.0, 1e-7, 0.0])
def test_time_stamps_and_nearly_perfect_lines_lose_no_accuracy(noise: float) -> None:
    rng = np.random.default_rng(9)
    x = np.sort(1.7e9 + 86_400.0 * rng.random(40))
    y = 300.0 + 1e-4 * (x - 1.7e9) + noise * rng.normal(size=40)
    exact, errors = oracle.least_squares(x, y), exact_errors(x, y)
    result, (coefficients, covariance) = linregress(x, y), polyfit(x, y, 1, cov=True)
    # Each number is rounded a few times at the end.
    for line in (result[:2], coefficients):
        assert line == pytest.approx((exact.slope, exact.intercept), rel=1e-15)
    assert (result.stderr, result.intercept_stderr) == pytest.approx(errors, rel=1e-14)
    t = exact.slope / errors[0]
    assert result.pvalue == pytest.approx(2.0 * stats.t.sf(abs(t), 38), rel=1e-12)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(errors, rel=1e-14)
    correlation = -np.mean(x) / np.hypot(np.mean(x), np.std(x))
    assert covariance[0, 1] / math.prod(errors) == pytest.approx(correlation, rel=1e-12)
    assert covariance[0, 1] == covariance[1, 0]


@pytest.mark.parametrize(("p", "q"), [(600, 0), (-700, 0), (0, 600), (0, -700), (300, -300)])
def test_scales_beyond_the_squares_of_float64(p: int, q: int) -> None:
    x, y = cloud(10)
    one, other = linregress(x, y), linregress(np.ldexp(x, p), np.ldexp(y, q))
    # Powers of two round nothing but where a frame is chosen.
    for name, power in zip(FIELDS, (q - p, q, 0, 0, q - p, q), strict=True):
        scaled = np.ldexp(getattr(other, name), -power)
        assert scaled == pytest.approx(getattr(one, name), rel=1e-13), name


@pytest.mark.parametrize("nan_policy", ["propagate", "omit", "raise"])
@pytest.mark.parametrize("where", ["x", "y"])
def test_infinity_yields_nan_and_a_warning(where: str, nan_policy: Any) -> None:
    x, y = cloud(11)
    (x if where == "x" else y)[3] = -np.inf
    with pytest.warns(RuntimeWarning, match="got infinity, and the result is NaN") as caught:
        result = linregress(x, y, nan_policy=nan_policy)
    assert [w.filename for w in caught if "infinity" in str(w.message)] == [__file__]
    assert np.isnan([getattr(result, name) for name in FIELDS]).all()


ONLY_OURS = [
    ([1.0, 2.0, 3.0j], [1, 2, 3], {}, TypeError, "x must hold real numbers; got complex"),
    (np.array([1.0j]), [1.0], {}, TypeError, "x must hold real numbers; got complex"),
    ([1, 2, 3], [1, 2, 3], {"axis": ()}, TypeError, r"axis must be an integer.*; got \(\)"),
    ([1, 2], [1, 2], {"alternative": "both"}, ValueError, "alternative must be .*'both'"),
]


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "match"),
    [
        *ONLY_OURS,
        ([1, 2, 3], [1, 2], {}, ValueError, r"be broadcast to one another; got \(3,\) and \(2,\)"),
        ([1, 2, 3], [1, 2], {"axis": None}, ValueError, "the same length; got 3 and 2"),
        ([1, 2, 3], [], {}, ValueError, r"be broadcast to one another; got \(3,\) and \(0,\)"),
        ([1, 2, 3], [1, 2, 4], {"alternative": "both"}, ValueError, "alternative must be .*'both'"),
        ([1, 2, 3], [1, 2, 4], {"alternative": 1}, ValueError, "alternative must be .*; got 1"),
        ([1, 2, 3], [1, 2, 4], {"nan_policy": "drop"}, ValueError, "nan_policy must be .*'drop'"),
        ([1, 2, 3], [1, 2, 4], {"axis": 1}, np.exceptions.AxisError, "axis: axis 1 is out of"),
        ([1, 2, 3], [1, 2, 4], {"axis": (0, 0)}, ValueError, "repeated axis in `axis`"),
        ([1, 2, 3], [1, 2, 4], {"axis": 0.0}, TypeError, "axis must be an integer.*; got 0.0"),
        (
            ["a", "b", "c"],
            [1, 2, 4],
            {},
            TypeError,
            "x must hold real numbers; got str 'a' at index 0",
        ),
        ([1, 2, 3], None, {}, TypeError, "y must be an array of numbers; got None"),
    ],
)
def test_refused_arguments(x: Any, y: Any, options: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        linregress(x, y, **options)
    if not any(x is row[0] for row in ONLY_OURS):
        # For text, some versions raise a ValueError.
        with pytest.raises((error, ValueError)):
            stats.linregress(x, y, **options)


@pytest.mark.parametrize(
    ("x", "y"), [([1, 1, 1], [1, 2, 3]), ([1, 1], [1, 2]), ([[1, 1], [2, 1]], [1, 2])]
)
def test_a_constant_x(x: Any, y: Any) -> None:
    if RETURNS_NAN:
        assert np.isnan(assert_as_scipys(x, y).slope).any()
        return
    for function in (linregress, stats.linregress):
        with pytest.raises(ValueError, match="identical|two different values"):
            function(x, y)


def test_the_result_behaves_like_that_of_scipy() -> None:
    x, y = cloud(12)
    theirs = stats.linregress(x, y)
    *five, sixth = [*theirs, theirs.intercept_stderr]
    # The class of results while scipy.stats is not imported.
    result = LinregressResult(*five, intercept_stderr=sixth)
    slope, intercept, rvalue, pvalue, stderr = result
    assert result == (slope, intercept, rvalue, pvalue, stderr)
    assert result[:2] == (result.slope, result.intercept)
    fields = (1, 2, 3, 4, 5)
    text = repr(type(theirs)(*fields, intercept_stderr=6))
    assert repr(LinregressResult(*fields, intercept_stderr=6)) == text
    assert result._fields == theirs._fields
    assert list(result._asdict()) == list(theirs._asdict()) == list(FIELDS)
    with pytest.raises(AttributeError):
        result.slope = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError, match="intercept_stderr"):
        LinregressResult(*fields)  # type: ignore[call-arg]
    changed = result._replace(slope=7.0)
    assert (changed.slope, changed.intercept_stderr) == (7.0, result.intercept_stderr)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(result, protocol))
        assert repr(again) == repr(result)
        assert type(again) is LinregressResult
    assert repr(copy.deepcopy(result)) == repr(copy.copy(result)) == repr(result)


def test_drop_ins_may_replace_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.polyfit([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], 2)
    monkeypatch.setattr(np, "polyfit", polyfit)
    monkeypatch.setattr(stats, "linregress", linregress)
    np.testing.assert_array_equal(np.polyfit([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], 2), expected)
    assert np.polyfit([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 1)[0] == pytest.approx(1.0, rel=1e-15)
    assert stats.linregress([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).slope == 1.0


def test_scipy_is_imported_for_p_values_alone(run_script: Script) -> None:
    out = run_script(
        "import sys, warnings\n"
        "from fastfit.compat import linregress\n"
        "assert 'scipy' not in sys.modules\n"
        "linregress([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    linregress([1.0], [2.0])\n"
        "assert caught[0].category is RuntimeWarning\n"
        "print('scipy.special' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    assert out == "True False\n"
    out = run_script(
        "import sys\n"
        "sys.modules['scipy'] = None\n"
        "from fastfit.compat import linregress, polyfit\n"
        "print(linregress([1.0, 2.0], [1.0, 2.0]).slope, *polyfit([1.0, 2.0], [1.0, 2.0], 1))\n"
        "try: linregress([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])\n"
        "except ImportError as error: print(error)"
    )
    assert "1.0 1.0 0.0\n" in out
    assert "pip install 'fastfit[stats]'" in out


# polyfit

WEIGHTS: dict[str, Any] = {
    "none": None,
    "positive": [1.0, 2.0, 0.5, 3.0, 1.0, 1.0, 2.5, 0.1],
    "negative": [-1.0, 2.0, -0.5, 3.0, -1.0, 1.0, 2.5, 0.1],
    "integers with zeros": [0, 2, 1, 0, 3, 1, 0, 1],
    "float32": np.linspace(0.5, 4.0, 8, dtype=np.float32),
}


# NumPy's decomposition, and its inverse for the covariance, lose a few of 16 digits.
def assert_all_close(ours: Any, theirs: Any, rtol: float = 1e-11, atol: float = 1e-13) -> None:
    assert type(ours) is type(theirs)
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol, strict=True)


@pytest.mark.parametrize("cov", [False, True, "unscaled", "scaled", 0])
@pytest.mark.parametrize("w", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("columns", [(), (1,), (3,)])
@places
def test_polyfit_as_numpys(place: float, columns: Any, w: Any, cov: Any) -> None:
    rng = np.random.default_rng(13)
    x, y = place + rng.normal(size=8), rng.normal(size=(8, *columns))
    for degree in (1, 1.0, np.int64(1), True):
        options: Any = {"deg": degree, "w": w, "cov": cov}
        assert_all_close(polyfit(x, y, **options), np.polyfit(x, y, **options))


# Small integers and booleans are read as float32.
@pytest.mark.parametrize(
    "code",
    ["f8", FLOAT32, "i8", *(pytest.param(k, marks=pytest.mark.slow) for k in ("i1", "?")), ">f8"],
)
def test_polyfit_of_numbers_of_any_type(code: str) -> None:
    x, y = np.array([0, 1, 1, 0, 1]).astype(code), np.array([1, 0, 1, 0, 0]).astype(code)
    w = np.array([1, 1, 0, 1, 1]).astype(code)
    before = x.copy(), y.copy(), w.copy()
    assert_all_close(polyfit(x, y, 1, w=w, cov=True), np.polyfit(x, y, 1, w=w, cov=True))
    np.testing.assert_array_equal((x, y, w), before)
    assert_all_close(polyfit(x.tolist(), y.tolist(), 1), np.polyfit(x.tolist(), y.tolist(), 1))
    masked = np.ma.masked_array(x, mask=np.arange(5) == 0)
    assert_all_close(polyfit(masked, y, 1), np.polyfit(masked, y, 1))


X, Y = [0.0, 1.0, 2.0, 4.0], [1.0, 3.0, 2.0, 7.0]
LEFT_TO_NUMPY: list[tuple[Any, Any, dict[str, Any]]] = [
    (X, Y, {"deg": 0}),
    (X, Y, {"deg": 2, "cov": True, "w": [1, 2, 1, 1]}),
    (X, Y, {"deg": 1.5}),
    (X, Y, {"deg": 1, "full": True}),
    (X, Y, {"deg": 1, "rcond": 1e-3}),
    (X, [1j, 2.0, 3.0, 1.0], {"deg": 1}),
    (X, Y, {"deg": 1, "w": [0.0, 0.0, 2.0, 0.0]}),
    (X, Y, {"deg": 1, "w": [1.0, 1.0, 1e-180, 1e-200]}),
    ([1.0, 1.0, 1.0, 1.0], Y, {"deg": 1}),
    ([1.0], [2.0], {"deg": 1}),
    (X, [1.0, np.nan, 3.0, 1.0], {"deg": 1}),
    (X, [[1.0, 2.0], [2.0, np.nan], [3.0, 4.0], [1.0, 1.0]], {"deg": 1}),
    (X, [[1.0, 2.0], [2e200, -1e200], [3.0, 4.0], [1.0, 1.0]], {"deg": 1}),
    ([0.0, 1.0, 2.0, 1e200], [[1.0, 2.0], [2.0, 3.0], [3.0, 5.0], [1.0, 1.0]], {"deg": 1}),
    ([1.0, 1.0, 1.0, 1.0], [[1.0, 2.0], [2.0, 3.0], [3.0, 5.0], [1.0, 1.0]], {"deg": 1}),
    (X, [[1.0], [2.0], [3.0], [1.0]], {"deg": 1, "w": [0.0, 0.0, 2.0, 0.0]}),
    (X, Y, {"deg": 1, "w": [1.0, 1e-150, 1e-145, 0.0]}),
    (X, np.ones((4, 0)), {"deg": 1}),
]


@pytest.mark.parametrize(("x", "y", "options"), LEFT_TO_NUMPY)
def test_other_fits_are_those_of_numpy_to_the_last_bit(x: Any, y: Any, options: Any) -> None:
    """A constant x is among them, with its warning."""
    (ours, caught), (theirs, expected) = (
        with_warnings(function, x, y, **options) for function in (polyfit, np.polyfit)
    )
    assert_all_close(ours, theirs, 0.0, 0.0)
    assert [(w.category, str(w.message)) for w in caught] == [
        (w.category, str(w.message)) for w in expected
    ]


@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        ([], [], {"deg": 1}),
        ([[1.0, 2.0]], [1.0, 2.0], {"deg": 1}),
        ([1.0, 2.0], [1.0, 2.0, 3.0], {"deg": 1}),
        ([1.0, 2.0], 1.0, {"deg": 1}),
        ([1.0, 2.0], np.ones((2, 1, 1)), {"deg": 1}),
        (X, Y, {"deg": -1}),
        (X, Y, {"deg": "1"}),
        (X, Y, {"deg": 1, "w": [1.0, 2.0]}),
        (X, Y, {"deg": 1, "w": np.ones((4, 1))}),
        (X, Y, {"deg": 1, "w": 2.0}),
        (X, Y, {"deg": 1, "w": [1.0, 1.0, 1.0, 1.0j]}),
        ([1.0, 2.0], [1.0, 3.0], {"deg": 1, "cov": True}),
        (["a", "b"], [1.0, 2.0], {"deg": 1}),
        (np.array(X, dtype="g"), Y, {"deg": 1}),
    ],
)
def test_numpys_errors(x: Any, y: Any, options: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        np.polyfit(x, y, **options)
    with pytest.raises(theirs.type) as ours:
        polyfit(x, y, **options)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("cov", [True, "unscaled"])
@pytest.mark.parametrize("w", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_polyfit_of_columns_is_that_of_each(order: Any, w: Any, cov: Any) -> None:
    rng = np.random.default_rng(19)
    x = 1e6 + rng.normal(size=8)
    y = np.asarray(rng.normal(size=(8, 5)) * np.logspace(-9, 9, 5), order=order)
    coefficients, covariance = polyfit(x, y, 1, w=w, cov=cov)
    for k in range(5):
        expected, of_one = polyfit(x, y[:, k], 1, w=w, cov=cov)
        np.testing.assert_allclose(coefficients[:, k], expected, rtol=1e-13)
        column = covariance[..., k if cov is True else 0]
        np.testing.assert_allclose(column, of_one, rtol=1e-12)
    assert covariance.shape == (2, 2, 5 if cov is True else 1)


def test_polyfit_of_x_too_far_from_zero_for_numpy() -> None:
    x, y = 1e12 + np.arange(30) / 4096.0, np.arange(30) % 7.0
    with pytest.warns(np.exceptions.RankWarning):
        np.polyfit(x, y, 1)
    exact = oracle.least_squares(x, y)
    assert polyfit(x, y, 1) == pytest.approx((exact.slope, exact.intercept), rel=1e-15)


@pytest.mark.parametrize("power", [-400, 400])
@pytest.mark.parametrize("cov", [True, "unscaled"])
def test_polyfit_scales_with_weights_and_points(cov: Any, power: int) -> None:
    x, y = cloud(15)
    w = 0.5 + np.arange(12.0)
    one, one_cov = polyfit(x, y, 1, w=w, cov=cov)
    other, other_cov = polyfit(x, y, 1, w=np.ldexp(w, power), cov=cov)
    # Powers of two round nothing.
    np.testing.assert_array_equal(one, other)
    scale = -2 * power if cov == "unscaled" else 0
    np.testing.assert_array_equal(np.ldexp(one_cov, scale), other_cov)

    one, one_cov = polyfit(x, y, 1, cov=cov)
    other, other_cov = polyfit(np.ldexp(x, power), np.ldexp(y, power), 1, cov=cov)
    scales = np.array([-power, 0] if cov == "unscaled" else [0, power])
    # Powers of two round nothing but where a frame is chosen.
    assert np.ldexp(other, [0, -power]) == pytest.approx(one, rel=1e-13)
    back = np.ldexp(other_cov, -(scales + scales[:, np.newaxis]))
    assert back == pytest.approx(one_cov, rel=1e-13)
