"""How close to the hardware fits run on this machine: what ``fastfit bench`` measures.

Everything is timed beside a bare read of the same points, and beside the same fit as people write it in NumPy, round
by round, so that a machine that is slow for a while is slow for all of them.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastfit import validation
from fastfit.fit import fit_line
from fastfit.kernels import compiled
from fastfit.kernels.bare_read import bare_read
from fastfit.kernels.gradient import LossGradient
from fastfit.losses import LOSSES, MAD_TO_STD, RobustLoss, SquaredError
from fastfit.speed.machine import machine
from fastfit.speed.timing import Call, repeats_for, timed

# Where the curves of the picture have their points, and which of these are in the table.
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
IN_TABLE = (1_000, 100_000, 1_000_000, 10_000_000)
BYTES_PER_POINT = 16  # x and y
LEAST_SQUARES, STEP = "least squares", "descent step"
# Fits are timed for so many seconds all together, and each beside NumPy for so many more, round by round.
_SECONDS_FOR_FITS, _SECONDS_BESIDE_NUMPY = 10.0, 0.6
_FEWEST_ROUNDS, _MOST_ROUNDS = 4, 40
# What is expected to take NumPy longer than this is left out. Threads of its come to rest in the time below.
_TOO_LONG, _REST = 2.0, 0.06
# Shares of the progress bar.
_COMPILING, _FITS = 0.2, 0.4
# The line that a step starts from.
_LINE = (0.3, 0.1)


# A kind of fit, and the number of points.
_Key = tuple[str, int]


class Throughput(NamedTuple):
    """How fast one kind of fit is, for one number of points.

    ``share_of_read_limit`` is the time that a bare read of as much takes (``n_passes`` times the points) over the time
    of the fit. ``times_faster_than_numpy`` is NaN where NumPy's way was not measured.
    """

    kind: str
    n_points: int
    seconds: float
    n_passes: int
    share_of_read_limit: float
    times_faster_than_numpy: float

    @property
    def points_per_second(self) -> float:
        """Points over seconds."""
        return self.n_points / self.seconds


class Report(NamedTuple):
    """All that was measured: bare reads in seconds, NumPy's least squares in seconds, and fits."""

    machine: dict[str, Any]
    read: dict[int, float]
    numpy: dict[int, float]
    fits: list[Throughput]

    def to_dict(self) -> dict[str, Any]:
        """Return it in plain types, NaN as None, for JSON."""
        fits = []
        for fit in self.fits:
            numbers = {**fit._asdict(), "points_per_second": fit.points_per_second}
            fits.append({name: _or_none(value) for name, value in numbers.items()})
        read = [
            {"n_points": n, "seconds": s, "bytes_per_second": n * BYTES_PER_POINT / s}
            for n, s in self.read.items()
        ]
        return {"machine": self.machine, "read": read, "fits": fits}

    def __str__(self) -> str:
        """Return tables of the machine, of the bare reads and of the fits."""
        told = self.machine | {"caches": _sizes(self.machine["caches"])}
        lines = [f"{name.replace('_', ' '):<16} {value}" for name, value in told.items()]
        lines += ["", f"{'bare read':<14} {'points':>12} {'time':>10} {'GB/s':>8}"]
        shown = {*IN_TABLE, max(self.read)}
        for n, seconds in self.read.items():
            if n in shown:
                speed = 1e-9 * n * BYTES_PER_POINT / seconds
                lines.append(f"{'':<14} {n:>12,} {_time(seconds):>10} {speed:>8.1f}")
        names = f"{'fit':<14} {'points':>12} {'time':>10} {'points/s':>10} {'reads':>6}"
        lines += ["", f"{names} {'of the read limit':>18} {'faster than NumPy':>18}"]
        for fit in sorted(self.fits, key=lambda fit: self._kinds.index(fit.kind)):
            if fit.n_points not in shown:
                continue
            faster = fit.times_faster_than_numpy
            lines.append(
                f"{fit.kind:<14} {fit.n_points:>12,} {_time(fit.seconds):>10} {fit.points_per_second:>10.2g} "
                f"{fit.n_passes:>6} {fit.share_of_read_limit:>17.0%}  "
                + (f"{'-':>17}" if math.isnan(faster) else f"{faster:>16.3g} x")
            )
        lines += ["", "Time it on an idle machine. -: NumPy is expected to take over two seconds."]
        return "\n".join(lines)

    @property
    def _kinds(self) -> list[str]:
        return list(dict.fromkeys(fit.kind for fit in self.fits))


