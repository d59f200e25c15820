"""Pictures of a fit and of a descent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastfit.times import TimeUnit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastfit.outcome import History

# Largest number of points drawn as dots; more would overlap, and their density is drawn.
_MOST_DOTS = 3000
_SIZE = (7.0, 4.6)
_MISSING = "drawing needs matplotlib: pip install 'fastfit[plot]'"
_LINE = "#d1495b"
_SHADES = {"prediction": 0.12, "confidence": 0.3}
# Number of positions at which a band, a hyperbola, is computed.
_BAND_POINTS = 200
_DOTS = "#00798c"


class Line(Protocol):
    """A fit, as far as pictures need it."""

    @property
    def slope(self) -> float:
        """Slope of the line."""

    @property
    def n_points(self) -> int:
        """Number of points fitted."""

    @property
    def converged(self) -> bool:
        """Whether the fit converged."""

    @property
    def history(self) -> History | None:
        """The recorded states, if any."""

    def predict(self, x: Any) -> Any:
        """Return the line at x."""

    def equation(self, digits: int = 6) -> str:
        """Return the line as text."""


def draw_fit(
    fit: Line,
    x: NDArray[Any],
    y: NDArray[Any],
    ax: Axes | None = None,
    *,
    bands: Mapping[str, Callable[..., tuple[Any, Any]]] = MappingProxyType({}),
    level: float = 0.95,
    times: TimeUnit | None = None,
    names: tuple[str, str] = ("x", "y"),
) -> Axes:
    """Draw points, line, bands and path of a fit, as :meth:`LineFit.plot` says; x and y may be a sample.

    With ``times``, x holds counts, which are drawn as dates, or as durations in the unit of the slope.
    """
    if not math.isfinite(fit.slope):
        raise ValueError(
            "this fit has no line to draw: x or y holds NaN, and nan_policy='propagate'"
        )
    if ax is None:
        ax = _new_axes()
    drawn = _drawn_by(times)
    _draw_points(ax, x, y, drawn)
    span = np.array([x.min(), x.max()], dtype=np.float64)
    if fit.history is not None:
        _draw_path(ax, fit.history, drawn(span), span / (times.counts if times else 1.0))
    across = np.linspace(span[0], span[1], _BAND_POINTS)
    for name, band in bands.items():
        low, high = band(across if times is None else times.times(across), level)
        if np.isnan(low).all():  # no errors, as with two points
            continue
        shade = _SHADES[name]
        label = f"{100 * level:.4g} % {name} band"
        place = drawn(across)
        ax.fill_between(place, low, high, color=_LINE, alpha=shade, linewidth=0, label=label)
        # Over a density of points, only the edges of a band are visible.
        ax.plot(place, np.column_stack([low, high]), color=_LINE, linewidth=0.8, alpha=0.6)
    label = fit.equation(digits=4) + ("" if fit.converged else " (not converged)")
    ends = fit.predict(span if times is None else times.times(span))
    ax.plot(drawn(span), ends, color=_LINE, linewidth=2.0, label=label)
    if times and not times.is_duration:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_formatter(formatter)
    unit = f" ({times.unit})" if times and times.is_duration else ""
    ax.set(xlabel=names[0] + unit, ylabel=names[1], title=_count(x.size, fit.n_points))
    ax.legend(loc="upper right" if fit.slope < 0 else "upper left")
    return ax


def draw_descent(fit: Line, x: NDArray[Any], y: NDArray[Any]) -> Figure:
    """Draw a recorded descent: points and lines on the left, the loss on the right.

    Raises
    ------
    ValueError
        If the fit has no history.
    """
    if fit.history is None:
        raise ValueError("fit must have a history to draw; fit with record_every")
    drawn = figure(10.0, 4.2)
    left, right = drawn.subplots(1, 2)
    draw_fit(fit, x, y, left)
    left.set_title("the line, from first to last")
    history = fit.history
    right.semilogy(history.iteration, history.loss, "o-", color=_LINE, markersize=4)
    right.set(xlabel="iteration", ylabel="mean loss", title="the loss")
    right.grid(alpha=0.3)
    return drawn


def check_path(path: Path) -> None:
    """Raise ValueError if no picture can be written to this path, so that a long fit is not lost."""
    known = figure(1.0, 1.0).canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(
            f"a picture's name must end in .png, .svg, .pdf or another format of matplotlib; got {path}"
        )
    if path.is_dir():
        raise ValueError(f"the picture must be a file; {path} is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"the folder of the picture does not exist: {path}")


def save(figure_or_axes: Any, path: Path) -> None:
    """Write a picture to a file; its suffix determines the format."""
    try:
        figure_or_axes.get_figure().savefig(path, dpi=130)
    except OSError as error:
        raise OSError(f"the picture {path} cannot be written: {error.strerror}") from error


def _new_axes() -> Axes:
    """Return axes on a figure managed by pyplot, so that notebooks and ``plt.show()`` show it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return pyplot.subplots(figsize=_SIZE, layout="constrained")[1]


def axes_to_save() -> Axes:
    """Return axes on a new figure that pyplot does not manage: it needs no display and no closing."""
    return figure(*_SIZE).add_subplot()


def figure(width: float, height: float) -> Figure:
    """Return a figure that pyplot does not manage."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return Figure(figsize=(width, height), layout="constrained")


def _drawn_by(times: TimeUnit | None) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return the function from values of x to what matplotlib draws."""
    if times is None:
        return lambda x: x
    return (lambda x: x / times.counts) if times.is_duration else times.times


def _draw_points(
    ax: Axes, x: NDArray[Any], y: NDArray[Any], drawn: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    if x.size <= _MOST_DOTS:
        ax.plot(drawn(x), y, "o", color=_DOTS, markersize=5, alpha=0.7, markeredgewidth=0)
        return
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    # Fewer points need larger bins, or most would hold one point.
    n_bins = min(160, math.isqrt(x.size))
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=(n_bins, 3 * n_bins // 4))
    shown = np.ma.masked_equal(counts.T, 0.0)
    # Without the palest fifth of the colours, which looks white.
    colours = LinearSegmentedColormap.from_list(
        "density", colormaps["GnBu"](np.linspace(0.2, 1, 256))
    )
    mesh = ax.pcolormesh(drawn(x_edges), y_edges, shown, norm="log", cmap=colours, rasterized=True)
    ax.use_sticky_edges = False  # for a margin, as around dots
    ax.margins(0.03)
    figure: Any = ax.get_figure()
    figure.colorbar(mesh, ax=ax, label="points", pad=0.02)


def _count(shown: int, n_points: int) -> str:
    """Return the title: the number of points, and how many of them are shown if not all."""
    return f"{n_points:,} points" if shown == n_points else f"{shown:,} of {n_points:,} points"


def _draw_path(ax: Axes, history: History, place: NDArray[Any], span: NDArray[np.float64]) -> None:
    """Draw at most forty of the recorded lines, from pale (first) to strong (last); ``place`` is where x is drawn."""
    chosen = np.unique(np.linspace(0, len(history) - 1, 40).round().astype(int))
    for order, row in enumerate(chosen):
        ax.plot(
            place,
            history.slope[row] * span + history.intercept[row],
            color=_LINE,
            linewidth=1.0,
            alpha=0.2 + 0.6 * order / len(chosen),
        )
