"""The delimiter and the encoding of a text file, and what stands above its header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

DELIMITERS = (",", ";", "\t", "|")
"""Guessed among these; a mapping may name any other."""
HEAD_BYTES = 1 << 16
UTF8 = "utf-8-sig"
"""Never plain ``utf-8``: Arrow then skips decoding, and a broken line of other bytes could not be reported."""
RESTART = "LINUX-RESTART"
"""Marks a line of sadf (sysstat) that reports a restart and holds no samples."""
COMMENT = "#"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The line in which Excel names the delimiter."""
VALUE = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?|\d{4}-\d{2}-\d{2}([T ].*)?")
"""A number or a time: no name of a column."""


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """Empty fields are guessed from the file's first bytes."""

    delimiter: str = ""
    encoding: str = ""
    skip_lines: int = field(default=0, compare=False)
    """Lines above the header."""
    restarts: tuple[str, ...] = field(default=(), compare=False)
    """Those of them that report a restart."""
    first_row: tuple[str, ...] = field(default=(), compare=False)
    """The fields of the line after the header."""


def sniff(head: bytes, named: CsvFormat) -> CsvFormat:
    """Fill the empty fields of ``named`` for a file that starts with ``head``.

    The delimiter is the one that a line ``sep=`` names, or that cuts the header into most columns (of equals the
    first of ``DELIMITERS``); the encoding is UTF-8 unless a byte order mark says UTF-16.
    """
    encoding = named.encoding
    if not encoding:
        encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else UTF8
    elif codecs.lookup(encoding).name == "utf-8":
        encoding = UTF8
    lines = io.StringIO(head.decode(encoding, errors="replace").lstrip("\ufeff"), newline=None).read().split("\n")
    start, delimiter = 0, named.delimiter
    if excel := SEPARATOR_LINE.fullmatch(lines[0]):
        start, delimiter = 1, delimiter or excel[1]
    header = _header(lines, start, delimiter)
    restarts = tuple(line for line in lines[:header] if RESTART in line)
    delimiter = delimiter or _delimiter(lines[header:])
    rows = [line for line in lines[header + 1 :] if line.strip()]
    return CsvFormat(delimiter, encoding, header, restarts, tuple(_fields(rows[0], delimiter)) if rows else ())


def column_name(name: str) -> str:
    """Return the name of a column without blanks, nor the mark of a comment."""
    return name.strip().removeprefix("# ").strip()


def holds_values(names: list[str]) -> bool:
    """Whether the fields of a line are values, not names of columns."""
    values = [name for name in names if VALUE.fullmatch(name.strip())]
    times = [name for name in values if "-" in name[1:] or len(name) >= 10]
    return bool(times) or 2 * len(values) > len(names)


def names_nothing(names: list[str], first_row: Sequence[str]) -> bool:
    """Whether the first line of a file holds values, and no name above a value."""
    named = any(
        not VALUE.fullmatch(n.strip()) and VALUE.fullmatch(f.strip()) for n, f in zip(names, first_row, strict=False)
    )
    return holds_values(names) and not named


def _header(lines: list[str], start: int, delimiter: str) -> int:
    """Return the header's line: the last comment where values follow it, else the next."""
    comment = -1
    for i in range(start, len(lines)):
        line = lines[i]
        if line.startswith(COMMENT):
            comment = i
        elif line.strip() and RESTART not in line:
            if comment < 0:
                break
            by = delimiter or _delimiter(lines[comment:])
            fields = _fields(line, by)
            names = _fields(lines[comment], by)
            return comment if len(fields) == len(names) and holds_values(fields) else i
    return next((i for i in range(start, len(lines)) if lines[i].strip() and RESTART not in lines[i]), start)


def _delimiter(lines: list[str]) -> str:
    return max(DELIMITERS, key=lambda d: len(_fields("\n".join(lines).lstrip("\n"), d)))


def _fields(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []
