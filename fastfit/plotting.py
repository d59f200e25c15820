"""Pictures of a fit and of a descent."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastfit.times import TimeUnit
from fastfit.validation import what_came

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Largest number of points drawn as dots; more would overlap, and their density is drawn.
_MOST_DOTS = 3000
_SIZE = (7.0, 4.6)
_MISSING = "drawing needs matplotlib: pip install 'fastfit[plot]'"
# Colours of the lines on one axes, in turn, and what marks them as lines of fits.
_LINES = (
    *("#d1495b", "#22223b", "#e09f3e", "#6a4c93", "#8c5e3c", "#3c8d5a"),
    *("#4aa3df", "#d16bb5"),
)
_MARK = "fastfit line"
_SHADES = {"prediction": 0.12, "confidence": 0.3}
# Axes whose range of y leaves out far points.
_limited: weakref.WeakSet[Any] = weakref.WeakSet()
# Interquartile ranges beyond the quartiles of y from which on points are left out of a picture.
_FAR = 5.0
# Number of positions at which a band, a hyperbola, is computed.
_BAND_POINTS = 200
_DOTS = "#00798c"
# Colour of slopes that are not clearly different from 0, and of text and thin lines that are to stay in the background.
_UNCLEAR, _FAINT = "#c4c4c4", "#808080"
# Largest number of lines in one picture, of those with a colour of their own, and of those with a name beside them.
MOST_LINES, MOST_NAMED, MOST_WRITTEN = 300, len(_LINES), 30
# What marks the line at slope 0.
_ZERO = "fastfit zero"
# Largest number of letters on a line of a title.
_LONGEST_TITLE = 60
# Largest number of recorded states that are marked one by one.
_MOST_MARKED = 60


class Steps(Protocol):
    """The recorded states of a descent, as far as pictures need them."""

    @property
    def iteration(self) -> NDArray[Any]:
        """Number of steps before each state."""

    @property
    def slope(self) -> NDArray[Any]:
        """Slopes of the lines."""

    @property
    def intercept(self) -> NDArray[Any]:
        """Intercepts of the lines."""

    @property
    def loss(self) -> NDArray[Any]:
        """Mean losses."""

    def __len__(self) -> int: ...


class Line(Protocol):
    """A fit, as far as pictures need it."""

    @property
    def slope(self) -> float:
        """Slope of the line."""

    @property
    def n_points(self) -> int:
        """Number of points fitted."""

    @property
    def history(self) -> Steps | None:
        """The recorded states, if any."""

    def predict(self, x: Any) -> Any:
        """Return the line at x."""


class Fan(NamedTuple):
    """Lines by their ends.

    Attributes
    ----------
    x, y : ndarray, shape (n, 2)
        The ends; NaN where there is no line.
    is_clear : ndarray of bool
        Whether slopes are clearly different from 0.
    labels : list of str or None
        Names of the lines.
    by : str
        What the names are, such as the name of a column of keys; "" if that is unknown.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    is_clear: NDArray[np.bool_]
    labels: list[str] | None
    by: str


class Track(NamedTuple):
    """Slopes of windows along x.

    Attributes
    ----------
    label : str
        Name of the group; "" without groups.
    x, slope : ndarray
        Places, which do not fall, and slopes; NaN where there is no line.
    band_x, low, high : ndarray
        Places, and bounds of the confidence band there; NaN where there is none.
    """

    label: str
    x: NDArray[Any]
    slope: NDArray[Any]
    band_x: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]


