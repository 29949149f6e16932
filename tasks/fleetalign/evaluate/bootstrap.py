"""95 % intervals by resampling entities (contracts 6.3; Efron & Tibshirani 1993, ch. 13: percentile interval).

Entities, not samples or incidents, are the units: incidents of one entity resemble each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.manifest import rounded

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; None where undefined (nothing to count, or fewer than two entities)."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | None]:
        return {"value": rounded(self.value), "low": rounded(self.low), "high": rounded(self.high)}


def resample(entities: int, samples: int, seed: int) -> np.ndarray:
    """How often each entity is drawn, float64 [1 + samples, entity]; row 0 is the original: each once.

    The same arguments give the same draws, so differences of two figures are paired.
    """
    random = np.random.default_rng(seed)
    drawn = random.multinomial(entities, np.full(entities, 1.0 / entities), size=samples) if entities else None
    return np.concatenate([np.ones((1, entities)), np.empty((0, entities)) if drawn is None else drawn])


def estimate(values: np.ndarray, entities: int) -> Estimate:
    """The estimate whose ``values`` float64 [1 + samples] are a figure on the rows of ``resample``; NaN: undefined.

    With fewer than two entities there is a value and no interval.
    """
    if not np.isfinite(values[0]):
        return Estimate(None)
    known = values[1:][np.isfinite(values[1:])]
    if entities < 2 or len(known) == 0:
        return Estimate(float(values[0]))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values[0]), float(low), float(high))
