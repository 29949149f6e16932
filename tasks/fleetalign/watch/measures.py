"""How far one day of a kind has moved from what a release was built on, beside how far undrifted days move.

Arithmetic only: what is read, and when, is in ``release.drift``. Shapes: E entity, M metric.

The population stability index is left out on purpose: it tells a weekend, not drift. Undrifted days of a simulated fleet
reach 1.5 against each other, where 0.25 is said to mean a shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fleetalign.config.run import DriftConfig
from fleetalign.evaluate.bootstrap import rounded
from fleetalign.model.normalizer import fleet_median

SCORE_QUANTILE = 0.95
"""High enough to be the tail that thresholds cut, low enough that one incident on one day does not move it."""
LEAST_SAMPLES_SHARE = 0.5
"""An entity with less of the day than this is not measured: half a day of a daily pattern looks like a shift."""
WORST = 5
"""Entities that a measure names."""
FLEET = "*"


@dataclass(frozen=True, slots=True)
class EntityDay:
    """One entity's day. ``level``, ``spread`` float64 [M]: mean and standard deviation of the standardised, clipped
    values; ``clipped``, ``samples`` int64 [M]; ``score`` the natural logarithm of the score's quantile. NaN: too few samples."""

    level: np.ndarray
    spread: np.ndarray
    clipped: np.ndarray
    samples: np.ndarray
    score: float