def draw_fit(
    fit: Line,
    x: NDArray[Any],
    y: NDArray[Any],
    ax: Axes | None = None,
    *,
    label: str,
    band_label: str = "",
    points: bool = True,
    color: Any = None,
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
    n_before = sum(each.get_gid() == _MARK for each in ax.lines)
    was_empty = not ax.has_data()
    color = _color(color, n_before)
    span = np.array([x.min(), x.max()], dtype=np.float64)
    ends = np.asarray(fit.predict(span if times is None else times.times(span)))
    place = span / (times.counts if times else 1.0)
    path = (
        []
        if fit.history is None
        else [fit.history.slope * each + fit.history.intercept for each in place]
    )
    low, high, leaves_out = _bulk(y, np.concatenate([ends, *path]))
    inside = (y >= low) & (y <= high)
    title = _count(x.size, fit.n_points)
    if not inside.all():
        title += f", {np.count_nonzero(~inside):,} outside the picture"
    if points:
        _draw_points(ax, x[inside], y[inside], drawn)
    if fit.history is not None:
        _draw_path(ax, np.column_stack(path), drawn(span), color)
    across = np.linspace(span[0], span[1], _BAND_POINTS)
    for name, band in bands.items():
        bounds = band(across if times is None else times.times(across), level)
        if np.isnan(bounds[0]).all():  # no errors, as with two points
            continue
        called = f"{100 * level:.4g} % {name} band{band_label}"
        # On white, edges are visible over a density; single points must not vanish under it.
        halo = points and x.size > _MOST_DOTS
        _draw_band(ax, drawn(across), bounds, color, called, name, halo=halo)
    ax.plot(drawn(span), ends, color=color, linewidth=2.0, label=label, gid=_MARK, zorder=4)
    _set_range(ax, low, high, leaves_out=was_empty and leaves_out)
    _show_dates(ax, times)
    unit = f" ({times.unit})" if times and times.is_duration else ""
    ax.set(xlabel=names[0] + unit, ylabel=names[1], title=title)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right" if fit.slope < 0 else "upper left")
    return ax


def draw_loss(history: Steps, ax: Axes | None = None) -> Axes:
    """Draw the mean loss over the number of steps, as :meth:`History.plot` says."""
    if ax is None:
        ax = _new_axes()
    elif not hasattr(ax, "get_xaxis_transform"):
        raise TypeError(f"ax must be axes of matplotlib; got {what_came(ax)}")
    style = "o-" if len(history) <= _MOST_MARKED else "-"
    ax.plot(history.iteration, history.loss, style, color=_LINES[0], markersize=4)
    if (history.loss > 0.0).all():
        ax.set_yscale("log")
    ax.set(xlabel="iteration", ylabel="mean loss", title="the loss")
    ax.grid(alpha=0.3)
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
    draw_fit(fit, x, y, left, label="the last line")
    left.set_title("the line, from first to last")
    draw_loss(fit.history, right)
    return drawn


def draw_map(
    slope: NDArray[Any], is_clear: NDArray[np.bool_], level: float, unit: str, ax: Axes | None
) -> Axes:
    """Draw slopes of a grid of lines as colours: grey if not clearly different from 0, white if missing."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    ax = _new_axes() if ax is None else ax
    shown = np.abs(slope[np.isfinite(slope) & is_clear])
    most = float(np.percentile(shown, 98)) if shown.size else 1.0
    colours = np.where(is_clear, slope, np.nan)
    picture = ax.imshow(colours, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    unclear = np.ma.masked_where(is_clear | np.isnan(slope), np.zeros(slope.shape))
    ax.imshow(unclear, cmap=ListedColormap([_UNCLEAR]), interpolation="nearest")
    figure: Any = ax.get_figure()
    extend = "both" if shown.size else "neither"
    figure.colorbar(picture, ax=ax, label=f"slope{unit}", extend=extend, shrink=0.75)
    ax.set(xlabel="axis 1", ylabel="axis 0", title=_lines_in_words(slope))
    if unclear.count():
        said = f"not different from 0 at {100 * level:.4g} %"
        ax.legend(
            handles=[Patch(color=_UNCLEAR, label=said)],
            loc="upper left",
            bbox_to_anchor=(0.0, -0.1),
            frameon=False,
        )
    return ax


def draw_fan(
    fan: Fan,
    level: float,
    times: TimeUnit | None,
    names: tuple[str, str],
    title: str,
    ax: Axes | None,
) -> Axes:
    """Draw lines, at most some hundreds, with their names if they are few, as :meth:`LineFits.plot` says.

    With ``times``, x holds counts, which are drawn as dates, or as durations in the unit of the slope.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    has_room, ax = _has_room(ax), _new_axes() if ax is None else ax
    _show_dates(ax, times)
    chosen = np.flatnonzero(np.isfinite(fan.y).all(axis=1))
    missing = len(fan.y) - chosen.size
    title += f", {missing:,} not fitted" if missing else ""
    if chosen.size > MOST_LINES:
        chosen = chosen[np.linspace(0, chosen.size - 1, MOST_LINES).round().astype(int)]
        title += f", {chosen.size:,} drawn"
    x = np.full(fan.x.shape, math.nan)
    x[chosen] = _numbers_for(fan.x[chosen], times)
    has_colours = fan.labels is not None and chosen.size <= MOST_NAMED
    handles = []
    if has_colours:
        n_before = sum(each.get_gid() == _MARK for each in ax.lines)
        for number, row in enumerate(chosen, n_before):
            style = {"color": _color(None, number), "linestyle": "-" if fan.is_clear[row] else ":"}
            label = fan.labels[row] if fan.labels else ""
            handles += ax.plot(x[row], fan.y[row], linewidth=1.8, label=label, gid=_MARK, **style)
        if not fan.is_clear[chosen].all():
            called = f"slope not different\nfrom 0 at {100 * level:.4g} %"
            handles.append(Line2D([], [], color=_FAINT, linestyle=":", label=called))
    else:
        for clear, color, said in ((False, _UNCLEAR, "slope not"), (True, _LINES[0], "slope")):
            some = chosen[fan.is_clear[chosen] == clear]
            segments = np.stack([x[some], fan.y[some]], axis=-1)
            alpha = min(1.0, max(0.15, 60.0 / max(chosen.size, 1)))
            lines = LineCollection(list(segments), colors=color, alpha=alpha, linewidths=1.0)
            ax.add_collection(lines)
            if some.size:
                called = f"{said} different from 0 at {100 * level:.4g} %"
                handles.append(Line2D([], [], color=color, label=called))
    ax.autoscale_view()
    if fan.labels is not None and not has_colours and has_room:
        _write_names(ax, fan, x, chosen)
    unit = f" in {times.words}" if times and times.is_duration else ""
    ax.set(xlabel=names[0] + unit, ylabel=names[1], title=_on_lines(title))
    if has_colours:
        _add_legend(ax, handles, fan.by, has_room=has_room)
    elif handles:  # below, where it covers no line
        below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        ax.legend(handles=handles, **(below if has_room else {}), frameon=not has_room)
    return ax


def draw_windows(
    tracks: Sequence[Track],
    by: str,
    range_y: tuple[float, float, bool],
    level: float,
    times: TimeUnit | None,
    names: tuple[str, str, str],
    ax: Axes | None,
) -> Axes:
    """Draw slopes of windows along x, and their bands, as :meth:`LineFits.plot` says.

    ``range_y`` is the range to show, and whether it leaves anything out; ``by`` names the keys of groups, and ``names``
    are labels of the axes and a title. With ``times``, x holds counts.
    """
    from matplotlib.patches import Patch

    has_room, ax = _has_room(ax), _new_axes() if ax is None else ax
    was_empty = not ax.has_data()
    _show_dates(ax, times)
    n_before = sum(each.get_gid() == _MARK for each in ax.lines)
    are_few = len(tracks) <= MOST_NAMED
    style: dict[str, Any] = {"linewidth": 1.4, "gid": _MARK, "zorder": 4}
    if not are_few:
        alpha = min(1.0, max(0.25, 20.0 / len(tracks)))
        style = {"linewidth": 0.8, "gid": _MARK, "alpha": alpha}
    called = f"{100 * level:.4g} % confidence"
    handles: list[Any] = []
    has_band = False
    for number, track in enumerate(tracks, n_before):
        color = _color(None, number) if are_few else _FAINT
        x = _numbers_for(track.x, times)
        handles += ax.plot(x, track.slope, color=color, label=track.label, **style)
        single = _has_no_neighbours(track.slope)
        if single.any():  # which a line does not show
            ax.plot(x[single], track.slope[single], "o", color=color, markersize=2.5, zorder=4)
        if are_few and not np.isnan(track.low).all():
            has_band = True
            shade: dict[str, Any] = {
                "color": color,
                "alpha": _SHADES["confidence"] if len(tracks) == 1 else 0.18,
            }
            x, lower, upper = _numbers_for(track.band_x, times), track.low, track.high
            label = "" if by else f"{called} band"
            ax.fill_between(x, lower, upper, linewidth=0, zorder=2.5, label=label, **shade)
            single = _has_no_neighbours(lower)
            if single.any():
                bars = x[single], lower[single], upper[single]
                ax.vlines(*bars, linewidth=1.4, zorder=2.5, **shade)
    low, high, leaves_out = range_y
    _set_range(ax, low, high, leaves_out=was_empty and leaves_out)
    bottom, top = ax.get_ylim()
    if bottom < 0.0 < top and not any(each.get_gid() == _ZERO for each in ax.lines):
        ax.axhline(0.0, color=_FAINT, linewidth=0.8, gid=_ZERO, zorder=1.5)
    unit = f" in {times.words}" if times and times.is_duration else ""
    ax.set(xlabel=names[0] + unit, ylabel=names[1], title=_on_lines(names[2]))
    if by and has_band:
        color = _color(None, n_before) if len(tracks) == 1 else _FAINT
        shade = {"color": color, "alpha": _SHADES["confidence"]}
        handles.append(Patch(linewidth=0, label=f"{called}\nband", **shade))
    if by and are_few:
        _add_legend(ax, handles, by, has_room=has_room)
    elif ax.get_legend_handles_labels()[0] and not by:
        ax.legend(loc="best")
    return ax


def _has_room(ax: Axes | None) -> bool:
    """Return whether what stands right of the axes, or below, finds room on their figure."""
    figure: Any = None if ax is None else ax.get_figure()
    return figure is None or figure.get_layout_engine() is not None


def _add_legend(ax: Axes, handles: list[Any], by: str, *, has_room: bool) -> None:
    """Add a legend of the names of lines, right of the axes if there is room."""
    if handles:
        right: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)}
        place = {**right, "frameon": False} if has_room else {"loc": "best"}
        ax.legend(handles=handles, title=by or None, alignment="left", **place)


