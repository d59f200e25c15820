"""Places of points along x: their distances lose no digit, and sums of these are right, by rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fastfit.kernels.tiles import Places

RNG = np.random.default_rng(5)
XS = {
    "whole": np.arange(40.0),
    "falling": np.arange(40.0)[::-1] * 0.1,
    "shuffled": RNG.permutation(60) * 0.25,
    "far": 1e13 + RNG.random(50),
    "outlier": np.append(RNG.random(30), 1e12),
    "nanoseconds": 1.7e18 + 86_400e9 * np.arange(30.0),
    "one value": np.full(9, 0.1),
}


@pytest.mark.parametrize("through_origin", [False, True])
@pytest.mark.parametrize("name", XS)
def test_places_hold_every_digit_of_x(name: str, through_origin: bool) -> None:
    x = XS[name]
    places = Places.of(x, 0.0, through_origin=through_origin)
    center = Fraction(places.center[0])
    rest = np.zeros(x.size) if places.rest is None else places.rest
    distances = [Fraction(u) + Fraction(r) for u, r in zip(places.u, rest, strict=True)]
    assert distances == [Fraction(each) - center for each in x]
    assert center == 0 if through_origin else center in map(Fraction, x)
    assert places.own[0] == pytest.approx(float(sum(distances)), rel=1e-15, abs=0.0)
    assert places.own[1] == float(sum(d * d for d in distances))
    spacing = Fraction(places.grid) / 3 / 2**51
    assert all((Fraction(u) / spacing).denominator == 1 for u in places.u)
    assert sorted(places.order) == list(range(x.size))
    assert {x[places.order[0]], x[places.order[-1]]} == {x.min(), x.max()}


def test_center_of_shifted_places() -> None:
    x = np.arange(9.0)
    places = Places.of(x, 2.0**60 + 2.0**10, through_origin=False)
    assert Fraction(places.center[0]) + Fraction(places.center[1]) == 4 + 2**60 + 2**10


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_x_that_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="x must be finite; got .* at index 3"):
        Places.of(np.array([0.0, 1.0, 2.0, wrong, 4.0]), 0.0, through_origin=False)


@pytest.mark.parametrize("size", [1e-200, 1e200, 1e308])
def test_distances_whose_squares_are_out_of_range_are_refused(size: float) -> None:
    with pytest.raises(ValueError, match="x must have distances whose squares"):
        Places.of(np.array([-1.0, 0.0, 1.0]) * size, 0.0, through_origin=False)
