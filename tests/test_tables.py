"""Columns of a table by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastfit as ff
from fastfit.columns import columns
from fastfit.tables import named_columns

pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))

COLUMNS = {
    "distance": np.array([1.0, 2.0, 3.0, 5.0, 8.0]),
    "air_time": np.array([3.0, 5.5, 7.0, 11.0, 17.5]),
    "w": np.array([1.0, 2.0, 1.0, 3.0, 1.0]),
    "s": np.array([0.1, 0.2, 0.1, 0.3, 0.1]),
}
FRAME = pd.DataFrame(COLUMNS, index=[9, 8, 7, 6, 5])


class Dataset(dict[str, Any]):
    """What xarray calls a dataset, as far as its columns are concerned."""

    @property
    def variables(self) -> list[str]:
        return list(self)


TABLES: dict[str, Any] = {
    "pandas": lambda: FRAME,
    "polars": lambda: pl.DataFrame(COLUMNS),
    "lazy": lambda: pl.LazyFrame(COLUMNS),
    "pyarrow": lambda: pa.table(COLUMNS),
    "record batch": lambda: pa.record_batch(COLUMNS),
    "records": FRAME.to_records,
    "mapping": lambda: COLUMNS,
    "dataset": lambda: Dataset(COLUMNS),
    "dask": lambda: pytest.importorskip("dask.dataframe").from_pandas(FRAME, npartitions=2),
}


@pytest.mark.parametrize("kind", TABLES)
def test_columns_are_found_by_name(kind: str) -> None:
    x, y, w, s = COLUMNS.values()
    table = TABLES[kind]()
    fit = ff.fit_line("distance", "air_time", data=table)
    expected = ff.fit_line(x, y)
    assert (fit.slope, fit.intercept) == (expected.slope, expected.intercept)
    fit = ff.fit_line("distance", "air_time", data=table, sample_weight="w", sigma="s")
    expected = ff.fit_line(x, y, sample_weight=w, sigma=s)
    assert fit.slope == pytest.approx(expected.slope, rel=1e-15)
    assert fit.stderr == pytest.approx(expected.stderr, rel=1e-13)


def test_columns_may_be_numbered() -> None:
    table = pd.DataFrame(np.column_stack([COLUMNS["distance"], COLUMNS["air_time"]]))
    expected = ff.fit_line(COLUMNS["distance"], COLUMNS["air_time"]).slope
    assert (
        ff.fit_line(0, 1, data=table).slope == ff.fit_line("0", "1", data=table).slope == expected
    )
    with pytest.raises(ValueError, match="y must name a column of data; got '2': it has '0', '1'"):
        ff.fit_line(0, 2, data=table)


def test_arrays_may_stand_beside_names() -> None:
    fit = ff.fit_line(COLUMNS["distance"], "air_time", data=FRAME, sigma=0.5)
    expected = ff.fit_line(COLUMNS["distance"], COLUMNS["air_time"], sigma=0.5)
    assert (fit.slope, fit.stderr) == (expected.slope, expected.stderr)


def test_columns_of_floats_are_not_copied() -> None:
    for table in (FRAME, pl.DataFrame(COLUMNS)):
        x, y, *_ = named_columns(table, "distance", "air_time")
        assert np.shares_memory(columns(x, y).x, table["distance"].to_numpy())


def test_predictions_for_columns() -> None:
    fit = ff.fit_line("distance", "air_time", data=FRAME)
    for table in (FRAME, pl.DataFrame(COLUMNS), pa.table(COLUMNS)):
        np.testing.assert_array_equal(
            fit.predict(table["distance"]), fit.predict(COLUMNS["distance"])
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"x": "distanc"},
            ValueError,
            "x must name a column of data; got 'distanc': it has 'distance', 'air_time', 'w', 's'; "
            "did you mean 'distance'",
        ),
        ({"y": "q"}, ValueError, "y must name a column of data; got 'q': it has 'distance'.*'s'$"),
        ({"sigma": "W"}, ValueError, "sigma must name a column of data; got 'W'"),
        ({"x": [1.0], "y": [2.0]}, TypeError, "x and y must be names of columns where data is"),
        ({"data": 3}, TypeError, "data must be a table with named columns, or a mapping; got int"),
        ({"data": np.ones((5, 2))}, TypeError, "data must be a table .*; got ndarray"),
        (
            {"data": pd.concat([FRAME, FRAME], axis=1)},
            ValueError,
            "x must name one column of data; it has several named 'distance'",
        ),
        (
            {"data": pl.LazyFrame(COLUMNS), "y": COLUMNS["air_time"]},
            TypeError,
            "all columns must be names where data is a LazyFrame",
        ),
    ],
)
def test_wrong_names_and_tables(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ff.fit_line(**{"x": "distance", "y": "air_time", "data": FRAME, **arguments})
