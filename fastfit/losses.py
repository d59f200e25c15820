"""What a residual costs: one class per loss, with its formula for one point.

The formulas are plain Python, readable here. The kernels compile them by type: a loss travels into a
fused loop as a ``NamedTuple`` whose class carries the formula, so that the loop is specialised for it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from fastfit.validation import lookup


class Loss(Protocol):
    """A loss: how much a residual ``y - prediction`` costs, with two derivatives."""

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any]:
        """Return value, first and second derivative of the loss at one residual."""


class SquaredError(NamedTuple):
    r"""The squared residual, :math:`\rho(r) = r^2`: ordinary least squares.

    Its slope is :math:`2 r` and its curvature 2 for every residual, in the units of ``y`` squared,
    of ``y``, and of 1.
    """

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any]:
        """Return value, first and second derivative of the loss at one residual."""
        return residual * residual, 2.0 * residual, 2.0


LOSSES: dict[str, type[Loss]] = {"squared_error": SquaredError}


def as_loss(loss: str | Loss) -> Loss:
    """Return the loss that a name stands for, or the loss itself.

    Raises
    ------
    ValueError
        If a name is not one of those known.
    TypeError
        If it is neither a name nor a loss.
    """
    return lookup(loss, LOSSES, "loss")
