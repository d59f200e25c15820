"""Checks of single arguments: a clean value, or an error that names the argument, what it must be and what came."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import numpy as np

T = TypeVar("T")


def lookup(value: Any, known: Mapping[str, type[T]], name: str) -> T:
    """Return the object with default options for a name; objects of a known type are returned as they are."""
    if isinstance(value, str):
        if value not in known:
            raise ValueError(f"{name} must be {one_of(known)}; got {value!r}")
        return known[value]()
    if isinstance(value, type) and value in known.values():
        return cast(T, value())
    if not isinstance(value, tuple(known.values())):
        raise TypeError(f"{name} must be {one_of(known)} or such an object; got {what_came(value)}")
    return cast(T, value)


def require_one_of(value: object, known: Iterable[str], name: str) -> None:
    """Raise ValueError unless the value is one of these strings."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be {one_of(known)}; got {value!r}")


def one_of(names: Iterable[str]) -> str:
    """Return the names, quoted and joined by "or", for an error message."""
    return " or ".join(repr(name) for name in names)


def what_came(value: Any) -> str:
    """Return type and value in one line of at most 60 characters or so, for an error message."""
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def finite_or_none(value: Any) -> Any:
    """Return value, or None for a float that JSON cannot hold: NaN or infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def true_or_false(value: Any, name: str) -> bool:
    """Return value, or raise TypeError if it is neither True nor False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name} must be True or False; got {value!r}")


def finite_number(value: Any, name: str, must_be: str, *, above: float = -math.inf) -> float:
    """Return value as a float, or raise unless it is a finite number above the bound."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)):
        try:
            number = float(value)
        except OverflowError:  # an int beyond float64
            number = math.inf
        if math.isfinite(number) and number > above:
            return number
        raise ValueError(f"{name} must be {must_be}; got {value!r}")
    raise TypeError(f"{name} must be {must_be}; got {what_came(value)}")


def positive_integer(value: Any, name: str, *, least: int = 1) -> int:
    """Return value as an int, or raise unless it is an integer of at least 1, or ``least``."""
    if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_)):
        if int(value) >= least:
            return int(value)
        raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
    raise TypeError(f"{name} must be an integer of at least {least}; got {what_came(value)}")


def probability(level: Any) -> float:
    """Return a level as a float, or raise unless it is a probability between 0 and 1."""
    must_be = "a probability between 0 and 1"
    number = finite_number(level, "level", must_be, above=0.0)
    if number >= 1.0:
        hint = f"; {number:g} % is {number / 100:g}" if 1.0 < number < 100.0 else ""
        raise ValueError(f"level must be {must_be}; got {level!r}{hint}")
    return number
