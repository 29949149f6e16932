"""Point-wise counts and their adjusted kin: point-adjusted, PA%K, delay-limited, composite.

Shapes: t time steps. ``alarms`` bool [t]; ``labels`` int8 [t]: 1 anomaly, 0 normal, -1 unlabelled. Unlabelled samples
are in no count, and they part time: anomalies on both sides of one are two segments. Each measure is unchanged when
unlabelled time is inserted beside unlabelled time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals


def f_beta(true: float, false: float, missed: float, beta: float = 1.0) -> float:
    """F-beta of counts; 1 when there was nothing to find and nothing was raised."""
    weight = beta * beta
    denominator = (1 + weight) * true + weight * missed + false
    return 1.0 if denominator == 0 else (1 + weight) * true / denominator


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


def needed_alarms(lengths: np.ndarray, percent: float) -> np.ndarray:
    """Fewest alarms that are more than ``percent`` of each length, int64: length + 1 (never) at 100 %."""
    return np.floor(lengths * percent / 100).astype(np.int64) + 1


def pa_k_counts(alarms: np.ndarray, labels: np.ndarray, percent: float) -> PointCounts:
    """PA%K counts (Kim et al., AAAI 2022): a segment is credited whole when more than ``percent`` of it is alarmed.

    Otherwise its samples count as they are: 0 is point-adjusted, 100 point-wise.
    Raises ValueError when ``percent`` is outside 0..100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"K is a percentage, not {percent}")
    adjusted = alarms.copy()
    segments = intervals(labels == ANOMALY)
    for (start, end), needed in zip(segments, needed_alarms(segments[:, 1] - segments[:, 0], percent), strict=True):
        adjusted[start:end] |= int(alarms[start:end].sum()) >= needed
    return point_counts(adjusted, labels)


def delay_limited_counts(alarms: np.ndarray, labels: np.ndarray, delay_steps: int) -> PointCounts:
    """k-delay counts (Ren et al., KDD 2019): a segment counts whole, found or missed, by its first samples alone.

    It is found when one of its first ``delay_steps`` + 1 samples is alarmed; later alarms inside it count for nothing.
    Raises ValueError when ``delay_steps`` < 0.
    """
    if delay_steps < 0:
        raise ValueError(f"a delay of {delay_steps} steps is not possible")
    adjusted = alarms.copy()
    for start, end in intervals(labels == ANOMALY):
        adjusted[start:end] = bool(alarms[start : min(end, start + delay_steps + 1)].any())
    return point_counts(adjusted, labels)


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision (NaN where nothing was raised) and recall (NaN where there was nothing to find)."""

    precision: float
    recall: float

    def f(self, beta: float = 1.0) -> float:
        """F-beta: NaN where there was nothing to find, 0 where nothing was raised."""
        if np.isnan(self.recall):
            return float("nan")
        weighted = beta * beta * self.precision + self.recall
        if np.isnan(self.precision) or weighted == 0:
            return 0.0
        return float((1 + beta * beta) * self.precision * self.recall / weighted)

    @property
    def f1(self) -> float:
        return self.f()


def composite(alarms: np.ndarray, labels: np.ndarray) -> PrecisionRecall:
    """Precision over samples and recall over segments; its F1 is Fc1 (Garg et al., TNNLS 2021)."""
    counts = point_counts(alarms, labels)
    raised = counts.true + counts.false
    segments = intervals(labels == ANOMALY)
    found = sum(bool(alarms[start:end].any()) for start, end in segments)
    return PrecisionRecall(
        counts.true / raised if raised else float("nan"), found / len(segments) if len(segments) else float("nan")
    )
