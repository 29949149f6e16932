"""Markdown tables of figures: a column is its header and what it shows of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Write a Markdown table with one line per row."""
    lines = [[header for header, _ in columns], ["---"] * len(columns)]
    lines += [[show(row) for _, show in columns] for row in rows]
    return "\n".join("| " + " | ".join(cells).replace("|z|", "\\|z\\|") + " |" for cells in lines)


def text(header: str, key: str) -> Column:
    """Make a column of the values of ``key``."""
    return header, lambda row: str(row[key])


def figure(header: str, key: str, inside: str | None = None, factor: float = 1.0) -> Column:
    """Make a column of a measure: mean and, over several seeds, range."""
    return header, lambda row: over((row[inside] if inside else row)[key], factor)


def change(header: str, key: str, inside: str | None = None, which: str = "difference") -> Column:
    """Make a column of a measure's difference, with its interval."""
    return header, lambda row: difference((row[inside] if inside else row)[key].get(which))


def over(found: Row, factor: float = 1.0) -> str:
    """Mean and, over several seeds, range."""
    if found["value"] is None:
        return "n/a"
    value, low, high = (factor * found[key] for key in ("value", "low", "high"))
    return number(value) if low == high else f"{number(value)} ({number(low)}–{number(high)})"


def difference(apart: Row | None) -> str:
    """Write a difference and its interval in square brackets."""
    if apart is None or apart["value"] is None:
        return "–"
    shown = signed(apart["value"])
    return shown if apart["low"] is None else f"{shown} [{signed(apart['low'])}, {signed(apart['high'])}]"


def number(value: float | None) -> str:
    """Three digits or so."""
    if value is None:
        return "n/a"
    size = abs(value)
    if size == 0 or size >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if size >= 1 else f"{value:.3f}" if size >= 0.01 else f"{value:.2g}"


def signed(value: float) -> str:
    return f"{value:+.3f}" if abs(value) < 1 else f"{value:+.3g}"
