"""Outcomes of one entity's alarms, as counts that add up over entities (contracts 6.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals
from fleetalign.evaluate.measures import PointCounts, event_counts, point_adjusted_counts, point_counts


@dataclass(frozen=True, slots=True)
class Points:
    """Counts of samples; means over seeds are fractions."""

    true: float
    """Alarms inside incidents."""
    false: float
    """Alarms outside incidents."""
    missed: float
    """Samples inside incidents without an alarm."""


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """Counts of one entity; a control's are means over its seeds, so they may be fractions."""

    kind: str
    entity_id: str
    hits: float
    """Incidents with a page."""
    missed: float
    """Incidents without a page."""
    false_pages: float
    """Pages without an incident."""
    judged_seconds: float
    """Labelled time that was judged."""
    delays_seconds: tuple[float, ...] = ()
    """Delay of each hit incident, for every seed."""
    points: Points | None = None
    """Point-wise counts; None where only events were counted (leave-one-incident-out)."""
    adjusted: Points | None = None
    """Point-adjusted counts; None where only events were counted."""

    @property
    def incidents(self) -> float:
        """Number of incidents."""
        return self.hits + self.missed


def count(
    kind: str,
    entity_id: str,
    alarms: np.ndarray,
    labels: np.ndarray,
    judged: np.ndarray,
    step_seconds: int,
    merge_steps: int,
) -> EntityCounts:
    """Count ``alarms`` bool [t] against ``labels`` int8 [t] in labelled ``judged`` time.

    An incident counts when it lies wholly inside judged time: one that straddles a cut belongs to neither side
    (contracts 1.4), and a page that touches it is not false either.
    """
    judged = judged & (labels != UNLABELLED)
    anomalous = intervals(labels == ANOMALY)
    inside = np.array([bool(judged[start:end].all()) for start, end in anomalous], dtype=bool)
    found = event_counts(alarms, anomalous[inside], merge_steps)
    false_pages = event_counts(alarms, anomalous, merge_steps, judged).false_pages
    judged_labels = np.where(judged, labels, UNLABELLED)
    return EntityCounts(
        kind,
        entity_id,
        found.hits,
        found.missed,
        false_pages,
        float(judged.sum()) * step_seconds,
        tuple(float(steps) * step_seconds for steps in found.delays_steps),
        _points(point_counts(alarms, judged_labels)),
        _points(point_adjusted_counts(alarms, judged_labels)),
    )


def mean(runs: Sequence[EntityCounts]) -> EntityCounts:
    """Average the counts of one entity over several seeds of a control.

    Delays of all seeds are kept.
    """
    first = runs[0]
    return EntityCounts(
        first.kind,
        first.entity_id,
        float(np.mean([run.hits for run in runs])),
        float(np.mean([run.missed for run in runs])),
        float(np.mean([run.false_pages for run in runs])),
        first.judged_seconds,
        tuple(delay for run in runs for delay in run.delays_seconds),
        _mean_points([run.points for run in runs]),
        _mean_points([run.adjusted for run in runs]),
    )


def _points(counts: PointCounts) -> Points:
    return Points(counts.true, counts.false, counts.missed)


def _mean_points(runs: Sequence[Points | None]) -> Points | None:
    counted = [run for run in runs if run is not None]
    if len(counted) != len(runs):
        return None
    return Points(*(float(np.mean([getattr(run, name) for run in counted])) for name in ("true", "false", "missed")))
