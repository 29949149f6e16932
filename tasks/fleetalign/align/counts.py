"""Counts of one entity and of the fleet over the grid, and the objective that alignment maximises.

Shapes: C candidates, P tail probabilities, G own incidents. Totals are true, false, missed and days, stacked float64
[4, ..., C, P].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.config import AlignConfig


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """One entity, one score: per incident credit ``hits`` float [C, P, G] in [0, 1], ``credit`` float64 [G] (1, or the
    incident's length for point-adjusted objectives), ``false`` float [C, P], ``days`` observed."""

    hits: np.ndarray
    credit: np.ndarray
    false: np.ndarray
    days: float

    def totals(self) -> np.ndarray:
        """Totals float64 [4, C, P]."""
        return self._totals(self.hits @ self.credit, self.credit.sum())

    def without_each(self) -> np.ndarray:
        """Totals without one incident, for each of them: float64 [4, G, C, P]."""
        true = self.hits @ self.credit - np.moveaxis(self.hits * self.credit, -1, 0)
        return self._totals(true, (self.credit.sum() - self.credit)[:, None, None])

    def _totals(self, true: np.ndarray, credit: np.ndarray) -> np.ndarray:
        return np.stack(np.broadcast_arrays(true, self.false.astype(np.float64), credit - true, self.days))


@dataclass(frozen=True, slots=True)
class Pool:
    """Sums over the whole fleet: ``totals`` float64 [4, C, P] of its ``entities``, held or not."""

    totals: np.ndarray
    entities: int

    def others(self, own: np.ndarray) -> np.ndarray:
        """Mean totals of all entities but the one that has ``own``."""
        return (self.totals - own) / max(self.entities - 1, 1)


def pooled(entities: Sequence[EntityCounts]) -> Pool:
    """The pool of a fleet that is held as a whole, summed in its order."""
    totals = entities[0].totals()
    for entity in entities[1:]:
        totals += entity.totals()
    return Pool(totals, len(entities))


def objective_values(totals: Sequence[np.ndarray] | np.ndarray, config: AlignConfig) -> np.ndarray:
    """The objective at every grid point float64 [..., C, P] of ``totals`` [4, ..., C, P], smoothed along p."""
    true, false, missed, days = totals
    if config.objective == "page_budget":
        allowed = false <= config.pages_per_entity_day * np.maximum(days, 1e-9)
        recall = true / np.maximum(true + missed, 1e-9)
        # Within the budget more recall wins; outside it fewer false pages do.
        return np.where(allowed, 1.0 + recall, -false)
    weight = config.beta**2 if config.objective == "event_f_beta" else 1.0
    value = (1 + weight) * true / np.maximum((1 + weight) * true + weight * missed + false, 1e-9)
    return capped(_moving_average(value, config.smooth), totals, config)


def capped(values: np.ndarray, totals: Sequence[np.ndarray] | np.ndarray, config: AlignConfig) -> np.ndarray:
    """``values`` [..., C, P] where ``totals`` keep ``align.max_pages_per_entity_day``; below 0, the worse the more they
    exceed it, where they do not. Point-adjusted F1 counts samples, not pages: it knows no cap."""
    cap = config.max_pages_per_entity_day
    if cap is None or config.objective == "point_adjusted_f1":
        return values
    rate = totals[1] / np.maximum(totals[3], 1e-3)  # days; what is left of a fleet that spoke as a whole is rounding
    return np.where(rate > cap, -rate, values)


def _moving_average(values: np.ndarray, width: int) -> np.ndarray:
    half, count = width // 2, values.shape[-1]
    padded = np.concatenate([values[..., :1]] * half + [values] + [values[..., -1:]] * half, axis=-1)
    # Whole rows added up: a mean over windows of five would take them one by one.
    return sum(padded[..., ahead : ahead + count] for ahead in range(2 * half + 1)) / (2 * half + 1)
