"""Errors of a line: what its points tell of slope, intercept and predictions.

The formulas for least squares are those of linear regression with independent errors, as in Seber and Lee, "Linear
Regression Analysis" (2003), sections 3.5 and 5.3. Distributions are SciPy's.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.exact.coordinates import Axes, Evaluation, Frame, Symmetric, times_power_of_two
from fastfit.exact.double_double import DoubleDouble, add, multiply
from fastfit.exact.least_squares import Centred, LeastSquares
from fastfit.exact.moment_sums import MomentSums
from fastfit.validation import Shifted

# Points less parameters that are left to tell of errors; a whole point but for one that is bent hard.
_LEAST_LEFT = 0.1
_MISSING = "intervals and p-values need SciPy: pip install 'fastfit[stats]'"


class Inference:
    """Errors of a line through points with these moments.

    Parameters
    ----------
    moments : MomentSums
        The moments of the points.
    slope, intercept : DoubleDouble
        The line, on the scale of the moments.
    residual_square : float
        Weighted sum of squared residuals, on that scale.
    fit_intercept : bool
        Whether the intercept was fitted.
    repeats : float
        How many points there are, one that stands twice counted twice.
    unit : float
        The standard deviation of a point of weight 1, if those were given; 1 else.
    has_sigma, known_sigma : bool
        Whether standard deviations were given, and whether they are those of the points and not known up to a factor.
    converged : bool
        Whether the line is one of least squares; a line that is not has no errors, unless it is as good as one.
    known : bool
        Whether the residuals are known; moments do not resolve the smallest.
    """

    def __init__(
        self,
        moments: MomentSums,
        slope: DoubleDouble,
        intercept: DoubleDouble,
        residual_square: float,
        *,
        fit_intercept: bool,
        repeats: float,
        unit: float,
        has_sigma: bool,
        known_sigma: bool,
        converged: bool,
        known: bool,
    ) -> None:
        self._moments = moments
        self._slope, self._intercept = slope, intercept
        self._residual_square = residual_square
        self._fit_intercept = fit_intercept
        self._repeats, self._unit = repeats, unit
        self._has_sigma, self._known_sigma = has_sigma, known_sigma
        self._converged, self._known = converged, known
        self.n_dof = repeats - (2.0 if fit_intercept else 1.0)

    @cached_property
    def _best(self) -> LeastSquares:
        return self._moments.least_squares(fit_intercept=self._fit_intercept)

    @property
    def _sums(self) -> Centred:
        return self._best.moments

    @property
    def _scale(self) -> tuple[int, int]:
        return self._moments.exponents

    @property
    def _deviation(self) -> float:
        """The standard deviation of a point of weight 1, on the scale of the moments; NaN if no points tell."""
        best = self._best
        slack = 1e-6 * best.residual_square + 2.0**-90 * best.moments.yy.high
        if not self._known:
            return math.nan
        if not self._converged and self._residual_square > best.residual_square + slack:
            return math.nan
        if self._known_sigma:
            return times_power_of_two(self._unit, self._scale[1])
        return math.sqrt(self._residual_square / self.n_dof) if self.n_dof > 0.0 else math.nan

    @property
    def _slope_error(self) -> float:
        """Standard error of the slope, on the scale of the moments."""
        return self._deviation / math.sqrt(self._sums.xx.high)

    @property
    def residual_std(self) -> float:
        """The standard deviation of the residuals, in units of y, or of sigma if that was given."""
        if not self.n_dof > 0.0:
            return math.nan
        deviation = math.sqrt(self._residual_square / self.n_dof)
        return times_power_of_two(deviation, -self._scale[1]) / self._unit

    @property
    def rvalue(self) -> float:
        """The correlation coefficient; without intercept, its counterpart about zero. NaN if y has no spread."""
        sums = self._sums
        if not sums.yy.high > 0.0:
            return math.nan
        explained = 1.0 - self._best.residual_square / sums.yy.high
        if explained > 0.5:
            return math.copysign(math.sqrt(explained), sums.xy.high)
        return sums.xy.high / (math.sqrt(sums.xx.high) * math.sqrt(sums.yy.high))

    @property
    def stderr(self) -> float:
        """Standard error of the slope."""
        x_exponent, y_exponent = self._scale
        return times_power_of_two(self._slope_error, x_exponent - y_exponent)

    @property
    def intercept_stderr(self) -> float:
        """Standard error of the intercept; 0 where it is not fitted."""
        if not self._fit_intercept:
            return 0.0
        return float(self._line_stderr(Shifted(np.float64(0.0), 0.0)))

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance of slope and intercept, in this order."""
        x_exponent, y_exponent = self._scale
        slope = self._slope_error
        along = times_power_of_two(slope, x_exponent - y_exponent)
        # In the units of y, times those of y over x.
        lever = -self._sums.x_mean.high * slope if self._fit_intercept else 0.0
        across = along * times_power_of_two(lever, -y_exponent) if lever else 0.0
        intercept = self.intercept_stderr
        return np.array([[along * along, across], [across, intercept * intercept]])

    def is_fixed(self, name: str) -> bool:
        """Whether slope or intercept was not fitted."""
        return name == "intercept" and not self._fit_intercept

    def pvalue(self, slope: float) -> float:
        """Return the two-sided p-value of a slope of zero; NaN if the residuals tell nothing about it."""
        stderr = self.stderr
        if stderr == 0.0:
            return 0.0 if slope else math.nan
        return 2.0 * self._tail(-abs(slope) / stderr)

    def quantile(self, level: float) -> float:
        """Return how many standard errors an interval of this level reaches to either side."""
        special = distribution_functions()
        tail = 0.5 * (1.0 + level)
        if self._known_sigma:
            return float(special.ndtri(tail))
        return float(special.stdtrit(self.n_dof, tail)) if self.n_dof > 0.0 else math.nan

    def predict(self, x: Shifted, slope: float, intercept: float) -> Any:
        """Return the line at x, computed from the mean of x, so that time stamps cost no digits."""
        if self._scale != (0, 0) or not self._fit_intercept:
            return slope * (x.values + x.offset) + intercept
        center = self._moments.frame.x_center
        level = add(self._intercept, multiply(self._slope, center)).high
        return level + slope * self._off_center(x)

    def _off_center(self, x: Shifted) -> Any:
        """Return the distance of x from its mean, of which a float holds more than of x."""
        center = self._moments.frame.x_center
        if x.offset:
            return x.values + ((x.offset - center.high) - center.low)
        return (x.values - center.high) - center.low

    def confidence(self, x: Shifted, level: float) -> Any:
        """Return the half width at x of the confidence band of the line."""
        return self.quantile(level) * self._line_stderr(x)

    def prediction(self, x: Shifted, level: float, sigma: Any) -> Any:
        """Return the half width at x of the band of further points, of this sigma; None stands for the usual one."""
        if sigma is None:
            # The harmonic mean of the variances of those fitted: of points that are all alike, their own.
            inverse_weight = self._repeats / self._sums.w.high
        elif self._has_sigma:
            inverse_weight = np.square(sigma / self._unit)
        else:
            raise ValueError("sigma must be None unless the line was fitted with sigma")
        return self.quantile(level) * self._line_stderr(x, inverse_weight)

    def _line_stderr(self, x: Shifted, inverse_weight: Any = 0.0) -> Any:
        """Return the standard error of the line at x, or of a further point there of some weight."""
        x_exponent, y_exponent = self._scale
        if x_exponent:
            x = Shifted(np.ldexp(x.values, x_exponent), math.ldexp(x.offset, x_exponent))
        off = self._off_center(x) if self._fit_intercept else x.values + x.offset
        with np.errstate(over="ignore"):
            error = self._error_at(off, inverse_weight)
            error = np.ldexp(error, -y_exponent) if y_exponent else error
        return float(error) if np.ndim(error) == 0 else error

    def _error_at(self, off: Any, inverse_weight: Any) -> Any:
        """Return the same on the scale of the moments, at this distance from the mean of x."""
        share = np.square(off / math.sqrt(self._sums.xx.high))
        if self._fit_intercept:
            share = share + 1.0 / self._sums.w.high
        return self._deviation * np.sqrt(share + inverse_weight)

    def _tail(self, t: float) -> float:
        special = distribution_functions()
        if self._known_sigma:
            return float(special.ndtr(t))
        return float(special.stdtr(self.n_dof, t)) if self.n_dof > 0.0 else math.nan


