"""The worked example that fastfit reproduces: twenty points near a line, approached in 4,750 steps.

The points lie on ``y = 0.25 x + 0.5``. Descent starts from slope -2 and intercept 1, steps by 0.01 times the
gradient of the mean squared residual, and shows every 250th state.
"""

from __future__ import annotations

from typing import Literal

from fastfit.fit import fit_line
from fastfit.result import LineFit
from fastfit.solvers.gradient_descent import GradientDescent

# fmt: off
X = (
    0.075373, 0.101714, 0.124345, 0.156838, 0.215910, 0.276442, 0.318377, 0.469332, 0.479971, 0.655145,
    0.690024, 0.714104, 0.717863, 0.728149, 0.737023, 0.741239, 0.755264, 0.855875, 0.869483, 0.870674,
)
Y = (
    0.51884325, 0.52542850, 0.53108625, 0.53920950, 0.55397750, 0.56911050, 0.57959425, 0.61733300,
    0.61999275, 0.66378625, 0.67250600, 0.67852600, 0.67946575, 0.68203725, 0.68425575, 0.68530975,
    0.68881600, 0.71396875, 0.71737075, 0.71766850,
)
# fmt: on
DESCENT = GradientDescent(
    init=(-2.0, 1.0),
    learning_rate=0.01,
    standardize=False,
    max_iter=4750,
    record_every=250,
)


def run(backend: Literal["numba", "numpy"] = "numba") -> LineFit:
    """Return the fit of the worked example, its states in ``history``; it stops before it converges."""
    return fit_line(X, Y, solver=DESCENT, backend=backend)
