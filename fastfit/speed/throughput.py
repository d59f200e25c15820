"""How close fits come to the speed of the hardware on this machine: what ``fastfit bench`` measures.

Every fit is compared to a bare read of the same points, and to the same fit as people write it in NumPy. The two are
timed in turn, so that a machine that is slow for a while is slow for both.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastfit import validation
from fastfit.fit import fit_line
from fastfit.kernels import compiled
from fastfit.kernels.bare_read import bare_read
from fastfit.kernels.gradient import LossGradient
from fastfit.losses import LOSSES, MAD_TO_STD, RobustLoss, SquaredError
from fastfit.speed.machine import IDLE, machine, share_available
from fastfit.speed.timing import Call, repeats_for, timed

# Numbers of points: of the curves in the picture, and of the rows in the table.
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
IN_TABLE = (1_000, 100_000, 1_000_000, 10_000_000)
BYTES_PER_POINT = 16  # x and y
LEAST_SQUARES, STEP = "least squares", "descent step"
# Seconds to compare all fits with reads, and each fit with NumPy; bounds of the number of rounds.
_SECONDS_FOR_FITS, _SECONDS_FOR_NUMPY = 10.0, 0.6
_FEWEST_ROUNDS, _MOST_ROUNDS = 4, 40
# NumPy is left out where it is expected to take longer than this, in seconds.
_TOO_LONG = 2.0
# Seconds after which NumPy's threads have stopped spinning.
_REST = 0.06
# Shares of the progress bar.
_COMPILING, _FITS = 0.2, 0.4
# The line that a descent step starts from.
_LINE = (0.3, 0.1)


class Throughput(NamedTuple):
    """Speed of one kind of fit for one number of points.

    ``share_of_read_limit`` is the time of ``n_passes`` bare reads over the time of the fit.
    ``times_faster_than_numpy`` is NaN where NumPy was not measured.
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
    """The machine, seconds of bare reads and of NumPy's least squares by number of points, and the fits."""

    machine: dict[str, Any]
    read: dict[int, float]
    numpy: dict[int, float]
    fits: list[Throughput]

    def to_dict(self) -> dict[str, Any]:
        """Return it in plain types, NaN as None, for JSON."""
        fits = []
        for fit in self.fits:
            numbers = {**fit._asdict(), "points_per_second": fit.points_per_second}
            fits.append({name: validation.finite_or_none(value) for name, value in numbers.items()})
        read = [
            {"n_points": n, "seconds": s, "bytes_per_second": n * BYTES_PER_POINT / s}
            for n, s in self.read.items()
        ]
        return {"machine": self.machine, "read": read, "fits": fits}

    def __str__(self) -> str:
        """Return tables of the machine, the bare reads and the fits."""
        caches = (f"{k} {v // 1024:,} KiB" for k, v in self.machine["caches"].items())
        about = self.machine | {"caches": ", ".join(caches) or "unknown"}
        about["processor time"] = f"{about.pop('share_available'):.0%} was available"
        lines = [f"{name.replace('_', ' '):<16} {value}" for name, value in about.items()]
        lines += ["", f"{'bare read':<14} {'points':>12} {'time':>10} {'GB/s':>8}"]
        shown = {*IN_TABLE, max(self.read)}
        for n, seconds in self.read.items():
            if n in shown:
                speed = 1e-9 * n * BYTES_PER_POINT / seconds
                lines.append(f"{'':<14} {n:>12,} {_time(seconds):>10} {speed:>8.1f}")
        names = f"{'fit':<14} {'points':>12} {'time':>10} {'points/s':>10} {'reads':>6}"
        lines += ["", f"{names} {'of the read limit':>18} {'faster than NumPy':>18}"]
        kinds = list(dict.fromkeys(fit.kind for fit in self.fits))
        for fit in sorted(self.fits, key=lambda fit: kinds.index(fit.kind)):
            if fit.n_points not in shown:
                continue
            faster = fit.times_faster_than_numpy
            lines.append(
                f"{fit.kind:<14} {fit.n_points:>12,} {_time(fit.seconds):>10} {fit.points_per_second:>10.2g} "
                f"{fit.n_passes:>6} {fit.share_of_read_limit:>17.0%}  "
                + (f"{'-':>17}" if math.isnan(faster) else f"{faster:>16.3g} x")
            )
        notes = []
        if any(
            math.isnan(fit.times_faster_than_numpy) for fit in self.fits if fit.n_points in shown
        ):
            notes.append("-: NumPy is expected to take over two seconds.")
        if any(fit.share_of_read_limit > 1.0 for fit in self.fits if fit.n_points in shown):
            notes.append(
                "Above 100 %: the points lie in a cache, which a step on them fills before it is timed, or few are "
                "read in less time than the call of a read takes."
            )
        share = self.machine["share_available"]
        if share < IDLE:
            notes.insert(0, f"The machine was busy: {_busy(share)} Time it again when it is idle.")
        return "\n".join([*lines, "", *notes])


def _busy(share: float) -> str:
    return f"fits could use {share:.0%} of its processor time, and are shown slower than they are."


