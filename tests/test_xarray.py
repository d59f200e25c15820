"""fit_lines along a dimension of a DataArray."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastfit as ff
from fastfit.outcome import Status

xr = pytest.importorskip("xarray")

from fastfit.xarray import fit_lines  # noqa: E402  # needs xarray
from tests.conftest import Script  # noqa: E402

FIELDS = (
    *("slope", "intercept", "stderr", "intercept_stderr", "rvalue", "pvalue", "residual_std"),
    *("loss", "n_points", "n_omitted"),
)
TIMES = np.arange("2000-01-01", "2000-02-10", dtype="datetime64[D]").astype("datetime64[ns]")
N = TIMES.size


@pytest.fixture
def da(rng: np.random.Generator) -> Any:
    """Temperatures with gaps, as climate data have them."""
    values = rng.normal(size=(N, 4, 5)) + 280.0 + 0.05 * np.arange(N)[:, np.newaxis, np.newaxis]
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 1, 2] = np.nan
    values[:20, 2, 3] = values[14:, 3, 3] = np.nan
    return xr.DataArray(
        values,
        {
            "time": TIMES,
            "lat": np.linspace(-60.0, 60.0, 4),
            "lon": np.linspace(0.0, 20.0, 5),
            "month": ("time", TIMES.astype("datetime64[M]").astype(int) % 12 + 1),
            "height": 2.0,
            "area": (("lat", "lon"), np.ones((4, 5)), {"units": "m2"}),
            "spatial_ref": ((), 0, {"crs_wkt": "GEOGCRS[...]"}),
        },
        ("time", "lat", "lon"),
        name="tas",
        attrs={
            "units": "K",
            "long_name": "air temperature",
            "grid_mapping": "spatial_ref",
            "source": "a model",
            "valid_min": 0.0,
        },
    )


def same_bits(a: Any, b: Any) -> bool:
    """Return whether all variables of two datasets are the same, bit by bit."""
    assert set(a.data_vars) == set(b.data_vars)
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in a.data_vars)


def assert_close(a: Any, b: Any, tolerance: float = 1e-13) -> None:
    for name in (*FIELDS, "status"):
        np.testing.assert_allclose(a[name], b[name], rtol=tolerance, err_msg=name)


# Values


def test_lines_are_those_of_arrays_and_of_single_fits(da: Any) -> None:
    found = fit_lines(da, "time", datetime_unit="D")
    fits = ff.fit_lines(TIMES, da.values, datetime_unit="D")
    for name in FIELDS:
        np.testing.assert_array_equal(found[name], getattr(fits, name), err_msg=name)
    np.testing.assert_array_equal(found.status, fits.codes)
    one = ff.fit_line(TIMES, da[:, 0, 0].values, datetime_unit="D", nan_policy="omit")
    for name in FIELDS:
        assert math.isclose(found[name][0, 0], getattr(one, name), rel_tol=1e-11), name
    assert found.status.dims == ("lat", "lon")
    assert found.n_points.dtype == found.n_omitted.dtype == np.int64
    assert found.status.dtype == np.int8


def test_the_documented_example_has_the_right_error() -> None:
    """Missing points are no points: polyfit of xarray counts them, and its error is a third of the right one."""
    y = [1.0, 3.2, 4.8, 7.1, np.nan, np.nan]
    da = xr.DataArray(y, {"x": np.arange(6.0)}, ("x",))
    found = fit_lines(da, "x")
    x = np.arange(4.0)
    left = np.asarray(y[:4]) - np.polyval(np.polyfit(x, y[:4], 1), x)
    right = math.sqrt((left @ left) / 2.0 / 5.0)
    assert math.isclose(float(found.stderr), right, rel_tol=1e-12)
    assert round(float(found.stderr), 6) == 0.093274
    assert int(found.n_points) == 4
    of_xarray = da.polyfit("x", 1, cov=True)
    assert math.isclose(of_xarray.polyfit_coefficients[0], found.slope, rel_tol=1e-12)
    assert round(math.sqrt(of_xarray.polyfit_covariance[0, 0]), 6) == 0.035254


@pytest.mark.parametrize("dim", ["time", "lat", "lon"])
def test_any_dimension_in_any_order(da: Any, dim: str) -> None:
    da = da.fillna(280.0)
    x = TIMES if dim == "time" else da[dim].values
    for dims in (("time", "lat", "lon"), ("lon", "time", "lat"), ("lat", "lon", "time")):
        turned = da.transpose(*dims)
        fits = ff.fit_lines(x, turned.values, axis=turned.dims.index(dim))
        found = fit_lines(turned, dim)
        np.testing.assert_array_equal(found.slope, fits.slope)
        assert found.slope.dims == tuple(d for d in dims if d != dim)


def test_a_single_line() -> None:
    found = fit_lines(xr.DataArray([1.0, 3.0, 5.0], dims="i"), "i")
    assert found.slope.dims == ()
    assert (float(found.slope), float(found.intercept)) == (2.0, 1.0)


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_no_points_at_all() -> None:
    found = fit_lines(xr.DataArray(np.zeros((0, 3)), dims=("i", "j")), "i")
    assert np.isnan(found.slope).all()
    assert (found.status == 1).all()


# x


def test_x_without_labels_counts(da: Any) -> None:
    found = fit_lines(da.drop_vars("time"), "time")
    np.testing.assert_array_equal(found.slope, ff.fit_lines(np.arange(N), da.values).slope)


def test_x_by_name_and_as_an_array(da: Any, rng: np.random.Generator) -> None:
    da = da.assign_coords(year=("time", np.arange(N) / 365.25 + 2000.0))
    by_name = fit_lines(da, "time", "year")
    assert same_bits(by_name, fit_lines(da, "time", da.year))
    np.testing.assert_array_equal(
        by_name.slope, ff.fit_lines(da.year.values, da.values, axis=0).slope
    )
    own = xr.DataArray(rng.random((5, N)), dims=("lon", "time"))
    spread = np.ascontiguousarray(np.broadcast_to(own.values.T[:, np.newaxis], da.shape))
    np.testing.assert_allclose(
        fit_lines(da, "time", own).slope, ff.fit_lines(spread, da.values).slope, rtol=1e-12
    )


@pytest.mark.parametrize("chunks", [None, {"lat": 1}, {"time": 13}, {"time": 7, "lon": 2}])
def test_times_are_exact(chunks: Any) -> None:
    """Nanoseconds since 1970 have more digits than a float, whose rounding would hide these steps of 10 ns."""
    ticks = np.datetime64("2026-01-01T00:00:00.000000001", "ns") + 10 * np.arange(40)
    y = xr.DataArray(
        np.arange(40.0)[:, np.newaxis, np.newaxis] * np.ones((1, 2, 3)),
        {"time": ticks},
        ("time", "lat", "lon"),
    )
    for x in (None, y.time + xr.zeros_like(y).astype("timedelta64[ns]")):
        found = fit_lines(y if chunks is None else y.chunk(chunks), "time", x, datetime_unit="ns")
        np.testing.assert_allclose(found.slope, 0.1, rtol=1e-14)
        np.testing.assert_allclose(found.residual_std, 0.0, atol=1e-14)


def test_durations(da: Any) -> None:
    passed = da.time - da.time[0]
    found = fit_lines(da, "time", passed, datetime_unit="h")
    right = fit_lines(da, "time", datetime_unit="D")
    np.testing.assert_allclose(found.slope * 24.0, right.slope, rtol=1e-12)
    assert found.slope.attrs["units"] == "K per h"


@pytest.mark.parametrize("chunks", [None, {"lat": 2}, {"time": 15}])
def test_missing_times_are_left_out(da: Any, chunks: Any) -> None:
    when = da.time.copy(data=np.where(np.arange(N) == 3, np.datetime64("NaT"), TIMES))
    when = xr.DataArray(when.values, dims="time")
    given = da if chunks is None else da.chunk(chunks)
    found = fit_lines(given.drop_vars("time"), "time", when)
    right = fit_lines(da.drop_isel(time=3), "time")
    np.testing.assert_allclose(found.slope, right.slope, rtol=1e-12)
    np.testing.assert_array_equal(found.n_points, right.n_points)


# Weights


@pytest.mark.parametrize("chunks", [None, {"lat": 1}, {"time": 9, "lon": 3}])
def test_weights_by_name(da: Any, rng: np.random.Generator, chunks: Any) -> None:
    given = da if chunks is None else da.chunk(chunks)
    by_time = xr.DataArray(rng.random(N), {"time": TIMES}, ("time",))
    by_place = xr.DataArray(rng.random((5, 4)) + 0.1, {"lat": da.lat}, ("lon", "lat"))
    spread = np.ascontiguousarray(np.broadcast_to(by_place.values.T, da.shape))
    weight, sigma = np.broadcast_to(by_time.values[:, None, None], da.shape).copy(), spread
    for options, right in (
        ({"sample_weight": by_time}, {"sample_weight": weight}),
        ({"sample_weight": by_place}, {"sample_weight": spread}),
        ({"sigma": by_place}, {"sigma": sigma}),
        ({"sigma": by_place, "absolute_sigma": True}, {"sigma": sigma, "absolute_sigma": True}),
        (
            {"sigma": 0.5, "absolute_sigma": True},
            {"sigma": np.full(N, 0.5), "absolute_sigma": True},
        ),
        ({"sample_weight": 2}, {"sample_weight": np.full(N, 2.0)}),
        ({"sample_weight": by_time, "sigma": by_place}, {"sample_weight": weight, "sigma": sigma}),
    ):
        found = fit_lines(given, "time", **options)
        fits = ff.fit_lines(TIMES, da.values, **right)
        for name in FIELDS:
            np.testing.assert_allclose(
                found[name], getattr(fits, name), rtol=1e-12, err_msg=f"{name} with {options}"
            )


def test_options_reach_the_fit(da: Any) -> None:
    for options in (
        {"fit_intercept": False},
        {"min_points": 30},
        {"nan_policy": "propagate"},
        {"backend": "numpy"},
    ):
        with pytest.warns(ff.ConvergenceWarning) if "n" in str(options)[2:4] else _nothing():
            fits = ff.fit_lines(TIMES, da.values, **options)
            found = fit_lines(da, "time", **options)
        for chunks in ({"lat": 2}, {"time": 11}):
            lazy = fit_lines(da.chunk(chunks), "time", **options)
            for name in FIELDS:
                right = getattr(fits, name)
                np.testing.assert_allclose(found[name], right, rtol=1e-13, err_msg=name)
                np.testing.assert_allclose(lazy[name], right, rtol=2e-12, err_msg=name)
            np.testing.assert_array_equal(lazy.status, fits.codes)


def _nothing() -> Any:
    import warnings

    context = warnings.catch_warnings()
    warnings.simplefilter("ignore", ff.ConvergenceWarning)
    return context
