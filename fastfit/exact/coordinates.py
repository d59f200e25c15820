"""The coordinates a line is written in, and how to get from one to another.

Points are read in a *frame*: shifted to lie around zero, so that time stamps lose no digits, and scaled only
where float64 would overflow or underflow. Solvers write the line on *axes* laid over that frame: the
caller's own (raw), or axes on which the points have mean 0 and standard deviation 1 (standardised). Changing axes
costs a few operations a step and touches no point.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastfit.exact.double_double import ZERO, DoubleDouble, add, multiply, subtract
from fastfit.times import TimeUnit


def times_power_of_two(value: float, exponent: int) -> float:
    """Return ``value * 2**exponent``, infinite where no float is so large."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


class Frame(NamedTuple):
    """Where points are read: ``u = x * 2**x_exponent - x_center``, ``v = y * 2**y_exponent - y_center``.

    The exponents are 0 for all but extreme data. Where x holds times, the ``x`` of this formula counts them in the base
    unit of ``times``.
    """

    x_center: DoubleDouble = ZERO
    y_center: DoubleDouble = ZERO
    x_exponent: int = 0
    y_exponent: int = 0
    times: TimeUnit | None = None

    @property
    def x_unit(self) -> float:
        """The caller's unit of x, in units of the ``x`` of the frame: 1 for numbers."""
        return 1.0 if self.times is None else self.times.counts

    def intercept(self, slope: float, offset: float) -> DoubleDouble:
        """Return the intercept of the line ``slope * u + offset``, on the scale of the frame but not shifted."""
        turned = multiply(DoubleDouble(slope), self.x_center)
        return subtract(add(DoubleDouble(offset), self.y_center), turned)

    def offset(self, slope: DoubleDouble, intercept: DoubleDouble) -> DoubleDouble:
        """Return the offset of a line given by its intercept."""
        turned = multiply(slope, self.x_center)
        return add(subtract(intercept, self.y_center), turned)


class Spread(NamedTuple):
    """Means of ``u`` and ``v``, and mean products of the deviations from them."""

    u_mean: float
    v_mean: float
    uu: float
    uv: float
    vv: float


class Symmetric(NamedTuple):
    """A symmetric 2 x 2 matrix, slope first, such as the second derivatives of the mean loss."""

    slope_slope: float
    slope_offset: float
    offset_offset: float

    @property
    def largest_eigenvalue(self) -> float:
        """The curvature in the steepest direction: a descent is stable below 2 over this."""
        half_trace = 0.5 * self.slope_slope + 0.5 * self.offset_offset
        half_difference = 0.5 * self.slope_slope - 0.5 * self.offset_offset
        return half_trace + math.hypot(half_difference, self.slope_offset)

    @property
    def determinant(self) -> float:
        """The determinant."""
        return self.slope_slope * self.offset_offset - self.slope_offset * self.slope_offset

    def solve(self, slope: float, offset: float) -> tuple[float, float]:
        """Return the vector that the matrix turns into this one."""
        return (
            (self.offset_offset * slope - self.slope_offset * offset) / self.determinant,
            (self.slope_slope * offset - self.slope_offset * slope) / self.determinant,
        )


class Evaluation(NamedTuple):
    """The mean loss of a line and its derivatives, in the frame of the points.

    The other fields are None unless curvature was asked for. ``curvature`` has the second derivatives; ``bound`` those
    of a parabola that touches the mean loss at this line and lies nowhere below it, from the weights of the loss; and
    ``scatter`` the mean products of the gradients of single points (None from moments).
    """

    loss: float
    grad_slope: float
    grad_offset: float
    curvature: Symmetric | None = None
    bound: Symmetric | None = None
    scatter: Symmetric | None = None

    @classmethod
    def of_sums(cls, sums: Any, total: float) -> Evaluation:
        """Return the means for sums of the kernels (``LossGradient...``) and the sum of the weights."""
        loss, along, across = sums.loss / total, sums.grad_slope / total, sums.grad_offset / total
        if len(sums) == 3:
            return cls(loss, along, across)
        curvature = Symmetric(
            sums.slope_slope / total, sums.slope_offset / total, sums.offset_offset / total
        )
        bound = Symmetric(
            2.0 * (sums.weight_slope_slope / total),
            2.0 * (sums.weight_slope_offset / total),
            2.0 * (sums.weight_offset_offset / total),
        )
        scatter = Symmetric(
            sums.square_slope_slope / total,
            sums.square_slope_offset / total,
            sums.square_offset_offset / total,
        )
        return cls(loss, along, across, curvature, bound, scatter)


