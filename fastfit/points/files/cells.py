"""Cells of text to numbers and times."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Sequence
from typing import Any

from fastfit.containers import Values
from fastfit.points.files.table import FileError, column, is_float

# Words for a missing value, besides an empty field.
MISSING = (
    *("nan", "NaN", "NAN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "None", ".", "-"),
    *("#DIV/0!", "#VALUE!", "1.#QNAN", "1.#IND", "-1.#IND", "-nan", "-NaN"),
)
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?")
# What a time of ISO 8601 begins with; other orders of day and month are ambiguous.
_TIME = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$"
_TIMES = "times must be written as in 2020-01-31T12:00:00, all with a time zone or none"


def is_number(field: str, decimal_comma: bool) -> bool:
    """Return whether a field holds a number, a time, or a word for a missing value."""
    text = field.strip()
    known = _COMMA if decimal_comma else _POINT
    return bool(known.fullmatch(text) or re.match(_TIME, text)) or text in MISSING


def parsed(
    path: str,
    cells: Any,
    first: int,
    words: Sequence[str] = (),
    decimal_comma: bool = False,
    helpful: Collection[str] = (),
) -> Values:
    """Return a column of numbers or times, text parsed.

    Parameters
    ----------
    path : str
        The file, for errors.
    cells : polars.Series
        Text (spaces around it are ignored), or values of another type.
    first : int
        Number of rows before these, for errors.
    words : sequence of str
        Words for a missing value, besides those that are known.
    decimal_comma : bool
        Whether numbers have a comma for a decimal point.
    helpful : collection of str
        Options of the format that errors may advise: "decimal_comma", "null_values".

    Raises
    ------
    FileError
        Names the first cell that cannot be read, and what helps.
    """
    import polars as pl

    if cells.dtype != pl.String:
        return column(path, cells.name, _without_words(cells, words))
    text = cells.str.strip_chars()
    plain = text
    if decimal_comma:  # a point would be a separator of thousands
        has_point = text.str.contains(".", literal=True) & ~text.str.contains(_TIME)
        plain = text.str.replace(",", ".", literal=True).set(has_point, "a point")
    numbers = _as_numbers(plain)
    if words or numbers.null_count() > cells.null_count():
        plain = plain.set(text.is_in(["", *MISSING, *words]), None)
        numbers = _as_numbers(plain)
    if numbers.null_count() > plain.null_count():
        lower = plain.str.to_lowercase()
        if lower.drop_nulls().is_in(["true", "false"]).all():
            return column(path, cells.name, lower == "true")
        times = _as_times(path, plain)
        found = numbers if times is None else times
        if found.null_count() == plain.null_count():
            return column(path, cells.name, found)
        wrong = (found.is_null() & plain.is_not_null()).arg_max()
        raise FileError(
            f"{path}: column {cells.name!r} holds text: {cells[wrong]!r} in data row {first + wrong + 1:,}; "
            + (_TIMES if times is not None else _advice(text[wrong], decimal_comma, helpful))
        )
    return column(path, cells.name, _without_words(numbers, words))


def keys_of(cells: Any, words: Sequence[str]) -> Values:
    """Return a column of keys: text without the spaces around it, where empty fields and some words are missing."""
    import polars as pl

    if cells.dtype != pl.String:
        return Values(_without_words(cells, words))
    text = cells.str.strip_chars()
    return Values(text.set(text.is_in(["", *words]), None))


def _without_words(cells: Any, words: Sequence[str]) -> Any:
    """Return values, those that a word for a missing value stands for as missing: -999.0 for "-999"."""
    import polars as pl

    if not (words and cells.dtype.is_numeric()):
        return cells
    sought = list(map(float, filter(is_float, words)))
    return cells.set(cells.cast(pl.Float64).is_in(sought), None)


def _as_numbers(text: Any) -> Any:
    """Return numbers, whole ones as integers, which keep their digits; what is no number is null."""
    import polars as pl

    for kind in (pl.Int64, pl.UInt64):
        whole = text.cast(kind, strict=False)
        if whole.null_count() == text.null_count():
            return whole
    return text.cast(pl.Float64, strict=False)


def _as_times(path: str, text: Any) -> Any:
    """Return times to the nanosecond if they need it, in UTC if they have a zone; what is no time is null.

    None stands for text without any time.
    """
    import polars as pl

    if not text.str.contains(_TIME).any():
        return None
    unit = "ns" if text.str.contains(r"\.\d{7}").any() else "us"
    years = text.str.slice(0, 4).cast(pl.Int32, strict=False)
    if unit == "ns" and years.len() > years.null_count():
        first, last = years.min(), years.max()
        if first < 1678 or last > 2261:  # 64 bits of nanoseconds
            raise FileError(
                f"{path}: column {text.name!r} holds times to the nanosecond, which must lie in the years 1678 to "
                f"2261; got {first} to {last}: leave out the seventh and later decimals of seconds"
            )
    with contextlib.suppress(pl.exceptions.PolarsError):  # no format of times fits the first text
        return text.str.to_datetime(time_unit=unit, strict=False)
    return None


def _advice(cell: str, decimal_comma: bool, helpful: Collection[str]) -> str:
    """Return what helps to read a cell that is no number."""
    if re.fullmatch(r"[+-]?\d{1,3}([.,' ]\d{3})+([.,]\d*)?", cell):
        is_either = "decimal_comma" in helpful and is_number(cell, not decimal_comma)
        either = f", or pass decimal_comma={not decimal_comma}" if is_either else ""
        return f"numbers must have no separators of thousands{either}"
    other = _POINT if decimal_comma else _COMMA
    if "decimal_comma" in helpful and other.fullmatch(cell):
        return f"pass decimal_comma={not decimal_comma}"
    if re.fullmatch(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*", cell):
        return _TIMES
    if any(sign.isdigit() for sign in cell):
        return "numbers must have no units, currency or separators of thousands"
    if "null_values" in helpful:
        return f"pass null_values=[{cell!r}] if it stands for a missing value"
    return "derive a column of numbers with a query of Polars"
