"""How many more steps a descent needs, from where it stands and the curvature at the minimum."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fastfit.exact.coordinates import Axes, Symmetric
from fastfit.solvers.convergence import Convergence
from fastfit.solvers.iterate import State


def steps_left(
    here: State,
    minimum: State,
    axes: Axes,
    convergence: Convergence,
    *,
    learning_rate: float,
    size: float,
) -> float:
    """Return about how many more steps a descent needs to converge; infinity if it never does.

    Near the minimum, each step multiplies the part of the gradient along a principal direction of the curvature by
    ``1 - learning_rate * curvature``. Far from it, a robust loss has a smaller gradient than this curvature and the
    distance suggest; then steps lead over the distance at a nearly constant speed first.

    Parameters
    ----------
    here : State
        The line where the descent stands, and its gradient.
    minimum : State
        The line of least loss, with the curvature there; the line where the descent stands, for squared error, whose
        curvature is the same everywhere.
    axes : Axes
        The axes of the descent.
    convergence : Convergence
        The standardised axes, on which the tolerance is meant.
    learning_rate : float
        The learning rate on the axes of the descent.
    size : float
        ``tol`` times the size of the residuals, in the frame.
    """
    most = 2.0 * (size / convergence.standard.v_unit)
    needed = 0.0
    for curvature, gradient, distance, standardised in _principal(here, minimum, axes, convergence):
        if standardised <= most:
            continue
        if most == 0.0 or not 0.0 < curvature < 2.0 / learning_rate:
            return math.inf
        change = learning_rate * curvature
        # Tiny changes would be rounded in 1 - change.
        decay = -math.log1p(-change) if change < 1.0 else -math.log(max(change - 1.0, 1e-300))
        steps = math.log(standardised / most) / decay
        steps += max(curvature * distance / gradient - 1.0, 0.0) / change
        needed = max(needed, steps)
    return float(math.ceil(needed))


def _principal(
    here: State, minimum: State, axes: Axes, convergence: Convergence
) -> Iterator[tuple[float, float, float, float]]:
    """Yield, for each principal direction on the axes of the descent, what counts along it.

    That is the curvature, the gradient, the distance to the minimum, and the larger component that this part of the
    gradient has on standardised axes.
    """
    bent = minimum.evaluation.curvature
    assert bent is not None
    curvature = axes.curvature_from_frame(bent)
    gradient = axes.gradient_from_frame(here.evaluation.grad_slope, here.evaluation.grad_offset)
    ends = axes.line_from_frame(*here.line), axes.line_from_frame(*minimum.line)
    way = ends[0][0] - ends[1][0], ends[0][1] - ends[1][1]
    if convergence.fit_intercept:
        steepest = curvature.largest_eigenvalue
        steep = _direction(curvature, steepest)
        # By the determinant in the frame, where x lies around zero: on the caller's axes its digits may cancel.
        flattest = bent.determinant / axes.u_unit / axes.u_unit / steepest
        found = [(steepest, steep), (flattest, (-steep[1], steep[0]))]
    else:
        found = [(curvature.slope_slope, (1.0, 0.0))]
    for value, (p, q) in found:
        length = gradient[0] * p + gradient[1] * q
        in_frame = axes.gradient_to_frame(length * p, length * q)
        along, across = convergence.standard.gradient_from_frame(*in_frame)
        if not convergence.fit_intercept:
            across = 0.0
        distance = abs(way[0] * p + way[1] * q)
        yield value, abs(length), distance, max(abs(along), abs(across))


def _direction(curvature: Symmetric, eigenvalue: float) -> tuple[float, float]:
    """Return the unit vector of an eigenvalue, from the row of the matrix that cancels less."""
    rows = (
        (curvature.slope_offset, eigenvalue - curvature.slope_slope),
        (eigenvalue - curvature.offset_offset, curvature.slope_offset),
    )
    p, q = max(rows, key=lambda row: math.hypot(*row))
    length = math.hypot(p, q)
    return (p / length, q / length) if length else (1.0, 0.0)
