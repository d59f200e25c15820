"""Points that come in parts: batches of files, partitions of a cluster.

Each pass says what it computes from a part (``chunk``) and how two results become one (``combine``). Which parts there
are, and in what order results are combined, is up to the subclass of ``PartedPoints`` that knows where the points are.
"""

from __future__ import annotations

import contextlib
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastfit.columns import columns
from fastfit.exact.coordinates import Evaluation, Frame
from fastfit.exact.double_double import DoubleDouble
from fastfit.exact.least_squares import merged
from fastfit.exact.moment_sums import MomentSums
from fastfit.kernels.center import center_for
from fastfit.kernels.gradient import LossGradient, LossGradientCurvature
from fastfit.kernels.median import ResidualWindow
from fastfit.kernels.residuals import ResidualSums
from fastfit.losses import Loss
from fastfit.points.arrays import ArrayPoints
from fastfit.points.base import Reading
from fastfit.points.median import weighted_median
from fastfit.points.sample import Sample

# Points that a picture shows one by one, at most.
_SHOWN = 3000
# Residuals near the median that are collected at most: 8 MB, and as much for their weights.
_ROOM = 1 << 20


class Part(NamedTuple):
    """Some of the points, as a reader returns them.

    ``name`` is what errors call the part (a file, a partition), and ``first`` the index there of its first point.
    ``keys`` are columns of keys, where points are to be grouped.
    """

    x: Any
    y: Any
    sample_weight: Any = None
    sigma: Any = None
    name: str = ""
    first: int = 0
    keys: tuple[Any, ...] = ()

    def points(self, reading: Reading, unit_sigma: float | None = None) -> ArrayPoints:
        """Return the points, converted and checked; ``unit_sigma`` is the sigma of weight 1, None to choose one."""
        given = columns(*self[:4], unit_sigma=unit_sigma, datetime_unit=reading.datetime_unit)
        return ArrayPoints.of(given, reading, self.first)

    @property
    def values(self) -> tuple[Any, ...]:
        """The columns that were given."""
        return tuple(values for values in self[:4] if values is not None)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Name the part in errors about its values."""
        try:
            yield
        except (TypeError, ValueError) as error:
            if not self.name:
                raise
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{self.name}: {error}") from error


class MomentResult(NamedTuple):
    """What the first pass finds: counts, moments, and a sample if one is asked for."""

    n_points: int
    n_omitted: int
    moments: MomentSums
    n_effective: float
    unit_sigma: float
    sample: Sample | None


@functools.cache
def _merging(backend: str) -> Any:
    """Return the function that merges two sums: compiled or not, with the same result."""
    if backend == "numpy":
        return merged
    from fastfit.kernels import compiled

    return compiled.merged


class MomentPass(NamedTuple):
    """The first pass: moments, and a sample of the points if ``reading`` asks for one."""

    reading: Reading

    def chunk(self, part: Part) -> MomentResult:
        """Return the moments of a part."""
        with part.named():
            points = part.points(self.reading)
            moments = points.moments()
            step = self.reading.sampled
            sample = Sample(step, *points.every_nth(step)).decimated(step) if step else None
            n_effective = points.n_effective
        # A part without points fits any unit of weights.
        unit = points.unit_sigma if moments.weight_sum else math.inf
        return MomentResult(points.n_points, points.n_omitted, moments, n_effective, unit, sample)

    def combine(self, a: MomentResult, b: MomentResult) -> MomentResult:
        """Return the moments of both."""
        unit = min(a.unit_sigma, b.unit_sigma)
        own, other = (each.moments.in_weight_unit(each.unit_sigma, unit) for each in (a, b))
        sample = None
        if a.sample is not None and b.sample is not None:
            sample = a.sample.merge(b.sample)
        return MomentResult(
            a.n_points + b.n_points,
            a.n_omitted + b.n_omitted,
            own.merge(other, _merging(self.reading.backend)),
            a.n_effective + b.n_effective,
            unit,
            sample,
        )


class SumResult(NamedTuple):
    """Sums over points, and what rounding has taken from them."""

    totals: tuple[float, ...]
    lost: tuple[float, ...]

    def result(self) -> list[float]:
        """Return the sums, corrected unless they are infinite or NaN."""
        return [
            total + lost if math.isfinite(total) else total
            for total, lost in zip(self.totals, self.lost, strict=True)
        ]


class SumPass(NamedTuple):
    """A pass that sums over all points, about a line, by one of the kernels."""

    reading: Reading
    frame: Frame
    unit_sigma: float
    kernel: Any
    loss: Loss | None
    params: tuple[float, ...]

    def chunk(self, part: Part) -> SumResult:
        """Return the sums over a part."""
        with part.named():
            points = part.points(self.reading, self.unit_sigma)
            sums = points.in_frame(self.frame).sums(self.kernel, self.loss, self.params)
        return SumResult(tuple(sums), (0.0,) * len(sums))

    def combine(self, a: SumResult, b: SumResult) -> SumResult:
        """Return the sums over both, compensated for rounding (Neumaier)."""
        totals, lost = [], []
        for one, other, its, others in zip(a.totals, b.totals, a.lost, b.lost, strict=True):
            total = one + other
            larger, smaller = (one, other) if abs(one) >= abs(other) else (other, one)
            totals.append(total)
            lost.append((its + others) + ((larger - total) + smaller))
        return SumResult(tuple(totals), tuple(lost))


class WindowPass(NamedTuple):
    """A pass that collects the absolute residuals of a line within bounds."""

    reading: Reading
    frame: Frame
    unit_sigma: float
    line: tuple[float, float]
    bounds: tuple[float, float]

    def chunk(self, part: Part) -> ResidualWindow:
        """Return the residuals of a part."""
        with part.named():
            points = part.points(self.reading, self.unit_sigma).in_frame(self.frame)
            found = points.gather(self.line, *self.bounds, _ROOM)
        return found.decimated(1, _ROOM)

    def combine(self, a: ResidualWindow, b: ResidualWindow) -> ResidualWindow:
        """Return the residuals of both. Weights are added without compensation, so that their sums never decrease."""
        step = max(a.step, b.step)
        one, two = a.decimated(step, _ROOM), b.decimated(step, _ROOM)
        weights = None
        if one.weights is not None:
            weights = np.concatenate([one.weights, two.weights])
        return ResidualWindow(
            a.below + b.below,
            a.up_to + b.up_to,
            np.concatenate([one.values, two.values]),
            weights,
            one.is_complete and two.is_complete,
            step,
        ).decimated(step, _ROOM)


class Pass(Protocol):
    """One pass over points in parts: what it computes from a part, and how two results become one."""

    def chunk(self, part: Part) -> Any:
        """Return the result for a part."""

    def combine(self, a: Any, b: Any) -> Any:
        """Return the result for the points of both."""


class PartedPoints(ABC):
    """Points in parts: the whole ``Points`` protocol, from a way to do one pass.

    A subclass supplies ``_reduce``. Nothing is read before it is needed.
    """

    max_passes = 200.0  # a robust fit takes 5 to 20

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._result: MomentResult | None = None
        self._drawn: Sample | None = None
        self.n_passes = 0

    @abstractmethod
    def _reduce(self, task: Pass) -> Any:
        """Return the result of a pass over all parts, combined in an order that is always the same."""

    def _first_pass(self) -> MomentResult:
        if self._result is None:
            self._result = self.reduced(MomentPass(self.reading))
        return self._result

    def reduced(self, task: Pass) -> Any:
        """Return the result of a pass over all parts."""
        found = self._reduce(task)
        self.n_passes += 1
        return found

    @property
    def n_points(self) -> int:
        """Number of points, less those left out; one pass, the first time."""
        return self._first_pass().n_points

    @property
    def n_omitted(self) -> int:
        """Number of points left out."""
        return self._first_pass().n_omitted

    @property
    def n_effective(self) -> float:
        """How many points there are, one of weight 2 counted twice."""
        return self._first_pass().n_effective

    @property
    def unit_sigma(self) -> float:
        """The standard deviation that a weight of 1 stands for, 1 where none were given."""
        unit = self._first_pass().unit_sigma
        return unit if math.isfinite(unit) else 1.0

    @property
    def frame(self) -> Frame:
        """The coordinates in which lines are evaluated, centred on a rounded number near the mean."""
        return _frame_of(self.moments(), self.reading.through_origin)

    @property
    def x(self) -> Any:
        """Values of x; of a sample if there are many points."""
        return self._sample().x

    @property
    def y(self) -> Any:
        """Values of y, at the same points."""
        return self._sample().y

    def moments(self) -> MomentSums:
        """Return the moments of the points, as ``Points.moments`` says."""
        return self._first_pass().moments

    def evaluate(
        self, loss: Loss, slope: float, offset: float, *, curvature: bool = False
    ) -> Evaluation:
        """Return the mean loss of a line and its derivatives, as ``Points.evaluate`` says."""
        kernel = LossGradientCurvature() if curvature else LossGradient()
        sums = self._sums(kernel, loss, (float(slope), float(offset)))
        return Evaluation.of_sums(sums, self.moments().weight_sum)

    def residuals(self, slope: DoubleDouble, offset: DoubleDouble) -> ResidualSums:
        """Return sums of the residuals of a precise line, as ``Points.residuals`` says."""
        found: ResidualSums = self._sums(ResidualSums(), None, (*slope, *offset))
        return found

    def median_absolute_residual(
        self, slope: float, offset: float, near: tuple[float, float] | None = None
    ) -> float:
        """Return the median of the absolute residuals of a line, as ``Points.median_absolute_residual`` says."""
        line = float(slope), float(offset)
        frame, unit = self.frame, self.unit_sigma

        def gather(low: float, high: float) -> ResidualWindow:
            found: ResidualWindow = self.reduced(
                WindowPass(self.reading, frame, unit, line, (low, high))
            )
            return found

        return weighted_median(gather, self.moments().weight_sum, near)

    def subsample(self, n: int) -> ArrayPoints | None:
        """Return about n of the points, as ``Points.subsample`` says; none if none were kept."""
        sample = self._first_pass().sample
        if sample is None or sample.x.size < n // 2 or sample.step < 2:
            return None
        part = Part(sample.x, sample.y, sample.w)
        # Of times, the sample holds counts.
        few = part.points(replace(self.reading, datetime_unit=None))
        few = few.in_frame(self.frame).expecting(self.moments())
        try:
            few.moments()
        except ValueError:  # without the other points, these are too far apart for float64
            return None
        return few if few.frame == self.frame else None

    def _sums(self, kernel: Any, loss: Loss | None, params: tuple[float, ...]) -> Any:
        task = SumPass(self.reading, self.frame, self.unit_sigma, kernel, loss, params)
        found: SumResult = self.reduced(task)
        return type(kernel)(*found.result())

    def _sample(self) -> Sample:
        """Return a sample of the points; one more pass unless the first one kept enough for a picture."""
        if self._drawn is None:
            kept, n_points = self._first_pass().sample, self.n_points
            if kept is None or kept.x.size < min(n_points, _SHOWN):
                step = max(1, n_points // (2 * _SHOWN))
                again: MomentResult = self.reduced(MomentPass(replace(self.reading, sampled=step)))
                kept = again.sample
            self._drawn = kept
        assert self._drawn is not None
        return self._drawn


def _frame_of(moments: MomentSums, through_origin: bool) -> Frame:
    """Return the frame centred near the mean, on numbers so round that shifting the points rounds nothing."""
    if not moments.weight_sum or through_origin:
        return Frame(
            x_exponent=moments.x_exponent, y_exponent=moments.y_exponent, times=moments.times
        )
    spread = moments.relative_to(Frame())
    x_center, _ = center_for(spread.u_mean, spread.uu)
    y_center, _ = center_for(spread.v_mean, spread.vv)
    centers = DoubleDouble(float(x_center)), DoubleDouble(float(y_center))
    return Frame(*centers, *moments.exponents, moments.times)
