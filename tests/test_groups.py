"""Lines of groups are those of their own rows, wherever these lie, and whatever the other groups hold."""

from __future__ import annotations

import math
import pickle
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fastfit as ff
from fastfit.kernels import grouped
from fastfit.outcome import Status
from tests.conftest import Script, compiles, compiles_much, needs_compiler
from tests.hostile import HOSTILE, exact_line, exact_slope, long_series

FIELDS = ("slope", "intercept", "stderr", "intercept_stderr", "rvalue", "residual_std", "loss")


def table(rng: np.random.Generator, n: int = 3000, n_groups: int = 20) -> dict[str, Any]:
    """Return points of groups with gaps; some rows have no key."""
    key = rng.integers(-1, n_groups, n).astype(float)
    x, y = rng.uniform(-5.0, 5.0, n), rng.standard_normal(n)
    y[rng.random(n) < 0.1] = np.nan
    x[rng.random(n) < 0.05] = np.nan
    key[key < 0] = np.nan
    return {
        "x": x,
        "y": y + 0.1 * key * x,
        "key": key,
        "w": rng.random(n),
        "s": rng.random(n) + 0.1,
    }


def weights(data: dict[str, Any], which: str) -> dict[str, Any]:
    given = {"w": {"sample_weight": data["w"]}, "s": {"sigma": data["s"]}}
    return {name: value for letter in which for name, value in given[letter].items()}


