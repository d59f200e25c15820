"""Fit a straight line to millions of points at the speed of memory.

>>> import fastfit as ff
>>> fit = ff.fit_line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
>>> round(fit.slope, 12), round(fit.intercept, 12)
(2.0, 1.0)
"""

from fastfit.fit import fit_line
from fastfit.losses import Cauchy, Huber, SoftL1, SquaredError, Tukey
from fastfit.moments import Moments
from fastfit.objectives import Objective, objective
from fastfit.points.files import scan
from fastfit.result import ConvergenceWarning, History, Iterate, LineFit, Status
from fastfit.solvers.exact import Exact
from fastfit.solvers.gradient_descent import GradientDescent
from fastfit.solvers.newton import Newton

__all__ = [
    "Cauchy",
    "ConvergenceWarning",
    "Exact",
    "GradientDescent",
    "History",
    "Huber",
    "Iterate",
    "LineFit",
    "Moments",
    "Newton",
    "Objective",
    "SoftL1",
    "SquaredError",
    "Status",
    "Tukey",
    "fit_line",
    "objective",
    "scan",
]
__version__ = "0.1.0"
