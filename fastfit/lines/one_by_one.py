"""Robust lines by ``fit_line``, one after the other: the reference of the compiled loop, and ``backend="numpy"``."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.fit import fit_line
from fastfit.kernels import robust_lines as compiled
from fastfit.losses import RobustLoss
from fastfit.outcome import ConvergenceWarning, Status

_ENDS = {
    Status.CONVERGED: compiled.CONVERGED,
    Status.MAX_ITER: compiled.MAX_ITER,
    Status.STALLED: compiled.STALLED,
}


def robust_lines(
    x: Any, y: Any, w: Any, found: Any, loss: RobustLoss, *, through_origin: bool
) -> NDArray[np.float64]:
    """Return the robust lines of columns, in rows as ``robust_lines.ROBUST_RESULTS`` of the kernels names them.

    Parameters
    ----------
    x, y, w : ndarray, shape (n, m) or (n, 1), (n, m), and (n, m) or None
        Points and weights, with NaN for those that do not count; x less a center.
    found : ndarray
        The least-squares lines, in rows as ``many.RESULTS`` names them.
    """
    x, y = np.broadcast_arrays(x, y)
    out = np.full((len(compiled.ROBUST_RESULTS), y.shape[1]), math.nan)
    for k in range(y.shape[1]):
        slope, _, left, y_mean, _, u_mean, uu, total = found[:, k]
        if not (uu > 0.0 and total > 0.0 and math.isfinite(slope + left)):
            continue
        weights = None if w is None else w[:, k]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                fit = fit_line(
                    *(x[:, k], y[:, k]),
                    loss=loss,
                    sample_weight=weights,
                    fit_intercept=not through_origin,
                    nan_policy="omit",
                    backend="numpy",
                )
        except ValueError:
            out[7, k] = compiled.UNDETERMINED
            continue
        assert fit.f_scale is not None
        rise = 0.0 if through_origin else fit.predict(u_mean) - y_mean
        along, across = fit.stderr, 0.0
        tie = 0.0
        if not through_origin:
            covariance = fit.covariance
            across = math.sqrt(
                covariance[1, 1] + u_mean * (2.0 * covariance[0, 1] + u_mean * covariance[0, 0])
            )
            both = covariance[0, 1] + u_mean * covariance[0, 0]
            tie = both / (along * across) if along * across else 0.0
        out[:, k] = (
            *(fit.slope - slope, rise, fit.loss, fit.f_scale, along, across, tie),
            _ENDS[fit.status],
        )
    return out