@pytest.mark.parametrize("order", ["mixed", "sorted", "blocks"])
@pytest.mark.parametrize("which", ["", "w", "s", "ws"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_group_is_the_line_of_its_rows(
    rng: np.random.Generator, order: str, which: str, fit_intercept: bool
) -> None:
    data = table(rng)
    if order != "mixed":
        place = np.argsort(
            data["key"] if order == "sorted" else data["key"] // 1 % 7, kind="stable"
        )
        if order == "blocks":  # each group comes in two runs
            place = np.concatenate(
                [
                    np.argsort(data["key"][:1500], kind="stable"),
                    1500 + np.argsort(data["key"][1500:], kind="stable"),
                ]
            )
        data = {name: values[place] for name, values in data.items()}
    options = weights(data, which)
    fits = ff.fit_groups(data["x"], data["y"], data["key"], fit_intercept=fit_intercept, **options)
    assert fits.keys is not None
    np.testing.assert_array_equal(fits.keys["key"], np.arange(20.0))
    assert fits.n_ungrouped == np.isnan(data["key"]).sum()
    for key in range(20):
        own = data["key"] == key
        some = own & ~np.isnan(data["x"] + data["y"])
        one = ff.fit_line(
            *(data["x"][some], data["y"][some]),
            fit_intercept=fit_intercept,
            **{name: value[some] for name, value in options.items()},
        )
        for name in FIELDS:
            expected = getattr(one, name)
            assert getattr(fits, name)[key] == pytest.approx(expected, rel=1e-11, abs=1e-14), name
        assert (fits.n_points[key], fits.n_omitted[key]) == (one.n_points, (own & ~some).sum())


@pytest.mark.filterwarnings("ignore:.*could not be fitted:fastfit.ConvergenceWarning")
@pytest.mark.parametrize("order", ["mixed", "sorted"])
@pytest.mark.parametrize("n_others", [0, 100_000])
def test_hostile_groups_are_exact(order: str, n_others: int) -> None:
    columns = [np.stack([*map(np.asarray, HOSTILE[name])]) for name in HOSTILE]
    codes = np.repeat(np.arange(len(columns)), [each.shape[1] for each in columns])
    x, y = np.concatenate(columns, axis=1)
    if n_others:  # so many groups that rows are sorted roughly first
        codes = np.concatenate([codes, 100 + np.arange(n_others)])
        x, y = (np.append(each, np.zeros(n_others)) for each in (x, y))
    place = np.random.default_rng(3).permutation(x.size) if order == "mixed" else np.arange(x.size)
    fits = ff.fit_groups(x[place], y[place], codes[place])
    for k, name in enumerate(HOSTILE):
        own = np.flatnonzero(codes[place] == k)
        expected = exact_line(x[place][own], y[place][own])
        assert (expected is None) == math.isnan(fits.slope[k]), name
        if expected is not None:
            slope, left, xx, yy = expected
            size = max(abs(slope), Fraction(math.sqrt(yy / xx)))
            assert abs(Fraction(fits.slope[k]) - slope) <= Fraction(1e-14) * size, name
            if left > yy * Fraction(2) ** -100:
                assert fits.loss[k] * fits.n_points[k] == pytest.approx(float(left), rel=1e-9), name


@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_long_groups_are_as_exact_as_short_ones(order: str) -> None:
    long = long_series(5000)
    axis = 1 if order == "mixed" else 0
    x, y = (np.stack([each[k] for each in long.values()], axis).ravel() for k in (0, 1))
    codes = np.arange(len(long))
    codes = np.tile(codes, 5000) if order == "mixed" else np.repeat(codes, 5000)
    fits = ff.fit_groups(x, y, codes)
    for k, (name, columns) in enumerate(long.items()):
        size, slope, left = exact_slope(*columns)
        assert abs(float(Fraction(fits.slope[k]) - slope)) <= 1e-14 * size, name
        assert fits.loss[k] * 5000 == pytest.approx(float(left), rel=1e-11), name


@pytest.mark.parametrize(
    "kind", ["i1", "u8", *(pytest.param(k, marks=compiles) for k in ("u1", "i2", "u2", "i4", "i8"))]
)
def test_the_range_of_keys_is_found(rng: np.random.Generator, kind: str) -> None:
    info = np.iinfo(kind)
    for size, low, high in ((1, 3, 9), (70_000, info.min, info.max)):
        keys = rng.integers(low, high, size, dtype=kind, endpoint=True)
        assert grouped.range_of(keys) == (keys.min(), keys.max())


@needs_compiler
@pytest.mark.filterwarnings("ignore:.*could not be fitted:fastfit.ConvergenceWarning")
@pytest.mark.parametrize("order", ["mixed", "sorted"])
@pytest.mark.parametrize("n_groups", [7, 70_000])
def test_any_number_of_threads_gives_the_same_bits(
    rng: np.random.Generator, order: str, n_groups: int
) -> None:
    n = 400_000
    x, y, key = rng.random(n), rng.standard_normal(n), rng.integers(0, n_groups, n)
    key = np.sort(key) if order == "sorted" else key
    found = [ff.fit_groups(x, y, key, n_threads=k) for k in (1, 2, 8)]
    for name in ("slope", "intercept", "loss"):
        assert len({getattr(fits, name).tobytes() for fits in found}) == 1
    # What other groups hold changes no bit.
    other = np.where(key == 3, y, np.nan)
    alone = ff.fit_groups(x, other, key)
    assert alone.slope[3] == found[0].slope[3]


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param("huber", marks=compiles),
        *(pytest.param(name, marks=compiles_much) for name in ("cauchy", "tukey")),
    ],
)
@pytest.mark.parametrize("which", ["", "w"])
def test_robust_groups_are_robust_lines_of_their_rows(
    rng: np.random.Generator, loss: str, which: str
) -> None:
    data = table(rng, 600, 6)
    data["y"][::37] += 50.0
    options = weights(data, which)
    fits = ff.fit_groups(data["x"], data["y"], data["key"], loss=loss, **options)
    for key in range(6):
        some = (data["key"] == key) & ~np.isnan(data["x"] + data["y"])
        own = {name: value[some] for name, value in options.items()}
        one = ff.fit_line(data["x"][some], data["y"][some], loss=loss, **own)
        for name in ("slope", "intercept", "f_scale", "loss"):
            assert getattr(fits, name)[key] == pytest.approx(getattr(one, name), rel=1e-9), name
        assert fits.stderr[key] == pytest.approx(one.stderr, rel=1e-6)


