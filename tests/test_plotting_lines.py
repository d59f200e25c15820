"""What pictures of many lines show: slopes of windows along x, and lines of groups."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.dates import date2num
from matplotlib.text import Annotation, Text

import fastfit as ff
from fastfit.lines.windows import Windows, label_of, range_of

X = np.linspace(0.0, 20.0, 200)
Y = np.sin(X / 3) + 0.1 * np.cos(40 * X)
DAYS = np.datetime64("2024-01-01") + np.arange(200)


def days_of(times: Any) -> Any:
    """Return times as the numbers that matplotlib has for them."""
    return date2num(times)  # type: ignore[no-untyped-call]


def texts(legend: Any) -> list[str]:
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def bounds_of(area: Any) -> dict[float, tuple[float, float]]:
    """Return the lowest and highest vertex of a band at each x."""
    vertices = np.concatenate([path.vertices for path in area.get_paths()])
    return {
        float(x): (float(ys.min()), float(ys.max()))
        for x in np.unique(vertices[:, 0])
        for ys in [vertices[vertices[:, 0] == x][:, 1]]
    }


def windows_of(x: Any, **options: Any) -> Windows:
    return Windows(np.asarray(x, dtype=float), 0.0, None, "x", **options)


# Windows


def test_windows_are_slopes_along_x_with_their_confidence_band() -> None:
    fits = ff.fit_rolling(X, Y, 25)
    ax = fits.plot(level=0.8)
    line, zero = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), X)
    np.testing.assert_array_equal(line.get_ydata(), fits.slope)
    assert np.isnan(fits.slope[:24]).all()
    (area,) = ax.collections
    bounds = bounds_of(area)
    assert len(bounds) == 200 - 24
    for k in (24, 100, 199):
        assert bounds[X[k]] == pytest.approx(tuple(fits.conf_int(0.8)[k, 0]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "slope")
    assert ax.get_title() == "200 windows, 24 not fitted"
    assert texts(ax.get_legend()) == ["80 % confidence band"]
    assert {*np.asarray(zero.get_ydata())} == {0.0}
    assert ff.fit_rolling(X, Y, 25).plot(ax) is ax
    assert len(ax.get_lines()) == 3  # one line at 0 for all


def test_no_line_at_0_where_all_slopes_are_above_it() -> None:
    assert len(ff.fit_rolling(X, Y + 9 * X, 25).plot().get_lines()) == 1


def test_row_numbers_where_there_is_no_x() -> None:
    ax = ff.fit_rolling(None, Y, 25, step=2).plot()
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), np.arange(0, 200, 2))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("row", "slope per row")


def test_dates_and_durations() -> None:
    fits = ff.fit_rolling(DAYS, Y, "25D", datetime_unit="W")
    ax = fits.plot()
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), days_of(DAYS))
    ax.figure.canvas.draw()
    assert ax.get_xticklabels()[0].get_text() == "2024"
    assert ax.get_ylabel() == "slope per week"
    of_durations = ff.fit_rolling(DAYS - DAYS[0], Y, "25D", datetime_unit="W").plot()
    along = np.asarray(of_durations.get_lines()[0].get_xdata(), dtype=float)
    np.testing.assert_allclose(along, np.arange(200.0) / 7)
    assert of_durations.get_xlabel() == "x in weeks"
    table = pd.DataFrame({"day": DAYS, "v": Y})
    named = ff.fit_rolling("day", "v", "25D", data=table).plot()
    assert (named.get_xlabel(), named.get_ylabel()) == ("day", "slope per second")


def test_x_that_falls_or_is_missing() -> None:
    order = np.random.default_rng(0).permutation(200)
    x = X[order]
    x[5] = np.nan
    fits = ff.fit_rolling(x, Y, 25)
    ax = fits.plot()
    line = ax.get_lines()[0]
    assert ax.get_xlabel() == "row"
    np.testing.assert_array_equal(line.get_xdata(), np.arange(200.0))
    np.testing.assert_array_equal(line.get_ydata(), fits.slope)
    falling = X[::-1].copy()
    falling[5] = np.nan
    fits = ff.fit_rolling(falling, Y, 25)
    ax = fits.plot()
    line = ax.get_lines()[0]
    assert ax.get_xlabel() == "x"
    rising = np.argsort(falling)[:-1]
    np.testing.assert_array_equal(line.get_xdata(), falling[rising])
    np.testing.assert_array_equal(line.get_ydata(), fits.slope[rising])


def test_windows_without_neighbours_are_dots_with_bars() -> None:
    y = Y.copy()
    y[::4] = np.nan
    y[45:60] = np.nan
    y[50:55] = 1.0, 2.0, 2.0, 3.0, 3.0
    ax = ff.fit_rolling(X, y, 5).plot()
    line, dots = ax.get_lines()[:2]
    assert np.isfinite(np.asarray(line.get_ydata())).sum() == 1
    np.testing.assert_array_equal(dots.get_xdata(), [X[54]])
    (bars,) = (each for each in ax.collections if isinstance(each, LineCollection))
    assert len(bars.get_segments()) == 1


def test_windows_that_lie_on_lines_have_no_height_and_empty_ones_no_line() -> None:
    fits = ff.fit_rolling(X, 2 * X, 5)
    low, high = fits.plot().get_ylim()
    assert low < 2.0 < high
    assert fits[:2].plot().get_title() == "2 windows, 2 not fitted"
    with pytest.raises(ValueError, match="plot needs lines; got none"):
        fits[:0].plot()


@pytest.mark.parametrize("is_even", [True, False])
def test_of_many_windows_a_few_thousand_are_drawn_and_no_excursion_is_hidden(is_even: bool) -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    x = np.arange(float(n)) if is_even else np.sort(rng.standard_normal(n))
    slope, reach = rng.standard_normal(n), np.full(n, 0.1)
    slope[70_001], slope[70_002], reach[120_001] = 40.0, -50.0, 60.0
    slope[30_000:60_000] = np.nan
    (track,), n_groups = windows_of(x).tracks(slope, reach)
    assert n_groups == 1
    assert 2000 < track.x.size <= 4000
    assert track.band_x.size <= 2000
    assert (np.diff(track.x) >= 0).all()
    assert {40.0, -50.0, slope[0], slope[-1]} <= {*track.slope}
    gap = (track.x > x[30_500]) & (track.x < x[59_500])
    assert np.isnan(track.slope[gap]).all()
    # The band has every bound inside.
    for k in (0, 500, 70_001, 70_002, 120_001, n - 1):
        low, high = (
            np.interp(x[k], track.band_x, track.low),
            np.interp(x[k], track.band_x, track.high),
        )
        assert low <= slope[k] - reach[k]
        assert high >= slope[k] + reach[k]
    # A line of all slopes has no pixel that this line lacks: each interval has its least and largest slope.
    edges = np.linspace(x[0], x[-1], 1001)[1:-1]
    for of_all, of_drawn in zip(
        np.split(slope, np.searchsorted(x, edges)),
        np.split(track.slope, np.searchsorted(track.x, edges)),
        strict=True,
    ):
        if np.isfinite(of_all).any():
            assert np.nanmin(of_all) == np.nanmin(of_drawn)
            assert np.nanmax(of_all) == np.nanmax(of_drawn)


def test_critical_values_of_many_windows_are_within_a_pixel() -> None:
    n = 6000
    fits = ff.fit_expanding(None, np.sin(np.arange(n) ** 2))
    ax = fits.plot()
    assert np.size(ax.get_lines()[0].get_xdata()) <= 4000
    (area,) = ax.collections
    found, expected = bounds_of(area), fits.conf_int()[:, 0]
    assert 0 < found[n - 1][1] == pytest.approx(expected[-6:, 1].max(), rel=1e-3)
    assert found[n - 1][0] == pytest.approx(expected[-6:, 0].min(), rel=1e-3)


def test_windows_of_few_points_do_not_squeeze_the_others() -> None:
    fits = ff.fit_expanding(X, Y)
    ax = fits.plot()
    low, high = ax.get_ylim()
    last = fits.slope[50:]
    assert low < last.min()
    assert last.max() < high
    assert high - low < 5 * np.ptp(last)
    n_outside = np.count_nonzero((fits.slope < low) | (fits.slope > high))
    assert 0 < n_outside < 20
    assert "outside the picture" in ax.get_title()
    # An excursion of windows with as many points as others is always shown.
    slope, reach = np.zeros(1000), np.ones(1000)
    slope[500] = 1e6
    assert range_of(slope, reach, np.full(1000, 30)) == (-1.0, 1e6 + 1.0, 0)


def test_keys_of_windows_are_their_places() -> None:
    fits = ff.fit_rolling(X, Y, 25, step=3)
    assert fits.keys is not None
    assert list(fits.keys) == ["x"]
    np.testing.assert_array_equal(fits.keys["x"], X[::3])
    assert np.shares_memory(fits.keys["x"], X)
    mask = fits.slope > 0.0
    for index in (np.s_[5:9], mask, np.array([7, 3]), np.s_[::-1], np.s_[...]):
        some = fits[index]
        np.testing.assert_array_equal(some.keys["x"], X[::3][index])
        np.testing.assert_array_equal(
            some.plot().get_lines()[0].get_xdata(), np.sort(X[::3][index])
        )
    assert fits[None].keys is None


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_keys_of_windows_keep_times_exact(unit: str) -> None:
    start = np.array("2024-01-01T00:00:00.123456789", f"datetime64[{unit}]")
    times = start + (7 * np.arange(50)).astype(f"timedelta64[{unit}]")
    times[3] = np.datetime64("NaT")
    for x in (times, times - start):
        keys = ff.fit_rolling(x, np.arange(50.0), 5).keys
        assert keys is not None
        np.testing.assert_array_equal(keys["x"], x)
        assert keys["x"].dtype == x.dtype
    large = 2**60 + np.arange(50)
    keys = ff.fit_rolling(large, np.arange(50.0), 5).keys
    assert keys is not None
    np.testing.assert_array_equal(keys["x"], large.astype(float))


def test_keys_of_windows_of_tables_and_series() -> None:
    table = {"t": DAYS, "v": Y}
    keys = ff.fit_rolling("t", "v", 5, data=table).keys
    assert keys is not None
    np.testing.assert_array_equal(keys["t"], DAYS)
    series = pd.Series(Y, index=pd.DatetimeIndex(DAYS, name="day"))
    fits = ff.fit_rolling(series.index, series, 5)
    assert fits.keys is not None
    assert list(fits.keys) == ["day"]
    pd.testing.assert_index_equal(fits[5:9].keys["day"], series.index[5:9])
    keys = ff.fit_rolling(None, Y, 5).keys
    assert keys is not None
    np.testing.assert_array_equal(keys["x"], np.arange(200.0))


# Windows within groups


def grouped(n_groups: int, n: int = 60) -> dict[str, Any]:
    """Return a table of groups with rows in turn, and one row without a key."""
    codes = np.arange(n * n_groups) % n_groups
    names = np.array([f"s{k:03d}" for k in range(n_groups)], object)[::-1]
    keys = names[codes]
    keys[4] = None
    day = np.datetime64("2024-01-01") + np.arange(codes.size) // n_groups
    return {"day": day, "v": np.sin(np.arange(codes.size) / 20) + codes, "k": keys}


def test_windows_of_a_few_groups_have_a_line_with_a_name_each() -> None:
    table = grouped(3)
    fits = ff.fit_rolling("day", "v", 10, by="k", data=table)
    ax = fits.plot()
    *lines, _ = ax.get_lines()
    assert [line.get_label() for line in lines] == ["s000", "s001", "s002"]
    assert len({line.get_color() for line in lines}) == 3
    assert texts(ax.get_legend()) == ["s000", "s001", "s002", "95 % confidence\nband"]
    assert ax.get_legend().get_title().get_text() == "k"  # type: ignore[union-attr]
    assert len(ax.collections) == 3
    assert ax.get_title() == "180 windows of 3 groups, 28 not fitted"
    for name, line in zip(("s000", "s001", "s002"), lines, strict=True):
        own = table["k"] == name
        np.testing.assert_array_equal(line.get_ydata(), fits.slope[own])
        np.testing.assert_array_equal(line.get_xdata(), days_of(table["day"][own]))
    assert fits.keys is not None
    assert list(fits.keys) == ["k", "day"]
    np.testing.assert_array_equal(fits.keys["k"], table["k"])
    one = fits[fits.keys["k"] == "s001"]
    assert one.plot().get_title() == "59 windows of 1 group, 9 not fitted"
    np.testing.assert_array_equal(one.keys["day"], table["day"][table["k"] == "s001"])


def test_windows_of_many_groups_are_thin_lines() -> None:
    fits = ff.fit_rolling("day", "v", 10, by="k", data=grouped(9))
    ax = fits.plot()
    assert len([line for line in ax.get_lines() if np.size(line.get_xdata()) > 2]) == 9
    assert (len(ax.collections), ax.get_legend()) == (0, None)
    assert ax.get_title() == "540 windows of 9 groups, 82 not fitted"
    codes = np.arange(4000) % 400
    names = np.arange(400)
    windows = windows_of(np.arange(4000), codes=codes, groups={"k": names}, order=names)
    tracks, n_groups = windows.tracks(np.ones(4000), np.ones(4000))
    assert (len(tracks), n_groups) == (300, 400)
    assert (tracks[0].label, tracks[-1].label) == ("0", "399")
    # Rows of a group that lie together, with keys that are numbers.
    keys = np.repeat([2.5, 1.0], 100)
    runs = ff.fit_rolling(X, Y, 10, by=keys)
    assert runs.keys is not None
    np.testing.assert_array_equal(runs.keys["key"], keys)
    labels = [line.get_label() for line in runs.plot().get_lines()[:2]]
    assert labels == ["1", "2.5"]


# Groups


def fan_of(n_groups: int, **options: Any) -> ff.LineFits:
    table = grouped(n_groups)
    table["v"] = table["v"] + np.arange(table["v"].size) * 0.01
    return ff.fit_groups("day", "v", "k", data=table, **options)


def names_beside(ax: Any) -> list[Any]:
    return [each for each in ax.texts if isinstance(each, Annotation)]


def test_up_to_eight_groups_have_colours_and_names_in_the_legend() -> None:
    fits = fan_of(5, datetime_unit="D")
    ax = fits.plot()
    lines = ax.get_lines()
    assert [line.get_label() for line in lines] == [f"s{k:03d}" for k in range(5)]
    assert len({line.get_color() for line in lines}) == 5
    assert ax.get_legend().get_title().get_text() == "k"  # type: ignore[union-attr]
    for line, slope in zip(lines, fits.slope, strict=True):
        (left, low), (right, high) = np.asarray(line.get_xydata())
        assert (high - low) / (right - left) == pytest.approx(slope)
        assert 0 <= left - days_of(np.datetime64("2023-12-25")) < right - left < 80
    ax.figure.canvas.draw()
    assert "Feb" in {label.get_text() for label in ax.get_xticklabels()}
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("day", "v", "5 lines by k")
    assert len({line.get_color() for line in fan_of(8).plot().get_lines()}) == 8


def test_slopes_that_may_be_0_are_dotted_among_colours() -> None:
    x = np.tile(np.arange(20.0), 2)
    y = np.where(np.arange(40) < 20, x, np.sin(x)) + 0.1 * np.cos(9 * x)
    ax = ff.fit_groups(x, y, np.arange(40) // 20).plot(level=0.99)
    assert [line.get_linestyle() for line in ax.get_lines()] == ["-", ":"]
    assert texts(ax.get_legend()) == ["0", "1", "slope not different\nfrom 0 at 99 %"]


def test_up_to_thirty_groups_have_names_beside_them_that_do_not_overlap() -> None:
    fits = fan_of(30)
    ax = fits.plot()
    names = names_beside(ax)
    assert {each.get_text() for each in names} == {f"s{k:03d}" for k in range(30)}
    figure: Any = ax.figure
    figure.canvas.draw()
    frames = [Text.get_window_extent(each) for each in names]  # without the lines to them
    assert min(frame.x0 for frame in frames) > ax.get_window_extent().x1
    rows = sorted((each.xyann[1], each.xy[1]) for each in names)
    assert [y for _, y in rows] == sorted(y for _, y in rows)
    size = names[0].get_fontsize() / 72 * figure.dpi
    places = np.array([place for place, _ in rows])
    assert np.diff(places).min() * ax.get_window_extent().height > 0.9 * size
    for frame in frames:
        assert figure.bbox.y0 <= frame.y0 < frame.y1 <= figure.bbox.y1
        assert frame.x1 <= figure.bbox.x1
    assert names_beside(fan_of(31).plot()) == []
    # On axes of the caller, without a layout that makes room, names would lie on whatever is beside.
    assert names_beside(fits.plot(plt.subplots()[1])) == []
    assert len(names_beside(fits.plot(plt.subplots(layout="constrained")[1]))) == 30


def test_columns_of_a_table_have_names_too() -> None:
    table = pd.DataFrame({name: k * X + Y for k, name in enumerate("abc")})
    x = np.arange(
        float(X.size)
    )  # of few binary digits, as the loops that other tests compile take it
    ax = ff.fit_lines(x, table).plot()
    assert texts(ax.get_legend())[:3] == ["a", "b", "c"]
    few = ff.fit_lines(x, table)[1:].plot()
    assert [line.get_label() for line in few.get_lines()] == ["b", "c"]
    wide = pd.concat([table, table + X[:, None] ** 2, table], axis=1)
    wide.columns = [f"c{k}" for k in range(9)]
    assert len(names_beside(ff.fit_lines(x, wide).plot())) == 9
    unnamed = ff.fit_lines(x, table.to_numpy()).plot()
    assert len(unnamed.get_lines()) == 0


def test_dates_of_lines_without_names_and_lines_that_are_missing() -> None:
    y = np.column_stack([Y, 2 * Y, np.full(200, np.nan)])
    fits = ff.fit_lines(DAYS, y, datetime_unit="D")
    ax = fits.plot()
    segments = [s for lines in ax.collections for s in lines.get_segments()]  # type: ignore[attr-defined]
    assert ax.get_title() == "3 lines, 1 not fitted"
    for (left, low), (right, high) in segments:
        assert left == pytest.approx(days_of(DAYS[0]), abs=1.0)
        assert np.isclose((high - low) / (right - left), fits.slope[:2], rtol=1e-9).any()
    of_durations = ff.fit_lines(DAYS - DAYS[0], y, datetime_unit="D").plot()
    assert of_durations.get_xlabel() == "x in days"


def test_long_titles_are_on_two_lines_and_long_names_are_cut_in_the_middle() -> None:
    fits = ff.fit_expanding(np.tile(X, 10), np.tile(Y, 10), by=np.repeat(np.arange(10), 200))
    first, second = fits.plot().get_title().split("\n")
    assert first == "2,000 windows of 10 groups, 10 not fitted,"
    assert second.endswith("outside the picture")
    assert label_of(["a sensor with a very long name 17"]) == "a sensor wi…long name 17"
    assert label_of([2.0, np.datetime64("2024-01-01T00:00:00"), 3]) == "2, 2024-01-01, 3"


def test_texts_say_what_the_lines_are() -> None:
    windows = ff.fit_rolling(X, Y, 25)
    assert repr(windows).startswith("LineFits: 200 windows of shape (200,), 24 not fitted")
    assert windows.summary().startswith("windows ")
    assert repr(fan_of(5)).startswith("LineFits: 5 lines by k of shape (5,)")
