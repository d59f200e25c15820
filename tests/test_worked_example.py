"""All 100 printed numbers of the worked example."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fastfit as ff
from fastfit import worked_example
from fastfit.cli import app
from tests.conftest import COMPILED, DATA

DECIMALS = {"slope": 2, "intercept": 2, "grad_slope": 2, "grad_intercept": 2, "loss": 6}
FIVE_THOUSAND_STEPS = ff.GradientDescent(
    init=(-2.0, 1.0), learning_rate=0.01, standardize=False, max_iter=5000, record_every=250
)


def printed_states() -> list[dict[str, str]]:
    with open(DATA / "worked_example_descent.csv", newline="") as file:
        return list(csv.DictReader(file))


def points() -> tuple[Any, Any]:
    x, y = np.loadtxt(DATA / "worked_example_points.csv", delimiter=",", skiprows=1).T
    return x, y


def assert_all_numbers(history: Any) -> int:
    compared = 0
    for state in printed_states():
        (row,) = np.flatnonzero(np.asarray(history["iteration"]) == int(state["iteration"]))
        for name, decimals in DECIMALS.items():
            got = f"{round(history[name][row], decimals) + 0.0:.{decimals}f}"
            assert got == state[name], (state["iteration"], name)
            compared += 1
    return compared


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
@pytest.mark.parametrize("passes", ["auto", "samples"])
def test_every_printed_number(backend: Any, passes: str) -> None:
    solver = replace(FIVE_THOUSAND_STEPS, passes=passes)
    fit = ff.fit_line(*points(), solver=solver, backend=backend)
    assert fit.n_passes == (1 if passes == "auto" else 5002)
    assert fit.history is not None
    assert assert_all_numbers(vars(fit.history)) == 100
    assert fit.n_iter == 5000
    assert fit.status is ff.Status.MAX_ITER


@pytest.mark.skipif(not COMPILED, reason="takes 5,000 passes in the interpreter")
@pytest.mark.parametrize("passes", ["auto", "samples"])
def test_states_to_the_last_bit_but_rounding(passes: str) -> None:
    """The same descent, written out in NumPy."""
    x, y = points()
    a, b = -2.0, 1.0
    with pytest.warns(ff.ConvergenceWarning):
        history = ff.fit_line(x, y, solver=replace(FIVE_THOUSAND_STEPS, passes=passes)).history
    assert history is not None
    for i in range(5000):
        r = y - (a * x + b)
        gradient = -2 * np.mean(r * x), -2 * np.mean(r)
        if i % 250 == 0:
            row = i // 250
            # 5,000 contracting steps, each rounded: the states agree to a few ulp of slope and intercept.
            state = [history.slope[row], history.intercept[row]]
            assert state == pytest.approx([a, b], rel=0, abs=1e-14)
            state = [history.grad_slope[row], history.grad_intercept[row], history.loss[row]]
            assert state == pytest.approx([*gradient, np.mean(r * r)], rel=0, abs=1e-14)
        a, b = a - 0.01 * gradient[0], b - 0.01 * gradient[1]


def test_the_package_carries_the_same_points() -> None:
    x, y = points()
    assert tuple(x) == worked_example.X
    assert tuple(y) == worked_example.Y


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_demo_prints_the_table(backend: str) -> None:
    result = CliRunner().invoke(app, ["demo", "--backend", backend])
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["iteration", *DECIMALS]
    expected = [list(state.values()) for state in printed_states()]
    assert [row.split() for row in rows] == expected


def test_demo_as_json() -> None:
    result = CliRunner().invoke(app, ["demo", "--json"])
    assert result.exit_code == 0
    assert assert_all_numbers(json.loads(result.stdout)["history"]) == 100
