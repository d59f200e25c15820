"""Errors of a line: standard errors, confidence intervals, bands and p-values.

The formulas for least squares assume independent errors of constant spread: Seber and Lee, "Linear
Regression Analysis" (2nd edition, 2003), chapter 6 for the straight line. They are stated once, as functions of floats
or of arrays with one entry a line. Distributions are SciPy's.
"""

from __future__ import annotations

import functools
import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Shifted
from fastfit.exact.coordinates import Axes, Evaluation, Frame, Symmetric, times_power_of_two
from fastfit.exact.double_double import DoubleDouble, add, multiply
from fastfit.exact.least_squares import Centred, LeastSquares
from fastfit.exact.moment_sums import MomentSums

# Smallest effective degrees of freedom for which a robust line has errors. Points that only determine the line leave
# 0, but for rounding and for points on the edge of the loss.
_LEAST_DOF = 0.1
_MISSING = "intervals and p-values need SciPy: pip install 'fastfit[stats]'"


def correlation(residual_square: Any, xx: Any, xy: Any, yy: Any) -> Any:
    """Return Pearson's correlation coefficient; NaN where y is constant.

    It is ``xy / sqrt(xx * yy)``, for sums of products of deviations from the means. Near 1 it is computed as the root
    of ``1 - residual_square / yy``, which loses no digits near 1.
    """
    m = _functions_for(yy)
    yy = _where(yy > 0.0, yy, math.nan)
    explained = 1.0 - residual_square / yy
    near_one = m.copysign(m.sqrt(abs(explained)), xy)
    return _where(explained > 0.5, near_one, xy / (m.sqrt(xx) * m.sqrt(yy)))


def residual_deviation(residual_square: Any, n_dof: Any) -> Any:
    """Return the standard deviation of the residuals, ``sqrt(residual_square / n_dof)``; NaN without any freedom."""
    n_dof = _where(n_dof > 0.0, n_dof, math.nan)
    return _functions_for(residual_square).sqrt(residual_square / n_dof)


def slope_stderr(deviation: Any, xx: Any) -> Any:
    """Return the standard error of the slope, ``deviation / sqrt(xx)``, for residuals of this standard deviation."""
    return deviation / _functions_for(xx).sqrt(xx)


def intercept_stderr(slope_error: Any, weight_sum: Any, x_mean: Any, xx: Any) -> Any:
    """Return the standard error of the intercept, ``slope_error * sqrt(xx / weight_sum + x_mean**2)``."""
    m = _functions_for(xx)
    return slope_error * m.hypot(m.sqrt(xx / weight_sum), x_mean)


def line_stderr(
    deviation: Any, distance: Any, xx: Any, inverse_weight_sum: Any, inverse_weight: Any = 0.0
) -> Any:
    """Return the standard error of the line at a distance from the mean of x, or of a new point there.

    It is ``deviation * sqrt(distance**2 / xx + inverse_weight_sum + inverse_weight)``, with the standard deviation of a
    point of weight 1. For a line through the origin the distance is x, and ``inverse_weight_sum`` is 0; for the line
    itself, not a new point, ``inverse_weight`` is 0.
    """
    share = np.square(distance / math.sqrt(xx))
    if inverse_weight_sum:
        share = share + inverse_weight_sum
    return deviation * np.sqrt(share + inverse_weight)


def covariance(variance: Any, weight_sum: Any, x_mean: Any, xx: Any) -> tuple[Any, Any, Any]:
    """Return variance of the slope, covariance, and variance of the intercept, for residuals of this variance."""
    slope = variance / xx
    both = -x_mean * slope
    return slope, both, variance / weight_sum - both * x_mean


def pvalue(t: Any, n_dof: Any, alternative: str = "two-sided") -> Any:
    """Return the p-value of a slope of zero.

    Parameters
    ----------
    t : float or ndarray
        Slope over its standard error.
    n_dof : float, ndarray or None
        Degrees of freedom of the t-distribution, NaN where not above 0; None for the normal distribution.
    alternative : {"two-sided", "less", "greater"}
        What a slope of zero is tested against.
    """
    special = distribution_functions()
    two_sided = alternative == "two-sided"
    tail = -abs(t) if two_sided else t if alternative == "less" else -t
    below = special.ndtr(tail) if n_dof is None else special.stdtr(n_dof, tail)
    return 2.0 * below if two_sided else below


