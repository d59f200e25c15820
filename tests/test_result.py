"""The result of a fit: text, JSON, predictions, history."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import textwrap
from typing import Any

import numpy as np
import pytest

import fastfit as ff
from tests.conftest import Script

X = np.array([1.0, 2.0, 3.0, 4.0])
Y = np.array([2.0, 1.0, 4.0, 3.0])


@pytest.fixture
def fit() -> ff.LineFit:
    return ff.fit_line(X, Y, solver=ff.GradientDescent(record_every=1))


def test_repr_is_one_readable_line(fit: ff.LineFit) -> None:
    assert repr(fit) == str(fit)
    assert repr(fit) == "LineFit: y = 0.6 x + 1, loss 0.8, 4 points, converged after 1 iteration"
    assert "x - 5," in repr(ff.fit_line([0, 1], [-5, 0]))


def test_summary_is_a_table(fit: ff.LineFit) -> None:
    lines = fit.summary().splitlines()
    cells = [tuple(re.split("  +", line.strip(), maxsplit=1)) for line in lines[:-1]]
    # The slope is 0.6 +- sqrt(0.32), the intercept 1 +- sqrt(2.4), and t of 2 degrees of freedom 4.303.
    assert cells == [
        ("line", "y = 0.6 x + 1"),
        ("slope", "0.60 +- 0.57"),
        ("95 % interval", "-1.83 to 3.03"),
        ("p-value (slope = 0)", "0.4"),
        ("intercept", "1.0 +- 1.5"),
        ("95 % interval", "-5.7 to 7.7"),
        ("R squared", "0.36"),
        ("residual std", "1.26491"),
        ("median |residual|", "0.8"),
        ("mean loss", "0.8"),
        ("points", "4"),
        ("left out", "0"),
        ("iterations", "1"),
        ("passes over the points", "1"),
        ("status", "CONVERGED"),
    ]
    assert lines[-1] == ff.Status.CONVERGED.value


def test_the_median_in_the_summary_is_that_of_all_points_while_they_are_there() -> None:
    x = np.arange(20_000.0)
    y = np.sin(x) * x
    fit = ff.fit_line(x, y)
    row = next(line for line in fit.summary().splitlines() if line.startswith("median |residual|"))
    assert row.split()[-1] == f"{np.median(abs(y - fit.predict(x))):.4g}"
    of_list = ff.fit_line(x.tolist(), y.tolist()).summary()  # whose points are gone
    assert "median |residual|       about " in of_list


def test_a_tiny_p_value_is_below_what_is_printed() -> None:
    x = np.arange(1000.0)
    assert "p-value (slope = 0)   < 1e-300\n" in ff.fit_line(x, x + np.sin(x)).summary()


@pytest.mark.parametrize(
    ("slope", "error", "shown"),
    [
        (0.00210147, 3.4e-6, "0.0021015 +- 0.0000034"),
        (-2499.95, 5700.0, "-2500 +- 5700"),
        (181.567, 0.29, "181.57 +- 0.29"),
        (2.10147e292, 3.4e289, "2.1015e+292 +- 3.4e+289"),
        (2.1e-12, 3.4e-14, "2.100e-12 +- 3.4e-14"),
        (0.0, 0.05, "0.000 +- 0.050"),
        (123456.789, 99.7, "123460 +- 100"),
        (1.0, 1e-30, "1.0000000000000000e+00 +- 1.0e-30"),
    ],
)
def test_numbers_have_the_digits_that_their_errors_warrant(
    slope: float, error: float, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ff.LineFit, "stderr", error)
    found = dataclasses.replace(ff.fit_line([0, 1, 2], [0, 1, 3]), slope=slope).summary()
    (row,) = (line for line in found.splitlines() if line.startswith("slope "))
    assert row.split(maxsplit=1)[1] == shown


def test_summaries_are_80_columns_wide_and_tables_of_html() -> None:
    x = np.arange(50) * 86_400.0 + 1.7e9
    for options in ({}, {"loss": "tukey"}, {"fit_intercept": False}):
        fit = ff.fit_line(x, 1.0 / 3.0 * x + np.cos(x), **options)
        text = fit.summary()
        assert max(map(len, text.splitlines())) <= 80
        assert ("R squared (uncentered)" in text) == ("fit_intercept" in options)
        assert ("R squared of least squares" in text) == ("loss" in options)
        page = fit._repr_html_()
        assert page.count("<tr>") == len(text.splitlines()) - len(textwrap.wrap(fit.message, 80))
        assert "p-value (slope = 0)" in page
    with pytest.warns(ff.ConvergenceWarning):
        stopped = ff.fit_line(
            x, np.cos(x), solver=ff.GradientDescent(max_iter=1, learning_rate=0.1)
        )
    assert max(map(len, stopped.summary().splitlines())) <= 80


def test_predict(fit: ff.LineFit) -> None:
    assert fit.predict(10) == pytest.approx(7.0)
    assert isinstance(fit.predict(10), float)
    np.testing.assert_allclose(fit.predict([[0, 1], [2, 3]]), [[1.0, 1.6], [2.2, 2.8]])
    assert np.isnan(fit.predict([np.nan])[0])


@pytest.mark.parametrize("bad", ["a", ["1"], None, 1j, np.array(["2020"], dtype="datetime64[D]")])
def test_predict_takes_numbers_only(fit: ff.LineFit, bad: Any) -> None:
    with pytest.raises(TypeError, match="x must"):
        fit.predict(bad)


def test_to_dict_is_ready_for_json(fit: ff.LineFit) -> None:
    again = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert again == fit.to_dict()
    assert again["slope"] == fit.slope
    assert (again["status"], again["converged"]) == ("CONVERGED", True)
    assert again["history"]["iteration"] == [0, 1]
    assert ff.fit_line(X, Y).to_dict()["history"] is None


def test_nan_and_infinity_are_none_in_json() -> None:
    missing = ff.fit_line(X, [np.nan, 1, 2, 3], nan_policy="propagate")
    assert json.loads(json.dumps(missing.to_dict(), allow_nan=False))["slope"] is None
    solver = ff.GradientDescent(learning_rate=1e200, record_every=1)
    with pytest.warns(ff.ConvergenceWarning):
        diverged = ff.fit_line(X, Y, solver=solver)
    assert None in json.loads(json.dumps(diverged.to_dict(), allow_nan=False))["history"]["loss"]


def test_a_result_is_frozen(fit: ff.LineFit) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.slope = 3.0  # type: ignore[misc]
    assert fit.history is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.history.loss = np.zeros(2)  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        fit.history.loss[0] = 3.0


@pytest.mark.parametrize("status", ff.Status)
def test_every_status_is_a_message(status: ff.Status) -> None:
    assert status.value.endswith(".")
    assert (
        status is ff.Status.CONVERGED or len(status.value) > 60
    )  # what and why; solvers add what to change


def history(**columns: Any) -> ff.History:
    size = len(next(iter(columns.values())))
    filled = {name: columns.get(name, [0.0] * size) for name in ff.Iterate._fields[1:]}
    return ff.History.of(
        ff.Iterate(i, *row) for i, row in enumerate(zip(*filled.values(), strict=True))
    )


def test_history_prints_three_digits_of_its_largest_entries() -> None:
    table = str(history(slope=[123.4, -0.001], intercept=[1.236e-12, 0], loss=[98765.4321, 0.5]))
    head, first, second = (line.split() for line in table.splitlines())
    assert head == list(ff.Iterate._fields)
    assert first == ["0", "123.40", "1.24e-12", "0.00", "0.00", "98765.43"]
    assert second == ["1", "0.00", "0.00e+00", "0.00", "0.00", "0.50"]
    small = str(history(slope=[0.012345, -0.5e-4], loss=[0.00123456789, 0.5e-3])).splitlines()
    assert small[1].split()[1] == "0.0123"
    assert small[1].split()[5] == "0.00123457"
    table = str(history(slope=[1.0, np.inf], intercept=[1e12, np.nan], loss=[9.996, np.inf]))
    assert table.splitlines()[2].split() == ["1", "inf", "nan", "0.00", "0.00", "inf"]
    assert table.splitlines()[1].split()[2] == "1.00e+12"
    assert len({len(line) for line in table.splitlines()}) == 1


def test_the_history_is_a_dictionary_and_a_table() -> None:
    states = history(slope=[1.0, 2.0, 3.0], loss=[3.0, 2.0, 1.0])
    assert list(states) == list(states.keys()) == list(ff.Iterate._fields)
    assert states["slope"] is states.slope
    again = pickle.loads(pickle.dumps(states))
    assert type(again) is ff.History
    assert (again == states) is False  # arrays are not compared
    for library in ("pandas", "polars"):
        table = pytest.importorskip(library).DataFrame(again)
        assert table.shape == (3, 6)
        assert table["loss"].to_list() == [3.0, 2.0, 1.0]


def test_levels_of_intervals(fit: ff.LineFit) -> None:
    # t of 2 degrees of freedom at 0.995 is 9.925: 0.6 +- 9.925 sqrt(0.32).
    assert re.search(r"99 % interval +-5\.01 to 6\.21", fit.summary(level=0.99))
    found = fit.to_dict(level=0.99)
    half = 9.924843 * np.sqrt(0.32)
    assert found["conf_int"][0] == pytest.approx([0.6 - half, 0.6 + half], rel=1e-6)
    assert found["level"] == 0.99
    # t = 0.6 / sqrt(0.32), and with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2), which is 0.4.
    assert found["pvalue"] == pytest.approx(0.4, rel=1e-12)
    for bad in (0.0, 1.0, 95):
        for call in (fit.summary, fit.to_dict):
            with pytest.raises(ValueError, match="level must be a probability between 0 and 1"):
                call(level=bad)


@pytest.mark.parametrize(
    ("options", "weight_sum"),
    [
        ({}, 4.0),
        ({"sample_weight": [1, 2, 3, 0.5]}, 6.5),
        ({"sigma": [0.1, 0.2, 0.3, 0.1]}, 4.0),
        ({"sigma": 0.5, "sample_weight": [1, 2, 3, 0.5]}, 6.5),
    ],
)
def test_the_sum_of_the_weights(options: dict[str, Any], weight_sum: float) -> None:
    assert ff.fit_line(X, Y, **options).to_dict()["weight_sum"] == weight_sum


def test_without_scipy_there_are_no_intervals(run_script: Script) -> None:
    out = run_script(
        "import sys; sys.modules['scipy'] = None\n"
        "import fastfit as ff\n"
        "found = ff.fit_line([1, 2, 3], [1, 2, 4], backend='numpy').to_dict()\n"
        "print(found['pvalue'], found['conf_int'], found['stderr'] > 0)"
    )
    assert out == "None [[None, None], [None, None]] True\n"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (([0.0, 1.0], [1.0, 3.0]), "the total weight is 2, and must be above 2"),
        ((X, Y, {"sample_weight": 0.25}), "the total weight is 1, and must be above 2"),
        (
            ([1.0], [2.0], {"fit_intercept": False}),
            "the total weight is 1, and must be above 1",
        ),
        (
            (X, Y, {"solver": ff.GradientDescent(learning_rate=9.0)}),
            "the line did not converge",
        ),
        (
            # Two points on a line, and one that does not count.
            ([0.0, 1.0, 3.0], [0.0, 1.0, 90.0], {"loss": ff.Tukey(3.0)}),
            "too few points count to leave any residuals",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_a_summary_says_why_there_are_no_errors(given: Any, why: str) -> None:
    x, y, options = (*given, {})[:3]
    fit = ff.fit_line(x, y, **options)
    assert np.isnan(fit.stderr)
    assert f"none: {why}" in fit.summary()
    assert max(map(len, fit.summary().splitlines())) <= 80


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_a_line_that_did_not_converge_has_no_share_of_the_variance() -> None:
    diverged = ff.fit_line(X, Y, solver=ff.GradientDescent(learning_rate=9.0))
    assert np.isnan(diverged.rsquared)
    assert "R squared" not in diverged.summary()
    assert diverged.rvalue == pytest.approx(0.6)  # of x and y, whatever the line
    # This one stops early at the line of least squares.
    stopped = ff.fit_line(X, Y, solver=ff.GradientDescent(init=(0.6, 1.0), tol=0, max_iter=1))
    assert not stopped.converged
    assert stopped.rsquared == pytest.approx(0.36)


def test_what_rounding_makes_of_zero_is_printed_as_zero() -> None:
    x = np.array([0.1, 0.2, 0.3, 0.7, 1.1])
    for scale in (1.0, 1e-200, 1e150):
        fit = ff.fit_line(x, 3 * scale * x)
        assert fit.intercept != 0.0
        assert fit.equation(3) == f"y = {3 * scale:.3g} x + 0"
    # What is small, but not by rounding, is printed, also beside large numbers.
    assert ff.fit_line(x, 3 * x - 1e-13).equation(3) == "y = 3 x - 1e-13"
    n = np.arange(4.0)
    assert ff.fit_line(n, 1e15 + n / 8).equation(4) == "y = 0.125 x + 1e+15"
    assert ff.fit_line(n, 1e16 + 2 * n).equation(4) == "y = 2 x + 1e+16"
    assert ff.fit_line(1.7e9 + n, 1.7e9 + n + 2.0**-20).equation(3) == "y = 1 x + 9.54e-07"
    stamps = 1_700_000_000_000_000_000 + np.arange(4)
    assert ff.fit_line(np.arange(4), stamps).equation(2) == "y = 1 x + 1.7e+18"
    assert ff.fit_line(stamps, stamps + 3).equation() == "y = 1 x + 3"
    flat = ff.fit_line(x, [0.1, 0.3, 0.1, 0.3, 0.2], solver=ff.GradientDescent(max_iter=1, tol=0.5))
    assert "-0 " not in flat.equation()
