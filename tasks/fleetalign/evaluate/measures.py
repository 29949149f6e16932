"""Every measure of one entity's scores or alarms against its labels, in one place.

Defined in contracts 6.1.

Shapes: t time steps, G incidents. ``scores`` float [t], higher is more anomalous, NaN where there is no score;
``alarms`` bool [t]; ``labels`` int8 [t]: 1 anomaly, 0 normal, -1 unlabelled. No measure judges unlabelled samples; each
module documents how. Counts add up over entities; the caller computes rates from sums (pooled) or averages them (mean
over entities). ``docs/measures.md`` discusses each measure.
"""

from __future__ import annotations

from fleetalign.evaluate.affiliation import affiliation
from fleetalign.evaluate.events import (
    EventCounts,
    detection_delays,
    event_counts,
    false_pages_per_entity_day,
    pages,
    touches,
)
from fleetalign.evaluate.nab import NAB_PROFILES, NabProfile, NabScore, nab_score
from fleetalign.evaluate.points import (
    PointCounts,
    PrecisionRecall,
    composite,
    delay_limited_counts,
    f_beta,
    pa_k_counts,
    point_adjusted_counts,
    point_counts,
)
from fleetalign.evaluate.ranges import range_precision_recall
from fleetalign.evaluate.ranking import average_precision, range_aucs, range_pr_auc, range_roc_auc, vus_pr, vus_roc
from fleetalign.evaluate.sweeps import (
    Best,
    best_composite_f1,
    best_delay_limited_f1,
    best_event_f1,
    best_pa_k_f1,
    best_point_adjusted_f1,
    best_point_f1,
    pa_k_area,
    pa_k_curve,
)

__all__ = [
    "NAB_PROFILES",
    "Best",
    "EventCounts",
    "NabProfile",
    "NabScore",
    "PointCounts",
    "PrecisionRecall",
    "affiliation",
    "average_precision",
    "best_composite_f1",
    "best_delay_limited_f1",
    "best_event_f1",
    "best_pa_k_f1",
    "best_point_adjusted_f1",
    "best_point_f1",
    "composite",
    "delay_limited_counts",
    "detection_delays",
    "event_counts",
    "f_beta",
    "false_pages_per_entity_day",
    "nab_score",
    "pa_k_area",
    "pa_k_counts",
    "pa_k_curve",
    "pages",
    "point_adjusted_counts",
    "point_counts",
    "range_aucs",
    "range_pr_auc",
    "range_precision_recall",
    "range_roc_auc",
    "touches",
    "vus_pr",
    "vus_roc",
]
