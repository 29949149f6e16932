"""Ranges that ``fleetalign tune`` searches; a detector declares one per setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Every number from ``low`` to ``high``; with ``log`` drawn evenly on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """One of ``values``."""

    values: tuple[int, ...]


Search = Span | Options
