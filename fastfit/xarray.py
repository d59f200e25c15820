"""Lines along a dimension of a DataArray, by names. Needs xarray: ``pip install 'fastfit[xarray]'``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastfit import inference
from fastfit.columns import Numbers, numbers_of
from fastfit.lines import batched
from fastfit.lines.batched import Options
from fastfit.lines.merging import merged
from fastfit.lines.parts import sums_of_lines, sums_of_part
from fastfit.lines.result import LineFits
from fastfit.lines.series import LineSums, Series
from fastfit.losses import Loss, RobustLoss
from fastfit.times import TimeUnit, Unit
from fastfit.validation import finite_number, what_came

try:
    import xarray as xr
except ImportError as error:
    raise ImportError("fastfit.xarray needs xarray: pip install 'fastfit[xarray]'") from error

__all__ = ["fit_lines"]

# The variables, by the names that LineFits has for them.
_FIELDS: dict[str, type[np.generic]] = {
    **dict.fromkeys(("slope", "intercept", "stderr", "intercept_stderr"), np.float64),
    **dict.fromkeys(("rvalue", "pvalue", "residual_std", "loss", "f_scale"), np.float64),
    **{"n_points": np.int64, "n_omitted": np.int64, "status": np.int8},
}
# Attributes that describe values of da: they would be wrong for what is fitted.
_OF_VALUES = {
    *("units", "long_name", "standard_name", "short_name", "cell_methods", "calendar"),
    *("valid_min", "valid_max", "valid_range", "actual_range", "missing_value", "_FillValue"),
    *("scale_factor", "add_offset", "flag_values", "flag_meanings", "flag_masks"),
    *("ancillary_variables", "coordinates", "grid_mapping", "bounds", "axis", "positive"),
}
# Parts along the dimension of the points that are merged at a time.
_MERGED_AT_A_TIME = 8


def fit_lines(
    da: xr.DataArray,
    dim: Hashable,
    x: xr.DataArray | Hashable | None = None,
    *,
    loss: str | Loss | type[Loss] = "squared_error",
    f_scale: float | Literal["mad"] | None = None,
    fit_intercept: bool = True,
    sample_weight: xr.DataArray | float | None = None,
    sigma: xr.DataArray | float | None = None,
    absolute_sigma: bool = False,
    nan_policy: Literal["omit", "raise", "propagate"] = "omit",
    min_points: int = 2,
    datetime_unit: Unit | None = None,
    n_threads: int | None = None,
    backend: Literal["numba", "numpy"] = "numba",
) -> xr.Dataset:
    """Fit the line ``da = slope * x + intercept`` of least mean loss along a dimension, such as time.

    Arrays of Dask stay lazy: each chunk of lines is one task, and nothing is rechunked. Results have the same bits
    however chunks divide the lines. If ``dim`` is chunked, each chunk is fitted, and what lines follow from is merged:
    results agree with those of one chunk but for rounding.

    Parameters
    ----------
    da : DataArray
        Values of any number of dimensions, of NumPy or Dask.
    dim : hashable
        The dimension along which the points of a line lie.
    x : DataArray or hashable, optional
        Where the points lie: by default the coordinate of ``dim``, or 0, 1, ... if it has none. Or the name of another
        coordinate; or a DataArray along ``dim``, and perhaps other dimensions of da. It may hold times.
    loss : str, loss object or class
        The mean loss that is minimised: least squares, or a robust loss as in :func:`fastfit.fit_lines`, for which the
        points of a line must lie in one chunk.
    f_scale : float or "mad", optional
        Residual at which a robust loss departs from the square; by default ("mad"), each line has its own.
    fit_intercept : bool
        False fits ``da = slope * x``.
    sample_weight : DataArray or float, optional
        How often each point was observed, at least 0; with any of the dimensions of da, such as latitude.
    sigma : DataArray or float, optional
        Standard deviations of the values, above 0, likewise; points are weighted by ``1 / sigma**2``.
    absolute_sigma : bool
        Whether sigma is the true standard deviation, from which errors follow, or known up to a factor.
    nan_policy : {"omit", "raise", "propagate"}
        For NaN in da, x or weights: leave the point out, raise ValueError (with Dask, when it is computed), or have no
        line there.
    min_points : int
        Fewest points for a line, in all chunks together; at least 2. Lines with fewer are NaN.
    datetime_unit : {"W", "D", "h", "m", "s", "ms", "us", "ns"}, optional
        Unit of x where x holds times; "s" by default. Intercepts are at 1970-01-01, or at a duration of 0.
    n_threads : int, optional
        Largest number of threads for NumPy's arrays. A task of Dask uses one.
    backend : {"numba", "numpy"}
        Compiled loops, or the reference in NumPy.

    Returns
    -------
    Dataset
        On the dimensions of da without ``dim``, with the coordinates that do not depend on it:

        - slope, and stderr, its standard error: in units of da per unit of x
        - intercept, and intercept_stderr: in units of da
        - rvalue, the correlation coefficient, and pvalue of a slope of 0, which is left out without SciPy
        - residual_std, in units of da, and loss, the mean loss; of a robust loss also f_scale, in units of da
        - n_points and n_omitted, the numbers of points fitted and of those left out
        - status: how each fit ended, as a code; attributes give the names that ``fastfit.Status`` has for them

        Lines that cannot be fitted are NaN, and spoil no others. Attributes of da are kept unless they describe its
        values, or xarray's option ``keep_attrs`` is False.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be, or labels differ; the message names it.

    Warns
    -----
    ConvergenceWarning
        Once, with their number, if lines that have points could not be fitted. Not for Dask: see ``status``.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import fastfit.xarray
    >>> time = np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "datetime64[ns]")
    >>> warming = xr.DataArray(
    ...     [[1.0, 0.0], [3.0, 1.0], [5.0, 2.0]],
    ...     {"time": time, "lat": [50.0, 60.0]},
    ...     ("time", "lat"),
    ...     attrs={"units": "K"},
    ... )
    >>> trend = fastfit.xarray.fit_lines(warming, "time", datetime_unit="D")
    >>> trend.slope.values
    array([2., 1.])
    >>> trend.slope.attrs["units"]
    'K per D'
    """
    options = Options.of(
        loss=loss,
        f_scale=f_scale,
        fit_intercept=fit_intercept,
        has_sigma=sigma is not None,
        absolute_sigma=absolute_sigma,
        nan_policy=nan_policy,
        min_points=min_points,
        n_threads=n_threads,
        backend=backend,
    )
    _require_values(da)
    _require_dimension(da, dim)
    is_robust = isinstance(options.loss, RobustLoss)
    if is_robust and len(da.chunksizes.get(dim, ())) > 1:
        raise ValueError(
            f"loss must be 'squared_error' if da has several chunks along dim; got {loss!r}: put the points of a line "
            f"into one chunk, as with da.chunk({{{dim!r}: -1}})"
        )
    places = _places(da, dim, x)
    others = {
        "x": places,
        "sample_weight": _weights(da, dim, sample_weight, "sample_weight", least=None),
        "sigma": _weights(da, dim, sigma, "sigma", least=0.0),
    }
    given = {name: _like(da, other, name) for name, other in others.items() if other is not None}
    times = _times(given["x"], datetime_unit)
    fields = [name for name in _FIELDS if is_robust or name != "f_scale"]
    try:
        inference.distribution_functions()
    except ImportError:
        fields.remove("pvalue")
    axis = da.dims.index(dim)
    if any(map(_is_lazy, (da.variable, *given.values()))):
        found = _lazily(da, dim, given, options, times, datetime_unit, fields)
    else:
        arrays = {name: _spread(v.data, v.dims, da, dim) for name, v in given.items()}
        fits = batched.fit_lines(
            arrays.pop("x"),
            da.data,
            axis=axis,
            **arrays,
            loss=options.loss,
            fit_intercept=options.fit_intercept,
            absolute_sigma=options.absolute_sigma,
            nan_policy=nan_policy,
            min_points=options.min_points,
            datetime_unit=datetime_unit,
            n_threads=options.n_threads,
            backend=backend,
        )
        found = {name: _field(fits, name) for name in fields}
    return _dataset(da, dim, places, times, found)


# Arguments


def _require_values(da: Any) -> None:
    if isinstance(da, xr.Dataset):
        names = ", ".join(map(repr, list(da.data_vars)[:5]))
        raise TypeError(
            f"da must be a DataArray; got a Dataset: pick a variable, as with ds[name]; it has {names or 'none'}"
        )
    if not isinstance(da, xr.DataArray):
        raise TypeError(
            f"da must be a DataArray; got {what_came(da)}: fastfit.fit_lines takes arrays without names"
        )
    _require_numbers(da, "da")


def _require_numbers(values: xr.DataArray, name: str) -> None:
    dtype = values.dtype
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers; got {dtype}: convert it, as with .astype(float)"
        )


def _require_dimension(da: xr.DataArray, dim: Any) -> None:
    has = ", ".join(map(repr, da.dims)) or "none"
    if isinstance(dim, (list, tuple, set)) and dim not in da.dims:
        raise TypeError(
            f"dim must be one dimension of da; got {dim!r}: stack several into one, as with "
            f"da.stack(points={[*dim]!r}), and pass x; da has {has}"
        )
    if dim not in da.dims:
        raise ValueError(f"dim must be a dimension of da; got {dim!r}; da has {has}")


def _places(da: xr.DataArray, dim: Hashable, x: Any) -> xr.DataArray:
    """Return where the points lie."""
    if isinstance(x, xr.DataArray):
        found = x
    elif x is None or (isinstance(x, Hashable) and x == dim):
        found = da[dim]  # 0, 1, ... without a coordinate
    elif isinstance(x, Hashable) and x in da.coords:
        found = da.coords[x]
    else:
        has = ", ".join(map(repr, da.coords)) or "none"
        raise (ValueError if isinstance(x, str) else TypeError)(
            f"x must be a DataArray, the name of a coordinate of da, or None; got {what_came(x)}; da has {has}"
        )
    if dim not in found.dims:
        raise ValueError(
            f"x must have the dimension {dim!r}; got {found.name!r} with "
            f"{', '.join(map(repr, found.dims)) or 'no dimension'}"
        )
    if found.dtype == object and found.size and not _is_lazy(found.variable):
        first = found.values.reshape(-1)[0]
        if type(first).__module__.partition(".")[0] == "cftime":
            raise TypeError(
                f"x must hold numbers, datetime64 or timedelta64; got {type(first).__name__} of cftime: pass "
                f"durations, as with x=da[{found.name!r}] - da[{found.name!r}][0], or convert the calendar, as with "
                "da.convert_calendar('standard', use_cftime=False)"
            )
    return found


def _weights(
    da: xr.DataArray, dim: Hashable, value: Any, name: str, least: float | None
) -> xr.DataArray | None:
    """Return weights or standard deviations; a number holds for all points."""
    if value is None:
        return None
    if isinstance(value, xr.DataArray):
        _require_numbers(value, name)
        return value
    must_be = f"a DataArray or a {'positive ' if least == 0.0 else ''}number"
    if np.ndim(value) or isinstance(value, xr.Dataset):
        raise TypeError(
            f"{name} must be {must_be}; got {what_came(value)}: name its dimensions, as with "
            "xarray.DataArray(values, dims=...)"
        )
    number = finite_number(value, name, must_be, above=-math.inf if least is None else least)
    if number < 0.0:
        raise ValueError(f"{name} must be at least 0; got {value!r}")
    return xr.DataArray(np.full(da.sizes[dim], number), dims=[dim])


def _like(da: xr.DataArray, other: xr.DataArray, name: str) -> xr.Variable:
    """Return another array with its dimensions in the order of da, after checking its labels."""
    more = [d for d in other.dims if d not in da.dims]
    if more:
        raise ValueError(
            f"{name} must have no dimension but those of da, {', '.join(map(repr, da.dims))}; "
            f"got {', '.join(map(repr, more))}"
        )
    try:
        xr.align(da, other, join="exact", copy=False)
    except ValueError as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"{name} must have the labels of da along each dimension; got others: {why}. Select the same ones, as with "
            f"xarray.align(..., join='inner')"
        ) from error
    return other.variable.transpose(*(d for d in da.dims if d in other.dims))


def _times(x: xr.Variable, datetime_unit: str | None) -> TimeUnit | None:
    """Return how x counts time, None for numbers; of arrays of Dask, the type tells."""
    if _is_lazy(x) or x.dtype.kind in "biufmM":
        return numbers_of(np.empty(0, x.dtype), "x", datetime_unit).times
    return numbers_of(x.data, "x", datetime_unit).times


def _is_lazy(values: xr.Variable) -> bool:
    return values.chunks is not None


def _spread(array: Any, dims: tuple[Hashable, ...], da: xr.DataArray, dim: Hashable) -> Any:
    """Return an array with the shape of da, without a copy; along ``dim`` alone, it stays one-dimensional."""
    if dims == (dim,):
        return array
    index = tuple(slice(None) if d in dims else np.newaxis for d in da.dims)
    return np.broadcast_to(array[index], da.shape)


# Chunks


@dataclass(frozen=True)
class _Plan:
    """What tasks need to know besides their points.

    Attributes
    ----------
    axis, n : int
        The axis of the points, and their number in all chunks.
    present : tuple of (str, tuple of int)
        Names of the arrays besides y, and which axes of y they have.
    x_offset : float
        What is added to x.
    is_alone, is_repeated : bool
        As in ``parts.sums_of_lines``.
    """

    axis: int
    n: int
    present: tuple[tuple[str, tuple[int, ...]], ...]
    x_offset: float
    times: TimeUnit | None
    datetime_unit: str | None
    options: Options
    fields: tuple[str, ...]
    is_alone: bool
    is_repeated: bool

    def sums(self, is_part: bool, y: Any, *others: Any) -> LineSums:
        """Return the sums of a chunk."""
        values = numbers_of(y, "da")
        given: dict[str, Numbers] = {}
        for (name, axes), array in zip(self.present, others, strict=True):
            numbers = numbers_of(array, name, self.datetime_unit if name == "x" else None)
            if axes != (self.axis,):
                index = tuple(
                    slice(None) if k in axes else np.newaxis for k in range(values.array.ndim)
                )
                numbers = numbers._replace(
                    array=np.broadcast_to(numbers.array[index], values.array.shape),
                    missing=None
                    if numbers.missing is None
                    else np.broadcast_to(numbers.missing[index], values.array.shape),
                )
            given[name] = numbers
        x = given["x"]._replace(offset=given["x"].offset + self.x_offset)
        series = Series(x, values, given.get("sample_weight"), given.get("sigma"), self.axis)
        options: dict[str, Any] = {
            "through_origin": not self.options.fit_intercept,
            "backend": self.options.backend,
            "is_alone": self.is_alone,
            "is_repeated": self.is_repeated,
        }
        if is_part:
            return sums_of_part(series, **options)
        loss = self.options.loss
        return sums_of_lines(series, **options, loss=loss if isinstance(loss, RobustLoss) else None)

    def merged(self, parts: LineSums | list[LineSums]) -> LineSums:
        """Return the sums of some parts as those of one."""
        given = [parts] if isinstance(parts, LineSums) else parts
        return merged(given, through_origin=not self.options.fit_intercept)

    def stacked(self, sums: LineSums) -> NDArray[np.float64]:
        """Return all fields of the lines, along the axis that held the points."""
        fits = self.options.fits(sums, self.n, self.times, self.axis)
        return np.stack(
            [_field(fits, name).astype(np.float64) for name in self.fields], axis=self.axis
        )


# Functions of their own, which Dask can name and send to other processes.


def _fit_chunk(*arrays: Any, plan: _Plan) -> NDArray[np.float64]:
    return plan.stacked(plan.sums(False, *arrays))


def _fit_part(*arrays: Any, plan: _Plan) -> LineSums:
    return plan.sums(True, *arrays)


def _as_is(part: LineSums, axis: Any, keepdims: bool) -> LineSums:
    return part


def _merge(parts: Any, axis: Any, keepdims: bool, plan: _Plan) -> LineSums:
    return plan.merged(parts)


def _finish(parts: Any, axis: Any, keepdims: bool, plan: _Plan) -> NDArray[np.float64]:
    return plan.stacked(plan.merged(parts))


def _pick(stacked: Any, k: int, axis: int, dtype: Any) -> NDArray[Any]:
    return np.asarray(np.take(stacked, k, axis=axis)).astype(dtype)


def _lazily(
    da: xr.DataArray,
    dim: Hashable,
    given: dict[str, xr.Variable],
    options: Options,
    times: TimeUnit | None,
    datetime_unit: str | None,
    fields: list[str],
) -> dict[str, Any]:
    """Return the fields of the lines as arrays of Dask."""
    import dask.array

    axis = da.dims.index(dim)
    chunks = _chunks(da, dim, given)
    present, arguments, x_offset = [], [], 0.0
    for name, variable in (("y", da.variable), *given.items()):
        array: Any = variable.data
        if name == "x" and not _is_lazy(variable):
            array, x_offset = _in_floats(array, datetime_unit)
        own = tuple(chunks[d] for d in variable.dims)
        if not _is_lazy(variable):
            array = dask.array.from_array(array, chunks=own)
        elif array.chunks != own:  # not y, whose chunks these are
            array = array.rechunk(own)
        axes = tuple(da.dims.index(d) for d in variable.dims)
        arguments += [array, axes]
        if name != "y":
            present.append((name, axes))
    plan = _Plan(
        axis,
        da.sizes[dim],
        tuple(present),
        x_offset,
        times,
        datetime_unit if _is_lazy(given["x"]) else None,
        options,
        tuple(fields),
        is_alone=math.prod(n for d, n in da.sizes.items() if d != dim) == 1,
        is_repeated=any(axes != (axis,) and len(axes) < da.ndim for _, axes in present),
    )
    indices = tuple(range(da.ndim))
    is_whole = len(chunks[dim]) == 1
    task: Callable[..., Any] = partial(_fit_chunk if is_whole else _fit_part, plan=plan)
    common: dict[str, Any] = {"dtype": np.float64, "meta": np.empty((0,) * da.ndim)}
    blocks = dask.array.blockwise(
        task,
        indices,
        *arguments,
        token="fit-lines",
        adjust_chunks={axis: len(fields) if is_whole else 1},
        align_arrays=False,
        **common,
    )
    if not is_whole:
        blocks = dask.array.reduction(
            blocks,
            chunk=_as_is,
            combine=partial(_merge, plan=plan),
            aggregate=partial(_finish, plan=plan),
            axis=axis,
            keepdims=True,
            output_size=len(fields),
            concatenate=False,
            split_every=_MERGED_AT_A_TIME,
            **common,
        )
    left = indices[:axis] + indices[axis + 1 :]
    return {
        name: dask.array.blockwise(
            partial(_pick, k=k, axis=axis, dtype=_FIELDS[name]),
            left,
            blocks,
            indices,
            token=name,
            concatenate=True,
            dtype=_FIELDS[name],
            meta=np.empty((0,) * len(left), _FIELDS[name]),
        )
        for k, name in enumerate(fields)
    }


def _chunks(
    da: xr.DataArray, dim: Hashable, given: dict[str, xr.Variable]
) -> dict[Hashable, tuple[int, ...]]:
    """Return the chunks of da; if it has none, those of the others, with the points of a line in one."""
    if _is_lazy(da.variable):
        return dict(da.chunksizes)
    found: dict[Hashable, tuple[int, ...]] = {d: (n,) for d, n in da.sizes.items()}
    for variable in given.values():
        if _is_lazy(variable):
            found |= {d: own for d, own in variable.chunksizes.items() if d != dim}
    return found


def _in_floats(array: Any, datetime_unit: str | None) -> tuple[NDArray[Any], float]:
    """Return places as floats, NaN where missing, and what was subtracted from all of them."""
    numbers = numbers_of(array, "x", datetime_unit)
    found = numbers.array
    if found.dtype.kind != "f" or numbers.missing is not None:
        found = found.astype(np.float64)
    if numbers.missing is not None:
        found = np.where(numbers.missing, np.nan, found)
    if found.ndim == 1 and np.isinf(found).any() and not np.isnan(found).any():
        where = int(np.flatnonzero(np.isinf(found))[0])
        raise ValueError(f"x must be finite; got {found[where]} at index {where:,}")
    return found, numbers.offset


# Results


def _field(fits: LineFits, name: str) -> NDArray[Any]:
    found = fits.codes if name == "status" else getattr(fits, name)
    return np.asarray(found, dtype=_FIELDS[name])


def _dataset(
    da: xr.DataArray,
    dim: Hashable,
    x: xr.DataArray,
    times: TimeUnit | None,
    found: dict[str, Any],
) -> xr.Dataset:
    """Return the fields as variables, with coordinates and attributes."""
    dims = [d for d in da.dims if d != dim]
    taken = [name for name in (*dims, *da.coords) if name in found]
    if taken:
        raise ValueError(
            f"da must have other names for dimensions and coordinates than results have; got {taken[0]!r}: rename it"
        )
    gone = [name for name, each in da.coords.items() if dim in each.dims]
    options: Any = xr.get_options
    keeps = options()["keep_attrs"] is not False
    attrs = _attributes(da, dim, x, times, keeps, is_robust="f_scale" in found)
    variables = {name: xr.Variable(dims, array, attrs[name]) for name, array in found.items()}
    dataset = da.coords.to_dataset().drop_vars(gone).assign(variables)
    dataset.attrs = (
        {name: value for name, value in da.attrs.items() if name not in _OF_VALUES} if keeps else {}
    )
    return dataset


def _attributes(
    da: xr.DataArray,
    dim: Hashable,
    x: xr.DataArray,
    times: TimeUnit | None,
    keeps: bool,
    is_robust: bool,
) -> dict[str, dict[str, Any]]:
    """Return the attributes of each variable."""
    what = str(da.attrs.get("long_name") or (da.name if da.name is not None else "values"))
    along = str(x.name if x.name is not None else dim)
    names = {
        "slope": f"slope of {what} over {along}",
        "intercept": f"intercept of {what} over {along}",
        "stderr": f"standard error of the slope of {what} over {along}",
        "intercept_stderr": f"standard error of the intercept of {what} over {along}",
        "rvalue": f"correlation coefficient of {what} and {along}",
        "pvalue": f"two-sided p-value of the hypothesis that the slope of {what} over {along} is 0",
        "residual_std": f"standard deviation of {what} from the line",
        "loss": f"mean loss of {what}" if is_robust else f"mean squared residual of {what}",
        "f_scale": "residual at which the loss departs from the square",
        "n_points": "number of points fitted",
        "n_omitted": "number of points left out",
        "status": "how the fit ended",
    }
    units = dict.fromkeys(("rvalue", "pvalue", "n_points", "n_omitted"), "1")
    own = da.attrs.get("units")
    if isinstance(own, str) and own:
        units |= dict.fromkeys(("intercept", "intercept_stderr", "residual_std", "f_scale"), own)
        units["loss"] = f"{own}^2" if re.fullmatch(r"[^\W\d]+", own) else f"({own})^2"
        slope = _slope_units(own, x.attrs.get("units"), times)
        units |= {} if slope is None else dict.fromkeys(("slope", "stderr"), slope)
    grid = da.attrs.get("grid_mapping", da.encoding.get("grid_mapping")) if keeps else None
    found: dict[str, dict[str, Any]] = {}
    for name, long_name in names.items():
        found[name] = {"long_name": long_name}
        if name in units:
            found[name]["units"] = units[name]
        if grid is not None:
            found[name]["grid_mapping"] = grid
    found["status"]["flag_values"] = np.arange(len(LineFits.STATUSES), dtype=np.int8)
    found["status"]["flag_meanings"] = " ".join(status.name for status in LineFits.STATUSES)
    return found


def _slope_units(own: str, of_x: Any, times: TimeUnit | None) -> str | None:
    """Return units of the slope; None if those of x are unknown."""
    if times is not None:
        return f"{own} per {times.unit}"
    if not isinstance(of_x, str) or not of_x:
        return None
    return (
        f"{own} / {of_x}" if re.fullmatch(r"\S+", of_x) and "/" not in of_x else f"{own} / ({of_x})"
    )
