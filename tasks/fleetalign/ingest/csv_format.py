"""The delimiter and the encoding of a text file."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass

DELIMITERS = (",", ";", "\t", "|")
"""Guessed among these; a mapping may name any other."""
HEAD_BYTES = 1 << 16
UTF8 = "utf-8-sig"
"""Never plain ``utf-8``: Arrow then skips decoding, and a broken line of other bytes could not be reported."""


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """Empty fields are guessed from the file's first bytes."""

    delimiter: str = ""
    encoding: str = ""


def sniff(head: bytes, named: CsvFormat) -> CsvFormat:
    """Fill the empty fields of ``named`` for a file that starts with ``head``.

    The delimiter is the one that cuts the header into most columns (of equals the first of ``DELIMITERS``); the
    encoding is UTF-8 unless a byte order mark says UTF-16.
    """
    encoding = named.encoding
    if not encoding:
        encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else UTF8
    elif codecs.lookup(encoding).name == "utf-8":
        encoding = UTF8
    delimiter = named.delimiter
    if not delimiter:
        text = head.decode(encoding, errors="replace").lstrip("\ufeff\r\n")
        delimiter = max(DELIMITERS, key=lambda d: _columns(text, d))
    return CsvFormat(delimiter, encoding)


def _columns(text: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), ()))
    except csv.Error:
        return 0
