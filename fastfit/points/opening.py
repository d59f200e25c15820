"""From the arguments of a caller to opened points: which source they stand for, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastfit import validation
from fastfit.columns import require_same_labels
from fastfit.losses import Loss, SquaredError
from fastfit.points.arrays import ArrayPoints, Arrays
from fastfit.points.base import Plan, Points, Reading, Source
from fastfit.times import UNITS

BACKENDS = ("numba", "numpy")
NAN_POLICIES = ("raise", "omit", "propagate")
_DASK = ("dask", "dask_expr")
_SQUARED_ERROR = SquaredError()


def source_of(x: Any, y: Any, sample_weight: Any, sigma: Any) -> Source:
    """Return the source of points that such arguments stand for."""
    if type(x) is type(y) is np.ndarray and sample_weight is sigma is None:
        return Arrays(x, y)  # fast path for the usual case
    if isinstance(x, Source):
        for name, value in (("y", y), ("sample_weight", sample_weight), ("sigma", sigma)):
            if value is not None:
                got = validation.what_came(value)
                instead = x.instead.format(name=name)
                raise ValueError(f"{name} must be left out when x {x.refusal}{instead}; got {got}")
        return x
    given = tuple(map(_chunked, (x, y, sample_weight, sigma)))
    if any(_library(each) in _DASK for each in given):
        require_same_labels(x, y, sample_weight, sigma)
        from fastfit.points.dask import DaskPoints

        return DaskPoints(*given)
    return Arrays(*given)


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _chunked(value: Any) -> Any:
    """Return the array of Dask that a DataArray of xarray holds, if it does."""
    if _library(value) == "xarray" and getattr(value, "chunks", None) is not None:
        return value.data
    return value


def points_of(
    x: Any,
    y: Any,
    sample_weight: Any = None,
    sigma: Any = None,
    *,
    loss: Loss = _SQUARED_ERROR,
    **options: Any,
) -> Points:
    """Return opened points, for arguments as ``fit_line`` takes them and options as ``reading_of`` takes them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.
    """
    return opened(source_of(x, y, sample_weight, sigma), reading_of(**options), loss)


def array_points_of(x: Any, y: Any, sample_weight: Any = None, **options: Any) -> ArrayPoints:
    """Return the same for arrays of numbers; other sources, and times, raise TypeError."""
    points = Arrays(x, y, sample_weight).points(reading_of(**options))
    if points.times is not None:
        raise TypeError(
            "x must hold real numbers; got times: convert them, or use fastfit.fit_line"
        )
    return points


def opened(source: Source, reading: Reading, loss: Loss = _SQUARED_ERROR) -> Points:
    """Return the points of a source; they stay readable."""
    with source.opened(reading, Plan(loss)) as points:
        return points


def reading_of(
    *,
    nan_policy: str = "raise",
    n_threads: int | None = None,
    backend: str = "numba",
    through_origin: bool = False,
    sampled: int = Reading.sampled,
    datetime_unit: str | None = None,
    nan_policies: Iterable[str] = NAN_POLICIES,
) -> Reading:
    """Return how points are to be read, after checking the arguments."""
    validation.require_one_of(backend, BACKENDS, "backend")
    validation.require_one_of(nan_policy, nan_policies, "nan_policy")
    if n_threads is not None:
        n_threads = validation.positive_integer(n_threads, "n_threads")
        if backend == "numpy" and n_threads > 1:
            raise ValueError(f"n_threads must be None or 1 with backend='numpy'; got {n_threads}")
    if datetime_unit is not None:
        validation.require_one_of(datetime_unit, UNITS, "datetime_unit")
    return Reading(nan_policy, backend, n_threads, through_origin, sampled, datetime_unit)
