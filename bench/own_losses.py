"""Losses as users write them: see docs/robust-losses.md."""

from __future__ import annotations

import math
from typing import Any

import fastfit as ff
from fastfit.vector_math import exp, log1p, select


class LogCosh(ff.RobustLoss):
    """Twice the logarithm of the hyperbolic cosine: an exponential and a logarithm for each point."""

    tuning = 1.2047
    is_convex = True

    @staticmethod
    def point(loss: Any, residual: Any) -> Any:
        """Return value, slope, curvature and weight."""
        c = loss.f_scale
        z = abs(residual) / c
        e = exp(-2.0 * z)
        tanh = (1.0 - e) / (1.0 + e)
        small = z < 1e-4
        weight = select(small, 1.0, tanh) / select(small, 1.0, z)
        value = 2.0 * c * c * (z + log1p(e) - math.log(2.0))
        return value, 2.0 * weight * residual, 2.0 * (1.0 - tanh * tanh), weight


class GemanMcClure(ff.RobustLoss):
    """Constant far out: a division for each point."""

    tuning = 3.787
    is_convex = False

    @staticmethod
    def point(loss: Any, residual: Any) -> Any:
        """Return value, slope, curvature and weight."""
        ratio = residual / loss.f_scale
        share = 1.0 / (1.0 + ratio * ratio)
        weight = share * share
        return (
            residual * residual * share,
            2.0 * weight * residual,
            2.0 * weight * (4.0 * share - 3.0),
            weight,
        )


OWN = {"log_cosh": LogCosh, "geman_mcclure": GemanMcClure}