def test_a_group_without_a_line_spoils_no_other() -> None:
    x = [0.0, 1.0, 2.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, np.nan, 0.0, 1.0, 2.0]
    y = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, np.inf, 1.0, 2.0, 3.0, 1.0, 1.0, 4.0]
    key = [
        "line",
        "line",
        "line",
        "same",
        "same",
        "one",
        "far",
        "far",
        "bad",
        "bad",
        "none",
        *["ok"] * 3,
    ]
    w = [1.0] * 8 + [-1.0, 1.0] + [1.0] * 4
    with pytest.warns(ff.ConvergenceWarning, match="4 of 7 lines could not be fitted"):
        fits = ff.fit_groups(x, y, key, sample_weight=w)
    assert fits.keys is not None
    found = dict(zip(fits.keys["key"], fits.status, strict=True))
    assert found == {
        "line": Status.CONVERGED,
        "ok": Status.CONVERGED,
        "same": Status.CONSTANT_X,
        "one": Status.TOO_FEW_POINTS,
        "none": Status.TOO_FEW_POINTS,
        "far": Status.INFINITE,
        "bad": Status.BAD_WEIGHTS,
    }
    slopes = dict(zip(fits.keys["key"], fits.slope, strict=True))
    assert slopes["line"] == 1.0
    assert slopes["ok"] == pytest.approx(1.5)
    assert np.isnan([slopes[name] for name in ("same", "one", "none", "far", "bad")]).all()


def test_near_perfect_groups_have_residuals_to_the_last_digits(rng: np.random.Generator) -> None:
    n = 5000
    x, key = rng.integers(0, 1000, n).astype(float), rng.integers(0, 9, n)
    y = 3.0 * x + 1e-9 * rng.standard_normal(n)
    for place in (np.arange(n), np.argsort(key, kind="stable")):
        fits = ff.fit_groups(x[place], y[place], key[place])
        for k in range(9):
            expected = exact_line(x[key == k], y[key == k])
            assert expected is not None
            assert fits.loss[k] * fits.n_points[k] == pytest.approx(float(expected[1]), rel=1e-11)


# Keys, tables


def test_groups_in_the_order_of_first_sight_or_sorted() -> None:
    x, y, key = [0.0, 1.0] * 3, [0.0, 3.0, 0.0, 1.0, 0.0, 2.0], ["c", "c", "a", "a", "b", "b"]
    fits = ff.fit_groups(x, y, key)
    assert fits.keys is not None
    assert (fits.keys["key"].tolist(), fits.slope.tolist()) == (["a", "b", "c"], [1.0, 2.0, 3.0])
    fits = ff.fit_groups(x, y, key, sort=False)
    assert fits.keys is not None
    assert (fits.keys["key"].tolist(), fits.slope.tolist()) == (["c", "a", "b"], [3.0, 1.0, 2.0])
    mixed = ff.fit_groups(x, y, ["c", "c", 1, 1, (), ()])  # which cannot be compared
    assert mixed.keys is not None
    assert mixed.keys["key"].tolist() == ["c", 1, ()]


@pytest.mark.parametrize("dtype", ["i8", "i4", "i2", "u1", "u8"])
@pytest.mark.parametrize("low", [0, 7, 100])
def test_integers_with_gaps(rng: np.random.Generator, dtype: str, low: int) -> None:
    key = (low + 3 * rng.integers(0, 20, 3000)).astype(dtype)
    x, y = rng.random(3000), rng.standard_normal(3000)
    y[key == low + 6] = np.nan  # a group of missing values, beside those that do not exist
    fits = ff.fit_groups(x, y, key)
    first = ff.fit_groups(x, y, key, sort=False)
    assert fits.keys is not None
    assert first.keys is not None
    np.testing.assert_array_equal(fits.keys["key"], np.unique(key))
    assert fits.keys["key"].dtype == key.dtype
    np.testing.assert_array_equal(first.keys["key"], pd.unique(key))
    place = np.argsort(first.keys["key"])
    for name in ("slope", "n_points", "n_omitted"):
        np.testing.assert_array_equal(getattr(fits, name), getattr(first, name)[place])
    assert fits.n_omitted[2] == (key == low + 6).sum() > 0


def test_sorted_keys_of_a_series_go_by_place(rng: np.random.Generator) -> None:
    frame = pd.DataFrame(
        {"x": rng.random(400), "y": rng.random(400), "key": np.repeat([3, 1], 200)}
    )
    frame.index = pd.Index(rng.permutation(400))
    fits = ff.fit_groups(frame["x"], frame["y"], frame["key"])
    assert fits.keys is not None
    assert fits.keys["key"].tolist() == [1, 3]
    one = ff.fit_line(frame["x"].to_numpy()[200:], frame["y"].to_numpy()[200:])
    assert fits.slope[0] == pytest.approx(one.slope, rel=1e-13)
    days = pd.Series(np.repeat(pd.to_datetime(["2024-01-02", "2024-01-01"]), 200))
    dated = ff.fit_groups(frame["x"].to_numpy(), frame["y"].to_numpy(), days)
    assert dated.keys is not None
    assert dated.keys["key"].dtype.kind == "M"
    np.testing.assert_array_equal(dated.slope, fits.slope)