def _time(seconds: float) -> str:
    """Return a time in the unit that fits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e6 * seconds:.3g} us"


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
    about = machine()
    about["threads"] = threads = min(about["threads"], n_threads or about["threads"])
    about["share_available"] = share_available(threads)
    say(0.0, "making points")
    sizes = [n for n in SIZES if n < max_points] + [max_points]
    x, y = points_with_outliers(max_points)
    cases: list[_Case] = []
    for done, n in enumerate(sizes):
        for kind, (fit, numpys) in _kinds(x[:n], y[:n], n_threads).items():
            say(_COMPILING * done / len(sizes), f"compiling {kind}")
            n_passes = getattr(fit(), "n_passes", 1)
            read = functools.partial(bare_read, x[:n], y[:n], n_threads)
            repeats = repeats_for(read), repeats_for(fit)
            cases.append(_Case(kind, n, n_passes, read, fit, numpys, repeats))
    _compare_to_reads(cases, lambda share: say(_COMPILING + _FITS * share, "fits"))
    before, rest = _COMPILING + _FITS, 1.0 - _COMPILING - _FITS
    _compare_to_numpy(cases, lambda share: say(before + rest * share, "NumPy"))
    say(1.0, "done")
    reads = {n: [s for c in cases if c.n_points == n for s, _ in c.reads] for n in sizes}
    numpy = {c.n_points: c.numpy for c in cases if c.kind == LEAST_SQUARES and c.numpy}
    about["share_available"] = round(min(about["share_available"], share_available(threads)), 3)
    return Report(
        about,
        {n: statistics.median(seconds) for n, seconds in reads.items()},
        {n: statistics.median(seconds for seconds, _ in pairs) for n, pairs in numpy.items()},
        [case.result() for case in cases],
    )


@dataclass
class _Case:
    """One kind of fit of some points, and times in seconds: (read, fit) and (NumPy, fit), measured in pairs."""

    kind: str
    n_points: int
    n_passes: int
    read: Call
    fit: Call
    numpys: Call
    repeats: tuple[int, int]  # of the read and of the fit, that take long enough to time
    reads: list[tuple[float, float]] = field(default_factory=list)
    numpy: list[tuple[float, float]] = field(default_factory=list)

    def result(self) -> Throughput:
        """Return the medians over the pairs."""
        seconds = statistics.median(fit for _, fit in self.reads)
        share = self.n_passes * statistics.median(read / fit for read, fit in self.reads)
        ratios = [numpy / fit for numpy, fit in self.numpy] or [math.nan]
        faster = statistics.median(ratios)
        return Throughput(self.kind, self.n_points, seconds, self.n_passes, share, faster)


def _compare_to_reads(cases: list[_Case], say: Callable[[float], None]) -> None:
    """Time reads and fits, all cases in each of as many rounds as there is time for."""
    start = time.perf_counter()
    for done in range(_MOST_ROUNDS):
        spent = (time.perf_counter() - start) / _SECONDS_FOR_FITS
        if done >= _FEWEST_ROUNDS and spent > 1.0:
            break
        say(min(max(spent, done / _MOST_ROUNDS), 1.0))
        for case in cases:
            case.read()  # the case before has taken the caches
            read = timed(case.read, case.repeats[0])
            case.reads.append((read, timed(case.fit, case.repeats[1])))


def _compare_to_numpy(cases: list[_Case], say: Callable[[float], None]) -> None:
    """Time NumPy and fits, for each case that is shown and does not take NumPy too long."""
    longest: dict[str, float] = {}  # seconds a point
    shown = {*IN_TABLE, max(case.n_points for case in cases)}
    for done, case in enumerate(cases):
        say(done / len(cases))
        if case.kind != LEAST_SQUARES and case.n_points not in shown:
            continue
        if case.n_points * longest.get(case.kind, 0.0) > _TOO_LONG:
            continue
        repeats = repeats_for(case.numpys)
        end = time.perf_counter() + _SECONDS_FOR_NUMPY
        while len(case.numpy) < _FEWEST_ROUNDS or (
            len(case.numpy) < _MOST_ROUNDS and time.perf_counter() < end
        ):
            numpy = timed(case.numpys, repeats)
            if case.n_points > IN_TABLE[0]:
                # NumPy's threads go on spinning for a while, and fastfit's need a call to wake up after the pause.
                time.sleep(_REST)
                case.fit()
            case.fit()
            case.numpy.append((numpy, timed(case.fit, case.repeats[1])))
        longest[case.kind] = max(numpy for numpy, _ in case.numpy) / case.n_points


def points_with_outliers(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Return n points about the line ``y = 0.5 x + 1``, with noise of Student's t of 3 degrees of freedom."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = 0.5 * x + 1.0 + rng.standard_t(3, size=n)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _kinds(x: Any, y: Any, n_threads: int | None) -> dict[str, tuple[Call, Call]]:
    """Return what is measured, by name: the call of fastfit, and the same in NumPy."""
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
    """Return slope and intercept of a robust line, as people write it in NumPy, with the scale of its own residuals."""
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