def critical_value(level: float, n_dof: Any) -> Any:
    """Return how many standard errors a two-sided interval of this level reaches; ``n_dof`` as in :func:`pvalue`."""
    special = distribution_functions()
    tail = 0.5 * (1.0 + level)
    return special.ndtri(tail) if n_dof is None else special.stdtrit(n_dof, tail)


def _functions_for(value: Any) -> Any:
    """Return the library whose functions take such numbers; for one number, NumPy's are ten times slower."""
    return math if isinstance(value, float) else np


def _where(condition: Any, value: Any, other: Any) -> Any:
    if isinstance(condition, np.ndarray):
        return np.where(condition, value, other)
    return value if condition else other


class Inference:
    """Errors of a least-squares line.

    Parameters
    ----------
    moments : MomentSums
        Moments of the points.
    slope, intercept : DoubleDouble
        The line, on the scale of the moments.
    residual_square : float
        Weighted sum of squared residuals, on that scale.
    fit_intercept : bool
        Whether the intercept was fitted.
    n_effective : float
        Number of points; a point of ``sample_weight`` 2 counts twice.
    unit_sigma : float
        Standard deviation of a point of weight 1, if sigma was given; else 1.
    has_sigma : bool
        Whether sigma was given.
    known_sigma : bool
        Whether sigma is the true standard deviation (``absolute_sigma``), not only proportional to it.
    converged : bool
        Whether the solver converged. A line that is worse than the least-squares line has no errors.
    known : bool
        Whether the residuals are known: moments cannot resolve very small ones.
    """

    def __init__(
        self,
        moments: MomentSums,
        slope: DoubleDouble,
        intercept: DoubleDouble,
        residual_square: float,
        *,
        fit_intercept: bool,
        n_effective: float,
        unit_sigma: float,
        has_sigma: bool,
        known_sigma: bool,
        converged: bool,
        known: bool,
    ) -> None:
        self._moments = moments
        self._slope, self._intercept = slope, intercept
        self._residual_square = residual_square
        self._fit_intercept = fit_intercept
        self._n_effective, self._unit_sigma = n_effective, unit_sigma
        self.has_sigma, self._known_sigma = has_sigma, known_sigma
        self._converged, self._known = converged, known
        self.n_dof = n_effective - (2.0 if fit_intercept else 1.0)

    @cached_property
    def _best(self) -> LeastSquares:
        return self._moments.least_squares(fit_intercept=self._fit_intercept)

    @property
    def _sums(self) -> Centred:
        return self._best.moments

    @property
    def _exponents(self) -> tuple[int, int]:
        """Powers of two by which x and y are scaled in the moments."""
        return self._moments.exponents

    @property
    def _counts(self) -> float:
        """Number of counts of the moments in the caller's unit of x: 1 unless x holds times."""
        times = self._moments.times
        return 1.0 if times is None else times.counts

    @property
    def _dof_of_t(self) -> float | None:
        """Degrees of freedom of the t-distribution; None where sigma is known, and errors are normal."""
        return None if self._known_sigma else self.n_dof

    @property
    def line(self) -> tuple[DoubleDouble, DoubleDouble]:
        """Slope and intercept, on the scale of the moments."""
        return self._slope, self._intercept

    @property
    def weight_sum(self) -> float:
        """Sum of the sample weights: the number of points, one of weight 2 counted twice."""
        return self._n_effective

    @property
    def _is_best(self) -> bool:
        """Whether no other line has a clearly smaller sum of squared residuals."""
        best = self._best
        slack = 1e-6 * best.residual_square + 2.0**-90 * best.moments.yy.high
        return self._converged or self._residual_square <= best.residual_square + slack

    def rounding(self, slope: float) -> tuple[float, float]:
        """Return what rounding alone may make of a slope and an intercept of zero; 0 for integers beyond 2**53."""
        w, x_mean, y_mean, xx, _, yy = (number.high for number in self._sums)
        x_exponent, y_exponent = self._exponents
        deviation, spread = math.sqrt(max(yy, 0.0) / w), math.sqrt(xx / w)
        mean = times_power_of_two(x_mean, -x_exponent)
        of_y = 2.0**-52 * times_power_of_two(abs(y_mean) + deviation, -y_exponent)
        if (x_exponent, y_exponent) == (0, 0) and max(abs(mean), abs(y_mean)) > 2.0**53:
            return 0.0, 0.0
        of_slope = self._counts * times_power_of_two(deviation / spread, x_exponent - y_exponent)
        return 2.0**-52 * of_slope, of_y + 2.0**-52 * abs(slope * mean / self._counts)

    def why_no_errors(self) -> str:
        """Return why there are no standard errors; "" if there are."""
        if not math.isnan(self.stderr):
            return ""
        if not self._known:
            return "moments cannot resolve residuals this small"
        if not self._converged:
            return "the line did not converge"
        least = self._n_effective - self.n_dof
        if self.n_dof <= 0.0:
            return f"the total weight is {self._n_effective:.4g}, and must be above {least:g}"
        return "too few points count to leave any residuals"

    @property
    def rsquared(self) -> float:
        """Square of ``rvalue``, the share of the variance of y that the line explains; NaN for another line."""
        return self.rvalue**2 if self._is_best else math.nan

    @property
    def _deviation(self) -> float:
        """Standard deviation of a point of weight 1, on the scale of the moments; NaN if it is not determined."""
        if not (self._known and self._is_best):
            return math.nan
        if self._known_sigma:
            return times_power_of_two(self._unit_sigma, self._exponents[1])
        return float(residual_deviation(self._residual_square, self.n_dof))

    @property
    def _slope_error(self) -> float:
        """Standard error of the slope, on the scale of the moments."""
        return float(slope_stderr(self._deviation, self._sums.xx.high))

    @property
    def residual_std(self) -> float:
        """Standard deviation of the residuals, in units of y, or of sigma if that was given."""
        deviation = residual_deviation(self._residual_square, self.n_dof)
        return times_power_of_two(deviation, -self._exponents[1]) / self._unit_sigma

    @property
    def rvalue(self) -> float:
        """Correlation coefficient; without intercept, its counterpart about zero. NaN for a constant y."""
        _, _, _, xx, xy, yy = self._sums
        return float(correlation(self._best.residual_square, xx.high, xy.high, yy.high))

    @property
    def stderr(self) -> float:
        """Standard error of the slope."""
        x_exponent, y_exponent = self._exponents
        return self._counts * times_power_of_two(self._slope_error, x_exponent - y_exponent)

    @property
    def intercept_stderr(self) -> float:
        """Standard error of the intercept; 0 where it is not fitted."""
        if not self._fit_intercept:
            return 0.0
        return float(self._line_stderr(Shifted(np.float64(0.0), 0.0)))

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance matrix of slope and intercept, in this order."""
        _, y_exponent = self._exponents
        slope = self._slope_error
        # As products of errors, which stay in float64's range where their squares, before scaling, would not.
        along = self.stderr
        lever = -self._sums.x_mean.high * slope if self._fit_intercept else 0.0
        across = along * times_power_of_two(lever, -y_exponent) if lever else 0.0
        intercept = self.intercept_stderr
        return np.array([[along * along, across], [across, intercept * intercept]])

    def is_fixed(self, name: str) -> bool:
        """Return whether slope or intercept was not fitted."""
        return name == "intercept" and not self._fit_intercept

    def pvalue(self, slope: float) -> float:
        """Return the two-sided p-value of a slope of zero; NaN if the residuals do not determine it."""
        stderr = self.stderr
        if stderr == 0.0:
            return 0.0 if slope else math.nan
        return float(pvalue(slope / stderr, self._dof_of_t))

    def quantile(self, level: float) -> float:
        """Return how many standard errors an interval of this level reaches to either side."""
        return float(critical_value(level, self._dof_of_t))

    def predict(self, x: Shifted, slope: float, intercept: float) -> Any:
        """Return the line at x, computed from the mean of x, so that time stamps lose no accuracy."""
        slope /= self._counts
        if self._exponents != (0, 0) or not self._fit_intercept:
            return slope * (x.values + x.offset) + intercept
        center = self._moments.frame.x_center
        offset = add(self._intercept, multiply(self._slope, center)).high
        return offset + slope * self._off_center(x)

    def residual(self, x: Shifted, y: Shifted, slope: float, intercept: float) -> Any:
        """Return y less the line at x, computed from the means of both, so that large offsets lose no accuracy."""
        if self._exponents != (0, 0) or not self._fit_intercept:
            return (y.values + y.offset) - self.predict(x, slope, intercept)
        center = self._moments.frame
        at_mean = add(self._intercept, multiply(self._slope, center.x_center))
        level = add(at_mean, DoubleDouble(-center.y_center.high, -center.y_center.low)).high
        above = _less(y, center.y_center)
        return above - (slope / self._counts * self._off_center(x) + level)

    def _off_center(self, x: Shifted) -> Any:
        """Return the distance of x from its mean, which a float holds more precisely than x."""
        return _less(x, self._moments.frame.x_center)

    def confidence(self, x: Shifted, level: float) -> Any:
        """Return the half width at x of the confidence band of the line."""
        return self.quantile(level) * self._line_stderr(x)

    def prediction(self, x: Shifted, level: float, sigma: Any) -> Any:
        """Return the half width at x of the prediction band for points of this sigma; None for the usual one."""
        if sigma is None:
            # Harmonic mean of the variances of the fitted points.
            inverse_weight = self._n_effective / self._sums.w.high
        elif self.has_sigma:
            inverse_weight = np.square(sigma / self._unit_sigma)
        else:
            raise ValueError("sigma must be None unless the line was fitted with sigma")
        return self.quantile(level) * self._line_stderr(x, inverse_weight)

    def _line_stderr(self, x: Shifted, inverse_weight: Any = 0.0) -> Any:
        """Return the standard error of the line at x, or of a new point there with this inverse weight."""
        x_exponent, y_exponent = self._exponents
        if x_exponent:
            x = Shifted(np.ldexp(x.values, x_exponent), math.ldexp(x.offset, x_exponent))
        off = self._off_center(x) if self._fit_intercept else x.values + x.offset
        with np.errstate(over="ignore"):
            error = self._error_at(off, inverse_weight)
            error = np.ldexp(error, -y_exponent) if y_exponent else error
        return float(error) if np.ndim(error) == 0 else error

    def _error_at(self, off: Any, inverse_weight: Any) -> Any:
        """Return the same on the scale of the moments, at this distance from the mean of x."""
        w, xx = self._sums.w.high, self._sums.xx.high
        inverse_sum = 1.0 / w if self._fit_intercept else 0.0
        return line_stderr(self._deviation, off, xx, inverse_sum, inverse_weight)


class RobustInference(Inference):
    r"""Errors of a robust line, by the sandwich formula.

    With the curvature :math:`A = \sum w \rho''(r) z z^T` and the scatter of the gradient
    :math:`B = \sum w \rho'(r)^2 z z^T`, where :math:`z = (x, 1)`, the covariance of slope and intercept is
    :math:`\frac{n}{n - 2} A^{-1} B A^{-1}`, where n is the sum of the weights. It assumes neither a distribution of the
    residuals nor a constant spread. Huber, "The behavior of maximum likelihood estimates under
    nonstandard conditions" (Fifth Berkeley Symposium, 1967); White, "A heteroskedasticity-consistent covariance matrix
    estimator" (Econometrica 48, 1980); the factor n / (n - 2) is from Hinkley, "Jackknifing in unbalanced
    situations" (Technometrics 19, 1977). The scale found by ``f_scale="mad"`` is treated as known. That does not matter
    for the slope, nor for symmetric residuals; for residuals as skewed as an exponential distribution, the error of the
    intercept is 1.2 to 1.4 times too small. Points that only just determine the line leave no errors.

    Parameters
    ----------
    moments, slope, intercept, fit_intercept, n_effective, converged
        As in :class:`Inference`.
    x_unit : float
        Unit of x in the covariance matrix.
    variance : Symmetric
        Covariance matrix of the slope and of the line at the mean of x, NaN without errors.
    """

    def __init__(
        self,
        moments: MomentSums,
        slope: DoubleDouble,
        intercept: DoubleDouble,
        x_unit: float,
        variance: Symmetric,
        *,
        fit_intercept: bool,
        n_effective: float,
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
            n_effective=n_effective,
            unit_sigma=1.0,
            has_sigma=False,
            known_sigma=False,
            converged=converged,
            known=True,
        )
        self._x_unit, self._variance = x_unit, variance

    @classmethod
    def of(
        cls,
        moments: MomentSums,
        slope: DoubleDouble,
        intercept: DoubleDouble,
        frame: Frame,
        at_end: Evaluation,
        *,
        fit_intercept: bool,
        n_effective: float,
        converged: bool,
    ) -> RobustInference:
        """Return the errors that follow from the evaluation of a line in a frame, with curvature and scatter."""
        axes = Axes.of_fit(frame, moments.relative_to(frame), fit_intercept=fit_intercept)
        variance = Symmetric(math.nan, math.nan, math.nan)
        assert at_end.bound is not None
        # Number of points, each counted by its weight in the loss.
        n_counted = 0.5 * at_end.bound.offset_offset * n_effective
        n_fitted = 2.0 if fit_intercept else 1.0
        n_dof = n_effective - n_fitted
        if converged and min(n_dof, n_counted - n_fitted) > _LEAST_DOF:
            assert at_end.curvature is not None
            assert at_end.scatter is not None
            curvature = axes.curvature_from_frame(at_end.curvature)
            scatter = axes.curvature_from_frame(at_end.scatter)
            variance = _sandwich(curvature, scatter, n_dof, fit_intercept)
        return cls(
            *(moments, slope, intercept, axes.u_unit, variance),
            fit_intercept=fit_intercept,
            n_effective=n_effective,
            converged=converged,
        )

    @property
    def _slope_error(self) -> float:
        return math.sqrt(self._variance.slope_slope) / self._x_unit

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance matrix of slope and intercept, in this order."""
        _, y_exponent = self._exponents
        variance, stderr, intercept = self._variance, self.stderr, self.intercept_stderr
        across = variance.slope_offset  # 0 through the origin, NaN without errors
        if self._fit_intercept and variance.slope_slope > 0.0:
            root = math.sqrt(variance.slope_slope)
            lever = variance.slope_offset / root - root * (self._sums.x_mean.high / self._x_unit)
            across = stderr * times_power_of_two(lever, -y_exponent)
        return np.array([[stderr * stderr, across], [across, intercept * intercept]])

    @property
    def rsquared(self) -> float:
        """Square of ``rvalue``, the share of the variance of y that the line of least squares explains."""
        return self.rvalue**2

    def prediction(self, x: Shifted, level: float, sigma: Any) -> Any:
        """Return NaN: robust losses assume no noise distribution, so there is no prediction band."""
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


def _less(values: Shifted, center: DoubleDouble) -> Any:
    """Return values less a number near them, which keeps digits that the values as floats do not have."""
    if values.offset:
        return values.values + ((values.offset - center.high) - center.low)
    return (values.values - center.high) - center.low


def _sandwich(
    curvature: Symmetric, scatter: Symmetric, n_dof: float, fit_intercept: bool
) -> Symmetric:
    """Return the covariance matrix of slope and offset; NaN if the curvature is not positive definite."""
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


@functools.cache
def distribution_functions() -> Any:
    """Return ``scipy.special``, which is imported on first use.

    Raises
    ------
    ImportError
        If SciPy is missing.
    """
    try:
        from scipy import special
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return special
