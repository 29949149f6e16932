"""Measures over one entity's alarms and labels (contracts 6.1).

Shapes: t time steps, G incidents. ``labels`` int8 [t]: 1 anomaly, 0 normal, -1 unlabelled. Counts add up over
entities; rates are computed from sums (pooled) or averaged (mean over entities) by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals
from fleetalign.evaluate.ranking import average_precision as average_precision
from fleetalign.evaluate.ranking import range_aucs as range_aucs
from fleetalign.evaluate.ranking import range_pr_auc as range_pr_auc
from fleetalign.evaluate.ranking import range_roc_auc as range_roc_auc
from fleetalign.evaluate.ranking import vus_pr as vus_pr
from fleetalign.evaluate.ranking import vus_roc as vus_roc


def pages(alarms: np.ndarray, merge_steps: int) -> np.ndarray:
    """Maximal runs of alarms as half-open index pairs int64 [page, 2]; runs closer than ``merge_steps`` merge.

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
    """Whether each half-open interval of ``left`` [n, 2] overlaps any of ``right`` [m, 2] (sorted, disjoint): bool [n]."""
    if len(right) == 0 or len(left) == 0:
        return np.zeros(len(left), dtype=bool)
    following = np.searchsorted(right[:, 1], left[:, 0], side="right")
    return (following < len(right)) & (right[np.minimum(following, len(right) - 1), 0] < left[:, 1])


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Incidents hit and missed, false pages, and the delay in steps of each hit incident."""

    hits: int
    missed: int
    false_pages: int
    delays_steps: tuple[int, ...] = field(default=())

    @property
    def f1(self) -> float:
        return f_beta(self.hits, self.false_pages, self.missed)


def f_beta(true: float, false: float, missed: float, beta: float = 1.0) -> float:
    """F-beta of counts; 1 when there was nothing to find and nothing was raised."""
    weight = beta * beta
    denominator = (1 + weight) * true + weight * missed + false
    return 1.0 if denominator == 0 else (1 + weight) * true / denominator


def event_counts(
    alarms: np.ndarray, incidents: np.ndarray, merge_steps: int, judged: np.ndarray | None = None
) -> EventCounts:
    """Event counts of ``alarms`` bool [t] against ``incidents`` int64 [G, 2].

    A page that touches an incident is a hit for it, also when it began before (delay 0); a page that touches none
    is false. With ``judged`` bool [t], a page that touches no judged time is neither.
    """
    raised = pages(alarms, merge_steps)
    hit = touches(incidents, raised)
    false = ~touches(raised, incidents)
    if judged is not None:
        false &= touches(raised, intervals(judged))
    which = np.searchsorted(raised[:, 1], incidents[hit, 0], side="right") if hit.any() else np.empty(0, dtype=int)
    delays = np.maximum(raised[which, 0] - incidents[hit, 0], 0)
    return EventCounts(int(hit.sum()), int((~hit).sum()), int(false.sum()), tuple(int(d) for d in delays))


@dataclass(frozen=True, slots=True)
class PointCounts:
    """Samples: alarmed inside incidents, alarmed outside, quiet inside."""

    true: int
    false: int
    missed: int

    @property
    def f1(self) -> float:
        return f_beta(self.true, self.false, self.missed)


def point_counts(alarms: np.ndarray, labels: np.ndarray) -> PointCounts:
    """Point-wise counts over labelled samples."""
    anomalous = labels == ANOMALY
    normal = ~anomalous & (labels != UNLABELLED)
    return PointCounts(int((alarms & anomalous).sum()), int((alarms & normal).sum()), int((~alarms & anomalous).sum()))


def point_adjusted_counts(alarms: np.ndarray, labels: np.ndarray) -> PointCounts:
    """Point-adjusted counts (Xu et al., WWW 2018): one alarm inside an incident credits all its samples.

    Random scores do well on it (Kim et al., AAAI 2022): never show it without its random control.
    """
    adjusted = alarms.copy()
    for start, end in intervals(labels == ANOMALY):
        adjusted[start:end] |= bool(alarms[start:end].any())
    return point_counts(adjusted, labels)
