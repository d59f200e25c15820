"""Fit a straight line to millions of points at the speed of memory.

>>> import fastfit as ff
>>> fit = ff.fit_line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
>>> round(fit.slope, 12), round(fit.intercept, 12)
(2.0, 1.0)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastfit._version import __version__
from fastfit.kernels import forks as _forks  # noqa: F401  # notices a fork from now on

if TYPE_CHECKING:
    from fastfit.fit import fit_line
    from fastfit.lines.batched import fit_lines
    from fastfit.lines.groups import fit_groups
    from fastfit.lines.result import LineFits
    from fastfit.lines.rolling import fit_expanding, fit_rolling, rolling_slope
    from fastfit.losses import Cauchy, Huber, RobustLoss, SoftL1, SquaredError, Tukey
    from fastfit.moments import Moments
    from fastfit.objectives import Objective, objective
    from fastfit.outcome import ConvergenceWarning, History, Iterate, Status
    from fastfit.points.files.scan import scan
    from fastfit.points.files.table import FileError
    from fastfit.result import LineFit
    from fastfit.solvers.exact import Exact
    from fastfit.solvers.gradient_descent import GradientDescent
    from fastfit.solvers.newton import Newton

# Public names, by the module that has them. They are loaded on first use: importing fastfit imports nothing else.
_PUBLIC = {
    "fit": ("fit_line",),
    "lines.batched": ("fit_lines",),
    "lines.groups": ("fit_groups",),
    "lines.result": ("LineFits",),
    "lines.rolling": ("fit_expanding", "fit_rolling", "rolling_slope"),
    "losses": ("Cauchy", "Huber", "RobustLoss", "SoftL1", "SquaredError", "Tukey"),
    "moments": ("Moments",),
    "objectives": ("Objective", "objective"),
    "outcome": ("ConvergenceWarning", "History", "Iterate", "Status"),
    "points.files.table": ("FileError",),
    "points.files.scan": ("scan",),
    "result": ("LineFit",),
    "solvers.exact": ("Exact",),
    "solvers.gradient_descent": ("GradientDescent",),
    "solvers.newton": ("Newton",),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [
    "Cauchy",
    "ConvergenceWarning",
    "Exact",
    "FileError",
    "GradientDescent",
    "History",
    "Huber",
    "Iterate",
    "LineFit",
    "LineFits",
    "Moments",
    "Newton",
    "Objective",
    "RobustLoss",
    "SoftL1",
    "SquaredError",
    "Status",
    "Tukey",
    "__version__",
    "fit_expanding",
    "fit_groups",
    "fit_line",
    "fit_lines",
    "fit_rolling",
    "objective",
    "rolling_slope",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = getattr(importlib.import_module(f"fastfit.{_MODULES[name]}"), name)
    else:  # a submodule, such as compat
        try:
            value = importlib.import_module(f"fastfit.{name}")
        except ImportError as error:
            own = isinstance(error, ModuleNotFoundError) and error.name == f"fastfit.{name}"
            why = "" if own else f": {error}"
            raise AttributeError(f"module 'fastfit' has no attribute {name!r}{why}") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "compat", "estimator", "xarray"})
