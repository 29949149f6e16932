"""Event counts at every threshold of a grid in one pass over the samples.

Thresholds fall as the tail probability p grows, so alarms are nested: each sample has a *level*, the first grid index
at which it alarms. Whatever happens to a page (it starts, touches an incident, reaches labelled time) then also
happens from some level on, and counts at all grid points are one histogram. O(t) per entity instead of O(t x grid).

Shapes: t samples, P grid points, G incidents, ``...`` rows (candidates) that are swept at once. A page is a maximal run of
alarms, runs with fewer than ``merge_steps`` quiet samples between them merged (contracts 6.1).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetalign.contracts.arrays import Bools, Floats32, Ints

LEVEL = np.int16
"""Type of levels: a grid has tens of points, and narrow numbers sweep four times as fast."""
Levels = npt.NDArray[np.int16]


def alarm_levels(margins: Floats32, quantiles: Floats32) -> Levels:
    """Return the first index of ``quantiles`` [P] that each of ``margins`` [t] exceeds.

    ``quantiles`` do not ascend; the index is P for never.

    NaN never alarms.
    """
    never = len(quantiles)
    found = never - np.searchsorted(quantiles[::-1], margins, side="left")
    return np.where(np.isnan(margins), never, found).astype(LEVEL)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Counts at every grid point."""

    hits: Bools
    """Whether a page touches the incident: [..., P, G]."""
    pages: Ints
    """Pages in all: [..., P]."""
    false_pages: Ints
    """Pages that touch no incident: [..., P]."""
    false_judged: Ints
    """Those of them that touch labelled time: [..., P]."""


def sweep(level: Levels, count: int, incidents: Ints, judged: Ints, merge_steps: int) -> Sweep:
    """Count pages at ``count`` grid points of samples with ``level`` [..., t].

    ``incidents`` and ``judged`` int64 [n, 2] are sorted, disjoint half-open intervals.
    """
    return Pages(level, count, merge_steps).against(incidents, judged)


class Pages:
    """The pages of samples with ``level`` [..., t] at ``count`` grid points."""

    def __init__(self, level: Levels, count: int, merge_steps: int) -> None:
        self._level, self._count, self._merge_steps = level, count, merge_steps
        # A page begins at a sample when nothing alarmed within merge_steps before it.
        self._quiet_before = _minimum_before(level, merge_steps, count)
        self._filled = _minimum_from(level, merge_steps, count)
        self.counts = _between(level, self._quiet_before, count)
        """How many pages there are at every grid point: int64 [..., P]."""

    def against(self, incidents: Ints, judged: Ints) -> Sweep:
        """Count pages against ``incidents`` and labelled time ``judged``.

        Both are sorted disjoint half-open intervals [n, 2].
        """
        level, count, found = self._level, self._count, self.counts
        if len(incidents) == 0 and len(judged) == 0:  # most of a fleet
            return Sweep(np.zeros((*found.shape, 0), dtype=bool), found, found, np.zeros_like(found))
        reaches_incident = _reach(self._filled, incidents, count)
        reaches_judged = _reach(self._filled, judged, count)
        inside = _cover(incidents, level.shape[-1])
        reaches_judged[..., _cover(judged, level.shape[-1])] = 0
        ends = np.where(inside, level.dtype.type(0), np.minimum(self._quiet_before, reaches_incident))
        return Sweep(
            _hits(level, incidents, self._merge_steps, count),
            found,
            _between(level, ends, count),
            _between(np.maximum(level, reaches_judged), ends, count),
        )


def _between(first: Levels, stop: Levels, count: int) -> Ints:
    """Count the samples of each row with ``first <= k < stop`` at each grid point k: [..., P]."""
    shape, size = first.shape[:-1], count + 1
    counted = np.flatnonzero((first < stop).ravel())
    row = counted // first.shape[-1] * size
    up, down = (
        np.bincount(row + found.ravel()[counted], minlength=int(np.prod(shape)) * size).reshape(*shape, size)
        for found in (first, stop)
    )
    return np.cumsum(up - down, axis=-1)[..., :count]


def _minimum_before(level: Levels, steps: int, never: int) -> Levels:
    """Return the minimum of ``level`` over the ``steps`` samples before each sample.

    ``never`` where there is none.
    """
    none = np.full((*level.shape[:-1], steps), never, dtype=level.dtype)
    return _sliding_minimum(np.concatenate([none, level[..., :-1]], axis=-1), steps)


def _minimum_from(level: Levels, steps: int, never: int) -> Levels:
    """Return the minimum of ``level`` over each sample and the ``steps - 1`` after it."""
    none = np.full((*level.shape[:-1], steps - 1), never, dtype=level.dtype)
    return _sliding_minimum(np.concatenate([level, none], axis=-1), steps)


def _sliding_minimum(values: Levels, steps: int) -> Levels:
    stop = values.shape[-1] - steps + 1
    return functools.reduce(np.minimum, (values[..., ahead : ahead + stop] for ahead in range(steps)))


def _reach(filled: Levels, intervals: Ints, never: int) -> Levels:
    """Return the level from which the page of a sample reaches the next interval.

    ``filled`` is the least level of each sample and the ``merge_steps - 1`` after it. The page reaches the interval when
    every window of ``merge_steps`` samples, from the next sample up to the one that starts at the interval, has an alarm:
    the running maximum, from the interval backwards, of those windows' levels. ``never`` after the last interval.
    """
    found = np.full(filled.shape, never, dtype=filled.dtype)
    previous = 0
    for start, _ in intervals:
        if start > previous:
            chain = np.maximum.accumulate(filled[..., previous + 1 : start + 1][..., ::-1], axis=-1)
            found[..., previous:start] = chain[..., ::-1]
        previous = start
    return found


def _cover(intervals: Ints, length: int) -> Bools:
    """Mark the samples that lie in one of ``intervals``: [length]."""
    edges = np.zeros(length + 1, dtype=np.int64)
    np.add.at(edges, intervals[:, 0], 1)
    np.add.at(edges, np.minimum(intervals[:, 1], length), -1)
    return np.cumsum(edges[:-1]) > 0


def _hits(level: Levels, incidents: Ints, merge_steps: int, count: int) -> Bools:
    """Say whether a page touches each incident at each grid point: [..., P, G]."""
    first = np.full((*level.shape[:-1], len(incidents)), count, dtype=np.int64)
    for g, (start, end) in enumerate(incidents):
        first[..., g] = level[..., start:end].min(axis=-1)
        # A short incident may lie in the gap of a merged page.
        for before in range(max(start - merge_steps, 0), start):
            after = level[..., end : before + merge_steps + 1]
            if after.shape[-1]:
                merged = np.maximum(level[..., before], after.min(axis=-1))
                first[..., g] = np.minimum(first[..., g], merged)
    return np.arange(count)[:, None] >= first[..., None, :]
