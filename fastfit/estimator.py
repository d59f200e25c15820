"""The line as a scikit-learn regressor. Needs scikit-learn: ``pip install 'fastfit[sklearn]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit import validation
from fastfit.fit import fit_points, method_of, warn_unless_converged
from fastfit.losses import Loss, SquaredError, as_loss
from fastfit.moments import Moments
from fastfit.outcome import warn_caller
from fastfit.points.base import Points
from fastfit.points.moments import MomentPoints
from fastfit.points.opening import points_of
from fastfit.result import LineFit
from fastfit.solvers.base import Solver

try:
    from sklearn import config_context
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.exceptions import NotFittedError
    from sklearn.utils import assert_all_finite
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "fastfit.estimator needs scikit-learn 1.6 or later: pip install 'fastfit[sklearn]'"
    ) from error

_OF_THE_LINE = ("line_", "feature_", "coef_", "intercept_", "n_iter_")


class FeatureSelectionWarning(UserWarning):
    """X has several features, and the line was fitted to one of them."""


def _fits_moments(estimator: LineRegressor) -> bool:
    """Return True if moments determine the line of this loss, or raise ValueError."""
    loss = as_loss(estimator.loss, estimator.f_scale)
    if not isinstance(loss, SquaredError):
        raise ValueError(f"partial_fit needs loss='squared_error'; got {loss!r}")
    return True


class LineRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A straight line ``y = slope * x + intercept``, as a scikit-learn regressor.

    X has one column, of shape (n, 1). If it has several, the line is fitted to the column with the smallest mean loss,
    the other coefficients are 0, and a :class:`FeatureSelectionWarning` says so. That is the linear base learner of
    componentwise boosting (Bühlmann and Yu, "Boosting with the L2 loss", 2003), not multiple regression.

    Compared with ``LinearRegression``: y has one column; threads are limited by ``n_threads``, not by ``n_jobs``; there
    is no ``copy_X``, since X is never changed, no ``positive`` and no ``tol``; a constant feature is an error.

    Parameters
    ----------
    loss, f_scale, solver, fit_intercept, n_threads, backend
        As in :func:`fastfit.fit_line`.

    Attributes
    ----------
    coef_ : ndarray, shape (n_features_in_,)
        The slope, in its only entry; of several features, in the entry ``feature_``.
    intercept_ : float
        The intercept.
    line_ : LineFit
        The line, with its errors, p-value, confidence bands, summary and plot.
    feature_ : int
        Index of the feature that the line is fitted to; the first of features that fit equally well.
    n_iter_ : int
        Number of steps of the solver: 0 for an exact solution.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Names of the features, if X had names that are all strings.
    moments_ : list of Moments, one for each feature
        Moments of all points so far, to which ``partial_fit`` adds.

    Examples
    --------
    >>> from fastfit.estimator import LineRegressor
    >>> regressor = LineRegressor().fit([[1.0], [2.0], [3.0]], [2.0, 4.0, 6.5])
    >>> regressor.predict([[4.0]]).round(6)
    array([8.666667])
    >>> regressor.line_
    LineFit: y = 2.25 x - 0.333333, loss 0.0138889, 3 points, exact
    """

    def __init__(
        self,
        *,
        loss: str | Loss = "squared_error",
        f_scale: float | Literal["mad"] | None = None,
        solver: str | Solver = "auto",
        fit_intercept: bool = True,
        n_threads: int | None = None,
        backend: Literal["numba", "numpy"] = "numba",
    ) -> None:
        self.loss = loss
        self.f_scale = f_scale
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.n_threads = n_threads
        self.backend = backend

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the line to points; earlier points are forgotten.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            At least two points, with two different values of a feature. Columns of float64 and float32 are read in
            place.
        y : array_like, shape (n,)
            Values of the points.
        sample_weight : array_like, shape (n,), or float, optional
            How often each point was observed, at least 0.

        Returns
        -------
        LineRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or parameter is not what it must be, or if every feature is constant, for which
            ``LinearRegression`` would return a slope of 0.

        Warns
        -----
        fastfit.ConvergenceWarning
            If the fit ended before it converged.
        FeatureSelectionWarning
            If X has several features.
        """
        columns, y = self._checked(X, y, reset=True, at_least=2 if self.fit_intercept else 1)
        method_of(self.loss, self.solver, self.f_scale)
        found = [self._fit_column(x, y, sample_weight) for x in columns.T]
        lines, moments = [line for line, _ in found], [moments for _, moments in found]
        if all(line is None for line in lines):
            moments[0].sums.require_line(fit_intercept=self.fit_intercept)
        return self._keep(lines, moments)

    @available_if(_fits_moments)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit the line to these points and all earlier ones, from ``fit`` or ``partial_fit``.

        However points are split into batches, the line is the same as from ``fit``, to the last digits. Only squared
        error has this method, since only its line is determined by moments.

        A batch may be a single point. While no feature determines a line, there are no ``coef_`` and ``line_``, and
        ``predict`` raises an error that says what is missing.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``; a single point is enough.

        Returns
        -------
        LineRegressor
            The estimator itself.

        Raises
        ------
        AttributeError
            If the loss is not squared error.
        TypeError, ValueError
            If an argument or parameter is not what it must be; the estimator is then unchanged.

        Warns
        -----
        fastfit.ConvergenceWarning, FeatureSelectionWarning
            As ``fit`` does.
        """
        first = not hasattr(self, "moments_")
        columns, y = self._checked(X, y, reset=first, at_least=1)
        moments = [self._moments_of(x, y, sample_weight) for x in columns.T]
        if not first:
            moments = [old + new for old, new in zip(self.moments_, moments, strict=True)]
        lines = [self._line(MomentPoints(each.sums)) for each in moments]
        return self._keep(lines, moments)

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the line at each point.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            Positions.

        Returns
        -------
        ndarray, shape (n,)
            ``slope * x + intercept``; large offsets of x, such as time stamps, lose no accuracy.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no line yet.
        ValueError
            If X is not finite, or does not have the features of ``fit``.
        """
        if hasattr(self, "moments_") and not hasattr(self, "line_"):
            try:
                self.moments_[0].sums.require_line(fit_intercept=self.fit_intercept)
            except ValueError as error:
                raise NotFittedError(
                    f"the points given to partial_fit so far determine no line: {error}"
                ) from error
        check_is_fitted(self)
        _refuse_masks(X=X)
        columns = validate_data(self, X, reset=False, dtype="numeric")
        line: NDArray[np.float64] = self.line_.predict(columns[:, self.feature_])
        return line

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "line_")

    def _checked(self, X: Any, y: Any, *, reset: bool, at_least: int) -> tuple[Any, Any]:
        """Return X and y as arrays of numbers, checked by scikit-learn's rules; their types are kept."""
        _refuse_masks(X=X, y=y)
        # The fit itself finds NaN and infinity; a check would take as long again.
        with config_context(assume_finite=True):
            columns, y = validate_data(
                self,
                X,
                y,
                reset=reset,
                dtype="numeric",
                y_numeric=True,
                ensure_min_samples=at_least,
            )
        return columns, y

    def _fit_column(self, x: Any, y: Any, sample_weight: Any) -> tuple[LineFit | None, Moments]:
        """Return the line, None if the points determine none, and their moments."""
        points = self._points_of(x, y, sample_weight, through_origin=not self.fit_intercept)
        line = self._line(points)
        if self.fit_intercept:
            return line, Moments(points.moments())
        # Sums about the origin would lose digits for a line with intercept, if partial_fit is asked for one next.
        return line, self._moments_of(x, y, sample_weight)

    def _line(self, points: Points) -> LineFit | None:
        """Return the line through opened points, None if they determine none."""
        fit_intercept = validation.true_or_false(self.fit_intercept, "fit_intercept")
        if not points.moments().determine_line(fit_intercept=fit_intercept):
            return None
        loss, solver = method_of(self.loss, self.solver, self.f_scale)
        return fit_points(points, loss, solver, fit_intercept=fit_intercept)

    def _moments_of(self, x: Any, y: Any, sample_weight: Any) -> Moments:
        return Moments(self._points_of(x, y, sample_weight).moments())

    def _points_of(
        self, x: Any, y: Any, sample_weight: Any, *, through_origin: bool = False
    ) -> Points:
        """Return opened points whose moments are known, or raise about NaN in scikit-learn's words."""
        try:
            points = points_of(
                x,
                y,
                sample_weight,
                n_threads=self.n_threads,
                backend=self.backend,
                through_origin=through_origin,
            )
            if points.moments().times is not None:
                raise TypeError("X must hold real numbers; got times: convert them first")
        except ValueError as error:
            failure = error
        else:
            return points
        # fastfit's message about NaN advises a nan_policy, which an estimator does not have.
        for name, values in (("X", x), ("y", y), ("sample_weight", sample_weight)):
            if values is not None:
                assert_all_finite(
                    np.asarray(values), estimator_name=type(self).__name__, input_name=name
                )
        raise failure

    def _keep(self, lines: Sequence[LineFit | None], moments: list[Moments]) -> Self:
        """Keep the moments and the line with the smallest loss, if there is one."""
        self.moments_ = moments
        for name in _OF_THE_LINE:
            self.__dict__.pop(name, None)
        found = [(line.loss, index, line) for index, line in enumerate(lines) if line is not None]
        if found:
            _, self.feature_, self.line_ = min(found, key=lambda each: each[:2])
            self.coef_ = np.zeros(len(lines))
            self.coef_[self.feature_] = self.line_.slope
            self.intercept_ = self.line_.intercept
            self.n_iter_ = self.line_.n_iter
            if len(lines) > 1:
                self._warn_about_features()
            warn_unless_converged(self.line_)
        return self

    def _warn_about_features(self) -> None:
        names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        others = self.n_features_in_ - 1
        warn_caller(
            f"the line was fitted to feature {names[self.feature_]!r} of X alone, for which the mean loss is smallest; "
            f"{others:,} other {'feature was' if others == 1 else 'features were'} left out. Pass X[[name]] or "
            "X[:, [index]] to choose one; for a plane through all of them, use sklearn.linear_model.LinearRegression",
            FeatureSelectionWarning,
        )


def _refuse_masks(**arrays: Any) -> None:
    """Raise ValueError if values are masked: scikit-learn would use the values below the mask."""
    for name, values in arrays.items():
        if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
            raise ValueError(f"{name} must not be masked; leave those points out of X and y")
