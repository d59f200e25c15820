"""Options for reading files."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class FileOptions:
    """Options for reading files; None means the default, or what the file shows.

    Attributes
    ----------
    separator : str or None
        What separates fields of text, one character.
    decimal_comma : bool or None
        Whether numbers of text have a comma for a decimal point.
    comment : str or None
        Prefix of comment lines in text, "" for none; None to find it.
    skip_rows : int or None
        Number of lines or rows before the header.
    null_values : tuple of str
        Words for a missing value, besides those that are known.
    encoding : str or None
        Name of the encoding of text, such as "latin-1"; None for UTF-8, or UTF-16 with a mark.
    sheet_name : str or None
        Sheet of a workbook; None for the first.
    format : str or None
        Format of the files, such as "csv"; None for the ending of their names.
    wanted : tuple of str
        Names of the columns that are asked for, by which the header of a text is known.
    keys : tuple of str
        Names of the columns of keys, which need not hold numbers.
    """

    separator: str | None = None
    decimal_comma: bool | None = None
    comment: str | None = None
    skip_rows: int | None = None
    null_values: tuple[str, ...] = ()
    encoding: str | None = None
    sheet_name: str | None = None
    format: str | None = None
    wanted: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, must_be in (
            ("separator", "one character"),
            ("comment", "a text"),
            ("encoding", "the name of an encoding"),
            ("sheet_name", "the name of a sheet"),
            ("format", "the name of a format, such as 'csv'"),
        ):
            value = getattr(self, name)
            may_be_empty = name == "comment"
            wrong = value is not None and (
                not isinstance(value, str) or not (value or may_be_empty)
            )
            if wrong or (name == "separator" and value is not None and len(value) != 1):
                raise ValueError(f"{name} must be {must_be}, or None to find it; got {value!r}")
        rows = self.skip_rows
        if rows is not None and (type(rows) is not int or rows < 0):
            raise ValueError(f"skip_rows must be an integer of at least 0; got {rows!r}")

    def given(self) -> set[str]:
        """Return the names of the options of a format that are given."""
        return {
            each.name
            for each in fields(self)
            if each.name not in ("format", "wanted", "keys")
            and getattr(self, each.name) != each.default
        }
