"""Measures of how far a day has moved from the data of a release, with control days.

This module only computes; ``watch.drift`` decides what is read and when. Shapes: E entity, M metric.

The population stability index is left out on purpose: it detects weekends, not drift. Undrifted days of a simulated
fleet reach 1.5 against each other, and 0.25 is commonly taken as a shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fleetalign.config.run import DriftLimits
from fleetalign.contracts.arrays import Floats
from fleetalign.contracts.manifest import rounded
from fleetalign.evaluate.medians import median_over_entities

SCORE_QUANTILE = 0.95
"""High enough to be the tail that thresholds cut, low enough that one incident on one day does not move it."""
LEAST_SAMPLES_SHARE = 0.5
"""An entity with less of the day than this is not measured: half a day of a daily pattern looks like a shift."""
WORST = 5
"""Entities that a measure names."""
FLEET = "*"


@dataclass(frozen=True, slots=True)
class EntityDay:
    """One entity's day."""

    level: np.ndarray
    """float64 [M]: mean of the standardised, clipped values; NaN with too few samples."""
    spread: np.ndarray
    """float64 [M]: standard deviation of the standardised, clipped values; NaN with too few samples."""
    clipped: np.ndarray
    """int64 [M]: samples at the clip."""
    samples: np.ndarray
    """int64 [M]"""
    score: float
    """Natural logarithm of the score's quantile; NaN with too few scores."""


