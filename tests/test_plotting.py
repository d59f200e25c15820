"""What pictures show."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import QuadMesh

import fastfit as ff
from fastfit import worked_example
from fastfit.plotting import draw_descent
from tests.conftest import Script

X = np.linspace(0, 4, 50)
Y = 2 * X + 1 + np.sin(9 * X)


def test_draws_on_given_axes_or_on_a_figure_that_pyplot_shows() -> None:
    ax = ff.fit_line(X, Y).plot()
    assert [plt.figure(number) for number in plt.get_fignums()] == [ax.get_figure()]
    assert ff.fit_line(X, Y).plot(ax) is ax
    assert ff.fit_line(X, Y).plot(ax=ax) is ax


@pytest.mark.parametrize("scale", [1.0, 1e200])
def test_points_and_line(scale: float) -> None:
    fit = ff.fit_line(scale * X, Y)
    dots, line = fit.plot().get_lines()
    np.testing.assert_array_equal(dots.get_xydata(), np.column_stack([scale * X, Y]))
    ends = scale * np.array([0, 4])
    expected = np.column_stack([ends, fit.predict(ends)])
    np.testing.assert_allclose(np.asarray(line.get_xydata()), expected)
    assert line.get_label() == f"y = {fit.slope:.4g} x + {fit.intercept:.4g}" == fit.equation(4)


def test_the_line_is_above_the_points_and_the_legend_does_not_cover_it() -> None:
    for sign, place in ((1, 2), (-1, 1)):  # Matplotlib's codes: upper left, upper right
        ax = ff.fit_line(X, sign * Y).plot()
        dots, line = ax.get_lines()
        assert line.get_zorder() >= dots.get_zorder()
        assert ax.get_lines().index(line) > ax.get_lines().index(dots)
        assert ax.get_legend()._loc == place  # type: ignore[union-attr]


def test_a_picture_says_if_the_fit_did_not_converge() -> None:
    with pytest.warns(ff.ConvergenceWarning):
        fit = ff.fit_line(X, Y, solver=ff.GradientDescent(learning_rate=9.0))
    assert str(fit.plot().get_lines()[-1].get_label()).endswith("(not converged)")


def test_path_fades_in() -> None:
    solver = ff.GradientDescent(learning_rate=0.1, record_every=1)
    fit = ff.fit_line(X, Y, solver=solver)
    _, *path, last = fit.plot().get_lines()
    assert 1 < len(path) <= 40
    assert fit.history is not None
    first = fit.history.slope[0] * np.array([0, 4]) + fit.history.intercept[0]
    np.testing.assert_allclose(np.asarray(path[0].get_ydata()), first)
    alphas = [line.get_alpha() for line in path]
    assert alphas == sorted(alphas)  # type: ignore[type-var]
    assert last.get_alpha() is None


N = 10_000


def large(layout: str) -> tuple[Any, Any]:
    """Return x and y of N points, each its own array or a view of a larger one."""
    x, y = np.tile(X, N // 50), np.tile(Y, N // 50)
    if layout == "reversed table":
        table = np.column_stack([x, y])[::-1]
        return table[:, 0], table[:, 1]
    return (x.astype("f"), y.astype("f")) if layout == "float32" else (x, y)


def count_in(ax: Any) -> float:
    """Return the number of points in the density drawn."""
    if not ax.collections:  # one dot each
        return float(np.size(ax.get_lines()[0].get_xdata()))
    (mesh,) = (item for item in ax.collections if isinstance(item, QuadMesh))
    assert len(ax.get_lines()) == 1
    return float(np.ma.sum(np.ma.asarray(mesh.get_array())))


@pytest.mark.parametrize("layout", ["float64", "float32", "reversed table"])
def test_many_points_are_drawn_as_density_and_a_sample_when_their_arrays_are_gone(
    layout: str,
) -> None:
    x, y = large(layout)
    fit = ff.fit_line(x, y, backend="numpy")
    ax = fit.plot()
    assert (count_in(ax), ax.get_title()) == (N, "10,000 points")
    shown = fit._points.columns()  # type: ignore[union-attr]
    np.testing.assert_array_equal(shown, (x, y))
    del shown, ax
    alive = weakref.ref(x if x.base is None else x.base)
    del x, y
    assert alive() is None
    ax = fit.plot()
    assert (count_in(ax), ax.get_title()) == (1004, "1,004 of 10,000 points")
    # A sample of a periodic order has points of all its phases.
    sample_x, sample_y = fit._points.columns()  # type: ignore[union-attr]
    assert {*sample_x} == {*X.astype(sample_x.dtype)}
    assert {*zip(sample_x, sample_y, strict=True)} <= {*zip(*large(layout), strict=True)}


@pytest.mark.parametrize("n", [1254, 1255, 1600, 100_003])
def test_samples_are_spread_over_all_points(n: int) -> None:
    x = np.arange(float(n))
    fit = ff.fit_line(x, x + 1, backend="numpy")
    del x
    shown, _ = fit._points.columns()  # type: ignore[union-attr]
    gaps = np.diff(np.append(shown, n))
    assert shown.size == (n if n < 1255 else 1004)
    assert gaps.min() >= 1.0
    assert gaps.max() <= 251 + n // 251


def test_points_that_changed_after_the_fit_are_not_shown() -> None:
    x, y = np.arange(5000.0), 2.0 * np.arange(5000.0)
    fit = ff.fit_line(x, y, backend="numpy")
    y[4321] = -999.0  # at a place that the sample does not have
    shown_x, shown_y = fit._points.columns()  # type: ignore[union-attr]
    assert shown_x.size == 1004
    np.testing.assert_array_equal(shown_y, 2.0 * shown_x)


def test_points_with_one_weight_for_all_are_shown() -> None:
    x = np.arange(5000.0)
    y = 2.0 * x
    fit = ff.fit_line(x, y, sample_weight=2.0, backend="numpy")
    assert fit._points.columns()[0].size == 5000  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["list", "integers", "nan", "huge", "nanoseconds", "view"])
def test_converted_points_are_drawn_while_they_are_alive_and_then_a_sample(kind: str) -> None:
    x, y = large("float64")
    given = {
        "list": x.tolist(),
        "integers": np.arange(N),
        "nan": np.where(np.arange(N) < 10, np.nan, x),
        "huge": 1e200 * x,
        "nanoseconds": 1_700_000_000_000_000_000 + np.arange(N),
        "view": np.random.default_rng(1).normal(size=(N, 2))[:, 0],
    }[kind]
    n = N - 10 if kind == "nan" else N
    fit = ff.fit_line(given, y, nan_policy="omit", backend="numpy")
    if kind != "list":  # which no weak reference can follow
        assert fit.plot().get_title() == f"{n:,} points"
    expected = {*np.asarray(given, dtype=float)}
    del given
    shown, total = fit.plot().get_title().split(" of ")
    assert total == f"{n:,} points"
    assert int(shown.replace(",", "")) == 1004
    values, _ = fit._points.columns()  # type: ignore[union-attr]
    assert {*values} <= expected


def test_files_are_read_again_for_a_picture(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    x, y = large("float64")
    path = tmp_path / "points.parquet"
    pl.DataFrame({"x": x, "y": y}).write_parquet(path)
    fit = ff.fit_line(ff.scan(path, x="x", y="y"), backend="numpy")
    assert count_in(fit.plot()) == N
    path.unlink()
    assert count_in(fit.plot()) == 1004


@pytest.mark.filterwarnings("ignore::fastfit.ConvergenceWarning")
def test_worked_example() -> None:
    fit = worked_example.run("numpy")
    figure = draw_descent(fit, np.array(worked_example.X), np.array(worked_example.Y))
    left, right = figure.axes
    assert len(left.get_lines()) == 1 + 20 + 1
    (loss,) = right.get_lines()
    assert fit.history is not None
    np.testing.assert_array_equal(np.asarray(loss.get_ydata()), fit.history.loss)
    assert right.get_yscale() == "log"


def test_fits_of_nan_and_descents_without_history_cannot_be_drawn() -> None:
    fit = ff.fit_line(X, np.where(X == 0, np.nan, Y), nan_policy="propagate")
    with pytest.raises(ValueError, match="no line to draw"):
        fit.plot()
    with pytest.raises(ValueError, match="record_every"):
        draw_descent(ff.fit_line(X, Y), X, Y)


def test_without_matplotlib(run_script: Script) -> None:
    out = run_script(
        "import sys; sys.modules['matplotlib'] = None\n"
        "import fastfit as ff\n"
        "try: ff.fit_line([1, 2, 3], [1, 2, 4], backend='numpy').plot()\n"
        "except ImportError as error: print(error)"
    )
    assert out == "drawing needs matplotlib: pip install 'fastfit[plot]'\n"


def test_bands_are_drawn_at_their_bounds() -> None:
    fit = ff.fit_line(X, Y)
    assert len(fit.plot().collections) == 0
    ax = fit.plot(confidence_band=True, prediction_band=True, level=0.8)
    labels = ["80 % prediction band", "80 % confidence band"]
    assert [area.get_label() for area in ax.collections] == labels
    for area, band in zip(ax.collections, (fit.prediction_band, fit.confidence_band), strict=True):
        (path,) = area.get_paths()
        vertices = np.asarray(path.vertices)
        for x, low, high in zip((0.0, 4.0), *band([0.0, 4.0], 0.8), strict=True):
            y = vertices[vertices[:, 0] == x][:, 1]
            assert (y.min(), y.max()) == pytest.approx((low, high))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]  # type: ignore[union-attr]
    assert texts == [*labels, fit.equation(4)]
    with pytest.raises(ValueError, match="level must be a probability"):
        fit.plot(confidence_band=True, level=95)
    # Two points have no errors, and so no bands.
    ax = ff.fit_line([0.0, 1.0], [1.0, 3.0]).plot(confidence_band=True, prediction_band=True)
    assert len(ax.collections) == 0
    assert len(ax.get_legend().get_texts()) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("library", ["pandas", "polars", "xarray", "numpy", "scan"])
def test_axes_are_named_as_the_columns_are(library: str, tmp_path: Path) -> None:
    x, y = np.arange(5.0), np.arange(5.0) ** 2
    given: Any
    if library == "pandas":
        given = pytest.importorskip("pandas").DataFrame({"height": x, "weight": y})
        given = given["height"], given["weight"]
    elif library == "polars":
        polars = pytest.importorskip("polars")
        given = polars.Series("height", x), polars.Series("weight", y)
    elif library == "xarray":
        xarray = pytest.importorskip("xarray")
        given = [xarray.DataArray(v, name=n) for n, v in (("height", x), ("weight", y))]
    elif library == "scan":
        path = tmp_path / "t.csv"
        path.write_text(
            "height,weight\n" + "".join(f"{a},{b}\n" for a, b in zip(x, y, strict=True))
        )
        given = (ff.scan(path), None)
    else:
        given = x, y
    axes = ff.fit_line(*given).plot()
    expected = ("x", "y") if library == "numpy" else ("height", "weight")
    assert (axes.get_xlabel(), axes.get_ylabel()) == expected


def test_lines_on_the_same_axes_have_colours_and_names_of_their_own() -> None:
    ax = ff.fit_line(X, Y).plot()
    for loss in ("huber", "tukey"):
        ff.fit_line(X, Y, loss=loss).plot(ax, points=False)
    ff.fit_line(X, Y, fit_intercept=False).plot(ax, points=False, label="origin", color="black")
    dots, *lines = ax.get_lines()
    assert np.size(dots.get_xdata()) == X.size
    assert len({line.get_color() for line in lines}) == 4
    assert lines[-1].get_color() == "black"
    names = [str(line.get_label()) for line in lines]
    assert [name.rpartition(", ")[2] for name in names[1:]] == ["Huber", "Tukey", "origin"]


@pytest.mark.parametrize("n", [50, 5000])
def test_far_points_are_left_out_of_the_picture_and_counted(n: int) -> None:
    x = np.linspace(0, 4, n)
    y = 2 * x + np.sin(9 * x)
    y[[3, 7]] = 1e6, -1e5
    ax = ff.fit_line(x, y, loss="tukey").plot()
    assert ax.get_title() == f"{n:,} points, 2 outside the picture"
    low, high = ax.get_ylim()
    assert -3 < low < y[np.abs(y) < 100].min()
    assert y[np.abs(y) < 100].max() < high < 11
    # What is not far out is shown, also where more than half of the points are equal.
    assert "outside" not in ff.fit_line(x, np.where(x > 3.9, 9.0, 0.0)).plot().get_title()


def test_lines_far_from_the_points_do_not_squeeze_them() -> None:
    far = np.where(X.max() == X, 1e6, Y)
    bent = ff.fit_line(X, far).plot(label="all", confidence_band=True)
    descent = ff.GradientDescent(init=(-5000, 100), record_every=1)
    of_descent = ff.fit_line(X, Y, solver=descent).plot()
    for ax in (bent, of_descent):
        low, high = ax.get_ylim()
        assert -6 * np.ptp(Y) < low < Y.min()
        assert Y.max() < high < 6 * np.ptp(Y)
    assert "95 % confidence band, all" in bent.get_legend_handles_labels()[1]


def test_far_points_of_one_fit_do_not_hide_what_else_is_drawn() -> None:
    y = Y.copy()
    y[3] = 1e6
    ax = ff.fit_line(X, y, loss="tukey").plot()
    ff.fit_line(X, Y + 1000.0).plot(ax)
    low, high = ax.get_ylim()
    assert low < Y.min()
    assert 1000.0 + Y.max() < high < 1500.0
    _, ax = plt.subplots()
    ax.plot(X, Y + 5000.0)
    ff.fit_line(X, y, loss="tukey").plot(ax, color=(0.2, 0.4, 0.6), label="")
    assert ax.get_ylim()[1] > 5000.0
    _, ax = plt.subplots()
    ax.set_yscale("log")
    ff.fit_line(X, y + 3.0, loss="tukey").plot(ax)  # without a warning of Matplotlib
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"ax": "fit.png"},
            TypeError,
            r"ax must be axes .*fit.plot\(\).figure.savefig\('fit.png'\)",
        ),
        ({"ax": Path("a/b.png")}, TypeError, r"savefig\('a/b.png'\)"),
        ({"ax": 5}, TypeError, "ax must be axes of matplotlib; got int 5"),
        ({"prediction_band": True}, ValueError, "prediction_band must be False for a robust line"),
        ({"points": 1}, TypeError, "points must be True or False; got 1"),
        ({"label": 5}, TypeError, "label must be a string or None; got int 5"),
        (
            {"color": "grue"},
            ValueError,
            "color must be a colour of matplotlib, or None; got 'grue'",
        ),
    ],
)
def test_wrong_options_of_a_picture(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ff.fit_line(X, Y, loss="huber").plot(**options)


def test_the_loss_over_the_steps() -> None:
    history = ff.fit_line(X, Y, solver=ff.GradientDescent(record_every=1)).history
    assert history is not None
    ax = history.plot()
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), history.iteration)
    np.testing.assert_array_equal(line.get_ydata(), history.loss)
    assert ax.get_yscale() == "log"
    assert history.plot(ax) is ax
    with pytest.raises(TypeError, match="ax must be axes of matplotlib; got str 'a.png'"):
        history.plot("a.png")  # type: ignore[arg-type]