@dataclass(frozen=True, slots=True)
class KindDay:
    """The same of a whole kind: ``level``, ``spread`` float64 [E, M]; ``clipped``, ``samples`` int64 [E, M];
    ``score`` float64 [E]."""

    level: np.ndarray
    spread: np.ndarray
    clipped: np.ndarray
    samples: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, entities: Sequence[EntityDay]) -> KindDay:
        """``entities`` is not empty."""
        return cls(*(np.stack([getattr(entity, f.name) for entity in entities]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Measure:
    """One number beside its limit. ``control``: the same number of each control day, None where it has none.

    ``worst``: entities that stand for it and their own value, largest first. ``drifted``: the limit is passed.
    """

    kind: str
    name: str
    metric: str | None
    value: float | None
    limit: float
    drifted: bool
    control: tuple[float | None, ...] = ()
    worst: tuple[tuple[str, float | None], ...] = ()

    def as_json(self) -> dict[str, Any]:
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
    """``values`` float64 [t, M] raw, ``location``, ``scale`` float64 [M] (NaN: nobody knows the metric), ``score`` float32
    [t]; NaN where there is none."""
    seen = np.isfinite(values) & np.isfinite(location) & (scale > 0)
    with np.errstate(over="ignore"):
        z = np.clip(np.where(seen, values - location, 0.0) / np.where(scale > 0, scale, 1.0), -clip, clip)
    beyond = seen & (np.abs(z) >= clip)
    samples = seen.sum(axis=0)
    enough = samples >= max(LEAST_SAMPLES_SHARE * len(values), 1)
    level = np.where(enough, z.sum(axis=0) / np.maximum(samples, 1), np.nan)
    variance = (np.where(seen, z - level, 0.0) ** 2).sum(axis=0) / np.maximum(samples, 1)
    scored = score[np.isfinite(score)]
    known = len(scored) >= max(LEAST_SAMPLES_SHARE * len(values), 1)
    height = float(np.quantile(scored, SCORE_QUANTILE)) if known else 0.0
    spread = np.where(enough, np.sqrt(variance), np.nan)
    return EntityDay(level, spread, beyond.sum(axis=0), samples, np.log(height) if height > 0 else np.nan)


def measures(
    kind: str,
    metrics: Sequence[str],
    entity_ids: Sequence[str],
    day: KindDay,
    control: Sequence[KindDay],
    limits: DriftConfig,
) -> list[Measure]:
    """Every measure of a kind. ``day`` and all of ``control`` are about ``entity_ids``, in this order."""
    days = [day, *control]
    shifted = np.array([_shifted_share(d, limits.shift_scales) for d in days])
    spread = np.array([fleet_median(d.spread) for d in days])
    clipped = np.array([d.clipped.sum(axis=0) / np.maximum(d.samples.sum(axis=0), 1) for d in days])
    usual = np.nan_to_num(clipped[1:].mean(axis=0)) if control else np.zeros(len(metrics))
    found = []
    for m, metric in enumerate(metrics):
        level = np.abs(day.level[:, m])
        share = day.clipped[:, m] / np.maximum(day.samples[:, m], 1)
        alone = np.count_nonzero(level > limits.shift_scales) < min(2, np.isfinite(level).sum())
        rows = (
            ("shifted_share", shifted[:, m], limits.max_shifted_share, level, alone),
            ("spread_ratio", spread[:, m], limits.max_spread_ratio, day.spread[:, m], False),
            ("clipped_share", clipped[:, m], usual[m] + limits.max_clipped_rise, share, False),
        )
        for name, values, limit, each, excused in rows:
            # One entity of several is an anomaly, which is what scores are for.
            drifted = bool(values[0] > limit) and not excused
            found.append(_measure(kind, name, metric, values, limit, drifted, largest(entity_ids, each)))
    return [*found, _score_ratio(kind, entity_ids, days, limits)]


def share(kind: str, name: str, some: Sequence[str], among: int, limit: float) -> Measure:
    """The share of ``among`` entities that are in ``some`` (sorted), which it names without a value."""
    value = len(some) / among if among else None
    drifted = value is not None and value > limit
    return Measure(kind, name, None, value, limit, drifted, worst=tuple((e, None) for e in some[:WORST]))


def largest(entity_ids: Sequence[str], values: np.ndarray) -> tuple[tuple[str, float | None], ...]:
    """The entities with the largest ``values`` float64 [E], those without one left out."""
    known = [(-value, entity) for entity, value in zip(entity_ids, values.tolist(), strict=True) if value == value]
    return tuple((entity, -value) for value, entity in sorted(known)[:WORST])


def limit_share(measure: Mapping[str, Any], value: float) -> float:
    """``value`` as a share of the measure's limit; a ratio below 1 counts as far as its inverse."""
    if measure["name"] == "score_ratio":
        value = max(value, 1 / value)
    return value / measure["limit"] if measure["limit"] else float(value > 0) * 2


def _score_ratio(kind: str, entity_ids: Sequence[str], days: Sequence[KindDay], limits: DriftConfig) -> Measure:
    """How many times as high scores run as on the control days: the median entity, up or down."""
    control = days[1:]
    # A control day is compared with the others: its own share among them would flatter it.
    others = [control, *([c for c in control if c is not one] for one in control)]
    moved = np.array([_moved(d, rest) for d, rest in zip(days, others, strict=True)])
    ratios = np.exp([fleet_median(m[:, None])[0] for m in moved])
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
    """``values`` float64 [1 + control days], the checked day first."""
    day, *control = (float(v) if np.isfinite(v) else None for v in values)
    return Measure(kind, name, metric, day, float(limit), drifted, tuple(control), worst)


def _shifted_share(day: KindDay, scales: float) -> np.ndarray:
    """Of the entities with a level, those that lie more than ``scales`` from their location: float64 [M]."""
    known = np.isfinite(day.level)
    far = np.abs(np.where(known, day.level, 0.0)) > scales
    return np.divide(far.sum(axis=0), known.sum(axis=0), out=np.full(far.shape[1], np.nan), where=known.any(axis=0))


def _moved(day: KindDay, rest: Sequence[KindDay]) -> np.ndarray:
    """Each entity's log score quantile minus its mean over ``rest``: float64 [E]."""
    if not rest:
        return np.full(len(day.score), np.nan)
    return day.score - np.mean([d.score for d in rest], axis=0)
