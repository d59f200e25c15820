r"""What a residual costs: one class per loss, with its formula for one point.

The formulas are plain Python, readable here. The kernels compile them by type: a loss travels into a
fused loop as a ``NamedTuple`` whose class carries the formula, so that the loop is specialised for it.

Every loss is the squared residual to leading order. A robust loss grows more slowly for residuals beyond its
``f_scale``, so that outliers count less. Its weight :math:`\rho'(r) / (2 r)` is 1 at zero and never rises with
:math:`|r|`; hence, at any residual, a parabola of this curvature touches the loss and lies nowhere below it, which
makes steps by weighted least squares safe (Huber and Ronchetti, "Robust Statistics", 2nd edition, 2009, section 7.8).
"""

from __future__ import annotations

import difflib
from typing import Any, ClassVar, NamedTuple, Protocol, Self, cast

import numpy as np

from fastfit.formulas import require_sound
from fastfit.validation import finite_number, one_of, what_came
from fastfit.vector_math import log1p, select

# The standard deviation of normal numbers over the median of their absolute values, 1 / 0.67449.
MAD_TO_STD = 1.482602218505602
_MUST_BE = "'mad' or a finite number above 0"


class Loss(Protocol):
    """A loss: how much a residual ``y - prediction`` costs, and what a solver needs to know."""

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
        """Return value, slope and curvature of the loss at one residual, and its weight there."""


class SquaredError(NamedTuple):
    r"""The squared residual, :math:`\rho(r) = r^2`: ordinary least squares.

    Its slope is :math:`2 r`, its curvature 2 and its weight 1 for every residual, in the units of ``y`` squared,
    of ``y``, and of 1.
    """

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
        """Return value, slope and curvature of the loss at one residual, and its weight there."""
        return residual * residual, 2.0 * residual, 2.0, 1.0


class _FScale(NamedTuple):
    f_scale: float | str = "mad"


class RobustLoss(_FScale):
    r"""What all robust losses share: ``f_scale``, the residual at which the loss bends, in units of y.

    ``"mad"`` is 1.4826 times the median absolute residual of the fitted line, an estimate of the standard deviation
    that outliers hardly change, times the ``tuning`` constant of the loss. With that, the line is 95 % as efficient as
    least squares where residuals are normal.

    A loss of your own is a subclass with two constants and the formula of one point, which is compiled like the losses
    of fastfit, and used on every kind of points. Numba compiles it, and NumPy calls it with arrays; so it takes numbers
    and arrays alike. ``fastfit.vector_math`` has ``select(condition, a, b)``, for what would be ``a if condition else
    b``, and ``exp`` and ``log1p``, which are faster in loops than those of NumPy. If residual
    and ``f_scale`` are scaled by a number, the loss must scale by its square: :math:`\rho(s r; s c) = s^2 \rho(r; c)`.

    Attributes
    ----------
    tuning : float
        Tuning constant, above 0.
    is_convex : bool
        Whether the curvature is nowhere below 0. Then the line of least loss is the only minimum, and the search starts
        from least squares; otherwise it starts from several lines.

    Raises
    ------
    TypeError, ValueError
        If ``f_scale`` is neither ``"mad"`` nor a finite number above 0. If the formula of a subclass is not a loss:
        values, slopes, curvatures and weights must belong together, which is tried at some residuals.

    Examples
    --------
    The loss of Geman and McClure ("Statistical methods for tomographic image reconstruction", 1987), which is constant
    far out:

    >>> import fastfit as ff
    >>> class GemanMcClure(ff.RobustLoss):
    ...     tuning = 3.787
    ...     is_convex = False
    ...
    ...     @staticmethod
    ...     def point(loss, residual):
    ...         share = 1 / (1 + (residual / loss.f_scale) ** 2)
    ...         weight = share * share
    ...         return residual**2 * share, 2 * weight * residual, 2 * weight * (4 * share - 3), weight
    >>> fit = ff.fit_line([0, 1, 2, 3, 4], [0, 1, 2, 3, 40], loss=GemanMcClure(1.0), backend="numpy")
    >>> round(fit.slope, 2)
    1.0
    """

    __slots__ = ()

    tuning: ClassVar[float]
    is_convex: ClassVar[bool]

    def __new__(cls, f_scale: float | str = "mad") -> Self:
        """Check ``f_scale``, and the formula of a class the first time."""
        if cls not in _SOUND:
            require_sound(cls)
            _SOUND.add(cls)
        if isinstance(f_scale, str):
            if f_scale != "mad":
                raise ValueError(f"f_scale must be {_MUST_BE}; got {f_scale!r}")
        else:
            f_scale = finite_number(f_scale, "f_scale", _MUST_BE, above=0.0)
        return super().__new__(cls, f_scale)

    # Tuples of different losses would be equal.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self), *self))

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
        """Return value, slope and curvature of the loss at one residual, and its weight there."""
        raise NotImplementedError


