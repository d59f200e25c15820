"""Means and mean centred products of points: what is known of them after one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fastfit.coordinates import Axes, Frame


@dataclass(frozen=True, slots=True)
class Moments:
    """First and second moments of points, in the frame they were read in.

    Attributes
    ----------
    count : int
        Number of points.
    frame : Frame
        The coordinates ``u, v`` that the moments are taken in.
    u_mean, v_mean : float
        Means of ``u`` and ``v``.
    uu, uv, vv : float
        Means of the products of ``u - u_mean`` and ``v - v_mean``.
    """

    count: int
    frame: Frame
    u_mean: float
    v_mean: float
    uu: float
    uv: float
    vv: float

    @classmethod
    def from_sums(cls, count: int, frame: Frame, sums: Sequence[float]) -> Moments:
        """Return the moments from the sums of ``u, v, u*u, u*v, v*v`` over the points."""
        u, v, uu, uv, vv = (total / count for total in sums)
        return cls(count, frame, u, v, uu - u * u, uv - u * v, vv - v * v)

    @property
    def is_finite(self) -> bool:
        """Whether every moment is finite; NaN or infinity in the points makes it false."""
        return math.isfinite(self.u_mean + self.v_mean + self.uu + self.uv + self.vv)

    @property
    def standard_axes(self) -> Axes:
        """Axes on which the points have mean 0 and standard deviation 1.

        A constant ``y`` has no spread to measure by; its unit is then its own size, or 1 for zero.
        """
        v_unit = math.sqrt(max(self.vv, 0.0)) or abs(self.frame.y_center) or 1.0
        return Axes(self.u_mean, math.sqrt(self.uu), self.v_mean, v_unit)