class RobustInference(Inference):
    r"""Errors of the line of a robust loss, by the sandwich formula.

    With the curvature :math:`A = \sum w \rho''(r) z z^T` and the scatter of the gradient
    :math:`B = \sum w \rho'(r)^2 z z^T`, where :math:`z = (x, 1)`, the covariance of slope and intercept is
    :math:`\frac{n}{n - 2} A^{-1} B A^{-1}`, where n is the sum of the weights. It assumes neither a distribution of the
    residuals nor that they are as large everywhere. Huber, "The behavior of maximum likelihood estimates under
    nonstandard conditions" (Fifth Berkeley Symposium, 1967); White, "A heteroskedasticity-consistent covariance matrix
    estimator" (Econometrica 48, 1980); the factor is that of Hinkley, "Jackknifing in unbalanced situations"
    (Technometrics 19, 1977). The scale of ``f_scale="mad"`` is taken as known. This makes no difference where residuals
    are symmetric, nor to the slope; but where they are as skewed as an exponential distribution, the error of the
    intercept is 1.2 to 1.4 times too small. Points that determine the line and no more leave no errors.

    Parameters
    ----------
    moments, slope, intercept, fit_intercept, repeats, converged
        As in :class:`Inference`.
    frame : Frame
        The coordinates of the evaluation.
    at_end : Evaluation
        The evaluation of the line, with all its parts.
    """

    def __init__(
        self,
        moments: MomentSums,
        slope: DoubleDouble,
        intercept: DoubleDouble,
        frame: Frame,
        at_end: Evaluation,
        *,
        fit_intercept: bool,
        repeats: float,
        converged: bool,
    ) -> None:
        offset = moments.frame.offset(slope, intercept).high
        mean_square = moments.evaluate(slope.high, offset).loss
        super().__init__(
            moments,
            slope,
            intercept,
            mean_square * moments.weight_sum,
            fit_intercept=fit_intercept,
            repeats=repeats,
            unit=1.0,
            has_sigma=False,
            known_sigma=False,
            converged=converged,
            known=True,
        )
        axes = Axes.of_fit(frame, moments.relative_to(frame), fit_intercept=fit_intercept)
        self._x_unit = axes.u_unit
        self._variance = Symmetric(math.nan, math.nan, math.nan)
        assert at_end.bound is not None
        # How many points count; those that only determine the line tell nothing of its errors.
        counted = 0.5 * at_end.bound.offset_offset * repeats
        if converged and min(self.n_dof, counted - (repeats - self.n_dof)) > _LEAST_LEFT:
            assert at_end.curvature is not None
            assert at_end.scatter is not None
            curvature = axes.curvature_from_frame(at_end.curvature)
            scatter = axes.curvature_from_frame(at_end.scatter)
            self._variance = _sandwich(curvature, scatter, self.n_dof, fit_intercept)

    @property
    def _slope_error(self) -> float:
        return math.sqrt(self._variance.slope_slope) / self._x_unit

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance of slope and intercept, in this order."""
        _, y_exponent = self._scale
        variance, stderr, intercept = self._variance, self.stderr, self.intercept_stderr
        across = variance.slope_offset  # 0 or NaN, but for what follows
        if self._fit_intercept and variance.slope_slope > 0.0:
            root = math.sqrt(variance.slope_slope)
            lever = variance.slope_offset / root - root * (self._sums.x_mean.high / self._x_unit)
            across = stderr * times_power_of_two(lever, -y_exponent)
        return np.array([[stderr * stderr, across], [across, intercept * intercept]])

    def prediction(self, x: Shifted, level: float, sigma: Any) -> Any:
        """Return NaN: how further points lie about the line, a robust loss does not assume."""
        if sigma is not None:
            raise ValueError("sigma must be None unless the line was fitted with sigma")
        return np.full(np.shape(x.values), math.nan)[()]

    def _error_at(self, off: Any, inverse_weight: Any) -> Any:
        s = off / self._x_unit
        variance = self._variance
        if not self._fit_intercept:
            return np.sqrt(variance.slope_slope) * np.abs(s)
        square = (
            variance.slope_slope * s + 2.0 * variance.slope_offset
        ) * s + variance.offset_offset
        return np.sqrt(np.maximum(square, 0.0))


def _sandwich(
    curvature: Symmetric, scatter: Symmetric, n_dof: float, fit_intercept: bool
) -> Symmetric:
    """Return the covariance of slope and level on the axes of both; NaN if the curvature is not that of a minimum."""
    if not fit_intercept:
        along = curvature.slope_slope
        square = scatter.slope_slope / (along * along * n_dof) if along > 0.0 else math.nan
        return Symmetric(square, 0.0, 0.0)
    if not (curvature.determinant > 0.0 and curvature.offset_offset > 0.0):
        return Symmetric(math.nan, math.nan, math.nan)
    first = curvature.solve(scatter.slope_slope, scatter.slope_offset)
    second = curvature.solve(scatter.slope_offset, scatter.offset_offset)
    slope_slope, slope_offset = curvature.solve(first[0], second[0])
    _, offset_offset = curvature.solve(first[1], second[1])
    return Symmetric(slope_slope / n_dof, slope_offset / n_dof, offset_offset / n_dof)


def distribution_functions() -> Any:
    """Return SciPy's distribution functions, looked up when they are asked for."""
    try:
        from scipy import special
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return special
