"""Points of lines in one column each, x, y and their weights: what windows and groups are fitted to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Numbers, numbers_of, require_same_labels
from fastfit.kernels.grouped import Rows
from fastfit.times import TimeUnit


class Points(NamedTuple):
    """Columns of float64, with NaN for what is missing: the caller passed ``x + x_offset`` and ``y + y_offset``.

    Attributes
    ----------
    x, y, w : ndarray, shape (n,)
        Places, values and weights; w may be None. Weights are -1 where a sigma is not above 0.
    x_offset, y_offset : float
        0, except for numbers that float64 cannot hold.
    times : TimeUnit or None
        How x counts time; None for numbers.
    n_effective : ndarray or None
        With sigma and sample weights: the sample weights.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    w: NDArray[np.float64] | None
    x_offset: float = 0.0
    y_offset: float = 0.0
    times: TimeUnit | None = None
    n_effective: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        sigma: Any = None,
        *,
        datetime_unit: str | None = None,
        through_origin: bool = False,
        labelled: Mapping[str, Any] | None = None,
    ) -> Points:
        """Return a caller's columns, checked; x may be None for 0, 1, 2, ...

        Lines through the origin need the numbers as they are, without an offset. ``labelled`` are other columns whose
        labels must be those of x and y.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be; the message names it.
        """
        require_same_labels(x, y, sample_weight, sigma, **(labelled or {}))
        values = numbers_of(y, "y")
        n = _length(values, "y", None)
        places = numbers_of(np.arange(float(n)) if x is None else x, "x", datetime_unit)
        _length(places, "x", n)
        sample = _weights(sample_weight, "sample_weight", n)
        w, n_effective = sample, None
        if sigma is not None:
            w = _inverse_squares(_weights(sigma, "sigma", n))
            if sample is not None:
                w, n_effective = w * sample, sample
        offsets = places.offset, values.offset
        columns = _floats(places), _floats(values)
        if through_origin and any(offsets):
            columns = columns[0] + offsets[0], columns[1] + offsets[1]
            offsets = 0.0, 0.0
        return cls(*columns, w, *offsets, places.times, n_effective)

    def sums_of_sample(self, rows: Rows) -> NDArray[np.float64] | None:
        """Return the sums of sample weights of groups of points, where these differ from the weights."""
        if self.n_effective is None or self.w is None:
            return None
        codes = rows.of_rows()
        counts = (codes >= 0) & ~np.isnan(self.x + self.y + self.w)
        found = np.zeros(rows.n_groups)
        np.add.at(found, codes[counts], self.n_effective[counts])
        return found

    def require_no_nan(self) -> None:
        """Raise ValueError about the first NaN, for ``nan_policy="raise"``."""
        for name, values in (("y", self.y), ("x", self.x), ("weights", self.w)):
            if values is not None and (wrong := np.flatnonzero(np.isnan(values))).size:
                raise ValueError(
                    f"y, x and weights must not hold NaN with nan_policy='raise'; got it in {name} at index "
                    f"{wrong[0]:,}"
                )

    def taken(self, order: NDArray[np.int64]) -> Points:
        """Return some of the points."""
        w = None if self.w is None else self.w[order]
        n_effective = None if self.n_effective is None else self.n_effective[order]
        return self._replace(x=self.x[order], y=self.y[order], w=w, n_effective=n_effective)


def _weights(values: Any, name: str, n: int) -> Any:
    if values is None:
        return None
    found = numbers_of(values, name)
    if found.array.ndim == 0:
        found = found._replace(array=np.full(n, found.array), missing=None)
    _length(found, name, n)
    return _floats(found)


def _inverse_squares(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of standard deviations: -1 where one is not above 0 or infinite, NaN where it is missing."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        found = (1.0 / sigma) ** 2
        found[~((sigma > 0.0) & (sigma < math.inf))] = -1.0
    found[np.isnan(sigma)] = math.nan
    return found


def _length(numbers: Numbers, name: str, n: int | None) -> int:
    if numbers.array.ndim != 1:
        hint = ": for many series, fit each of them" if numbers.array.ndim else ""
        raise ValueError(f"{name} must have one dimension; got {numbers.array.ndim}{hint}")
    if n is not None and numbers.array.size != n:
        raise ValueError(f"{name} must have the length of y, {n:,}; got {numbers.array.size:,}")
    return int(numbers.array.size)


def _floats(numbers: Numbers) -> NDArray[np.float64]:
    found = np.ascontiguousarray(numbers.array, dtype=np.float64)
    if numbers.missing is not None and numbers.missing.any():
        found = np.where(numbers.missing, np.nan, found)
    return found
