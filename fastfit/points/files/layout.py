"""How a text file is laid out: separator, comments, header and more, as given or as its first lines show."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fastfit.points.files.cells import MISSING, is_number
from fastfit.points.files.options import FileOptions
from fastfit.points.files.table import FileError

_log = logging.getLogger("fastfit")
# Candidate separators: of equally good ones, the first wins.
_SEPARATORS = (";", "\t", "|", ",", " ")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_ERRORS = tuple(word for word in MISSING if word.startswith("#"))


class Layout(NamedTuple):
    """The layout of a text file.

    Attributes
    ----------
    names : tuple of str
        Names of the fields of a row; "" for fields that the header does not name.
    separator, decimal_comma
        As in ``FileOptions``.
    comment : str or None
        Prefix of comments, None for no comments.
    may_hide_rows : bool
        Whether that is a guess, so that a row may start with it.
    above : str
        The comment above the rows, "" for none.
    n_skipped : int
        Number of lines before the first row: what stands above the header, the header, and a row of units.
    """

    names: tuple[str, ...]
    separator: str
    decimal_comma: bool
    comment: str | None
    may_hide_rows: bool
    above: str
    n_skipped: int


def layout_of(path: str, lines: Sequence[str], options: FileOptions) -> Layout:
    """Return the layout of a file from its first lines."""
    comment = options.comment or None
    is_guess = options.comment is None
    if is_guess and any(line[:1] == "#" and not line.startswith(_ERRORS) for line in lines):
        comment = "#"
    start = options.skip_rows or 0
    rows = [
        (number, line)
        for number, line in enumerate(lines)
        if number >= start and line.strip() and not (comment and line.startswith(comment))
    ]
    if not rows:
        raise FileError(
            f"{path} has no line of names: its first {len(lines):,} lines are comments or blank"
        )
    separators = _SEPARATORS if options.separator is None else (options.separator,)
    found = [_as_separated(rows, separator, options) for separator in separators]
    best = max(found, key=lambda each: (each.has_names(options.wanted), each.score))
    commas = [f.strip() for _, row in best.rows for f in row if "," in f]
    is_guessed = best.decimal_comma and options.decimal_comma is None
    if is_guessed and commas and all(map(_THOUSANDS.fullmatch, commas)):
        raise FileError(
            f"{path}: commas as in {commas[0]!r} may separate thousands or decimals; "
            "pass decimal_comma=True if they are decimal commas, and remove them otherwise"
        )
    n_skipped = best.rows[0][0]
    above = [line for line in lines[:n_skipped] if comment and line.startswith(comment)]
    names = best.named_by(above, comment or "", options.wanted)
    if names is None:
        names, n_skipped = best.header(path, exact=options.skip_rows is not None)
    may_hide_rows = is_guess and comment is not None
    layout = Layout(
        tuple(names),
        best.separator,
        best.decimal_comma,
        comment,
        may_hide_rows,
        above[-1].removeprefix(comment or "").strip() if above else "",
        n_skipped,
    )
    if (layout.separator, layout.decimal_comma, comment) != (",", False, None):
        _log.info(
            "%s is read with separator=%r, decimal_comma=%r, comment=%r",
            *(path, layout.separator, layout.decimal_comma, comment),
        )
    return layout


class _Separated(NamedTuple):
    """Lines split by one separator."""

    separator: str
    decimal_comma: bool
    rows: list[tuple[int, list[str]]]
    n_fields: int
    score: tuple[float, int]

    def _is_number(self, field: str) -> bool:
        return is_number(field, self.decimal_comma)

    def _has_units(self, first: list[str], others: list[list[str]]) -> bool:
        """Return whether a row holds units: text above a column of numbers, and no number."""
        known = [field.strip() in ("", *MISSING) for field in first]
        if any(self._is_number(f) and not k for f, k in zip(first, known, strict=True)):
            return False
        columns = zip(known, zip(*others, strict=False), strict=False)
        return any(not k and any(map(self._is_number, column)) for k, column in columns)

    def has_names(self, wanted: Sequence[str]) -> bool:
        """Return whether some row has all of the names that are asked for."""
        return bool(wanted) and any(
            set(wanted) <= {*row, *map(str.strip, row)} for _, row in self.rows
        )

    def named_by(
        self, comments: Sequence[str], prefix: str, wanted: Sequence[str]
    ) -> list[str] | None:
        """Return the names in a comment above the rows, as NumPy writes them, if only that has all that are wanted."""
        if not wanted or self.has_names(wanted):
            return None
        for comment in reversed(comments):
            text = comment.removeprefix(prefix).strip(f"{prefix} ")
            names = [name.strip() for name in fields_of([text], self.separator)[0]]
            if len(names) == len(self.rows[0][1]) and set(wanted) <= set(names):
                return names
        return None

    def header(self, path: str, *, exact: bool) -> tuple[list[str], int]:
        """Return the names of all fields, and the number of lines before the first row."""
        place = 0
        if not exact:  # what stands above the header has other numbers of fields
            place = next((k for k, (_, r) in enumerate(self.rows) if len(r) == self.n_fields), 0)
            if place and any(map(self._is_number, self.rows[place][1])):
                above = self.rows[place - 1][1]
                is_short = len(above) == self.n_fields - 1  # without a name for the names of rows
                is_long = len(above) == self.n_fields + 1 and not above[-1].strip()
                place -= is_short or is_long
        number, names = self.rows[place]
        data = self.rows[place + 1 :]
        names = [name.strip() for name in names]
        n_skipped = number + 1
        if len(data) > 1 and self._has_units(data[0][1], [row for _, row in data[1:]]):
            n_skipped = data[0][0] + 1
            data = data[1:]
        widths = {len(row) for _, row in data}
        if widths == {len(names) + 1}:
            if all(not row[-1].strip() for _, row in data):
                return [*names, ""], n_skipped  # every row ends with a separator
            _log.info(
                "%s: the first field of each row, which the header does not name, is taken for its name",
                path,
            )
            return ["", *names], n_skipped
        if names and not names[-1] and widths == {len(names) - 1}:
            names = names[:-1]
        return names, n_skipped


def _as_separated(
    rows: Sequence[tuple[int, str]], separator: str, options: FileOptions
) -> _Separated:
    """Return lines split by a separator, and how much they then look like a table of numbers."""
    texts = [line for _, line in rows]
    split = fields_of(texts, separator)
    parts = [(number, row) for (number, _), row in zip(rows, split, strict=False)]
    counts = Counter(len(row) for _, row in parts[len(parts) // 3 :])
    n_fields, most = counts.most_common(1)[0] if counts else (1, 0)
    body = [field for _, row in parts[1:] if len(row) == n_fields for field in row if field.strip()]
    shares = {
        comma: sum(is_number(field, comma) for field in body) / max(len(body), 1)
        for comma in (False, True)
    }
    comma = options.decimal_comma
    if comma is None:
        comma = separator != "," and shares[True] > shares[False]
    share = shares[comma] + most / max(sum(counts.values()), 1)
    return _Separated(separator, comma, parts, n_fields, (share if n_fields > 1 else 0.0, n_fields))


def fields_of(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the fields of lines; a separator of one blank stands for any number of them."""
    if separator == " ":
        return [line.split() for line in lines]
    return list(csv.reader([line.replace("\r", " ") for line in lines], delimiter=separator))
