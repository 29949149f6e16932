"""95 % intervals by resampling entities.

These are percentile intervals (contracts 6.3; Efron & Tibshirani 1993, ch. 13).

Entities, not samples or incidents, are the units: incidents of one entity resemble each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.manifest import rounded

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float | None
    """None where there is nothing to count."""
    low: float | None = None
    """Lower end of the interval; None with fewer than two entities."""
    high: float | None = None
    """Upper end of the interval; None with fewer than two entities."""

    def as_json(self) -> dict[str, float | None]:
        """Return value, low and high, rounded."""
        return {"value": rounded(self.value), "low": rounded(self.low), "high": rounded(self.high)}


def resample(entities: int, samples: int, seed: int) -> np.ndarray:
    """Draw how often each entity counts, float64 [1 + samples, entity]; row 0 counts each once.

    The same arguments give the same draws, so differences of two figures are paired.
    """
    random = np.random.default_rng(seed)
    drawn = random.multinomial(entities, np.full(entities, 1.0 / entities), size=samples) if entities else None
    return np.concatenate([np.ones((1, entities)), np.empty((0, entities)) if drawn is None else drawn])


def estimate(values: np.ndarray, entities: int) -> Estimate:
    """Make the estimate of a figure from its values on the rows of ``resample``.

    With fewer than two entities there is a value and no interval.

    Args:
        values: float64 [1 + samples]; NaN where the figure is undefined.
        entities: Number of entities.
    """
    if not np.isfinite(values[0]):
        return Estimate(None)
    defined = values[1:][np.isfinite(values[1:])]
    if entities < 2 or len(defined) == 0:
        return Estimate(float(values[0]))
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values[0]), float(low), float(high))
