"""Fields per row of a text file: one read of its bytes finds the first row with another number of fields."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfit.kernels import compiled, flags

_ONE, _SEVEN, _TOP = np.uint64(1), np.uint64(7), np.uint64(56)
# A byte in each of the eight of a word.
_EACH, _LOW = np.uint64(0x0101010101010101), np.uint64(0x7F7F7F7F7F7F7F7F)
_NEWLINE, _RETURN, _QUOTE, _BLANK = 10, 13, 34, 32
# Bytes for the careful loop before the fast one is tried again.
_CARE = 8192


def _plain(words: Any, separator: Any, wanted: Any, count: Any) -> Any:
    """Return the place of the first word in which a row of other fields ends; the number of words for none.

    Eight bytes at a time: a byte that is zero after an exclusive or with the one looked for gets its highest bit set,
    and all others get none.
    """
    sought, newline = np.uint64(separator) * _EACH, np.uint64(_NEWLINE) * _EACH
    for j in range(words.size):
        a, b = words[j] ^ sought, words[j] ^ newline
        separators = ~(((a & _LOW) + _LOW) | a | _LOW)
        ends = ~(((b & _LOW) + _LOW) | b | _LOW)
        while ends:
            first = ends & (~ends + _ONE)
            count += np.int64((((separators & (first - _ONE)) >> _SEVEN) * _EACH) >> _TOP)
            if count != wanted:
                return j
            count = 0
            separators &= ~(first | (first - _ONE))
            ends &= ends - _ONE
        count += np.int64(((separators >> _SEVEN) * _EACH) >> _TOP)
    return words.size


def _careful(data: Any, state: Any, blanks: Any, separator: Any, comment: Any, wanted: Any) -> Any:
    """Return the place after the first row of other fields, 0 for none; ``state`` is kept from call to call.

    It holds the separators of the row so far, whether this is inside quotes, how much of the prefix of comments the row
    begins with, the number of bytes in it, the byte before, whether a quote inside a field was found, which counts as
    irregular (what follows it up to the next quote would be one field), the number of blank lines, whether anything is
    in the row, and the number of rows, of blank lines too. Comments may have any number of fields. The places of
    blank lines among the rows go to ``blanks``, as far as there is room.
    """
    for i in range(data.size):
        c, before = data[i], state[4]
        state[4] = c
        is_comment = 0 < comment.size == state[2]
        if state[1]:
            state[1] = 0 if c == _QUOTE else 1
        elif c == _NEWLINE:
            is_blank = not (is_comment or state[0] or state[7])
            if state[0] != wanted and not (is_comment or is_blank):
                return i + 1
            if is_blank and state[6] < blanks.size:
                blanks[state[6]] = state[8]
            state[6] += is_blank
            state[8] += not is_comment
            state[0] = state[2] = state[3] = state[7] = 0
        elif c != _RETURN and not is_comment:
            if state[2] == state[3] < comment.size and c == comment[state[2]]:
                state[2] += 1
            if c == _QUOTE:
                if state[3] and before not in (separator, _QUOTE, _BLANK):
                    state[5] = 1
                    return i + 1
                state[1] = state[7] = 1
            elif c == separator:
                state[0] += 1
            elif c != _BLANK:
                state[7] = 1
            state[3] += 1
    return 0


_PLAIN = compiled.jit(_plain, flags.DRIVER)
_CAREFUL = compiled.jit(_careful, flags.DRIVER)


class FieldCounter:
    """Looks for rows with another number of fields than expected, in chunks of the bytes of a file.

    Parameters
    ----------
    separator : str
        What separates fields, one character of ASCII.
    n_fields : int
        The number of fields of each row.
    comment : str or None
        What lines start with that are no rows.
    n_blank : int or None
        Number of blank lines whose places are to be found, if it is known: that takes longer.
    """

    def __init__(
        self, separator: str, n_fields: int, comment: str | None, n_blank: int | None = None
    ) -> None:
        self._separator, self._wanted = ord(separator), n_fields - 1
        self._comment = np.frombuffer((comment or "").encode(), np.uint8)
        self._state = np.zeros(9, dtype=np.int64)
        self._is_quick = n_blank is None
        # Places of blank lines among the rows.
        self.blanks = np.empty(n_blank or 0, dtype=np.int64)

    @property
    def n_blank(self) -> int:
        """Number of blank lines so far."""
        return int(self._state[6])

    def first_irregular(self, data: bytes) -> tuple[int, int] | None:
        """Return the place after the first irregular row of the next bytes, and its number of fields; None for none.

        The number is 0 for a quotation mark inside a field.
        """
        array, start, state = np.frombuffer(data, np.uint8), 0, self._state
        needs_care = not (self._is_quick and compiled.compiles()) or b'"' in data
        while start < array.size:
            if not (needs_care or start % 8 or state[1] or state[2]):
                start = self._after_plain_rows(array, data, start)
            end = min(start - start % 8 + _CARE, array.size)
            args = state, self.blanks, self._separator, self._comment, self._wanted
            found = int(_CAREFUL(array[start:end], *args))
            if found:
                return start + found, 0 if state[5] else int(state[0]) + 1
            start = end
        return None

    def _after_plain_rows(self, array: Any, data: bytes, start: int) -> int:
        """Return the start of the first row that needs care, or of the last one in these bytes."""
        words = array[start : start + (array.size - start) // 8 * 8].view(np.uint64)
        stop = start + 8 * int(_PLAIN(words, self._separator, self._wanted, int(self._state[0])))
        newline = data.rfind(b"\n", start, stop)
        if newline < 0:
            return start
        self._state[:4] = self._state[7] = 0
        self._state[4] = _NEWLINE
        return newline + 1
