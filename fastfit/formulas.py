"""Whether the formula that somebody wrote for a loss is one, as tried at some residuals."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfit.validation import finite_number, true_or_false

_PARTS = ("value", "slope", "curvature", "weight")
# Residuals over f_scale at which formulas are tried: from 0.01 to 1000, of both signs.
_TRIED = np.array([sign * 10.0 ** (k / 8.0) for sign in (1.0, -1.0) for k in range(-16, 25)])


def require_sound(cls: Any) -> None:
    """Raise TypeError or ValueError, which says why, if the constants and the formula of a class are no robust loss."""
    for each in cls.__mro__[: cls.__mro__.index(_base_of(cls))]:
        if "__new__" in vars(each) or "__init__" in vars(each):
            raise TypeError(
                f"{cls.__name__} must have no __new__ and no __init__: a loss has no number but f_scale; write a class "
                "for each value of another"
            )
    if not isinstance(inspect.getattr_static(cls, "point", None), staticmethod):
        raise TypeError(f"{cls.__name__}.point must be a staticmethod of (loss, residual)")
    must_be = "a number above 0, given in the class"
    finite_number(getattr(cls, "tuning", None), f"{cls.__name__}.tuning", must_be, above=0.0)
    true_or_false(getattr(cls, "is_convex", None), f"{cls.__name__}.is_convex")
    r, formula = _TRIED, _Formula(cls)
    found = formula.at(r)
    for part, many in zip(_PARTS, found, strict=True):
        formula.require(f"have a finite {part}", np.isfinite(many), r, many)
    value, slope, curvature, weight = found
    single = np.array([formula.at(each) for each in r]).T
    for part, many, one in zip(_PARTS, found, single, strict=True):
        what = f"be the same of a number and of an array ({part})"
        formula.require(what, _close(many, one), r, many, one)
    near = np.array([0.0, 1e-5, -1e-5])
    at_zero = formula.at(near)
    formula.require("have a value of 0 at 0", abs(at_zero[0]) < 1e-9, near, at_zero[0], 0.0)
    formula.require_derivative("have the derivative of its value as slope", 0, abs(r))
    formula.require_derivative("have the derivative of its slope as curvature", 1, 1.0)
    small = abs(r) < 0.02
    formula.require(
        "be near the squared residual for small ones",
        _close(value[small], r[small] ** 2, 0.05),
        *(r[small], value[small], r[small] ** 2),
    )
    formula.require("have a weight of 1 at 0", abs(at_zero[3] - 1.0) < 1e-3, near, at_zero[3], 1.0)
    expected = slope / (2.0 * r)
    what = "have the weight slope / (2 residual)"
    formula.require(what, _close(weight, expected, 1e-6), r, weight, expected)
    for side in (r > 0.0, r < 0.0):
        inner = np.append(1.0, weight[side][:-1])
        what = "have a weight that does not rise with the size of the residual"
        formula.require(what, weight[side] <= inner + 1e-9, r[side], weight[side], inner)
    formula.require("have a weight of at least 0", weight >= 0.0, r, weight, 0.0)
    if cls.is_convex:
        what = "have a curvature of at least 0, or is_convex = False"
        formula.require(what, curvature >= -1e-9, r, curvature, 0.0)
    twice = formula.at(2.0 * r, 2.0)
    for part, many, expected in zip(
        _PARTS, twice, found * [[4.0], [2.0], [1.0], [1.0]], strict=True
    ):
        what = f"scale with f_scale, value by its square and slope by itself ({part} at twice both)"
        formula.require(what, _close(many, expected), r, many, expected)


def _base_of(cls: type) -> type:
    """Return the class of fastfit that a class is derived from."""
    return next(each for each in cls.__mro__ if each.__module__.startswith("fastfit."))


def _close(a: Any, b: Any, rtol: float = 1e-9) -> Any:
    return abs(a - b) <= rtol * (abs(b) + 1e-9)


class _Formula:
    """The formula of a class."""

    def __init__(self, cls: Any) -> None:
        self._cls, self._name = cls, f"{cls.__name__}.point"

    def at(self, residual: Any, f_scale: float = 1.0) -> NDArray[np.float64]:
        """Return value, slope, curvature and weight at a residual or at several."""
        try:
            with np.errstate(all="ignore"):
                found = self._cls.point(self._cls._make([f_scale]), residual)
                shape = np.shape(residual)
                rows = [np.broadcast_to(np.asarray(each, dtype=float), shape) for each in found]
        except NameError as error:  # which says itself what is wrong
            raise NameError(f"{self._name}: {error}") from error
        except Exception as error:
            raise TypeError(
                f"{self._name} must take a number, or an array of them (with fastfit.vector_math.select in place of "
                f"if); got {type(error).__name__}: {error}"
            ) from error
        if len(rows) != len(_PARTS):
            raise TypeError(
                f"{self._name} must return {', '.join(_PARTS)}; got {len(rows)} numbers"
            )
        return np.array(rows)

    def require(
        self, what: str, holds: Any, residual: Any, found: Any, expected: Any = None
    ) -> None:
        """Raise ValueError about the first residual at which something does not hold."""
        wrong = np.flatnonzero(~np.asarray(holds))
        if wrong.size:
            place = wrong[0]
            got = f"{np.broadcast_to(found, residual.shape)[place]:.6g}"
            if expected is not None:
                got += f", and not {np.broadcast_to(expected, residual.shape)[place]:.6g}"
            raise ValueError(
                f"{self._name} must {what}; at a residual of {residual[place]:.4g} (f_scale 1), got {got}"
            )

    def require_derivative(self, what: str, part: int, unit: Any) -> None:
        """Require that one part is the derivative of the one before, but where that has a kink."""
        holds: Any = False
        for factor in (1.0, 1.03, 0.97):  # at most one of these neighbours lies at a kink
            r = factor * _TRIED
            step = 1e-4 * abs(r)
            change = (self.at(r + step)[part] - self.at(r - step)[part]) / (2.0 * step)
            stated = self.at(r)[part + 1]
            holds = holds | (abs(stated - change) <= 1e-4 * (abs(stated) + 1e-3 * unit))
        self.require(what, holds, r, stated, change)
