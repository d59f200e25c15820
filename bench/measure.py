"""Points to time fits on, and what times them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfit.kernels.bare_read import bare_read
from fastfit.losses import LOSSES
from fastfit.speed.timing import ratio, times

__all__ = ["bare_read", "heavy_tailed", "loss_of", "points", "ratio", "times"]


def loss_of(name: str, f_scale: float) -> Any:
    """Return the loss of this name, with that number for whatever it has."""
    loss: Any = LOSSES[name]()
    return loss._make([f_scale] * len(loss))


def heavy_tailed(n: int) -> tuple[Any, Any]:
    """Return n seeded points about the line ``y = 0.5 x + 1``, with noise of Student's t of 3 degrees of freedom."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n)
    y = 0.5 * x + 1.0 + rng.standard_t(3, size=n)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def points(n: int, dtype: Any = np.float64) -> tuple[Any, Any]:
    """Return n seeded points about a line, read-only as the passes see them."""
    rng = np.random.default_rng(n)
    x = rng.random(n).astype(dtype)
    y = (0.25 * x + 0.5 + 0.1 * rng.standard_normal(n)).astype(dtype)
    x.flags.writeable = y.flags.writeable = False
    return x, y
