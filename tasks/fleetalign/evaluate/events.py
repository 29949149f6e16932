"""Events: incidents hit or missed, pages true or false, and how late a page came.

Defined in contracts 6.1.

Shapes: t time steps, G incidents. A page is a maximal run of alarms, runs closer than ``merge_steps`` are one. Events
live on the clock: alarms in unlabelled time belong to pages as any other, and a page is false only when it touches
labelled time and no incident.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fleetalign.contracts.arrays import Bools
from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.points import f_beta

DAY_SECONDS = 86_400.0


def pages(alarms: np.ndarray, merge_steps: int) -> np.ndarray:
    """Find the pages: maximal runs of alarms as half-open index pairs, int64 [page, 2].

    Two runs with fewer than ``merge_steps`` quiet samples between them are one page.
    """
    runs = intervals(alarms)
    if len(runs) < 2:
        return runs
    apart = runs[1:, 0] - runs[:-1, 1] >= merge_steps
    starts = runs[np.concatenate(([True], apart)), 0]
    ends = runs[np.concatenate((apart, [True])), 1]
    return np.stack([starts, ends], axis=1)


def touches(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return whether each interval of ``left`` [n, 2] overlaps any of ``right`` [m, 2].

    The intervals of ``right`` are sorted and disjoint.
    """
    if len(right) == 0 or len(left) == 0:
        return np.zeros(len(left), dtype=bool)
    following = np.searchsorted(right[:, 1], left[:, 0], side="right")
    found: Bools = (following < len(right)) & (right[np.minimum(following, len(right) - 1), 0] < left[:, 1])
    return found


@dataclass(frozen=True, slots=True)
class EventCounts:
    """The events of one entity."""

    hits: int
    """Incidents with a page."""
    missed: int
    """Incidents without a page."""
    false_pages: int
    """Pages without an incident."""
    delays_steps: tuple[int, ...] = field(default=())
    """Delay of each hit incident."""

    @property
    def f1(self) -> float:
        """Event F1."""
        return f_beta(self.hits, self.false_pages, self.missed)


def event_counts(
    alarms: np.ndarray, incidents: np.ndarray, merge_steps: int, judged: np.ndarray | None = None
) -> EventCounts:
    """Count the events of ``alarms`` bool [t] against ``incidents`` int64 [G, 2].

    A page that touches an incident is a hit for it, also when it began before (delay 0); a page that touches none
    is false. With ``judged`` bool [t], a page that touches no judged time is neither.
    """
    raised = pages(alarms, merge_steps)
    delays = _delays(raised, incidents)
    false = ~touches(raised, incidents)
    if judged is not None:
        false &= touches(raised, intervals(judged))
    hit = ~np.isnan(delays)
    return EventCounts(int(hit.sum()), int((~hit).sum()), int(false.sum()), tuple(int(d) for d in delays[hit]))


def detection_delays(alarms: np.ndarray, incidents: np.ndarray, merge_steps: int) -> np.ndarray:
    """Count the steps from each incident's start to its first page, float64 [G].

    It is 0 if a page began before, and NaN if the incident is missed.
    """
    return _delays(pages(alarms, merge_steps), incidents)


def false_pages_per_entity_day(false_pages: float, judged_steps: float, step_seconds: float) -> float:
    """Compute false pages per day of labelled time; NaN without any.

    Both counts may be sums over entities.
    """
    return false_pages * DAY_SECONDS / (judged_steps * step_seconds) if judged_steps > 0 else float("nan")


def _delays(raised: np.ndarray, incidents: np.ndarray) -> np.ndarray:
    delays = np.full(len(incidents), np.nan)
    hit = touches(incidents, raised)
    if hit.any():
        first = np.searchsorted(raised[:, 1], incidents[hit, 0], side="right")
        delays[hit] = np.maximum(raised[first, 0] - incidents[hit, 0], 0)
    return delays
