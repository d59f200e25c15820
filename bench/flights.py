"""Lines by every loss on real delays: ``python -m bench.flights [OUT.png]`` prints a table, and draws a picture.

Arrival delay on departure delay of 327,346 flights, in minutes. Most flights catch up some minutes on the way. A few
lose an hour or more, and none gains as much.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

import fastfit as ff
from bench.others import READ, read
from fastfit.losses import LOSSES
from fastfit.plotting import figure, save
from fastfit.speed.timing import ratio, times

FLIGHTS = Path(__file__).parent.parent / "tests" / "data" / "flights.parquet"
# Colour and dashes by loss. Gaps let lines that nearly coincide show through.
STYLES: dict[str, tuple[str, Any]] = {
    "squared_error": ("#d1495b", "--"),
    "huber": ("#00798c", "-"),
    "soft_l1": ("#5a9e6f", (0, (1, 1))),
    "cauchy": ("#e09f3e", (0, (5, 5))),
    "tukey": ("#542e71", "-"),
}


def print_table(x: Any, y: Any, fits: dict[str, ff.LineFit]) -> None:
    calls = {name: functools.partial(ff.fit_line, x, y, loss=name) for name in fits}
    found = times({READ: read(x, y).call, **calls}, rounds=21)
    print("| loss | slope | intercept | f_scale | median abs. residual | bare reads (in cache) |")
    print("|---|---|---|---|---|---|")
    for name, fit in fits.items():
        f_scale = "" if fit.f_scale is None else f"{fit.f_scale:.1f}"
        print(
            f"| `{name}` | {fit.slope:.4f} ± {fit.stderr:.4f} | {fit.intercept:.2f} ± {fit.intercept_stderr:.2f} "
            f"| {f_scale} | {np.median(np.abs(y - fit.predict(x))):.2f} | {ratio(found, name, READ):.0f} |"
        )


def draw(x: Any, y: Any, fits: dict[str, ff.LineFit], path: Path) -> None:
    """Draw the points and lines, and next to them the minutes lost on the way."""
    left, right = figure(11.0, 4.6).subplots(1, 2)
    for axes, values, x_range, y_range in (
        (left, y, (-50, 1320, 10), (-100, 1300, 10)),
        (right, y - x, (-25, 400, 3), (-45, 90, 1)),
    ):
        bins = [np.arange(*x_range) - 0.5, np.arange(*y_range) - 0.5]  # delays are whole minutes
        # The scale starts far below the smallest count, so that single flights are visible.
        axes.hist2d(x, values, bins, norm="log", vmin=0.03, cmin=1, cmap="Greys", rasterized=True)
        axes.set(xlim=x_range[:2], ylim=y_range[:2], xlabel="departure delay, minutes")
    at = np.array([-50.0, 1320.0])
    for name, fit in fits.items():
        color, dashes = STYLES[name]
        for axes, line in ((left, fit.predict(at)), (right, fit.predict(at) - at)):
            axes.plot(at, line, color=color, linestyle=dashes, linewidth=2.0, label=name)
    medians = stats.binned_statistic(x, y - x, "median", np.arange(-20.0, 401.0, 20.0))
    centres, label = medians.bin_edges[:-1] + 10.0, "medians of 20 minutes"
    right.plot(centres, medians.statistic, "o", mfc="white", mec="black", label=label)
    left.set(ylabel="arrival delay, minutes", title=f"{x.size:,} flights")
    right.set(ylabel="lost on the way, minutes", title="arrival delay less departure delay")
    right.legend(loc="upper right")
    save(left, path)


if __name__ == "__main__":
    table = pl.read_parquet(FLIGHTS).select("dep_delay", "arr_delay").drop_nulls().cast(pl.Float64)
    x, y = (column.to_numpy() for column in table.get_columns())
    fits = {name: ff.fit_line(x, y, loss=name) for name in LOSSES}
    print_table(x, y, fits)
    if len(sys.argv) > 1:
        draw(x, y, fits, Path(sys.argv[1]))
