"""What outliers do to a line of every loss: ``python -m bench.losses`` prints the table of README.

1,000 points about ``y = x + 1``, x with mean 0 and standard deviation 1, noise of standard deviation 1. Errors of slope
and intercept are means over 200 data sets where these show a shift, else root mean squares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastfit as ff
from fastfit.losses import LOSSES

N_POINTS, N_SETS = 1000, 200


def _far(rng: np.random.Generator) -> Any:
    return 10.0 + rng.exponential(5.0, N_POINTS)


def _is_outlier(rng: np.random.Generator) -> Any:
    return rng.random(N_POINTS) < 0.1


# The noise of points at x, by what it looks like.
NOISES: dict[str, Callable[[np.random.Generator, Any], Any]] = {
    "no outliers": lambda rng, x: rng.normal(size=N_POINTS),
    "10 % outliers, above and below": lambda rng, x: (
        rng.normal(size=N_POINTS) + _is_outlier(rng) * _far(rng) * rng.choice([-1, 1], N_POINTS)
    ),
    "10 % outliers, all above": lambda rng, x: (
        rng.normal(size=N_POINTS) + _is_outlier(rng) * _far(rng)
    ),
    "outliers at one end of x": lambda rng, x: (
        rng.normal(size=N_POINTS) + (x > 1.0) * (rng.random(N_POINTS) < 0.5) * 10.0
    ),
    "skewed noise (exponential)": lambda rng, x: rng.exponential(1.0, N_POINTS) - 1.0,
}


def _error(errors: Any) -> str:
    """Return the mean of errors with its sign if it is most of them, else their root mean square."""
    mean, size = np.mean(errors), np.sqrt(np.mean(np.square(errors)))
    return f"{mean:+.2f}" if abs(mean) > 0.7 * size else f"±{size:.2f}"


def main() -> None:
    """Print the table."""
    print(f"| noise | {' | '.join(LOSSES)} |")
    print("|---" * (len(LOSSES) + 1) + "|")
    for name, noise in NOISES.items():
        errors: dict[str, list[tuple[float, float]]] = {loss: [] for loss in LOSSES}
        for seed in range(N_SETS):
            rng = np.random.default_rng(seed)
            x = rng.uniform(-1, 1, N_POINTS) * np.sqrt(3)
            y = x + 1.0 + noise(rng, x)
            for loss, found in errors.items():
                fit = ff.fit_line(x, y, loss=loss)
                found.append((fit.slope - 1.0, fit.intercept - 1.0))
        cells = (", ".join(map(_error, np.transpose(found))) for found in errors.values())
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
