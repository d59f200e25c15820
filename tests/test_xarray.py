"""fit_lines along a dimension of a DataArray."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
    a, b = a.compute(), b.compute()
    assert set(a.data_vars) == set(b.data_vars)
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in a.data_vars)


def assert_close(a: Any, b: Any, tolerance: float = 1e-13, about: str = "") -> None:
    a, b = (each.compute() if isinstance(each, xr.Dataset) else each for each in (a, b))
    for name in FIELDS:
        one, other = (getattr(each, name) for each in (a, b))
        least = 1e-30 if name == "pvalue" else 0.0  # tiny ones have lost digits
        np.testing.assert_allclose(
            one, other, rtol=tolerance, atol=least, err_msg=f"{name} {about}"
        )


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


@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_a_single_line_in_chunks(chunks: int) -> None:
    da = xr.DataArray([np.nan, np.nan, np.nan, 1.0, 1.0, 3.0, 3.5, np.nan, 5.0], dims="i") + 1e6
    found, whole = fit_lines(da.chunk(i=chunks), "i"), fit_lines(da, "i")
    assert found.slope.dims == ()
    assert_close(found, whole)
    same_x = xr.zeros_like(da)
    assert int(fit_lines(da.chunk(i=chunks), "i", same_x).status) == 2


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
        assert_close(found, fits, 2e-12, str(options))


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_options_reach_the_fit(da: Any) -> None:
    for options in (
        {"fit_intercept": False},
        {"min_points": 30},
        {"nan_policy": "propagate"},
        {"backend": "numpy"},
    ):
        fits = ff.fit_lines(TIMES, da.values, **options)
        found = fit_lines(da, "time", **options)
        for chunks in ({"lat": 2}, {"time": 11}):
            lazy = fit_lines(da.chunk(chunks), "time", **options)
            assert_close(found, fits)
            assert_close(lazy, fits, 2e-12)
            np.testing.assert_array_equal(lazy.status, fits.codes)


@pytest.mark.slow  # compiles for ten seconds
@pytest.mark.parametrize("f_scale", [None, 1.5])
def test_robust_lines_are_those_of_arrays(da: Any, f_scale: Any) -> None:
    da[5] += 30.0
    options: dict[str, Any] = {"loss": ff.Huber, "f_scale": f_scale, "datetime_unit": "D"}
    fits = ff.fit_lines(TIMES, da.values, **options)
    found = fit_lines(da, "time", **options)
    for name in (*FIELDS, "f_scale"):
        np.testing.assert_array_equal(found[name], getattr(fits, name), err_msg=name)
    np.testing.assert_array_equal(found.status, fits.codes)
    assert found.f_scale.attrs["units"] == "K"
    assert found.loss.attrs["long_name"] == "mean loss of air temperature"
    for chunks in ({"lat": 1, "lon": 1}, {"lat": 3}):
        assert same_bits(fit_lines(da.chunk(chunks), "time", **options), found)
    with pytest.raises(ValueError, match=r"several chunks along dim; .*da.chunk\({'time': -1}\)"):
        fit_lines(da.chunk({"time": 9}), "time", **options)


def test_nan_can_be_refused(da: Any) -> None:
    with pytest.raises(ValueError, match=r"nan_policy='raise'; got it in 20 of 20 lines"):
        fit_lines(da, "time", nan_policy="raise")
    for chunks in ({"lat": 2}, {"time": 11}):
        lazy = fit_lines(da.chunk(chunks), "time", nan_policy="raise")
        with pytest.raises(ValueError, match="nan_policy='raise'"):
            lazy.compute()


# Names


def test_coordinates_and_attributes_stay(da: Any) -> None:
    for given in (da, da.chunk({"lat": 2}), da.chunk({"time": 9})):
        found = fit_lines(given, "time", datetime_unit="D")
        assert set(found.coords) == {"lat", "lon", "height", "area", "spatial_ref"}
        assert found.coords["area"].attrs == {"units": "m2"}
        assert found.spatial_ref.attrs == {"crs_wkt": "GEOGCRS[...]"}
        assert found.attrs == {"source": "a model"}
        slope = found.slope.attrs
        assert slope["long_name"] == "slope of air temperature over time"
        assert (slope["units"], slope["grid_mapping"]) == ("K per D", "spatial_ref")
        units = {name: found[name].attrs.get("units") for name in found}
        assert units == {
            **dict.fromkeys(("slope", "stderr"), "K per D"),
            **dict.fromkeys(("intercept", "intercept_stderr", "residual_std"), "K"),
            **dict.fromkeys(("rvalue", "pvalue", "n_points", "n_omitted"), "1"),
            **{"loss": "K^2", "status": None},
        }
        names = found.status.attrs["flag_meanings"].split()
        assert [Status[name] for name in names] == list(ff.LineFits.STATUSES)
        assert found.status.attrs["flag_values"].tolist() == list(range(len(names)))
        assert found.status.attrs["flag_values"].dtype == np.int8


def test_units_of_numbers() -> None:
    depth = xr.DataArray([1.0, 2.0, 4.0], dims="depth", attrs={"units": "m"})
    da = xr.DataArray([1.0, 2.0, 3.0], {"depth": depth}, ("depth",), attrs={"units": "m s-1"})
    found = fit_lines(da, "depth")
    assert found.slope.attrs["units"] == "m s-1 / m"
    assert found.loss.attrs["units"] == "(m s-1)^2"
    assert found.slope.attrs["long_name"] == "slope of values over depth"
    other = fit_lines(da, "depth", da.depth.assign_attrs(units="kg m-2"))
    assert other.slope.attrs["units"] == "m s-1 / (kg m-2)"
    assert "units" not in fit_lines(da, "depth", da.depth.assign_attrs(units="")).slope.attrs
    assert "units" not in fit_lines(da.assign_attrs(units=""), "depth").intercept.attrs


def test_attributes_are_dropped_if_asked_for(da: Any) -> None:
    with xr.set_options(keep_attrs=False):
        found = fit_lines(da, "time")
    assert found.attrs == {}
    assert "grid_mapping" not in found.slope.attrs


def test_several_levels_of_labels_stay(da: Any) -> None:
    stacked = da.stack(place=("lat", "lon"))
    found = fit_lines(stacked, "time")
    assert found.slope.dims == ("place",)
    np.testing.assert_allclose(
        found.slope.unstack("place"), fit_lines(da, "time").slope, rtol=1e-12
    )
    assert set(fit_lines(stacked, "place", "lat").coords) >= {"time", "month"}


# Dask


@pytest.mark.parametrize(
    "order", [("time", "lat", "lon"), ("lat", "lon", "time"), ("lat", "time", "lon")]
)
@pytest.mark.parametrize(
    "kind", ["float64", pytest.param("float32", marks=pytest.mark.slow), ">f4", "int16"]
)
def test_chunks_across_lines_change_no_bit(da: Any, order: Any, kind: str) -> None:
    da = da.transpose(*order)
    da = (da.fillna(0) if kind == "int16" else da).astype(kind)
    da = da.copy(data=np.ascontiguousarray(da.values))
    whole = fit_lines(da, "time")
    weight = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="lat")
    weighted = fit_lines(da, "time", sample_weight=weight)
    for chunks in ({"lat": 1, "lon": 1}, {"lat": 2, "lon": 3}, {"lat": (1, 3)}, {"lon": 4}, {}):
        chunked = da.chunk(chunks)
        assert same_bits(whole, fit_lines(chunked, "time"))
        assert same_bits(weighted, fit_lines(chunked, "time", sample_weight=weight))


@pytest.mark.parametrize(
    "chunks", [{"time": 1}, {"time": 7}, {"time": (3, 1, 36), "lat": 2, "lon": 2}]
)
@pytest.mark.parametrize("offset", [0.0, 1e10])
def test_chunks_along_lines_merge_to_the_same(da: Any, chunks: Any, offset: float) -> None:
    da = da + offset
    for options in ({}, {"sample_weight": abs(da.lat) + 1.0}, {"sigma": 2.0}):
        whole = fit_lines(da, "time", datetime_unit="D", **options)
        found = fit_lines(da.chunk(chunks), "time", datetime_unit="D", **options)
        assert found.slope.chunks is not None
        # The intercept is in 1970, 30 years before; rounding of the slope counts 11,000 times as much.
        assert_close(found, whole, 2e-12)
        np.testing.assert_allclose(found.slope, whole.slope, rtol=1e-13)
        np.testing.assert_allclose(found.stderr, whole.stderr, rtol=1e-13)


def test_bits_do_not_depend_on_chunks_across_merged_lines(da: Any) -> None:
    for offset in (0.0, 1e10):
        whole = fit_lines((da + offset).chunk({"time": 9}), "time")
        for chunks in ({"time": 9, "lat": 1, "lon": 1}, {"time": 9, "lon": 2}):
            assert same_bits(whole, fit_lines((da + offset).chunk(chunks), "time"))


def test_infinity_in_a_chunk_spoils_its_line_alone(da: Any) -> None:
    da = da.copy()
    da[14, 0, 0] = np.inf
    found = fit_lines(da.chunk({"time": 1}), "time")
    assert int(found.status[0, 0]) == ff.LineFits.STATUSES.index(Status.INFINITE)
    assert np.isfinite(found.slope[0, 1:]).all()


def test_nothing_is_computed_before_it_is_asked_for(da: Any) -> None:
    import dask.array

    computed = []

    def read(block: Any) -> Any:
        computed.append(block.shape)
        return block

    for chunks, n_reads in (({"lat": 2}, 2), ({"time": 10, "lat": 2}, 8)):
        blocks = da.chunk(chunks).data
        lazy = blocks.map_blocks(read, dtype=float, meta=np.empty((0, 0, 0)))
        given = da.copy(data=lazy)
        found = fit_lines(given, "time", sample_weight=xr.ones_like(given))
        assert all(isinstance(each.data, dask.array.Array) for each in found.values())
        assert found.slope.chunks == ((2, 2), (5,))
        assert computed == []
        found.compute()
        assert len(computed) == n_reads
        computed.clear()


def test_a_chunk_of_lines_is_one_task(da: Any) -> None:
    found = fit_lines(da.chunk({"lat": 1}), "time")
    fits = [key for key in dict(found.slope.data.dask) if str(key).startswith("('fit-lines")]
    assert len(fits) == 4


def test_chunks_may_come_from_weights_or_x(da: Any) -> None:
    da = da.fillna(280.0)
    weight = xr.ones_like(da) + 0.5
    for chunks in ({"lat": 1}, {"time": 5, "lon": 2}):
        found = fit_lines(da, "time", sample_weight=weight.chunk(chunks))
        assert found.slope.chunks is not None
        assert same_bits(found, fit_lines(da, "time", sample_weight=weight))
    x = da.time.drop_vars("time").chunk({"time": 5})
    for given in (da, da.chunk({"time": 11}), da.chunk({"lat": 3})):
        found = fit_lines(given.drop_vars("time"), "time", x)
        assert_close(found, fit_lines(da, "time"), 2e-12)


def test_dask_needs_names(da: Any) -> None:
    for given in (da.chunk({"lat": 1}), da.chunk({"lat": 1}).data):
        with pytest.raises(TypeError, match=r"fastfit\.xarray\.fit_lines.*\.compute\(\)"):
            ff.fit_lines(TIMES, given)


# Files


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
@pytest.mark.filterwarnings("ignore:.*[Zz]arr")
@pytest.mark.filterwarnings("ignore:.*consolidated")
def test_files(da: Any, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("h5netcdf" if kind == "netcdf" else "zarr")
    dataset = da.to_dataset()
    path = tmp_path / f"tas.{kind}"
    right = fit_lines(da, "time", datetime_unit="D")
    if kind == "netcdf":
        dataset.to_netcdf(path, engine="h5netcdf")
    else:
        dataset.chunk({"time": 20, "lat": 2}).to_zarr(path)
    for chunks in (None, {}, {"lat": 2}, {"time": 20}):
        options: dict[str, Any] = {
            "engine": "h5netcdf" if kind == "netcdf" else "zarr",
            "chunks": chunks,
        }
        with xr.open_dataset(path, **options) as opened:
            found = fit_lines(opened.tas, "time", datetime_unit="D")
            assert (found.slope.chunks is None) == (chunks is None)
            assert found.slope.attrs["units"] == "K per D"
            assert_close(found, right, 2e-12)
            found = found.compute()
    if kind == "netcdf":
        found.to_netcdf(tmp_path / "trend.nc", engine="h5netcdf")
        with xr.open_dataset(tmp_path / "trend.nc", engine="h5netcdf") as back:
            assert same_bits(back, found)
            assert back.status.dtype == np.int8
            assert back.slope.attrs["units"] == "K per D"
    else:
        with xr.open_zarr(path) as opened:
            assert_close(fit_lines(opened.tas, "time", datetime_unit="D"), right, 2e-12)


# Errors


def test_arguments_are_checked(da: Any) -> None:
    lat = da.lat
    wrong: list[tuple[Any, type[Exception], str]] = [
        (
            (da.to_dataset(), "time"),
            TypeError,
            "da must be a DataArray; got a Dataset.*it has 'tas'",
        ),
        ((da.values, "time"), TypeError, "da must be a DataArray; got ndarray"),
        ((da.astype(str), "time"), TypeError, "da must hold real numbers; got <U"),
        ((da + 0j, "time"), TypeError, "da must hold real numbers; got complex128"),
        (
            (da, "t"),
            ValueError,
            "dim must be a dimension of da; got 't'; da has 'time', 'lat', 'lon'",
        ),
        (
            (da, ["lat", "lon"]),
            TypeError,
            r"dim must be one dimension.*stack\(points=\['lat', 'lon'\]\)",
        ),
        (
            (da, "time", "year"),
            ValueError,
            "x must be.*the name of a coordinate of da.*'spatial_ref'",
        ),
        ((da, "time", np.arange(N)), TypeError, "x must be a DataArray.*got ndarray"),
        ((da, "time", lat), ValueError, "x must have the dimension 'time'; got 'lat' with 'lat'"),
        ((da, "time", "height"), ValueError, "x must have the dimension 'time'.*no dimension"),
        ((da, "time", da.time[:-1]), ValueError, "x must have the labels of da"),
        (
            (da, "time", da.time.expand_dims(run=2)),
            ValueError,
            "x must have no dimension but.*got 'run'",
        ),
        ((da, "time", da.time.dt.strftime("%d")), TypeError, "x must hold real numbers"),
    ]
    for arguments, kind, message in wrong:
        with pytest.raises(kind, match=message):
            fit_lines(*arguments)


@pytest.mark.parametrize("chunks", [None, {"lat": 1}])
def test_options_are_checked(da: Any, chunks: Any) -> None:
    if chunks is not None:
        da = da.chunk(chunks)
    other = xr.DataArray(np.ones(4), {"lat": da.lat + 1e-9}, ("lat",))
    infinite = xr.DataArray(np.full(N, np.inf), dims="time")
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"sample_weight": other}, ValueError, "sample_weight must have the labels of da.*lat"),
        ({"sigma": other}, ValueError, "sigma must have the labels of da"),
        ({"sample_weight": np.ones(4)}, TypeError, "sample_weight must be a DataArray or a number"),
        ({"sample_weight": -1.0}, ValueError, "sample_weight must be at least 0; got -1"),
        ({"sigma": 0.0}, ValueError, "sigma must be a DataArray or a positive number; got 0"),
        ({"sigma": "std"}, TypeError, "sigma must be a DataArray or a positive number; got str"),
        ({"sigma": other.astype(str)}, TypeError, "sigma must hold real numbers"),
        ({"absolute_sigma": True}, ValueError, "absolute_sigma must be False unless sigma"),
        ({"datetime_unit": "M"}, ValueError, "datetime_unit must be"),
        ({"x": "month", "datetime_unit": "D"}, ValueError, "datetime_unit must be None unless x"),
        ({"loss": "huber", "sigma": 1.0}, ValueError, "sigma must be None unless loss"),
        ({"f_scale": 1.0}, ValueError, "f_scale"),
        ({"min_points": 1}, ValueError, "min_points must be an integer of at least 2; got 1"),
        ({"nan_policy": "drop"}, ValueError, "nan_policy must be"),
        ({"n_threads": 0}, ValueError, "n_threads must be"),
        ({"x": infinite}, ValueError, "x must be finite; got inf at index 0"),
    ]
    for options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            fit_lines(da, "time", **options)


def test_times_of_other_calendars_are_refused(da: Any) -> None:
    class DatetimeNoLeap:
        pass

    DatetimeNoLeap.__module__ = "cftime._cftime"
    when = np.array([DatetimeNoLeap() for _ in range(N)], dtype=object)
    da = da.drop_vars("time").assign_coords(when=("time", when))
    with pytest.raises(
        TypeError, match=r"got DatetimeNoLeap of cftime.*x=da\['when'\].*convert_calendar"
    ):
        fit_lines(da, "time", "when")


def test_warns_once(da: Any) -> None:
    da[:, 0, 0] = np.inf
    with pytest.warns(ff.ConvergenceWarning, match="1 of 20 lines") as caught:
        fit_lines(da, "time")
    assert [Path(each.filename).name for each in caught] == [Path(__file__).name]


def test_xarray_is_imported_when_it_is_needed(run_script: Script) -> None:
    out = run_script(
        "import sys, fastfit as ff\n"
        "print({'xarray', 'dask'} & set(sys.modules))\n"
        "import numpy as np\n"
        "ff.xarray.fit_lines\n"
        "print('dask.array' in sys.modules)"
    )
    assert out.split("\n")[0] == "set()"


def test_a_missing_library_is_named(run_script: Script) -> None:
    out = run_script(
        "import sys; sys.modules['xarray'] = None\n"
        "try: import fastfit.xarray\n"
        "except ImportError as error: print(error)"
    )
    assert out == "fastfit.xarray needs xarray: pip install 'fastfit[xarray]'\n"


def test_p_values_are_left_out_without_scipy(run_script: Script) -> None:
    out = run_script(
        "import sys; sys.modules['scipy'] = None\n"
        "import xarray as xr, fastfit.xarray\n"
        "da = xr.DataArray([1.0, 2.0, 4.0], dims='i')\n"
        "for each in (da, da.chunk()): print(*fastfit.xarray.fit_lines(each, 'i').compute())"
    )
    left = " ".join([name for name in FIELDS if name != "pvalue"] + ["status"])
    assert out == f"{left}\n{left}\n"