class Axes(NamedTuple):
    """Axes laid over a frame: origin and unit of each, measured in the frame.

    A line ``p * s + q`` on these axes, where ``s = (u - u_origin) / u_unit``, is the line
    ``slope * u + offset`` of the frame, in units of ``v_unit`` above ``v_origin``.
    """

    u_origin: float
    u_unit: float
    v_origin: float
    v_unit: float

    @classmethod
    def raw(cls, frame: Frame) -> Axes:
        """Return the caller's own coordinates."""
        units = math.ldexp(frame.x_unit, frame.x_exponent), math.ldexp(1.0, frame.y_exponent)
        return cls(-frame.x_center.high, units[0], -frame.y_center.high, units[1])

    @classmethod
    def standard(cls, frame: Frame, spread: Spread) -> Axes:
        """Return axes on which the points have mean 0 and standard deviation 1.

        A constant ``y`` has no spread to measure by; its unit is then its own size, or 1 for zero.
        """
        v_unit = math.sqrt(spread.vv) or abs(frame.y_center.high) or 1.0
        return cls(spread.u_mean, math.sqrt(spread.uu), spread.v_mean, v_unit)

    @classmethod
    def through_origin(cls, frame: Frame, spread: Spread) -> Axes:
        """Return axes with the caller's origin, on which the points have mean square 1."""
        u, v = frame.x_center.high + spread.u_mean, frame.y_center.high + spread.v_mean
        units = math.hypot(u, math.sqrt(spread.uu)), math.hypot(v, math.sqrt(spread.vv)) or 1.0
        return cls(-frame.x_center.high, units[0], -frame.y_center.high, units[1])

    @classmethod
    def of_fit(cls, frame: Frame, spread: Spread, *, fit_intercept: bool) -> Axes:
        """Return the axes on which a fit is free of units: standard ones, or those through the origin."""
        return (cls.standard if fit_intercept else cls.through_origin)(frame, spread)

    def line_to_frame(self, p: float, q: float) -> tuple[float, float]:
        """Return slope and offset in the frame of the line ``p, q`` on these axes."""
        slope, offset = self.step_to_frame(p, q)
        return slope, self.v_origin + offset

    def step_to_frame(self, p: float, q: float) -> tuple[float, float]:
        """Return the change of slope and offset in the frame when the line changes by ``p, q``."""
        slope = p * (self.v_unit / self.u_unit)
        return slope, self.v_unit * q - slope * self.u_origin

    def through_origin_in_frame(self, slope: float) -> tuple[float, float]:
        """Return slope and offset in the frame of the line of this slope, in the frame, through the origin."""
        return slope, self.v_origin - slope * self.u_origin

    def line_from_frame(self, slope: float, offset: float) -> tuple[float, float]:
        """Return the line on these axes that is ``slope, offset`` in the frame."""
        q = (offset + slope * self.u_origin - self.v_origin) / self.v_unit
        return slope * (self.u_unit / self.v_unit), q

    def gradient_from_frame(self, slope: float, offset: float) -> tuple[float, float]:
        """Return the gradient of the mean loss on these axes from that in the frame."""
        along = (slope - self.u_origin * offset) / (self.u_unit * self.v_unit)
        return along, offset / self.v_unit

    def gradient_to_frame(self, along: float, across: float) -> tuple[float, float]:
        """Return the gradient of the mean loss in the frame from that on these axes."""
        offset = across * self.v_unit
        return along * self.u_unit * self.v_unit + self.u_origin * offset, offset

    def loss_from_frame(self, loss: float) -> float:
        """Return the mean loss, in squared units of these axes, from that in the frame."""
        return loss / self.v_unit / self.v_unit

    def curvature_from_frame(self, frame: Symmetric) -> Symmetric:
        """Return the second derivatives of the mean loss on these axes from those in the frame."""
        cross = frame.slope_offset - self.u_origin * frame.offset_offset
        steep = frame.slope_slope - self.u_origin * (frame.slope_offset + cross)
        return Symmetric(
            steep / self.u_unit / self.u_unit, cross / self.u_unit, frame.offset_offset
        )
