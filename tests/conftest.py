from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numba
import numpy as np
import pytest
from hypothesis import settings

from fastfit.losses import LOSSES

mpl.use("Agg")
# The same examples in every run.
settings.register_profile("fastfit", derandomize=True, deadline=None)
settings.load_profile("fastfit")

DATA = Path(__file__).parent / "data"

# The suite runs once more with the compiler off, where a pass takes a microsecond a point.
COMPILED = not numba.config.DISABLE_JIT
needs_compiler = pytest.mark.skipif(not COMPILED, reason="is about compiled code")
# Marks of tests that compile much: with the compiler on, they run where they are asked for; without it, always.
compiles_much = [pytest.mark.slow, pytest.mark.long] if COMPILED else []
# And of those whose loops compile for some seconds that no other test needs.
compiles = [pytest.mark.slow] if COMPILED else []

Script = Callable[..., str]


def loss_of(name: str, f_scale: float = 1.5) -> Any:
    """Return the loss of this name as the kernels take it: with a number for whatever it has."""
    loss: Any = LOSSES[name]()
    return loss._make([f_scale] * len(loss))


def read_only(values: Any) -> Any:
    """Return an array as passes get it: compiled code for arrays that can be written is another."""
    values = values.view()
    values.flags.writeable = False
    return values


# Files of which many tests fit many lines or windows, whose loops compile for up to ten seconds each.
OF_MANY_LINES = (
    *("test_compat.py", "test_docs.py", "test_lines.py", "test_patching.py", "test_rolling.py"),
    *("test_wrong_numbers.py", "test_xarray.py", "test_groups.py", "test_plotting_lines.py"),
    "test_cli_lines.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if COMPILED:
        # First and side by side: of several processes, one compiles them while others run other tests.
        items.sort(key=lambda item: item.path.name not in OF_MANY_LINES)
        return
    # Tests of the NumPy backend are the same with the compiler off: they ran with it on.
    of_numpy = [item for item in items if set(_ids(item)) & {"numpy", "reference"}]
    config.hook.pytest_deselected(items=of_numpy)
    items[:] = [item for item in items if item not in set(of_numpy)]
    for item in items:  # NumPy's scalars warn of an overflow that compiled arithmetic lets pass
        item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning"))


def _ids(item: pytest.Item) -> list[str]:
    return item.name.partition("[")[2].rstrip("]").split("-")


@pytest.fixture(params=["numba", "numpy"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    """Close the figures that a test has left with pyplot."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture
def run_script() -> Script:
    """Run Python code in a process of its own, and return what it prints. Compiled code is shared with this process."""

    def run(code: str, **environment: str) -> str:
        result = start_script(code, **environment)
        out, err = result.communicate(timeout=240)
        assert result.returncode == 0, f"exit code {result.returncode}\n{out}\n{err}"
        return out

    return run


def start_script(code: str, **environment: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        # A safe path: the package is the one that PYTHONPATH names, not that of the working directory.
        env={**os.environ, "PYTHONPATH": root, "PYTHONSAFEPATH": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
