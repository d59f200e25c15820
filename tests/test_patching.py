"""The drop-ins in the place of SciPy's and NumPy's functions, and as the installed SciPy behaves."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fastfit import compat
from tests.conftest import compiles

stats = pytest.importorskip("scipy.stats")
scipys = importlib.import_module("fastfit.compat.scipy")
patching = importlib.import_module("fastfit.compat.patching")

X, Y = np.array([0.0, 1.0, 2.0, 5.0]), np.array([1.0, 3.0, 5.5, 11.0])
NUMPYS, SCIPYS = np.polyfit, stats.linregress


@pytest.fixture(autouse=True)
def nothing_is_left_patched() -> Iterator[None]:
    yield
    compat.unpatch()
    assert (np.polyfit, stats.linregress) == (NUMPYS, SCIPYS)


def test_patching_says_what_it_replaced_and_is_idempotent() -> None:
    for _ in range(2):
        assert compat.patch() == ["numpy.polyfit", "scipy.stats.linregress"]
        assert np.polyfit is compat.polyfit
        assert stats.linregress is compat.linregress
        # What NumPy does is still done by NumPy.
        np.testing.assert_allclose(np.polyfit(X, Y, 2), NUMPYS(X, Y, 2))
    for _ in range(2):
        compat.unpatch()
        assert (np.polyfit, stats.linregress) == (NUMPYS, SCIPYS)


def test_blocks_nest_and_leave_a_lasting_patch_alone() -> None:
    with compat.patched() as replaced:
        assert "numpy.polyfit" in replaced
        with compat.patched():
            compat.unpatch()
            assert np.polyfit is compat.polyfit
        assert np.polyfit is compat.polyfit
    assert np.polyfit is NUMPYS
    compat.patch()
    with pytest.raises(RuntimeError, match="inside"), compat.patched():
        raise RuntimeError("inside")
    assert np.polyfit is compat.polyfit


def test_what_stands_there_by_now_is_left_alone() -> None:
    compat.patch()
    other: Any = object()
    np.polyfit = other
    try:
        compat.unpatch()
        assert np.polyfit is other
    finally:
        np.polyfit = NUMPYS


def test_scipy_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(patching._PLACES, ("no_such_library", "function"), object())
    assert compat.patch() == ["numpy.polyfit", "scipy.stats.linregress"]


def test_threads_share_one_patch() -> None:
    inside, leave = threading.Barrier(5), threading.Event()
    seen: list[Any] = []

    def work() -> None:
        with compat.patched():
            inside.wait(10)
            leave.wait(10)
        seen.append(np.polyfit)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    assert np.polyfit is compat.polyfit
    leave.set()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 4
    assert np.polyfit is NUMPYS


def test_a_module_loaded_again_while_patched_still_finds_numpys_function() -> None:
    module = importlib.import_module("fastfit.compat.numpy")
    before = dict(vars(module))
    compat.patch()
    try:
        importlib.reload(module)
        np.testing.assert_allclose(module.polyfit(X, Y, 2), NUMPYS(X, Y, 2))
    finally:
        vars(module).update(before)


def test_results_are_of_the_class_of_scipy_once_it_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = SCIPYS(X, Y)
    assert type(compat.linregress(X, Y)) is type(theirs)
    monkeypatch.delitem(scipys.sys.modules, "scipy.stats._stats_py")
    assert type(compat.linregress(X, Y)) is compat.LinregressResult


@pytest.mark.parametrize("version", ["1.14.1", "1.17.2", "1.18.0", "1.19.0.dev0+1", "2.0.0", None])
@pytest.mark.parametrize("points", ["two", "constant x", "constant y"])
def test_degenerate_points_are_as_in_the_scipy_that_is_there(
    version: str | None, points: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SciPy 1.18 returns NaN where it returned zeros or raised before."""
    if version is None:
        version = importlib.import_module("scipy").__version__
    monkeypatch.setattr(scipys.importlib.metadata, "version", lambda name: version)
    scipys._is_like_1_18.cache_clear()
    is_new = tuple(map(int, version.split(".")[:2])) >= (1, 18)
    try:
        single = compat.linregress(X.astype(np.float32), Y.astype(np.float32))
        assert single.slope.dtype == single.pvalue.dtype == (np.float32 if is_new else np.float64)
        if points == "two":
            result = compat.linregress([1.0, 2.0], [3.0, 5.0])
            assert (result.slope, result.intercept, result.rvalue) == (2.0, 1.0, 1.0)
            errors = [result.pvalue, result.stderr, result.intercept_stderr]
            np.testing.assert_array_equal(errors, [np.nan] * 3 if is_new else [0.0] * 3)
        elif points == "constant y":
            result = compat.linregress([1.0, 2.0, 4.0], [3.0, 3.0, 3.0])
            assert (result.slope, result.intercept) == (0.0, 3.0)
            assert np.isnan(result.rvalue)
        elif is_new:
            assert np.isnan(compat.linregress([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])).all()
        else:
            with pytest.raises(ValueError, match="x must hold at least two different values"):
                compat.linregress([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    finally:
        scipys._is_like_1_18.cache_clear()


@pytest.mark.parametrize("weighted", [False, True])
# More than 51 binary digits of x make other loops, which compile for long.
@pytest.mark.parametrize("offset", [pytest.param(0.0, marks=compiles), 1e9])
def test_many_columns_are_fitted_exactly(offset: float, weighted: bool, rng: Any) -> None:
    """To the last place but one, by rational arithmetic; and as NumPy does where that is exact enough."""
    x = offset + np.arange(20.0) ** 1.5
    y = rng.normal(size=(20, 7)) + 3.0 * np.arange(7) + offset
    w = 1.0 + np.arange(20.0) % 3 if weighted else None
    found = compat.polyfit(x, y, 1, w=w)
    xs, k = list(map(Fraction, x.tolist())), [Fraction(1)] * 20
    if w is not None:
        k = [Fraction(each) ** 2 for each in w.tolist()]
    for column in range(7):
        ys = list(map(Fraction, y[:, column].tolist()))
        x_mean = sum(map(Fraction.__mul__, k, xs)) / sum(k)
        y_mean = sum(map(Fraction.__mul__, k, ys)) / sum(k)
        dx = [each - x_mean for each in xs]
        xy = sum(a * b * (c - y_mean) for a, b, c in zip(k, dx, ys, strict=True))
        slope = xy / sum(a * b * b for a, b in zip(k, dx, strict=True))
        exact = float(slope), float(y_mean - slope * x_mean)
        assert found[:, column] == pytest.approx(exact, rel=4.5e-16)
    if not offset:
        for cov in (True, "unscaled"):
            own, theirs = (f(x, y, 1, w=w, cov=cov) for f in (compat.polyfit, NUMPYS))
            assert own[1].shape == theirs[1].shape
            np.testing.assert_allclose(own[1], theirs[1], rtol=1e-11)


def test_columns_that_are_not_finite_or_beyond_squares_are_left_to_numpy() -> None:
    y = np.column_stack([Y, Y])
    y[0, 1] = np.nan
    np.testing.assert_array_equal(compat.polyfit(X, y, 1), NUMPYS(X, y, 1))
    huge = np.column_stack([1e200 * Y, Y])
    np.testing.assert_allclose(compat.polyfit(X, huge, 1), NUMPYS(X, huge, 1), rtol=1e-12)
