"""The mean loss of a line as a function of slope and intercept, for other libraries' minimisers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit.exact.coordinates import Axes, Evaluation, times_power_of_two
from fastfit.exact.double_double import DoubleDouble
from fastfit.losses import Loss, RobustLoss, as_loss
from fastfit.points.base import Points, Source
from fastfit.points.opening import points_of
from fastfit.solvers.convergence import Convergence
from fastfit.solvers.newton import scale_of


class Objective:
    """The mean loss of a line through points, and its gradient; :func:`objective` makes it.

    Attributes
    ----------
    loss : loss object
        With the ``f_scale`` that is used, a number also where ``"mad"`` was asked for.
    n_points : int
        Points that it is the mean over.
    """

    def __init__(self, points: Points, loss: Loss) -> None:
        points.moments().require_line(n_omitted=points.n_omitted)
        self._points = points
        self._raw = Axes.raw(points.frame)
        self._scaled = loss  # in the frame
        self.loss = loss
        self.n_points = points.n_points
        self._last = (np.nan, np.nan), Evaluation(np.nan, np.nan, np.nan)
        if isinstance(loss, RobustLoss):
            f_scale = scale_of(points, loss, Convergence.of(points, fit_intercept=True))
            if f_scale == 0.0:
                raise ValueError(
                    "f_scale must be a number for these points: more than half of them lie on a line, "
                    "so 'mad' is 0"
                )
            self._scaled = loss._replace(f_scale=f_scale)
            own = times_power_of_two(f_scale, -points.frame.y_exponent)
            self.loss = loss._replace(f_scale=own)

    def __repr__(self) -> str:
        return f"Objective: mean {self.loss!r} of a line through {self.n_points:,} points"

    def __call__(self, params: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """Return the mean loss and its gradient, as ``scipy.optimize.minimize(jac=True)`` takes them; one pass.

        Parameters
        ----------
        params : array_like, shape (2,)
            Slope and intercept.

        Raises
        ------
        TypeError, ValueError
            If these are not two real numbers.
        """
        here = self._evaluate(params)
        gradient = self._raw.gradient_from_frame(here.grad_slope, here.grad_offset)
        return self._raw.loss_from_frame(here.loss), np.array(gradient)

    def value(self, params: ArrayLike) -> float:
        """Return the mean loss alone; with ``gradient`` of the same line after it, one pass for both."""
        return self(params)[0]

    def gradient(self, params: ArrayLike) -> NDArray[np.float64]:
        """Return the gradient alone; with ``value`` of the same line before it, one pass for both."""
        return self(params)[1]

    def _evaluate(self, params: ArrayLike) -> Evaluation:
        values = np.asarray(params)
        if values.dtype.kind not in "biuf":
            raise TypeError(f"params must be two real numbers, slope and intercept; got {params!r}")
        if values.shape != (2,):
            raise ValueError(
                f"params must be two numbers, slope and intercept; got an array of shape {values.shape}"
            )
        slope, intercept = map(float, values)
        # A minimiser that asks for value and gradient one by one asks twice for the same line.
        last, found = self._last
        if last != (slope, intercept):
            frame = self._points.frame
            in_frame = times_power_of_two(slope / frame.x_unit, frame.y_exponent - frame.x_exponent)
            shifted = times_power_of_two(intercept, frame.y_exponent)
            level = frame.offset(DoubleDouble(in_frame), DoubleDouble(shifted)).high
            found = self._points.evaluate(self._scaled, in_frame, level)
            self._last = (slope, intercept), found
        return found


def objective(
    x: ArrayLike | Source,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss = "squared_error",
    sample_weight: ArrayLike | None = None,
    nan_policy: Literal["raise", "omit"] = "raise",
    n_threads: int | None = None,
    backend: Literal["numba", "numpy"] = "numba",
) -> Objective:
    """Return the mean loss of a line as a function of slope and intercept, which reads the points once a call.

    Parameters
    ----------
    x, y, loss, sample_weight, nan_policy, n_threads, backend
        As in :func:`fit_line`. With ``f_scale="mad"`` the scale is found once, as by ``fit_line``, when this is called.

    Returns
    -------
    Objective
        ``objective(params) -> (loss, gradient)``, and the two alone as ``value`` and ``gradient``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be, or the points determine no line.

    Examples
    --------
    >>> import fastfit as ff
    >>> mean_loss = ff.objective([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    >>> mean_loss([2.0, 0.0])
    (1.0, array([-2., -2.]))
    """
    chosen = as_loss(loss)
    points = points_of(
        x,
        y,
        sample_weight,
        nan_policy=nan_policy,
        nan_policies=("raise", "omit"),
        n_threads=n_threads,
        backend=backend,
        loss=chosen,
    )
    return Objective(points, chosen)