@dataclass(frozen=True, slots=True)
class KindDay:
    """The day of a whole kind; fields as in EntityDay, with a leading entity axis."""

    level: np.ndarray
    """float64 [E, M]"""
    spread: np.ndarray
    """float64 [E, M]"""
    clipped: np.ndarray
    """int64 [E, M]"""
    samples: np.ndarray
    """int64 [E, M]"""
    score: np.ndarray
    """float64 [E]"""

    @classmethod
    def of(cls, entities: Sequence[EntityDay]) -> KindDay:
        """Stack the days of at least one entity."""
        return cls(*(np.stack([getattr(entity, f.name) for entity in entities]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a kind, or of the fleet, with its limit."""

    kind: str
    name: str
    metric: str | None
    value: float | None
    limit: float
    drifted: bool
    """Whether the value is beyond the limit."""
    control: tuple[float | None, ...] = ()
    """The value on each control day; None where it has none."""
    worst: tuple[tuple[str, float | None], ...] = ()
    """The entities with the largest values, and those values."""

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the report's ``measures``."""
        return {
            "kind": self.kind,
            "name": self.name,
            "metric": self.metric,
            "value": rounded(self.value),
            "limit": rounded(self.limit),
            "drifted": self.drifted,
            "control": [rounded(v) for v in self.control],
            "worst": [{"entity_id": e, "value": rounded(v)} for e, v in self.worst],
        }


def entity_day(
    values: np.ndarray, location: np.ndarray, scale: np.ndarray, clip: float, score: np.ndarray
) -> EntityDay:
    """Summarise one entity's day.

    Args:
        values: Raw telemetry, float64 [t, M]; NaN = missing.
        location: float64 [M]; NaN where unknown.
        scale: float64 [M]; NaN where unknown.
        clip: Standardised values are clipped to plus or minus this.
        score: float32 [t]; NaN without a score.
    """
    seen = np.isfinite(values) & np.isfinite(location) & (scale > 0)
    with np.errstate(over="ignore"):
        z = np.clip(np.where(seen, values - location, 0.0) / np.where(scale > 0, scale, 1.0), -clip, clip)
    beyond = seen & (np.abs(z) >= clip)
    samples = seen.sum(axis=0)
    enough = samples >= max(LEAST_SAMPLES_SHARE * len(values), 1)
    level = np.where(enough, z.sum(axis=0) / np.maximum(samples, 1), np.nan)
    variance = (np.where(seen, z - level, 0.0) ** 2).sum(axis=0) / np.maximum(samples, 1)
    scored = score[np.isfinite(score)]
    sufficient = len(scored) >= max(LEAST_SAMPLES_SHARE * len(values), 1)
    height = float(np.quantile(scored, SCORE_QUANTILE)) if sufficient else 0.0
    spread = np.where(enough, np.sqrt(variance), np.nan)
    return EntityDay(level, spread, beyond.sum(axis=0), samples, np.log(height) if height > 0 else np.nan)


def measures(
    kind: str,
    metrics: Sequence[str],
    entity_ids: Sequence[str],
    day: KindDay,
    control: Sequence[KindDay],
    limits: DriftLimits,
) -> list[Measure]:
    """Compute every measure of a kind.

    ``day`` and all of ``control`` are about ``entity_ids``, in this order.
    """
    days = [day, *control]
    shifted = np.array([_shifted_share(d, limits.shift_scales) for d in days])
    spread = np.array([median_over_entities(d.spread) for d in days])
    clipped = np.array([d.clipped.sum(axis=0) / np.maximum(d.samples.sum(axis=0), 1) for d in days])
    usual = np.nan_to_num(clipped[1:].mean(axis=0)) if control else np.zeros(len(metrics))
    found = []
    for m, metric in enumerate(metrics):
        level = np.abs(day.level[:, m])
        share = day.clipped[:, m] / np.maximum(day.samples[:, m], 1)
        alone = np.count_nonzero(level > limits.shift_scales) < min(2, np.isfinite(level).sum())
        candidates = (
            ("shifted_share", shifted[:, m], limits.max_shifted_share, level, alone),
            ("spread_ratio", spread[:, m], limits.max_spread_ratio, day.spread[:, m], False),
            ("clipped_share", clipped[:, m], usual[m] + limits.max_clipped_rise, share, False),
        )
        for name, values, limit, each, excused in candidates:
            # A single entity of several is an anomaly, which scores detect.
            drifted = bool(values[0] > limit) and not excused
            found.append(_measure(kind, name, metric, values, limit, drifted, largest(entity_ids, each)))
    return [*found, _score_ratio(kind, entity_ids, days, limits)]


def share(kind: str, name: str, some: Sequence[str], among: int, limit: float) -> Measure:
    """Measure the share that ``some`` (sorted) are of ``among`` entities.

    It names them without a value.
    """
    value = len(some) / among if among else None
    drifted = value is not None and value > limit
    return Measure(kind, name, None, value, limit, drifted, worst=tuple((e, None) for e in some[:WORST]))


def largest(entity_ids: Sequence[str], values: np.ndarray) -> tuple[tuple[str, float | None], ...]:
    """Return the entities with the largest ``values`` float64 [E], without those that have none."""
    ranked = [(-value, entity) for entity, value in zip(entity_ids, values.tolist(), strict=True) if value == value]
    return tuple((entity, -value) for value, entity in sorted(ranked)[:WORST])


def limit_share(measure: Mapping[str, Any], value: float) -> float:
    """Return ``value`` as a share of the measure's limit; a ratio below 1 counts as its inverse."""
    if measure["name"] == "score_ratio":
        value = max(value, 1 / value)
    return float(value / measure["limit"]) if measure["limit"] else float(value > 0) * 2


def _score_ratio(kind: str, entity_ids: Sequence[str], days: Sequence[KindDay], limits: DriftLimits) -> Measure:
    """Measure the ratio of scores to those of the control days for the median entity."""
    control = days[1:]
    # A control day is compared with the others only: including itself would bias the ratio towards 1.
    others = [control, *([c for c in control if c is not one] for one in control)]
    moved = np.array([_moved(d, rest) for d, rest in zip(days, others, strict=True)])
    ratios = np.exp([median_over_entities(m[:, None])[0] for m in moved])
    limit = limits.max_score_ratio
    drifted = bool(ratios[0] > limit or ratios[0] < 1 / limit)
    worst = largest(entity_ids, np.exp(np.abs(moved[0])))
    return _measure(kind, "score_ratio", None, ratios, limit, drifted, worst)


def _measure(
    kind: str,
    name: str,
    metric: str | None,
    values: np.ndarray,
    limit: float,
    drifted: bool,
    worst: tuple[tuple[str, float | None], ...],
) -> Measure:
    """Make a measure from ``values`` float64 [1 + control days], the checked day first."""
    day, *control = (float(v) if np.isfinite(v) else None for v in values)
    return Measure(kind, name, metric, day, float(limit), drifted, tuple(control), worst)


def _shifted_share(day: KindDay, scales: float) -> np.ndarray:
    """Compute the share of entities more than ``scales`` from their location, float64 [M]."""
    measured = np.isfinite(day.level)
    far = np.abs(np.where(measured, day.level, 0.0)) > scales
    shares: Floats = np.full(far.shape[1], np.nan)
    np.divide(far.sum(axis=0), measured.sum(axis=0), out=shares, where=measured.any(axis=0))
    return shares


def _moved(day: KindDay, rest: Sequence[KindDay]) -> Floats:
    """Compute each entity's log score quantile minus its mean over ``rest``, float64 [E]."""
    if not rest:
        return np.full(len(day.score), np.nan)
    difference: Floats = day.score - np.mean([d.score for d in rest], axis=0)
    return difference
