"""Find NaN, infinities and bad weights, and report them: only if the sums of a pass show a fault."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastfit.columns import Column

# Values per chunk of a search: its temporaries stay below a few megabytes.
_CHUNK = 1 << 18
# If the largest weight lies within these bounds, no sum of products overflows or underflows, low parts included.
_SMALLEST_WEIGHT, _LARGEST_WEIGHT = 1e-100, 1e100


class Faults(NamedTuple):
    """How faults are found and named.

    Attributes
    ----------
    nan_policy : {"raise", "omit", "propagate"}
        As in ``ArrayPoints``.
    kept : ndarray of bool or None
        The points of the caller that are not masked, if some are.
    first : int or None
        Index of the first point, if these points are a part of a larger set. Errors then give no counts.
    """

    nan_policy: str
    kept: NDArray[np.bool_] | None
    first: int | None

    def count_not_finite(self, name: str, values: Column | None) -> int:
        """Return the number of NaN and infinite values (not NaN under "omit"); raise if the policy forbids them."""
        if values is None:
            return 0
        found = (
            start + np.flatnonzero(~np.isfinite(values[start : start + _CHUNK]))
            for start in range(0, values.size, _CHUNK)
        )
        where = np.concatenate(list(found))
        infinite = where[~np.isnan(values[where])]
        if self.nan_policy == "omit":
            where = infinite
        if infinite.size and self.nan_policy != "propagate":
            self._raise(
                f"{name} must be finite; got infinity",
                infinite,
                "No nan_policy leaves infinities out: remove them, or turn them into NaN and pass nan_policy='omit'",
            )
        if where.size and self.nan_policy == "raise":
            self._raise(
                f"{name} must be finite; got NaN",
                where,
                "Pass nan_policy='omit' to leave such points out, or nan_policy='propagate' to get NaN",
            )
        return int(where.size)

    def raise_negative(self, w: Any, x: Column, y: Column) -> NoReturn:
        """Raise ValueError about negative weights, of points that are not left out."""
        left_out = np.isnan(x) | np.isnan(y) if self.nan_policy == "omit" else False
        where = np.flatnonzero((w < 0.0) & ~np.asarray(left_out))
        self._raise(f"sample_weight must not be negative; got {float(w[where[0]])!r}", where)

    def check_largest_weight(self, name: str, w: Column) -> None:
        """Raise ValueError if weights are so large or small that sums leave the range of float64."""
        largest = float(w.max()) if w.size else 0.0
        if largest and not _SMALLEST_WEIGHT <= largest <= _LARGEST_WEIGHT:
            raise ValueError(
                f"the largest {name} must be from {_SMALLEST_WEIGHT:g} to {_LARGEST_WEIGHT:g}; got {largest!r}"
            )

    def _raise(self, what: str, where: NDArray[np.int64], advice: str = "") -> NoReturn:
        """Raise ValueError with the index of the first fault, as the caller counts points, and their number."""
        index = int(where[0] if self.kept is None else np.flatnonzero(self.kept)[where[0]])
        more = f", the first of {where.size:,}" if where.size > 1 else ", the only one"
        place = f" at index {index + (self.first or 0):,}{more if self.first is None else ''}"
        raise ValueError(what + place + (f". {advice}" if advice else ""))
