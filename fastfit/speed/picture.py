"""The picture of how fast fits are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastfit.plotting import figure
from fastfit.speed.throughput import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_throughput(report: Report) -> Figure:
    """Draw points per second over the number of points: bare reads as the upper limit, fits, and ``numpy.polyfit``."""
    drawn = figure(9.0, 4.8)
    from matplotlib.ticker import EngFormatter

    ax = drawn.add_subplot()
    sizes = sorted(report.read)
    roof = [n / report.read[n] for n in sizes]
    ax.plot(sizes, roof, color="black", linewidth=2.5, label="bare read of x and y")
    ax.fill_between(sizes, roof, 10.0 * max(roof), color="black", alpha=0.08, linewidth=0)
    kinds = list(dict.fromkeys(fit.kind for fit in report.fits))
    for number, kind in enumerate(kinds):
        fits = [fit for fit in report.fits if fit.kind == kind]
        ax.plot(
            [fit.n_points for fit in fits],
            [fit.points_per_second for fit in fits],
            "o-",
            color=f"C{number}",
            markersize=4,
            label=kind,
        )
    theirs = sorted(report.numpy)
    ax.plot(
        theirs,
        [n / report.numpy[n] for n in theirs],
        "s--",
        color="gray",
        markersize=4,
        label="numpy.polyfit",
    )
    speeds = [fit.points_per_second for fit in report.fits] + [n / report.numpy[n] for n in theirs]
    ax.set(
        xscale="log",
        yscale="log",
        ylim=(0.6 * min(speeds), 2.0 * max(roof)),
        xlabel="points",
        ylabel="points per second",
        title=f"{report.machine['processor']}, {report.machine['threads']} threads",
    )
    low, high = sizes[0], sizes[-1]
    for level, size in report.machine["caches"].items():
        n = size / 16  # x and y of n points fill the cache
        if low < n < high:
            ax.axvline(n, color="gray", linewidth=0.8, linestyle=":")
            where = ax.get_xaxis_transform()
            ax.text(n, 0.01, f" {level}", transform=where, color="gray", va="bottom")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(EngFormatter(sep=""))
    drawn.legend(loc="outside right upper")
    return drawn