def test_several_keys_and_some_of_the_groups(rng: np.random.Generator) -> None:
    data = pd.DataFrame(table(rng, 500, 4))
    data["site"] = rng.choice(["north", "south"], 500)
    fits = ff.fit_groups("x", "y", ["site", "key"], data=data)
    expected = data.groupby(["site", "key"]).size()
    pd.testing.assert_index_equal(fits.to_frame().index, expected.index, exact=False)
    assert (fits.n_points + fits.n_omitted).tolist() == expected.tolist()
    some = fits[fits.slope > 0.1]
    assert some.keys is not None
    assert len(some) == len(some.keys["site"]) < len(fits)
    assert fits[2].slope == fits.slope[2]
    assert "site" in repr(fits.to_frame().reset_index().columns)


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "mapping"])
def test_groups_of_tables(rng: np.random.Generator, kind: str) -> None:
    pl = pytest.importorskip("polars")
    data = table(rng, 400, 5)
    expected = ff.fit_groups(data["x"], data["y"], data["key"], sample_weight=data["w"])
    polars = pl.DataFrame(data, nan_to_null=True)
    tables = {
        "pandas": pd.DataFrame(data),
        "polars": polars,
        "lazy": polars.lazy(),
        "arrow": polars.to_arrow(),
        "mapping": data,
    }
    fits = ff.fit_groups("x", "y", "key", sample_weight="w", data=tables[kind])
    np.testing.assert_array_equal(fits.slope, expected.slope)
    assert fits.n_ungrouped == expected.n_ungrouped > 0
    frame = fits.to_frame()
    library = {"lazy": "polars", "arrow": "pyarrow", "mapping": "pandas"}.get(kind, kind)
    assert type(frame).__module__.partition(".")[0] == library
    if library == "pandas":
        assert frame.index.name == "key"
    else:
        assert [*(frame.columns if library == "polars" else frame.column_names)][:2] == [
            "key",
            "slope",
        ]


def test_times_and_integers_that_floats_cannot_hold() -> None:
    times = np.datetime64("2024-01-01T00:00:00.000000001", "ns") + 7 * np.arange(60)
    y = 2**60 + 3 * np.arange(60)
    fits = ff.fit_groups(times, y, np.arange(60) % 3, datetime_unit="ns")
    assert fits.slope == pytest.approx(3.0 / 7.0, rel=1e-15)
    one = ff.fit_line(times[::3], y[::3], datetime_unit="ns")
    assert fits.intercept[0] == pytest.approx(one.intercept, rel=1e-15)
    assert fits.predict(times[:3])[0] == pytest.approx(y[:3], rel=1e-15)


def test_one_giant_group_and_many_tiny_ones(rng: np.random.Generator) -> None:
    n = 300_000
    key = np.zeros(n, np.int64)
    key[-1000:] = 1 + np.arange(1000) // 2
    x, y = rng.random(n), rng.standard_normal(n)
    whole = ff.fit_line(x[:-1000], y[:-1000])
    for place in (np.arange(n), rng.permutation(n)):
        fits = ff.fit_groups(x[place], y[place], key[place])
        assert fits.slope[0] == pytest.approx(whole.slope, rel=1e-12)
        assert fits.stderr[0] == pytest.approx(whole.stderr, rel=1e-12)
        assert fits.n_points[1:].tolist() == [2] * 500