class Huber(RobustLoss):
    r"""Squared up to ``f_scale`` :math:`= c`, and a straight line beyond: convex.

    :math:`\rho(r) = r^2` for :math:`|r| \le c`, else :math:`2 c |r| - c^2`; weight :math:`\min(1, c / |r|)`; curvature
    2 and 0. Huber, "Robust estimation of a location parameter" (Annals of Mathematical Statistics 35, 1964). Its tuning
    constant is 1.345 (Holland and Welsch, "Robust regression using iteratively reweighted least-squares",
    Communications in Statistics A 6, 1977).

    Parameters
    ----------
    f_scale : float or "mad"
        The residual at which the loss bends, in units of y. "mad" takes it from the residuals: 1.345 times 1.4826 times
        their median absolute value.
    """

    __slots__ = ()
    tuning = 1.345
    is_convex = True

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
        """Return value, slope and curvature of the loss at one residual, and its weight there."""
        c = loss.f_scale
        size = abs(residual)
        outside = size > c
        inner = select(outside, c, size)
        weight = c / select(outside, size, c)
        value = inner * (2.0 * size - inner)
        return value, 2.0 * weight * residual, select(outside, 0.0, 2.0), weight


class SoftL1(RobustLoss):
    r"""Smooth from squared to straight: convex.

    With :math:`c` = ``f_scale`` and :math:`s = \sqrt{1 + (r / c)^2}`, it is :math:`\rho(r) = 2 c^2 (s - 1)`, its weight
    :math:`1 / s`, its curvature :math:`2 / s^3`; for large residuals, :math:`2 c |r|`. Charbonnier, Blanc-Féraud,
    Aubert and Barlaud, "Deterministic edge-preserving regularization in computed imaging" (IEEE Transactions on
    Image Processing 6, 1997), as "L1-L2" in Zhang, "Parameter estimation techniques" (Image and Vision Computing 15,
    1997). Its tuning constant, 1.287, is computed from its efficiency; see ``tests/test_losses.py``.

    Parameters
    ----------
    f_scale : float or "mad"
        The residual at which the loss bends, in units of y. "mad" takes it from the residuals: 1.287 times 1.4826 times
        their median absolute value.
    """

    __slots__ = ()
    tuning = 1.287
    is_convex = True

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
        """Return value, slope and curvature of the loss at one residual, and its weight there."""
        ratio = residual * (1.0 / loss.f_scale)
        square = 1.0 + ratio * ratio
        s = np.sqrt(square)
        # One division, by s * (1 + s), gives 1 / s and 1 / (1 + s). With the latter, s - 1 = (r / c)**2 / (s + 1)
        # keeps its digits.
        inverse = 1.0 / (square + s)
        weight = inverse * (1.0 + s)
        value = 2.0 * residual * residual * (inverse * s)
        return value, 2.0 * weight * residual, 2.0 * weight * weight * weight, weight


class Cauchy(RobustLoss):
    r"""Logarithmic for large residuals: not convex.

    With :math:`c` = ``f_scale`` and :math:`z = (r / c)^2`, it is :math:`\rho(r) = c^2 \log(1 + z)`, its weight
    :math:`1 / (1 + z)`, its curvature :math:`2 (1 - z) / (1 + z)^2`, below 0 beyond c: the likelihood of Cauchy's
    distribution. Its tuning constant is 2.385 (Holland and Welsch, Communications in Statistics A 6, 1977).

    Parameters
    ----------
    f_scale : float or "mad"
        The residual at which the loss bends, in units of y. "mad" takes it from the residuals: 2.385 times 1.4826 times
        their median absolute value.
    """

    __slots__ = ()
    tuning = 2.385
    is_convex = False

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
        """Return value, slope and curvature of the loss at one residual, and its weight there."""
        c = loss.f_scale
        ratio = residual * (1.0 / c)
        z = ratio * ratio
        weight = 1.0 / (1.0 + z)
        curvature = 2.0 * weight * (2.0 * weight - 1.0)
        return c * (c * log1p(z)), 2.0 * weight * residual, curvature, weight


