"""Event counts at every threshold of a grid in one pass over the samples.

Thresholds fall as the tail probability p grows, so alarms are nested: each sample has a *level*, the first grid index
at which it alarms. Whatever happens to a page (it starts, touches an incident, reaches labelled time) then also
happens from some level on, and counts at all grid points are one histogram. O(t) per entity instead of O(t x grid).

Shapes: t samples, P grid points, G incidents. A page is a maximal run of alarms, runs with fewer than ``merge_steps``
quiet samples between them merged (contracts 6.1).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np


def levels(margins: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """First index of ``quantiles`` float32 [P] (not ascending) that each of ``margins`` [t] exceeds; P for never.

    NaN says nothing and never alarms.
    """
    never = len(quantiles)
    found = never - np.searchsorted(quantiles[::-1], margins, side="left")
    return np.where(np.isnan(margins), never, found).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Sweep:
    """At every grid point: ``hits`` bool [P, G]; ``pages``, ``false_pages``, ``false_judged`` int64 [P]: pages in all,
    pages that touch no incident, and those of them that touch labelled time."""

    hits: np.ndarray
    pages: np.ndarray
    false_pages: np.ndarray
    false_judged: np.ndarray


def sweep(level: np.ndarray, count: int, incidents: np.ndarray, judged: np.ndarray, merge_steps: int) -> Sweep:
    """Counts at ``count`` grid points of samples with ``level`` int64 [t].

    ``incidents`` and ``judged`` int64 [n, 2] are sorted, disjoint half-open intervals.
    """
    # A page begins at a sample when nothing alarmed within merge_steps before it.
    quiet_before = _minimum_before(level, merge_steps, count)
    reaches_incident = _reach(level, incidents, merge_steps, count)
    reaches_judged = np.minimum(_reach(level, judged, merge_steps, count), count)
    inside = _cover(incidents, len(level))
    reaches_judged[_cover(judged, len(level))] = 0
    ends = np.minimum(quiet_before, np.where(inside, 0, reaches_incident))
    return Sweep(
        _hits(level, incidents, merge_steps, count),
        _between(level, quiet_before, count),
        _between(level, ends, count),
        _between(np.maximum(level, reaches_judged), ends, count),
    )


def _between(first: np.ndarray, stop: np.ndarray, count: int) -> np.ndarray:
    """How many samples count at each grid point k: those with ``first <= k < stop``."""
    counted = first < stop
    up = np.bincount(first[counted], minlength=count + 1)[: count + 1]
    down = np.bincount(stop[counted], minlength=count + 1)[: count + 1]
    return np.cumsum(up - down)[:count]


def _minimum_before(level: np.ndarray, steps: int, never: int) -> np.ndarray:
    """Minimum of ``level`` over the ``steps`` samples before each sample; ``never`` where there is none."""
    return _sliding_minimum(np.concatenate([np.full(steps, never, dtype=level.dtype), level[:-1]]), steps)


def _minimum_from(level: np.ndarray, steps: int, never: int) -> np.ndarray:
    """Minimum of ``level`` over each sample and the ``steps - 1`` after it."""
    return _sliding_minimum(np.concatenate([level, np.full(steps - 1, never, dtype=level.dtype)]), steps)


def _sliding_minimum(values: np.ndarray, steps: int) -> np.ndarray:
    stop = len(values) - steps + 1
    return functools.reduce(np.minimum, (values[ahead : ahead + stop] for ahead in range(steps)))


def _reach(level: np.ndarray, intervals: np.ndarray, merge_steps: int, never: int) -> np.ndarray:
    """Level from which a page that holds a sample reaches the next interval's first sample or beyond.

    It does when every window of ``merge_steps`` samples from the next sample up to one that starts at the interval
    has an alarm: the running maximum, from the interval backwards, of those windows' levels. ``never`` after the last.
    """
    found = np.full(len(level), never, dtype=np.int64)
    filled = _minimum_from(level, merge_steps, never)
    previous = 0
    for start, _ in intervals:
        if start > previous:
            chain = np.maximum.accumulate(filled[previous + 1 : start + 1][::-1])[::-1]
            found[previous:start] = chain
        previous = start
    return found


def _cover(intervals: np.ndarray, length: int) -> np.ndarray:
    """Samples that lie in one of ``intervals``: bool [length]."""
    edges = np.zeros(length + 1, dtype=np.int64)
    np.add.at(edges, intervals[:, 0], 1)
    np.add.at(edges, np.minimum(intervals[:, 1], length), -1)
    return np.cumsum(edges[:-1]) > 0


def _hits(level: np.ndarray, incidents: np.ndarray, merge_steps: int, count: int) -> np.ndarray:
    """Whether a page touches each incident at each grid point: bool [P, G]."""
    first = np.full(len(incidents), count, dtype=np.int64)
    for g, (start, end) in enumerate(incidents):
        first[g] = level[start:end].min()
        # A short incident may lie in the gap of a merged page.
        for before in range(max(start - merge_steps, 0), start):
            after = level[end : before + merge_steps + 1]
            if len(after):
                first[g] = min(first[g], max(level[before], after.min()))
    return np.arange(count)[:, None] >= first
