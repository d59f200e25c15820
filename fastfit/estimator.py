"""The line as a scikit-learn regressor. Needs scikit-learn: ``pip install 'fastfit[sklearn]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfit.fit import fit_line
from fastfit.losses import Loss, SquaredError, as_loss
from fastfit.moments import Moments
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


def _knows_moments_alone(estimator: LineRegressor) -> bool:
    """Return True if moments are enough for the loss, and raise else."""
    loss = as_loss(estimator.loss)
    if not isinstance(loss, SquaredError):
        raise ValueError(f"partial_fit needs loss='squared_error'; got {loss!r}")
    return True


class LineRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A straight line ``y = slope * x + intercept``, as a scikit-learn regressor.

    X has one column, of shape (n, 1). Of several columns, the line is fitted to the one for which the mean loss
    is least, and the others have a coefficient of 0: the linear base learner of componentwise boosting (Bühlmann and
    Yu, "Boosting with the L2 loss", 2003), which is not multiple regression.

    Parameters
    ----------
    loss, solver, fit_intercept, n_threads, backend
        As in :func:`fastfit.fit_line`.

    Attributes
    ----------
    coef_ : ndarray, shape (n_features_in_,)
        The slope, in its only entry; of several features, in that of ``feature_``.
    intercept_ : float
        The intercept.
    line_ : LineFit
        The line itself, with its errors, p-value, confidence bands, summary and plot.
    feature_ : int
        The index of the feature that the line is fitted to; the first of those that fit alike.
    n_iter_ : int
        Steps that the solver made: 0 for an exact solution.
    n_features_in_ : int
        The number of features seen in ``fit``.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Their names, where X had names that are all strings.
    moments_ : list of Moments, one for each feature
        What ``partial_fit`` adds to.

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
        solver: str | Solver = "auto",
        fit_intercept: bool = True,
        n_threads: int | None = None,
        backend: Literal["numba", "numpy"] = "numba",
    ) -> None:
        self.loss = loss
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.n_threads = n_threads
        self.backend = backend

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the line to points, and to no others.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            At least two points, with two different values of a feature. Columns of float64 and float32 are
            read in place.
        y : array_like, shape (n,)
            Their values.
        sample_weight : array_like, shape (n,), or float, optional
            How often each point counts, none below 0.

        Returns
        -------
        LineRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or parameter is not what it must be, or no feature determines a line: through points of one
            and the same x there is none, where ``LinearRegression`` would return a slope of 0.

        Warns
        -----
        ConvergenceWarning
            Of fastfit, if the fit ended before it converged.
        """
        columns, y = self._checked(X, y, reset=True, at_least=2 if self.fit_intercept else 1)
        found = [self._fit_column(x, y, sample_weight) for x in columns.T]
        lines, moments = [line for line, _ in found], [moments for _, moments in found]
        if all(line is None for line in lines):
            moments[0].require_line(fit_intercept=self.fit_intercept)
        return self._keep(lines, moments)

    @available_if(_knows_moments_alone)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the line to these points and all that came before, in ``fit`` or ``partial_fit``.

        The moments of batches merge to those of the whole, so however points are split, the line is that of ``fit`` to
        the last digits. Only the squared error is determined by moments: with another loss there is no such method.

        A batch may be a single point. While no feature determines a line, there are no ``coef_`` and ``line_``, and
        ``predict`` says what is missing.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            At least one point.
        y : array_like, shape (n,)
            Their values.
        sample_weight : array_like, shape (n,), or float, optional
            How often each point counts, none below 0.

        Returns
        -------
        LineRegressor
            The estimator itself.

        Raises
        ------
        AttributeError
            If the loss is another than squared error.
        TypeError, ValueError
            If an argument or parameter is not what it must be; what came before is then kept as it was.
        """
        first = not hasattr(self, "moments_")
        columns, y = self._checked(X, y, reset=first, at_least=1)
        moments = [self._moments_of(x, y, sample_weight) for x in columns.T]
        if not first:
            moments = [old + new for old, new in zip(self.moments_, moments, strict=True)]
        lines = [
            self._line(each) if each.determine_line(fit_intercept=self.fit_intercept) else None
            for each in moments
        ]
        return self._keep(lines, moments)

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the line at each point.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            Where to look.

        Returns
        -------
        ndarray, shape (n,)
            ``slope * x + intercept``, computed so that offsets such as those of time stamps cost no digits.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no line yet.
        ValueError
            If X is not finite, or of other features than in ``fit``.
        """
        if hasattr(self, "moments_") and not hasattr(self, "line_"):
            try:
                self.moments_[0].require_line(fit_intercept=self.fit_intercept)
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
        """Return X and y as arrays of numbers, of types of their own, by scikit-learn's rules."""
        _refuse_masks(X=X, y=y)
        # The pass that fits looks for NaN and infinity too: another one would take as long again.
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

    def _line(self, x: Any, **points: Any) -> LineFit:
        return fit_line(
            x, loss=self.loss, solver=self.solver, fit_intercept=self.fit_intercept, **points
        )

    def _fit_column(self, x: Any, y: Any, sample_weight: Any) -> tuple[LineFit | None, Moments]:
        """Return the line, None if no slope is determined, and the moments that it was found from."""
        try:
            line = self._line(
                x,
                y=y,
                sample_weight=sample_weight,
                n_threads=self.n_threads,
                backend=self.backend,
            )
        except ValueError as error:
            failure = error
        else:
            if self.fit_intercept:
                return line, line._points.moments()
            # Those of points about the origin would not do for a line with intercept, should that be asked for next.
            return line, self._moments_of(x, y, sample_weight)
        moments = self._moments_of(x, y, sample_weight)
        if moments.determine_line(fit_intercept=self.fit_intercept):
            raise failure
        return None, moments

    def _moments_of(self, x: Any, y: Any, sample_weight: Any) -> Moments:
        try:
            return Moments.of(x, y, sample_weight, n_threads=self.n_threads, backend=self.backend)
        except ValueError as error:
            failure = error
        # What Moments say of NaN advises a nan_policy, and there is none here.
        for name, values in (("X", x), ("y", y), ("sample_weight", sample_weight)):
            if values is not None:
                assert_all_finite(
                    np.asarray(values), estimator_name=type(self).__name__, input_name=name
                )
        raise failure

    def _keep(self, lines: Sequence[LineFit | None], moments: list[Moments]) -> Self:
        """Take over the line of least loss, if there is any, and the moments."""
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
        return self


def _refuse_masks(**arrays: Any) -> None:
    """Raise ValueError if values are masked, since scikit-learn would take what lies below the mask."""
    for name, values in arrays.items():
        if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
            raise ValueError(f"{name} must not be masked; leave those points out, of X and y")