def _time(seconds: float) -> str:
    """Return a time in the unit that fits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e6 * seconds:.3g} us"


def _sizes(caches: dict[str, int]) -> str:
    return ", ".join(f"{level} {size // 1024:,} KiB" for level, size in caches.items()) or "unknown"


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measure(
    max_points: int = SIZES[-1],
    n_threads: int | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Report:
    """Measure bare reads and every kind of fit, for 1,000 to ``max_points`` points.

    Up to ten million points, it takes less than a minute.

    Parameters
    ----------
    max_points : int
        The largest number of points; at least 1,000.
    n_threads : int or None
        At most this many threads; None for all.
    progress : callable, optional
        Called as ``progress(share, what)``, with the share of the work done, from 0 to 1, and what comes next.

    Raises
    ------
    TypeError, ValueError
        If ``max_points`` or ``n_threads`` is no integer, or is below 1,000 or 1.
    RuntimeError
        If Numba's compiler is switched off.
    MemoryError
        If that many points, 16 bytes each, are too many for the memory there is.
    """
    max_points = validation.positive_integer(max_points, "max_points")
    if max_points < SIZES[0]:
        raise ValueError(f"max_points must be {SIZES[0]:,} or more; got {max_points:,}")
    if n_threads is not None:
        n_threads = validation.positive_integer(n_threads, "n_threads")
    if not compiled.compiles():
        raise RuntimeError("Numba's compiler is switched off: NUMBA_DISABLE_JIT must be unset")
    say = progress or (lambda share, what: None)
    say(0.0, "making points")
    sizes = [n for n in SIZES if n < max_points] + [max_points]
    x, y = points_with_outliers(max_points)
    cases: list[_Case] = []
    for done, n in enumerate(sizes):
        for kind, (fit, numpys) in _kinds(x[:n], y[:n], n_threads).items():
            say(_COMPILING * done / len(sizes), f"compiling {kind}")
            n_passes = getattr(fit(), "n_passes", 1)
            read = functools.partial(bare_read, x[:n], y[:n], n_threads)
            often = repeats_for(read), repeats_for(fit)
            cases.append(_Case(kind, n, n_passes, read, fit, numpys, often))
    beside_reads = _beside_reads(cases, lambda share: say(_COMPILING + _FITS * share, "fits"))
    before, rest = _COMPILING + _FITS, 1.0 - _COMPILING - _FITS
    beside_numpy = _beside_numpy(cases, lambda share: say(before + rest * share, "NumPy"))
    say(1.0, "done")
    reads: dict[int, list[float]] = {n: [] for n in sizes}
    numpy, fits = {}, []
    for case, pairs in zip(cases, beside_reads, strict=True):
        reads[case.n_points] += [read for read, _ in pairs]
        seconds = statistics.median(taken for _, taken in pairs)
        share = case.n_passes * statistics.median(read / taken for read, taken in pairs)
        theirs = beside_numpy.get((case.kind, case.n_points), [])
        faster = statistics.median(taken / ours for taken, ours in theirs) if theirs else math.nan
        fits.append(Throughput(case.kind, case.n_points, seconds, case.n_passes, share, faster))
        if theirs and case.kind == LEAST_SQUARES:
            numpy[case.n_points] = statistics.median(taken for taken, _ in theirs)
    medians = {n: statistics.median(seconds) for n, seconds in reads.items()}
    about = machine()
    about["threads"] = min(about["threads"], n_threads or about["threads"])
    return Report(about, medians, numpy, fits)


class _Case(NamedTuple):
    """One kind of fit of so many points; ``often`` is how many reads, and how many fits, take long enough to time."""

    kind: str
    n_points: int
    n_passes: int
    read: Call
    fit: Call
    numpys: Call
    often: tuple[int, int]


def _beside_reads(
    cases: list[_Case], say: Callable[[float], None]
) -> list[list[tuple[float, float]]]:
    """Return the times of a read and of a fit, for each case in each of as many rounds as there is time for."""
    found: list[list[tuple[float, float]]] = [[] for _ in cases]
    start = time.perf_counter()
    for done in range(_MOST_ROUNDS):
        spent = (time.perf_counter() - start) / _SECONDS_FOR_FITS
        if done >= _FEWEST_ROUNDS and spent > 1.0:
            break
        say(min(max(spent, done / _MOST_ROUNDS), 1.0))
        for case, pairs in zip(cases, found, strict=True):
            case.read()  # what ran before has taken the caches
            pairs.append((timed(case.read, case.often[0]), timed(case.fit, case.often[1])))
    return found


def _beside_numpy(
    cases: list[_Case], say: Callable[[float], None]
) -> dict[_Key, list[tuple[float, float]]]:
    """Return the times of NumPy and of a fit, for each case that is shown, and does not take too long."""
    found: dict[_Key, list[tuple[float, float]]] = {}
    longest: dict[str, float] = {}
    shown = {*IN_TABLE, max(case.n_points for case in cases)}
    cases = [case for case in cases if case.kind == LEAST_SQUARES or case.n_points in shown]
    for done, case in enumerate(cases):
        say(done / len(cases))
        if case.n_points * longest.get(case.kind, 0.0) > _TOO_LONG:
            continue
        often = repeats_for(case.numpys)
        pairs = found[case.kind, case.n_points] = []
        start = time.perf_counter()
        while len(pairs) < _FEWEST_ROUNDS or (
            len(pairs) < _MOST_ROUNDS and time.perf_counter() - start < _SECONDS_BESIDE_NUMPY
        ):
            taken = timed(case.numpys, often)
            if case.n_points > IN_TABLE[0]:
                # Threads that NumPy has left spinning slow ours down; and what has rested needs to wake up.
                time.sleep(_REST)
                case.fit()
            case.fit()
            pairs.append((taken, timed(case.fit, case.often[1])))
        longest[case.kind] = max(taken for taken, _ in pairs) / case.n_points
    return found


def points_with_outliers(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Return n points about the line ``y = 0.5 x + 1``, with noise of Student's t of 3 degrees of freedom."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = 0.5 * x + 1.0 + rng.standard_t(3, size=n)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _kinds(x: Any, y: Any, n_threads: int | None) -> dict[str, tuple[Call, Call]]:
    """Return what is measured by name: ours, and the same as it is written in NumPy."""
    step: Any = (LossGradient(), SquaredError(), x, y, None, (0.0, 0.0), _LINE, n_threads)
    fit = functools.partial(fit_line, x, y, n_threads=n_threads)
    kinds: dict[str, tuple[Call, Call]] = {
        LEAST_SQUARES: (fit, functools.partial(np.polyfit, x, y, 1)),
        STEP: (
            functools.partial(compiled.run, *step),
            functools.partial(three_expressions, x, y, _LINE),
        ),
    }
    for name, loss in LOSSES.items():
        if isinstance(loss(), RobustLoss):
            numpys = functools.partial(reweighted_least_squares, x, y, loss)
            kinds[name] = functools.partial(fit, loss=name), numpys
    return kinds


def three_expressions(x: Any, y: Any, line: tuple[float, float]) -> tuple[float, float, float]:
    """Return mean loss and gradient of squared error, as people write it in NumPy."""
    slope, intercept = line
    residual = y - (slope * x + intercept)
    return np.mean(residual**2), np.mean(-2 * residual * x), np.mean(-2 * residual)


def reweighted_least_squares(x: Any, y: Any, loss: Any) -> tuple[float, float]:
    """Return slope and intercept of a robust line, as people write it in NumPy, with the scale from the residuals."""
    slope, intercept = np.polyfit(x, y, 1)
    for _ in range(50):
        residual = y - (slope * x + intercept)
        chosen = loss(float(loss.tuning * MAD_TO_STD * np.median(np.abs(residual))))
        weight = loss.point(chosen, residual)[3]
        x_mean, y_mean = np.average(x, weights=weight), np.average(y, weights=weight)
        u, before = x - x_mean, (slope, intercept)
        slope = np.sum(weight * u * (y - y_mean)) / np.sum(weight * u * u)
        intercept = y_mean - slope * x_mean
        if np.allclose(before, (slope, intercept), rtol=1e-8, atol=0.0):
            break
    return slope, intercept
