"""Measures as functions of per-entity counts, on every row of a bootstrap at once.

Defined in contracts 6.1 and method G.2.

Shapes: e entities, b draws. ``side`` is the counts of one detector or control, ``draws`` float64 [b, e] how often each
entity was drawn; every measure returns float64 [b], NaN where it is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fleetalign.contracts.arrays import Floats
from fleetalign.evaluate.outcomes import EntityCounts

DAY_SECONDS = 86_400.0
Measure = Callable[[Sequence[EntityCounts], np.ndarray], np.ndarray]


def _column(side: Sequence[EntityCounts], name: str) -> np.ndarray:
    return np.array([getattr(counts, name) for counts in side], dtype=np.float64)


def _ratio(above: np.ndarray, below: np.ndarray) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
    return ratio


def _f1(true: np.ndarray, false: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Compute F1 of counts; NaN where there was nothing to find, because it would mean nothing."""
    return np.where(true + missed > 0, _ratio(2 * true, 2 * true + false + missed), np.nan)


def event_f1(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    """Compute the pooled event F1 of every draw."""
    return _f1(*(draws @ _column(side, name) for name in ("hits", "false_pages", "missed")))


def _event_f1_mean(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    own = _f1(*(_column(side, name) for name in ("hits", "false_pages", "missed")))
    defined = np.isfinite(own)
    return _ratio(draws[:, defined] @ own[defined], draws[:, defined].sum(axis=1))


def _event_precision(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    hits, false = draws @ _column(side, "hits"), draws @ _column(side, "false_pages")
    return _ratio(hits, hits + false)


def _event_recall(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    hits, missed = draws @ _column(side, "hits"), draws @ _column(side, "missed")
    return _ratio(hits, hits + missed)


def false_pages_per_entity_day(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    """Compute the false pages per labelled entity-day of every draw."""
    return _ratio(draws @ _column(side, "false_pages"), draws @ _column(side, "judged_seconds") / DAY_SECONDS)


def _median_delay(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    """Compute the weighted lower median of the delays of hit incidents."""
    delays = np.array([delay for counts in side for delay in counts.delays_seconds])
    owners = np.repeat(np.arange(len(side)), [len(counts.delays_seconds) for counts in side])
    if len(delays) == 0:
        return np.full(len(draws), np.nan)
    order = np.argsort(delays, kind="stable")
    found = np.empty(len(draws))
    for row, draw in enumerate(draws):
        weight = np.cumsum(draw[owners[order]])
        found[row] = delays[order][np.searchsorted(weight, weight[-1] / 2)] if weight[-1] > 0 else np.nan
    return found


def _points_f1(field: str) -> Measure:
    def measure(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
        points = [getattr(counts, field) for counts in side]
        if any(point is None for point in points):
            return np.full(len(draws), np.nan)
        return _f1(*(draws @ np.array([getattr(p, n) for p in points]) for n in ("true", "false", "missed")))

    return measure


point_adjusted_f1 = _points_f1("adjusted")


def _total(field: str) -> Measure:
    return lambda side, draws: draws @ _column(side, field)


MEASURES: tuple[tuple[str, str, Measure], ...] = (
    ("event_f1", "", event_f1),
    ("event_f1_mean_over_entities", "", _event_f1_mean),
    ("event_precision", "", _event_precision),
    ("event_recall", "", _event_recall),
    ("false_pages_per_entity_day", "1/d", false_pages_per_entity_day),
    ("median_delay_seconds", "s", _median_delay),
    ("point_f1", "", _points_f1("points")),
    ("point_adjusted_f1", "", point_adjusted_f1),
    ("hits", "incidents", _total("hits")),
    ("missed", "incidents", _total("missed")),
    ("false_pages", "pages", _total("false_pages")),
)