def test_no_rows_make_no_groups() -> None:
    for loss in ("squared_error", "huber"):
        fits = ff.fit_groups([], [], [], loss=loss)
        assert (fits.shape, fits.n_ungrouped) == ((0,), 0)
        fits = ff.fit_groups([1.0, 2.0], [1.0, 2.0], [None, None], loss=loss)
        assert (fits.shape, fits.n_ungrouped) == ((0,), 2)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (
            ([1.0, 2.0], [1.0, 2.0], [1]),
            {},
            ValueError,
            "by must hold a key for each of 2 rows; got 1",
        ),
        (([1.0, 2.0], [1.0], [1, 2]), {}, ValueError, "x must have the length of y, 1; got 2"),
        (([1.0], [1.0], [[]]), {}, ValueError, "by"),
        (([1.0], [1.0], [{}]), {}, TypeError, "by must hold hashable"),
        (([1.0], [1.0], None), {}, TypeError, "by must be a column of keys, or the name of one"),
        (([1.0], [1.0], "key"), {}, TypeError, "by must"),
        (("x", "y", "k"), {}, TypeError, "y must be an array of numbers"),
        (
            ("x", "y", "kay"),
            {"data": {"x": [1.0], "y": [1.0], "key": [1]}},
            ValueError,
            "did you mean 'key'",
        ),
        (("x", "y", "x"), {"data": 3}, TypeError, "data must be a table"),
        (([1.0], [1.0], [1]), {"min_points": 1}, ValueError, "min_points must be"),
        (([1.0], [1.0], [1]), {"sort": "no"}, TypeError, "sort must be"),
        (([1.0], [1.0], [1]), {"loss": "huber", "sigma": [1.0]}, ValueError, "sigma must be None"),
        (
            ([1.0, np.nan], [1.0, 2.0], [1, 1]),
            {"nan_policy": "raise"},
            ValueError,
            "must not hold NaN with nan_policy='raise'; got it in x at index 1",
        ),
        (
            (ff.Moments.of([1.0, 2.0], [1.0, 2.0]),),
            {},
            TypeError,
            "x must be points, .* got Moments",
        ),
    ],
)
def test_bad_input_is_told(arguments: Any, options: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        ff.fit_groups(*arguments, **options)


def test_labels_that_differ_are_told() -> None:
    y = pd.Series([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="must have the same labels"):
        ff.fit_groups([1.0, 2.0, 3.0], y, pd.Series(["a", "a", "b"], index=[2, 1, 0]))


def test_runs_are_found_where_they_are_long(rng: np.random.Generator) -> None:
    for keys in (np.arange(200_000) // 50, np.repeat([1.5, np.inf, -1.0], 100_000)):
        starts = grouped.runs_of(keys)
        assert starts is not None
        expected = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        np.testing.assert_array_equal(starts, [*expected, keys.size])
    assert grouped.runs_of(rng.integers(0, 9, 200_000)) is None
    late = np.concatenate([np.zeros(150_000), rng.integers(0, 9, 200_000)])
    assert grouped.runs_of(late) is None


# Points in parts


@pytest.fixture
def files(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a table as files: two of Parquet, with small batches, and one of text."""
    pl = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    data = table(rng, 5000, 30)
    data["site"] = rng.choice(np.array(["north", "south", None], object), 5000)
    frame = pl.DataFrame(data, nan_to_null=True).with_columns(pl.col("key").cast(pl.Int64))
    frame.head(2000).write_parquet(tmp_path / "1.parquet")
    frame.slice(2000).write_parquet(tmp_path / "2.parquet")
    frame.write_csv(tmp_path / "all.csv")
    monkeypatch.setattr("fastfit.points.files.table.BATCH", 700)
    return frame, tmp_path


@pytest.mark.parametrize("room", [0, 1 << 17, 1 << 30])
@pytest.mark.parametrize("which", ["", "w", "s", "ws"])
def test_groups_of_files_are_those_of_the_table(
    files: Any, which: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, folder = files
    monkeypatch.setattr("fastfit.lines.groups.KEPT", room)
    monkeypatch.setattr("fastfit.lines.keyed._FEW", 100)
    named = {"w": {"sample_weight": "w"}, "s": {"sigma": "s"}}
    options: dict[str, Any] = {}
    for letter in which:
        options |= named[letter]
    expected = ff.fit_groups("x", "y", ["site", "key"], data=frame, **options)
    for path in (f"{folder}/*.parquet", folder / "all.csv"):
        points = ff.scan(path, "x", "y", by=["site", "key"], **options)
        fits = ff.fit_groups(points)
        assert fits.keys is not None
        assert expected.keys is not None
        for name, keys in expected.keys.items():
            np.testing.assert_array_equal(fits.keys[name], keys)
        assert fits.keys["key"].dtype == np.int64
        assert fits.n_ungrouped == expected.n_ungrouped > 0
        np.testing.assert_array_equal(fits.n_points, expected.n_points)
        np.testing.assert_array_equal(fits.n_omitted, expected.n_omitted)
        for name in FIELDS:
            found, wanted = getattr(fits, name), getattr(expected, name)
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.slow
def test_robust_groups_of_files_need_memory(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, folder = files
    points = ff.scan(folder / "all.csv", "x", "y", by="key")
    fits = ff.fit_groups(points, loss="huber")
    expected = ff.fit_groups("x", "y", "key", data=frame, loss="huber")
    np.testing.assert_allclose(fits.slope, expected.slope, rtol=1e-12)
    monkeypatch.setattr("fastfit.lines.groups.KEPT", 1 << 16)
    with pytest.raises(
        ValueError, match="loss must be 'squared_error' for groups of points that are not kept"
    ):
        ff.fit_groups(points, loss="huber")


def test_near_perfect_groups_in_parts_have_a_slope_and_no_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl = pytest.importorskip("polars")
    x, key = np.arange(1000.0) ** 2, np.arange(1000) % 7
    y = 3.0 * x + 1e-9 * np.sin(x)
    pl.DataFrame({"x": x, "y": y, "key": key}).write_parquet(tmp_path / "a.parquet")
    points = ff.scan(tmp_path / "a.parquet", "x", "y", by="key")
    kept = ff.fit_groups(points)
    monkeypatch.setattr("fastfit.lines.groups.KEPT", 0)
    fits = ff.fit_groups(points)
    np.testing.assert_allclose(fits.slope, kept.slope, rtol=1e-14)
    assert fits.converged.all()
    assert np.isnan(fits.stderr).all()
    assert (kept.stderr < 1e-14).all()


def test_keys_of_text_are_integers_only_if_all_are(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    for keys, expected in (
        ("7 8 9", [7, 8, 9]),
        ("7 08 9", ["08", "7", "9"]),
        ("NA b a", ["NA", "a", "b"]),
    ):
        rows = "".join(f"{k},{k + 1},{key}\n" for key in keys.split() for k in range(3))
        (tmp_path / "a.csv").write_text("x,y,key\n" + rows + "1,2,\n")
        fits = ff.fit_groups(ff.scan(tmp_path / "a.csv", "x", "y", by="key"))
        assert fits.keys is not None
        assert fits.keys["key"].tolist() == expected
        assert (fits.slope.tolist(), fits.n_ungrouped) == ([1.0] * 3, 1)


def test_times_of_day_are_never_rounded(run_script: Script) -> None:
    """Polars rounds them to microseconds where PyArrow has not been imported."""
    found = run_script("""
import sys
import polars as pl
import fastfit as ff

for with_pyarrow in (False, True):
    try:
        print(ff.fit_groups([0.0, 1.0] * 2, [1.0] * 4, pl.Series([1, 2, 1, 2], dtype=pl.Time)).size)
    except ValueError as error:
        print(error)
    assert ("pyarrow" in sys.modules) == with_pyarrow
    import pyarrow
""")
    said = found.splitlines()
    assert len(said) == 2
    for line in said:
        assert line.startswith("by must hold times of day in whole microseconds")


def test_keys_of_files_have_one_type(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    x, y = [0.0, 1.0] * 2, [0.0, 1.0, 0.0, 2.0]
    table = pl.DataFrame({"x": x, "y": y, "k": [1, 1, 2, 2]})
    of_text = table.with_columns(k=pl.col("k").cast(pl.String))
    table.write_csv(tmp_path / "a.csv")
    of_text.write_parquet(tmp_path / "text.parquet")
    table.write_parquet(tmp_path / "int.parquet")

    def scanned(*names: str) -> Any:
        return ff.scan([str(tmp_path / name) for name in names], "x", "y", by="k")

    for names in (["a.csv", "text.parquet"], ["text.parquet", "a.csv"]):
        fits = ff.fit_groups(scanned(*names))
        assert fits.keys is not None
        assert fits.keys["k"].tolist() == ["1", "2"]
        assert fits.n_points.tolist() == [4, 4]
    for call in (ff.fit_groups, lambda source: ff.fit_rolling(source, window=2)):
        keys: Any = call(scanned("a.csv", "a.csv")).keys
        assert set(keys["k"].tolist()) == {1, 2}
        with pytest.raises(
            ValueError, match="columns of one type in all files; got 'k', .* int and str"
        ):
            call(scanned("a.csv", "int.parquet"))


def test_keys_of_text_stay_text_where_columns_have_types(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    dd = pytest.importorskip("dask.dataframe")
    data = {"x": [0.0, 1.0] * 2, "y": [0.0, 1.0, 0.0, 2.0], "key": ["7", "7", "8", "8"]}
    pl.DataFrame(data).write_parquet(tmp_path / "a.parquet")
    of_file = ff.fit_groups(ff.scan(tmp_path / "a.parquet", "x", "y", by="key"))
    of_dask = ff.fit_groups("x", "y", "key", data=dd.from_pandas(pd.DataFrame(data), npartitions=2))
    for fits in (of_file, of_dask):
        assert fits.keys is not None
        assert fits.keys["key"].tolist() == ["7", "8"]


def test_folders_are_keys(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    for site, slope in (("north", 1), ("south", 2)):
        (tmp_path / f"site={site}").mkdir()
        rows = "".join(f"{k},{slope * k}\n" for k in range(4))
        (tmp_path / f"site={site}" / "a.csv").write_text("x,y\n" + rows)
    fits = ff.fit_groups(ff.scan(tmp_path, "x", "y", by="site"))
    assert fits.keys is not None
    assert dict(zip(fits.keys["site"], fits.slope, strict=True)) == {"north": 1.0, "south": 2.0}


def test_groups_of_dask(rng: np.random.Generator) -> None:
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(table(rng))
    frame["site"] = rng.choice(np.array(["north", "south", None], object), len(frame))
    expected = ff.fit_groups("x", "y", ["site", "key"], data=frame, sample_weight="w")
    chunked = dd.from_pandas(frame, npartitions=5)
    fits = ff.fit_groups("x", "y", ["site", "key"], data=chunked, sample_weight="w")
    assert fits.keys is not None
    assert expected.keys is not None
    np.testing.assert_array_equal(fits.keys["site"], expected.keys["site"])
    np.testing.assert_array_equal(fits.n_points, expected.n_points)
    np.testing.assert_allclose(fits.slope, expected.slope, rtol=1e-11)
    np.testing.assert_allclose(fits.stderr, expected.stderr, rtol=1e-11)
    with pytest.raises(ValueError, match="loss must be 'squared_error' for groups"):
        ff.fit_groups(chunked["x"], chunked["y"], chunked["key"], loss="huber")
    with pytest.raises(TypeError, match="by must be a column of a data frame of Dask"):
        ff.fit_groups(chunked["x"], chunked["y"], np.arange(len(frame)))


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {}, "by must name the columns of keys, as in scan"),
        ({"by": "key"}, {"by": "key"}, "by must be left out when x comes from scan"),
        ({"by": "key"}, {"y": [1.0]}, "y must be left out when x comes from scan"),
        ({"by": "kee"}, {}, "did you mean 'key'"),
        ({"by": ["x"]}, {}, "by must name other columns than x, y and weights; got 'x'"),
    ],
)
def test_bad_keys_of_files_are_told(files: Any, options: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ff.fit_groups(ff.scan(files[1] / "all.csv", "x", "y", **options), **arguments)


def test_a_line_is_not_chosen_by_its_key() -> None:
    fits = ff.fit_groups([0, 1, 0, 1], [1.0, 3.0, 5.0, 5.0], ["a", "a", "b", "b"])
    with pytest.raises(IndexError, match=r"fits\[fits.keys\['key'\] == 'a'\]; got 'a'"):
        fits["a"]
    assert fits.keys is not None
    assert fits[fits.keys["key"] == "a"][0].slope == 2.0


def test_tables_of_groups_join_the_table_they_come_from() -> None:
    pl = pytest.importorskip("polars")
    frame = pd.DataFrame({"x": [0.0, 1.0] * 3, "y": [0.0, 3.0, 0.0, 1.0, 0.0, 2.0]})
    frame["size"] = pd.Categorical(
        ["mid"] * 2 + ["lo"] * 2 + ["hi"] * 2, ["lo", "mid", "hi"], ordered=True
    )
    frame["day"] = pd.date_range("2024-03-01", periods=3, tz="Europe/Berlin").repeat(2)
    for by in ("size", "day", ["size", "day"]):
        found = ff.fit_groups("x", "y", by, data=frame).to_frame()
        merged = frame.merge(found.reset_index(), on=by)
        assert merged["slope"].tolist() == [3.0, 3.0, 1.0, 1.0, 2.0, 2.0]
        names = [by] if isinstance(by, str) else by
        assert [merged[name].dtype for name in names] == [frame[name].dtype for name in names]
    halves = np.array([0.5, 0.5, 1.5, 1.5], np.float16)
    index = ff.fit_groups([0.0, 1.0] * 2, [1.0, 2.0] * 2, halves).to_frame().index
    assert index.tolist() == [0.5, 1.5]
    assert ff.fit_groups("x", "y", "size", data=frame).to_frame().index.tolist() == [
        "lo",
        "mid",
        "hi",
    ]
    table = pl.from_pandas(frame)
    for kind in (pl.Categorical(), pl.Enum(["hi", "lo", "mid"]), pl.String()):
        own = table.with_columns(pl.col("size").cast(pl.String).cast(kind))
        fits = ff.fit_groups("x", "y", ["size", "day"], data=own)
        assert (
            own.join(fits.to_frame(), on=["size", "day"])["slope"].to_list()
            == merged["slope"].tolist()
        )


def test_names_of_columns_may_be_numbers() -> None:
    data = pd.DataFrame([[1.0, 2.0, 0], [2.0, 5.0, 0], [3.0, 8.0, 0]])
    fits = ff.fit_groups(0, 1, 2, data=data)
    assert fits.slope.tolist() == [3.0]
    assert fits.keys is not None
    assert list(fits.keys) == ["2"]


@pytest.mark.parametrize("keys", [[3, 1, 3, 1], [1, 1, 3, 3]])
def test_names_of_keys_are_text(keys: list[int]) -> None:
    fits = ff.fit_groups([0.0, 0.5, 1.0, 2.0], [1.0, 2.0] * 2, pd.Series(keys, name=0))
    assert fits.keys is not None
    assert list(fits.keys) == ["0"]
    assert "by 0" in repr(fits)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
@pytest.mark.parametrize("sort", [True, False])
def test_integers_of_the_full_range_of_their_type(
    rng: np.random.Generator, dtype: str, sort: bool
) -> None:
    n = 100_000
    if dtype == "?":
        key = rng.random(n) < 0.5
    else:
        limits = np.iinfo(dtype)
        width = 40_000 if limits.bits > 8 else 256
        key = rng.integers(limits.max - width + 1, limits.max, n, dtype=dtype, endpoint=True)
        if limits.bits <= 16:
            key = rng.integers(limits.min, limits.max, n, dtype=dtype, endpoint=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ff.ConvergenceWarning)
        fits = ff.fit_groups(rng.random(n), rng.random(n), key, sort=sort)
    assert fits.keys is not None
    expected = np.unique(key) if sort else pd.unique(key)
    np.testing.assert_array_equal(fits.keys["key"], expected)
    counts = dict(zip(*np.unique(key, return_counts=True), strict=True))
    assert fits.n_points.tolist() == [counts[each] for each in fits.keys["key"]]


def test_results_travel_and_carry_their_keys() -> None:
    xr = pytest.importorskip("xarray")
    key = ["a", "a", "b", "b"]
    fits = ff.fit_groups([0, 1, 0, 1], [1.0, 3.0, 5.0, 5.0], key)
    windows = ff.fit_rolling(np.arange(9.0), np.arange(9.0), 3)
    for each in (fits, windows, ff.fit_expanding(None, [1.0, 2.0])):
        again = pickle.loads(pickle.dumps(each))
        np.testing.assert_array_equal(again.slope, each.slope)
        np.testing.assert_array_equal(again.n_omitted, each.n_omitted)
    found = fits.to_xarray()
    assert isinstance(found, xr.Dataset)
    assert found["key"].values.tolist() == ["a", "b"]
    named = ff.fit_groups(
        "x", "y", "slope", data={"x": [0, 1], "y": [1.0, 3.0], "slope": ["a", "a"]}
    )
    assert named.to_dict()["slope_key"] == ["a"]
    assert named.columns()["slope"] == [2.0]
    nothing = ff.fit_rolling(None, [1.0, 2.0, 3.0], 2, by=[None] * 3)
    assert nothing.keys is not None
    assert nothing.keys["key"].tolist() == [None] * 3
