"""What SciPy's linregress and NumPy's polyfit return, field by field, and better where they lose digits."""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats._axis_nan_policy import SmallSampleWarning

from fastfit.compat import linregress, polyfit

FIELDS = ("slope", "intercept", "rvalue", "pvalue", "stderr", "intercept_stderr")
ALTERNATIVES = ("two-sided", "less", "greater")


def cloud(seed: int, n: int = 12, k: tuple[int, ...] = ()) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *k))
    return x, rng.normal() * x + rng.normal(size=x.shape)


def assert_same(ours: Any, theirs: Any) -> None:
    for name in FIELDS:
        got, expected = getattr(ours, name), getattr(theirs, name)
        assert np.shape(got) == np.shape(expected), name
        assert isinstance(got, np.ndarray) == isinstance(expected, np.ndarray), name
        # SciPy's sums of deviations lose a few of 16 digits, and its p-values twice as many.
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-14, err_msg=name)


def exact_errors(x: Any, y: Any) -> tuple[float, float]:
    """Return the standard errors of slope and intercept, from exact sums."""
    xs, ys = [Fraction(float(a)) for a in x], [Fraction(float(b)) for b in y]
    n = len(xs)
    x_mean, y_mean = sum(xs) / n, sum(ys) / n
    sxx = sum((a - x_mean) ** 2 for a in xs)
    sxy = sum((a - x_mean) * (b - y_mean) for a, b in zip(xs, ys, strict=True))
    left = sum((b - y_mean) ** 2 for b in ys) - sxy * sxy / sxx
    slope_variance = left / (n - 2) / sxx
    return math.sqrt(slope_variance), math.sqrt(slope_variance * (sxx / n + x_mean**2))


# linregress


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(("seed", "n"), [(1, 3), (2, 4), (3, 12), (4, 60), (5, 300)])
def test_one_line(seed: int, n: int, alternative: Any) -> None:
    x, y = cloud(seed, n)
    result = linregress(x, y, alternative)
    assert_same(result, stats.linregress(x, y, alternative))
    assert {type(getattr(result, name)) for name in FIELDS} == {np.float64}
    assert linregress(x=x, y=y, alternative=alternative, axis=None) == result


def test_signatures() -> None:
    ours, theirs = inspect.signature(linregress), inspect.signature(stats.linregress)
    for mine, his in [(ours, theirs), (inspect.signature(polyfit), inspect.signature(np.polyfit))]:
        assert [(p.name, p.kind, p.default) for p in mine.parameters.values()] == [
            (p.name, p.kind, p.default) for p in his.parameters.values()
        ]


@pytest.mark.parametrize(
    "kind",
    [list, tuple, pd.Series, *(np.dtype(code).type for code in ("f4", "f2", "g", "i8", "u1", "?"))],
)
def test_numbers_of_any_kind(kind: Any) -> None:
    x, y = np.array([0.0, 1, 1, 0, 1]), np.array([1.0, 4, 2, 0, 3])
    convert = kind if kind in (list, tuple, pd.Series) else (lambda v: v.astype(kind))
    result = linregress(convert(x), convert(y))
    # The numbers are exact in each kind, NumPy's booleans of y apart.
    assert_same(result, stats.linregress(x, y.astype(bool) if kind is np.bool_ else y))
    assert type(result.slope) is np.float64


def test_arrays_of_any_layout_are_left_as_they_are() -> None:
    x, y = cloud(6, 20)
    expected, before = stats.linregress(x[::2], y[1::2]), (x.copy(), y.copy())
    x.flags.writeable = False
    assert_same(linregress(x[::2], y[1::2]), expected)
    assert_same(linregress(x[::2].astype(">f8"), y[1::2]), expected)
    np.testing.assert_array_equal((x, y), before)
    assert y.flags.writeable


SHAPES = [
    ((4, 3), (4, 3)),
    ((4, 1), (4, 3)),
    ((4,), (3, 4)),
    ((3, 1, 4), (5, 4)),
    ((4, 3, 2), (4, 3, 2)),
    ((5,), (5,)),
]


@pytest.mark.parametrize("nan_policy", ["propagate", "omit", "raise"])
@pytest.mark.parametrize("axis", [0, -1, 1, None, (0, 1), (1, -1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_any_shape(axis: Any, keepdims: bool, nan_policy: Any) -> None:
    options: Any = {"axis": axis, "keepdims": keepdims, "nan_policy": nan_policy}
    compared = 0
    for seed, ((x_shape, y_shape), n_nan) in enumerate(itertools.product(SHAPES, (0, 2))):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=x_shape), rng.normal(size=y_shape)
        y.flat[:n_nan] = np.nan
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SmallSampleWarning)
                expected = stats.linregress(x, y, **options)
        except (ValueError, AttributeError) as error:
            # An attribute is what SciPy lacks for two points with keepdims.
            if isinstance(error, ValueError):
                with pytest.raises(ValueError, match="axis|x and y must|two different values"):
                    linregress(x, y, **options)
            continue
        if (
            np.nanmax(np.abs(expected.rvalue), initial=1.0)
            >= 1e-10
            > np.min(np.nan_to_num(expected.stderr, nan=1.0), initial=1.0)
        ):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallSampleWarning)
            assert_same(linregress(x, y, **options), expected)
        compared += 1
    assert compared
