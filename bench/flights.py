"""Every loss on real delays: ``python -m bench.flights [OUT.png]`` prints the table of README, and draws its picture.

Arrival delay on departure delay of 327,346 flights, in minutes. Most arrive some minutes earlier than they left late; a
few lose an hour or more on the way, and none gains as much.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import fastfit as ff
from bench.measure import bare_read, ratio, times
from fastfit.losses import LOSSES
from fastfit.plotting import save

FLIGHTS = Path(__file__).parent.parent / "tests" / "data" / "flights.parquet"
STYLES: dict[str, Any] = {
    "squared_error": "--",
    "huber": "-",
    "soft_l1": (0, (1, 1)),
    "cauchy": (0, (5, 5)),
    "tukey": "-",
}
COLORS = dict(zip(LOSSES, ("#d1495b", "#00798c", "#5a9e6f", "#e09f3e", "#542e71"), strict=True))


def flights() -> tuple[Any, Any]:
    """Return departure and arrival delays of the flights that have both."""
    delays = pl.read_parquet(FLIGHTS).select("dep_delay", "arr_delay").drop_nulls().cast(pl.Float64)
    x, y = (column.to_numpy() for column in delays.get_columns())
    return x, y


def table(x: Any, y: Any, fits: dict[str, ff.LineFit]) -> None:
    """Print the lines, and what they take beside a bare read."""
    read = lambda: bare_read(x, y)  # noqa: E731
    calls = {name: (lambda name=name: ff.fit_line(x, y, loss=name)) for name in fits}
    found = times({"read": read, **calls}, rounds=21)
    residuals = {name: np.abs(y - fit.predict(x)) for name, fit in fits.items()}
    print("| loss | slope | intercept | f_scale | median abs. residual | bare reads (in cache) |")
    print("|---|---|---|---|---|---|")
    for name, fit in fits.items():
        f_scale = "" if fit.f_scale is None else f"{fit.f_scale:.1f}"
        print(
            f"| `{name}` | {fit.slope:.4f} ± {fit.stderr:.4f} | {fit.intercept:.2f} ± {fit.intercept_stderr:.2f} "
            f"| {f_scale} | {np.median(residuals[name]):.2f} | {ratio(found, name, 'read'):.0f} |"
        )


def draw(x: Any, y: Any, fits: dict[str, ff.LineFit], path: Path) -> None:
    """Draw the points and lines, and beside them what a flight loses on the way."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    # The palest greys would not stand out from the paper. Delays are whole minutes, and so are the bins.
    greys = LinearSegmentedColormap.from_list("g", colormaps["Greys"](np.linspace(0.25, 1, 256)))
    for axes, values, bounds, steps in (
        (left, y, ((-50, 1320), (-100, 1300)), (10, 10)),
        (right, y - x, ((-25, 400), (-45, 90)), (3, 1)),
    ):
        edges = [np.arange(b[0] - 0.5, b[1] + s, s) for b, s in zip(bounds, steps, strict=True)]
        counts, x_edges, y_edges = np.histogram2d(x, values, bins=edges)
        shown = np.ma.masked_equal(counts.T, 0.0)
        axes.pcolormesh(x_edges, y_edges, shown, norm="log", cmap=greys, rasterized=True)
        axes.set(xlim=bounds[0], ylim=bounds[1], xlabel="departure delay, minutes")
    at = np.array([-50.0, 1320.0])
    for name, fit in fits.items():
        style: dict[str, Any] = {"color": COLORS[name], "linewidth": 2.0, "label": name}
        # Lines that all but coincide show through each other's gaps.
        style["linestyle"] = STYLES[name]
        left.plot(at, fit.predict(at), **style)
        right.plot(at, fit.predict(at) - at, **style)
    starts = np.arange(-20.0, 401.0, 20.0)
    places = np.digitize(x, starts)
    middle = [np.median((y - x)[places == k]) for k in range(1, starts.size)]
    right.plot(
        starts[:-1] + 10.0,
        middle,
        "o",
        color="white",
        markeredgecolor="black",
        label="medians of 20 minutes",
    )
    left.set(ylabel="arrival delay, minutes", title=f"{x.size:,} flights")
    right.set(ylabel="lost on the way, minutes", title="arrival delay less departure delay")
    right.legend(loc="upper right")
    save(left, path)


if __name__ == "__main__":
    delays = flights()
    lines = {name: ff.fit_line(*delays, loss=name) for name in LOSSES}
    table(*delays, lines)
    if len(sys.argv) > 1:
        draw(*delays, lines, Path(sys.argv[1]))
