"""Point-wise counts and their variants: point-adjusted, PA%K, delay-limited, composite.

Shapes: t time steps. ``alarms`` bool [t]; ``labels`` int8 [t]: 1 anomaly, 0 normal, -1 unlabelled. Unlabelled samples
are in no count, and they separate segments: anomalies on both sides of one are two segments. Inserting unlabelled time
next to unlabelled time changes no measure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals


def f_beta(true: float, false: float, missed: float, beta: float = 1.0) -> float:
    """Compute F-beta of counts; 1 if there was nothing to find and no alarm."""
    weight = beta * beta
    denominator = (1 + weight) * true + weight * missed + false
    return 1.0 if denominator == 0 else (1 + weight) * true / denominator


@dataclass(frozen=True, slots=True)
class PointCounts:
    """Counts of samples."""

    true: int
    """Alarms inside incidents."""
    false: int
    """Alarms outside incidents."""
    missed: int
    """Samples inside incidents without an alarm."""

    @property
    def f1(self) -> float:
        """Point-wise F1."""
        return f_beta(self.true, self.false, self.missed)


def point_counts(alarms: np.ndarray, labels: np.ndarray) -> PointCounts:
    """Count the labelled samples point by point."""
    anomalous = labels == ANOMALY
    normal = ~anomalous & (labels != UNLABELLED)
    return PointCounts(int((alarms & anomalous).sum()), int((alarms & normal).sum()), int((~alarms & anomalous).sum()))


def point_adjusted_counts(alarms: np.ndarray, labels: np.ndarray) -> PointCounts:
    """Count with point adjustment (Xu et al., WWW 2018).

    One alarm in an incident credits all its samples.

    Random scores do well on it (Kim et al., AAAI 2022): never show it without its random control.
    """
    adjusted = alarms.copy()
    for start, end in intervals(labels == ANOMALY):
        adjusted[start:end] |= bool(alarms[start:end].any())
    return point_counts(adjusted, labels)


def needed_alarms(lengths: np.ndarray, percent: float) -> np.ndarray:
    """Compute the fewest alarms above ``percent`` of each length, int64.

    At 100 % it is the length + 1, so never.
    """
    return np.floor(lengths * percent / 100).astype(np.int64) + 1


def pa_k_counts(alarms: np.ndarray, labels: np.ndarray, percent: float) -> PointCounts:
    """Count with PA%K (Kim et al., AAAI 2022).

    A segment is credited whole when more than ``percent`` of it is alarmed; otherwise its samples count as they are: 0 is
    point-adjusted, 100 point-wise.

    Raises:
        ValueError: ``percent`` is outside 0..100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"K is a percentage, not {percent}")
    adjusted = alarms.copy()
    segments = intervals(labels == ANOMALY)
    for (start, end), needed in zip(segments, needed_alarms(segments[:, 1] - segments[:, 0], percent), strict=True):
        adjusted[start:end] |= int(alarms[start:end].sum()) >= needed
    return point_counts(adjusted, labels)


def delay_limited_counts(alarms: np.ndarray, labels: np.ndarray, delay_steps: int) -> PointCounts:
    """Count with a limited delay (k-delay; Ren et al., KDD 2019).

    A whole segment is found if one of its first ``delay_steps`` + 1 samples is alarmed, and missed otherwise; later
    alarms inside it do not count.

    Raises:
        ValueError: ``delay_steps`` is negative.
    """
    if delay_steps < 0:
        raise ValueError(f"a delay of {delay_steps} steps is not possible")
    adjusted = alarms.copy()
    for start, end in intervals(labels == ANOMALY):
        adjusted[start:end] = bool(alarms[start : min(end, start + delay_steps + 1)].any())
    return point_counts(adjusted, labels)


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision and recall of one measure."""

    precision: float
    """NaN without an alarm."""
    recall: float
    """NaN where there was nothing to find."""

    def f(self, beta: float = 1.0) -> float:
        """Compute F-beta: NaN where there was nothing to find, 0 without an alarm."""
        if np.isnan(self.recall):
            return float("nan")
        weighted = beta * beta * self.precision + self.recall
        if np.isnan(self.precision) or weighted == 0:
            return 0.0
        return float((1 + beta * beta) * self.precision * self.recall / weighted)

    @property
    def f1(self) -> float:
        """F1."""
        return self.f()


def composite(alarms: np.ndarray, labels: np.ndarray) -> PrecisionRecall:
    """Compute precision over samples and recall over segments.

    Their F1 is Fc1 (Garg et al., TNNLS 2021).
    """
    counts = point_counts(alarms, labels)
    raised = counts.true + counts.false
    segments = intervals(labels == ANOMALY)
    found = sum(bool(alarms[start:end].any()) for start, end in segments)
    return PrecisionRecall(
        counts.true / raised if raised else float("nan"), found / len(segments) if len(segments) else float("nan")
    )
