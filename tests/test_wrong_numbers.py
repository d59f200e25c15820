"""Wrong numbers of other libraries, as docs/wrong-numbers.md shows them: the page is the table of these tests."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import re
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import scipy.stats
from sklearn.linear_model import LinearRegression

import fastfit as ff
from tests.conftest import needs_compiler
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "wrong-numbers.md"
TEXT = PAGE.read_text(encoding="utf-8")
# Versions in which the numbers of the page were seen.
VERSIONS = dict(re.findall(r"(\w+) (\d+\.\d+\.\d+)", TEXT.partition("```")[0]))
MENDED = 1e-12  # relative error from which on a number counts as right
# Digits of these depend on the BLAS in use, and with it on the processor.
USE_BLAS = {"numpy", "statsmodels"}


class Witness(NamedTuple):
    """A row of the page's table. Its numbers are text, with the digits of the page."""

    function: str  # the name of a library, "_", and what of it is called
    points: str
    right: str
    theirs: str
    ours: str
    off_by: str

    @property
    def library(self) -> str:
        return self.function.partition("_")[0]


WITNESSES = [
    Witness(*(cell.strip(" `") for cell in line.strip("|").split("|")))
    for line in TEXT.splitlines()
    if line.startswith("| `")
]


def points() -> dict[str, tuple[Any, Any, int]]:
    """Return the points that the page's first example defines: x, y and the window of each name."""
    ((_, code),) = blocks(PAGE, "python")
    names: dict[str, Any] = {}
    exec(code.partition("for name, ")[0], names)
    found: dict[str, tuple[Any, Any, int]] = names["points"]
    return found


POINTS = points()


def functions() -> dict[str, str]:
    """Return the code of the page's other examples, one of each library, by the names of the functions in it."""
    found = {}
    for _, code in blocks(PAGE, "py"):
        names = re.findall(r"^def (\w+)\(x, y, window\):$", code, re.MULTILINE)
        found.update(dict.fromkeys(names, code))
    return found


FUNCTIONS = functions()


class Exact(NamedTuple):
    """The right numbers of a window, and the size that errors of the slope are relative to."""

    slope: Fraction
    stderr: Fraction  # the root is rounded
    size: Fraction


def exact(name: str) -> Exact:
    """Derive slope and standard error of the last window, in fractions."""
    x, y, window = POINTS[name]
    there = np.isfinite(y[-window:])
    u, v = ([Fraction(float(each)) for each in a[-window:][there]] for a in (x, y))
    count, zero = len(u), Fraction(0)
    u_mean, v_mean = sum(u, zero) / count, sum(v, zero) / count
    xx = sum(((a - u_mean) ** 2 for a in u), zero)
    xy = sum(((a - u_mean) * (b - v_mean) for a, b in zip(u, v, strict=True)), zero)
    yy = sum(((b - v_mean) ** 2 for b in v), zero)
    variance = (yy - xy * xy / xx) / (count - 2) / xx
    size = max(abs(xy / xx), Fraction(math.sqrt(yy / xx)))
    return Exact(xy / xx, Fraction(math.sqrt(variance)), size)


def right_and_size(witness: Witness) -> tuple[Fraction, Fraction]:
    right = exact(witness.points)
    is_error = witness.function.endswith("_stderr")
    return (right.stderr, right.stderr) if is_error else (right.slope, right.size)


def error(witness: Witness, value: float | str) -> float:
    """Return by how much a value is off, as the page defines it."""
    right, size = right_and_size(witness)
    return float(abs(Fraction(float(value)) - right) / size)


def name_of(witness: Witness) -> str:
    return f"{witness.function}-{witness.points}".replace(" ", "_")


each_witness = pytest.mark.parametrize("witness", WITNESSES, ids=name_of)


def test_the_page_is_read_as_a_whole() -> None:
    assert len(WITNESSES) >= 12
    assert {each.function for each in WITNESSES} == set(FUNCTIONS)
    assert {each.points for each in WITNESSES} == set(POINTS)
    assert {each.library for each in WITNESSES} == set(VERSIONS)


@each_witness
def test_the_page_shows_what_fractions_give(witness: Witness) -> None:
    right, _ = right_and_size(witness)
    assert witness.right == repr(float(right))
    assert error(witness, witness.ours) <= 1e-14
    # A number that this page calls wrong is wrong by more than it claims, but not ten times.
    assert float(witness.off_by) <= error(witness, witness.theirs) < 10.0 * float(witness.off_by)


@pytest.mark.parametrize("name", POINTS)
def test_fastfit_is_right(name: str) -> None:
    import fastfit.xarray

    right = exact(name)
    x, y, window = POINTS[name]
    last = slice(-window, None)
    fits: list[Any] = [
        ff.fit_rolling(x, y, window, min_points=2)[-1],
        # Groups: fit_line of the points of each.
        ff.fit_line(x[last], y[last], nan_policy="omit"),
    ]
    if name == "gaps":
        xr = pytest.importorskip("xarray")
        fits.append(fastfit.xarray.fit_lines(xr.DataArray(y, {"x": x}, "x"), "x"))
    for fit in fits:
        assert abs(Fraction(float(fit.slope)) - right.slope) <= Fraction(1e-14) * right.size
        if name == "gaps":
            assert abs(Fraction(float(fit.stderr)) / right.stderr - 1) <= Fraction(1e-14)


@needs_compiler
@pytest.mark.filterwarnings("ignore")  # statsmodels warns, and rightly
@each_witness
def test_the_library_is_wrong_as_the_page_says(witness: Witness) -> None:
    pytest.importorskip(witness.library)
    version = importlib.metadata.version(witness.library)
    names: dict[str, Any] = {"np": np}
    exec(FUNCTIONS[witness.function], names)
    value = float(names[witness.function](*POINTS[witness.points]))
    if error(witness, value) <= MENDED:
        pytest.skip(f"mended in {witness.library} {version}: take it off the page")
    assert error(witness, value) >= float(witness.off_by)
    same = version == VERSIONS[witness.library] and platform.machine() == "x86_64"
    if same and witness.library not in USE_BLAS:
        assert f"{value:.6g}" == witness.theirs


@pytest.mark.parametrize("name", [each for each in POINTS if each != "gaps"])
def test_what_the_page_calls_right_is_right(name: str) -> None:
    x, y, window = POINTS[name]
    u, v = x[-window:], y[-window:]
    covariances = pl.DataFrame({"x": u, "y": v, "key": np.zeros(window)}).group_by("key")
    slope = pl.cov("x", "y") / pl.cov("x", "x")
    for found in (
        scipy.stats.linregress(u, v).slope,
        LinearRegression().fit(u[:, None], v).coef_[0],
        covariances.agg(slope=slope)["slope"][0],
    ):
        assert abs(Fraction(float(found)) - exact(name).slope) < 1e-9 * exact(name).size
