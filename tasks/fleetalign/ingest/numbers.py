"""Converts cells to float64 and marks text that is no number, so that it can be quarantined."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools

MISSING_TEXTS = ("", "nan", "null", "none", "na", "n/a")
"""Texts (any case, trimmed) that mean *not measured*."""
NUMBER_PATTERN = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf(inity)?))$"
QUANTITY_PATTERN = (
    r"^[+-]?(\d+([.,]\d*)?|[.,]\d+|\d{1,3}([,. '\x{a0}\x{2009}\x{202f}]\d{3})+([.,]\d*)?)([eE][+-]?\d+)?"
    r"\s*(%|°?[CF]|[kKMGTP]?i?[bB](/s|ps|it/s)?|(ns|us|µs|ms|s|min|h|d)|[kMG]?Hz|[a-z]{2,4}/s|ops|rpm|[mk]?[VAW])?$"
)
"""A number with any marks and perhaps a unit, as dashboards export it."""


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind))


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ``column`` without dictionary encoding."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def to_float64(column: pa.ChunkedArray, decimal: str = ".", thousands: str = "") -> tuple[pa.ChunkedArray, Bools]:
    """Convert ``column`` to float64 and mark text that is no number, bool [row].

    Those cells are null in the result. Infinities and NaN are kept as they are. With ``decimal`` a comma, a text with
    a point is no number unless ``thousands`` is the point: it could be a thousand or a fraction. ``thousands`` is read
    only where it cuts the digits into threes.
    """
    if not is_text(column.type):
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        return column.cast(pa.float64(), safe=False), np.zeros(len(column), dtype=bool)
    text = pc.utf8_trim_whitespace(column)
    if thousands:
        grouped = pc.match_substring_regex(text, grouped_pattern(thousands, decimal or "."))
        text = pc.if_else(grouped, pc.replace_substring_regex(text, _mark(thousands), ""), text)
    if decimal == ",":
        text = _swap(text, ",", ".")
    missing = pc.is_in(pc.utf8_lower(text), value_set=pa.array(MISSING_TEXTS, text.type))
    number = pc.fill_null(pc.match_substring_regex(text, NUMBER_PATTERN), False)
    bad = pc.and_not(pc.and_not(pc.is_valid(text), pc.fill_null(missing, False)), number)
    # Arrow reads neither a leading plus sign nor a bare decimal point at the end.
    readable = pc.replace_substring_regex(pc.utf8_ltrim(text, "+"), r"\.($|[eE])", r".0\1")
    values = pc.if_else(number, readable, pa.scalar(None, text.type)).cast(pa.float64())
    return values, bad.to_numpy()


def grouped_pattern(thousands: str, decimal: str) -> str:
    """Return the pattern of numbers whose digits ``thousands`` cuts into threes, at least once."""
    return rf"^[+-]?[1-9]\d{{0,2}}({_mark(thousands)}\d{{3}})+({_mark(decimal)}\d*)?$"


def is_quantity(column: pa.ChunkedArray) -> bool:
    """Whether nine of ten texts of ``column`` are numbers in any format, also with a unit."""
    filled = pc.utf8_trim_whitespace(column.drop_null())
    filled = filled.filter(pc.invert(pc.is_in(pc.utf8_lower(filled), value_set=pa.array(MISSING_TEXTS, filled.type))))
    return len(filled) > 0 and pc.mean(pc.match_substring_regex(filled, QUANTITY_PATTERN)).as_py() >= 0.9


def _mark(mark: str) -> str:
    """Return the pattern of one mark; a blank is any of those that keep digits together."""
    return "[ \u00a0\u2009\u202f]" if mark == " " else rf"[{mark}]"


def _swap(text: pa.ChunkedArray, one: str, other: str) -> pa.ChunkedArray:
    aside = pc.replace_substring(text, one, "\0")
    return pc.replace_substring(pc.replace_substring(aside, other, one), "\0", other)