class Tukey(RobustLoss):
    r"""Tukey's biweight, constant beyond ``f_scale`` :math:`= c`, where points do not count at all: not convex.

    With :math:`z = (r / c)^2`, it is :math:`\rho(r) = c^2 (1 - (1 - z)^3) / 3` up to c, its weight :math:`(1 - z)^2`,
    its curvature :math:`2 (1 - z) (1 - 5 z)`; beyond, :math:`c^2 / 3`, 0 and 0. Beaton and Tukey, "The fitting of power
    series, meaning polynomials, illustrated on band-spectroscopic data" (Technometrics 16, 1974). Its tuning
    constant is 4.685 (Holland and Welsch, Communications in Statistics A 6, 1977).

    Parameters
    ----------
    f_scale : float or "mad"
        The residual from which on points do not count, in units of y. "mad" takes it from the residuals: 4.685 times
        1.4826 times their median absolute value.
    """

    __slots__ = ()
    tuning = 4.685
    is_convex = False

    @staticmethod
    def point(loss: Any, residual: Any) -> tuple[Any, Any, Any, Any]:
        """Return value, slope and curvature of the loss at one residual, and its weight there."""
        c = loss.f_scale
        ratio = residual * (1.0 / c)
        z = ratio * ratio
        z = select(z > 1.0, 1.0, z)
        left = 1.0 - z
        value = c * (c * (z * (1.0 - z * (1.0 - z * (1.0 / 3.0)))))
        return value, 2.0 * residual * left * left, 2.0 * left * (1.0 - 5.0 * z), left * left


LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "huber": Huber,
    "soft_l1": SoftL1,
    "cauchy": Cauchy,
    "tukey": Tukey,
}


# Classes whose formulas have been checked. The tests check those of fastfit.
_SOUND: set[type] = set(LOSSES.values())


def as_loss(loss: Any, f_scale: Any = None) -> Loss:
    """Return the loss that a name or class stands for, with this ``f_scale`` unless that is None; or a loss itself.

    Raises
    ------
    ValueError
        If a name is not one of those known, or there is an ``f_scale`` that the loss cannot take.
    TypeError
        If it is neither a name nor a loss.
    """
    if isinstance(loss, str):
        if loss in LOSSES and f_scale is None:
            return LOSSES[loss]()  # at once, for fits of few points
        if loss not in LOSSES:
            known = {name.replace("_", ""): name for name in LOSSES}
            near = difflib.get_close_matches(_letters_of(loss), known, n=1, cutoff=0.7)
            hint = f"; did you mean {known[near[0]]!r}?" if near else ""
            raise ValueError(f"loss must be {one_of(LOSSES)}; got {loss!r}{hint}")
        loss = LOSSES[loss]
    elif isinstance(loss, (SquaredError, RobustLoss)):
        if f_scale is not None:
            raise ValueError(
                f"f_scale must be left out with a loss object, which has its own; got {f_scale!r} and {loss!r}"
            )
        if getattr(loss, "__dict__", None):
            names = ", ".join(map(repr, vars(loss)))
            raise TypeError(
                f"loss must have no attribute but f_scale; {type(loss).__name__} has {names}: write a class for each "
                "value"
            )
        return loss
    elif not (isinstance(loss, type) and issubclass(loss, (SquaredError, RobustLoss))):
        raise TypeError(f"loss must be {one_of(LOSSES)} or such an object; got {what_came(loss)}")
    kind: Any = loss
    if f_scale is None:
        return cast(Loss, kind())
    if not issubclass(kind, RobustLoss):
        raise ValueError(
            f"f_scale must be left out with squared error, which has none; got {f_scale!r}"
        )
    return cast(Loss, kind(f_scale))


def _letters_of(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