def _on_lines(title: str) -> str:
    """Return a title on two lines if it is too long for one."""
    if len(title) <= _LONGEST_TITLE:
        return title
    place = title.rfind(", ", 0, _LONGEST_TITLE)
    return f"{title[: place + 1]}\n{title[place + 2 :]}" if place > 0 else title


def _has_no_neighbours(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values stand between missing ones."""
    missing = np.concatenate([[True], np.isnan(values), [True]])
    found: NDArray[np.bool_] = ~missing[1:-1] & missing[:-2] & missing[2:]
    return found


def _write_names(ax: Axes, fan: Fan, x: NDArray[Any], chosen: NDArray[np.int64]) -> None:
    """Write names right of the axes, as near to the right ends of their lines as they fit, with thin lines to these."""
    assert fan.labels is not None
    figure: Any = ax.get_figure()
    size = 8.0 if chosen.size <= 20 else 7.0
    height = 72.0 * figure.get_figheight() * ax.get_position().height
    bottom, top = ax.get_ylim()
    chosen = chosen[np.argsort(fan.y[chosen, 1], kind="stable")]
    wanted = (fan.y[chosen, 1] - bottom) / (top - bottom)
    places = _spread(wanted, 1.2 * size / height)
    for row, place in zip(chosen, places, strict=True):
        ax.annotate(
            fan.labels[row],
            (x[row, 1], fan.y[row, 1]),
            (1.03, place),
            textcoords="axes fraction",
            fontsize=size,
            color=_LINES[0] if fan.is_clear[row] else _FAINT,
            verticalalignment="center",
            arrowprops={"arrowstyle": "-", "color": _UNCLEAR, "linewidth": 0.5, "shrinkB": 1.0},
        )


def _spread(wanted: NDArray[Any], distance: float) -> NDArray[Any]:
    """Return places at least so far from each other, near those wanted, which are sorted, and if possible in 0 to 1."""
    steps = distance * np.arange(wanted.size)
    blocks: list[list[float]] = []  # means of what was shifted together, and how many these are
    for each in wanted - steps:
        blocks.append([float(each), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value, n = blocks.pop()
            before, m = blocks[-1]
            blocks[-1] = [(before * m + value * n) / (m + n), m + n]
    found = np.repeat([value for value, _ in blocks], [int(n) for _, n in blocks])
    lowered = np.clip(found, 0.0, max(1.0 - float(steps[-1]), 0.0))
    return np.asarray(lowered + steps)


def _numbers_for(x: NDArray[Any], times: TimeUnit | None) -> NDArray[Any]:
    """Return x as numbers for matplotlib: counts of dates as it counts them."""
    if times is None or times.is_duration:
        return _drawn_by(times)(x)
    from matplotlib.dates import date2num

    whole = np.rint(x)
    days = date2num(times.times(whole))  # type: ignore[no-untyped-call]
    return np.asarray(days + (x - whole) * times.days)


def _show_dates(ax: Axes, times: TimeUnit | None) -> None:
    """Write dates on the axis of x, if it shows times, and does not do so already."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if times is None or times.is_duration:
        return
    ax.xaxis_date()
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _lines_in_words(values: NDArray[Any]) -> str:
    """Return how many lines there are, and how many are missing."""
    missing = int(np.isnan(values).sum())
    return f"{values.size:,} lines" + (f", {missing:,} not fitted" if missing else "")


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
    points = "1 point" if n_points == 1 else f"{n_points:,} points"
    return points if shown == n_points else f"{shown:,} of {points}"


def _color(color: Any, number: int) -> Any:
    """Return the colour that was given, or the one of the line with this number on the axes."""
    from matplotlib.colors import is_color_like

    if color is None:
        return _LINES[number % len(_LINES)]
    if not is_color_like(color):
        raise ValueError(f"color must be a colour of matplotlib, or None; got {color!r}")
    return color


def _set_range(ax: Axes, low: float, high: float, *, leaves_out: bool) -> None:
    """Leave out far points and lines of the first fit on linear axes; widen what was left out for further fits."""
    if leaves_out and ax.get_yscale() == "linear":
        _limited.add(ax)
        ax.set_ylim(*_with_margin(low, high))
    elif ax in _limited:
        bottom, top = ax.get_ylim()
        low, high = _with_margin(low, high)
        ax.set_ylim(min(bottom, low), max(top, high))


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def _bulk(y: NDArray[Any], lines: NDArray[Any]) -> tuple[float, float, bool]:
    """Return the range of y that a picture shows, and whether that leaves anything out.

    It shows all points but those far above or below the others, and of lines what lies no farther.
    """
    first, third = np.percentile(y, [25, 75])
    reach = _FAR * (third - first) or math.inf
    lower, upper = first - reach, third + reach
    near = y[(y >= lower) & (y <= upper)]
    low = min(near.min(), max(lines.min(), lower))
    high = max(near.max(), min(lines.max(), upper))
    is_far = min(y.min(), lines.min()) < lower or max(y.max(), lines.max()) > upper
    return float(low), float(high), bool(is_far)


def _draw_band(
    ax: Axes,
    place: NDArray[Any],
    bounds: tuple[NDArray[Any], NDArray[Any]],
    color: str,
    label: str,
    name: str,
    *,
    halo: bool,
) -> None:
    """Draw a band: shaded, and with edges, on white with ``halo``."""
    from matplotlib.patheffects import withStroke

    ax.fill_between(
        place, *bounds, color=color, alpha=_SHADES[name], linewidth=0, label=label, zorder=2.5
    )
    style = "-" if name == "confidence" else "--"
    white = [withStroke(linewidth=2.6, foreground="white")] if halo else None
    edges = np.column_stack(bounds)
    ax.plot(place, edges, style, color=color, linewidth=1.1, path_effects=white, zorder=3)


def _draw_path(ax: Axes, lines: NDArray[np.float64], place: NDArray[Any], color: str) -> None:
    """Draw at most forty of the recorded lines, from pale (first) to strong (last), by their ends."""
    chosen = np.unique(np.linspace(0, len(lines) - 1, 40).round().astype(int))
    for order, row in enumerate(chosen):
        ax.plot(
            place,
            lines[row],
            color=color,
            linewidth=1.0,
            alpha=0.2 + 0.6 * order / len(chosen),
        )
