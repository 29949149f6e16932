"""Finds the decimal and the thousands mark of numbers in text; 1,010 alone proves neither."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.ingest.doubts import Doubts
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.numbers import grouped_pattern

ENOUGH = 5
"""Numbers of a column whose marks can be trusted."""
MANY = 100
"""Numbers with three decimals each, of which some would end in a zero that is not written."""
KIND = "marks in numbers"
MARKED_PATTERN = r"\d(,|[.' \x{a0}\x{2009}\x{202f}]\d{3})|^[+-]?,\d"
"""Only these numbers have marks that could mean something else than a decimal point."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the texts of one column prove."""

    decimal_comma: str = ""
    """A number whose comma cannot stand for thousands."""
    thousands: str = ""
    """The thousands mark that a number proves, or most numbers make likely."""
    unclear: str = ""
    """A number that is a thousand or a fraction."""


def evidence(column: pa.ChunkedArray) -> Evidence:
    """Return what the texts of ``column`` prove about their marks."""
    texts = pc.utf8_trim_whitespace(column.drop_null())
    if not _first(texts, MARKED_PATTERN):
        return Evidence()
    if _first(texts, r"^[+-]?[1-9]\d{0,2}(\.\d{3})+,\d*$"):
        return Evidence(_first(texts, r",\d*$"), ".")
    if _first(texts, r"^[+-]?[1-9]\d{0,2}(\.\d{3}){2,}$"):
        return Evidence(_comma(texts), ".")
    for mark in (" ", "'"):
        if with_comma := _first(texts, grouped_pattern(mark, ",")):
            return Evidence(_comma(texts) or (with_comma if "," in with_comma else ""), mark)
        if _first(texts, grouped_pattern(mark, ".")):
            return Evidence(_comma(texts), mark)
    if _first(texts, r"^[+-]?[1-9]\d{0,2}(,\d{3})+\.\d*$") or _first(texts, r"^[+-]?[1-9]\d{0,2}(,\d{3}){2,}$"):
        return Evidence(_comma(texts), ",")
    if comma := _comma(texts):
        return Evidence(comma)
    for mark in (",", "."):
        if grouped := _first(texts, rf"^[+-]?[1-9]\d{{0,2}}[{mark}]\d{{3}}$"):
            return _of_one_group(texts, mark, grouped)
    return Evidence()


def _of_one_group(texts: pa.ChunkedArray, mark: str, example: str) -> Evidence:
    """Judge a column by its whole numbers below a thousand."""
    num_marked = _count(texts, rf"[{mark}]")
    num_grouped = _count(texts, rf"^[+-]?[1-9]\d{{0,2}}[{mark}]\d{{3}}$")
    num_small = _count(texts, r"^[+-]?\d{1,3}$")
    if mark == ".":
        # Three decimals are usual, but not beside whole numbers, nor in every one of many numbers: writers drop last zeros.
        every = num_grouped == len(texts) >= MANY
        doubtful = num_grouped == num_marked and num_grouped >= ENOUGH and (num_small >= ENOUGH or every)
        return Evidence(unclear=example) if doubtful else Evidence()
    other_point = _count(texts, r"^[+-]?\d+\.\d+$") > 0
    is_thousand = other_point or (
        num_grouped >= ENOUGH and num_small >= ENOUGH and _count(texts, r"^[+-]?\d{4,}$") == 0
    )
    return Evidence(thousands=mark) if is_thousand else Evidence(unclear=example)


def propose_marks(mapping: Mapping, columns: dict[str, pa.ChunkedArray], doubts: Doubts) -> dict[str, str]:
    """Return the marks that ``columns`` prove, as fields of a mapping; doubt the others."""
    found = {name: evidence(column) for name, column in columns.items()}
    decimal = mapping.decimal
    commas = [name for name, e in found.items() if e.decimal_comma]
    if not decimal and commas:
        against = [name for name, e in found.items() if e.thousands == ","]
        if against:
            doubts.add(
                KIND,
                f"the comma is a decimal mark in {commas[0]!r} ({found[commas[0]].decimal_comma!r}) and stands for "
                f"thousands in {against[0]!r}: name decimal or thousands in the mapping, and check both",
            )
            return {}
        decimal = ","
        example = found[commas[0]].decimal_comma
        doubts.add(KIND, f"numbers such as {example!r} in {commas[0]!r} are read with a decimal comma")
    thousands = mapping.thousands
    for name, e in found.items():
        if e.thousands and e.thousands == (decimal or "."):
            doubts.add(
                KIND,
                f"{name!r} seems to have {e.thousands!r} between thousands, which is the decimal mark of the mapping",
            )
        elif e.thousands and not thousands:
            thousands = e.thousands
            doubts.add(KIND, f"{thousands!r} in numbers of {name!r} stands for thousands")
        if e.unclear and not (decimal or thousands) and "," in e.unclear:
            whole = e.unclear.replace(",", "")
            doubts.add(
                KIND,
                f"{e.unclear!r} in {name!r} is {whole} or {e.unclear.replace(',', '.')}: name thousands: ',' or "
                "decimal: ',' in the mapping",
            )
        elif e.unclear and not decimal and "." in e.unclear:
            doubts.add(
                KIND,
                f"{e.unclear!r} in {name!r} is read as a fraction, but may be {e.unclear.replace('.', '')}: then name "
                "thousands: '.' and decimal: ',' in the mapping",
            )
    proposed = {"decimal": decimal, "thousands": thousands}
    return {field: mark for field, mark in proposed.items() if mark != getattr(mapping, field)}


def _comma(texts: pa.ChunkedArray) -> str:
    """Return the first number whose comma does not stand before exactly three digits."""
    decimal = pc.match_substring_regex(texts, r"^[+-]?(\d*,\d+|\d+,)([eE][+-]?\d+)?$")
    three = pc.match_substring_regex(texts, r"^[+-]?[1-9]\d{0,2},\d{3}$")
    found = texts.filter(pc.and_not(decimal, three))
    return str(found[0].as_py()) if len(found) else ""


def _first(texts: pa.ChunkedArray, pattern: str) -> str:
    found = texts.filter(pc.match_substring_regex(texts, pattern))
    return str(found[0].as_py()) if len(found) else ""


def _count(texts: pa.ChunkedArray, pattern: str) -> int:
    return int(pc.sum(pc.cast(pc.match_substring_regex(texts, pattern), pa.int64())).as_py() or 0)
