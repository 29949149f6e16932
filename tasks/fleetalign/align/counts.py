"""Counts of one entity and of the fleet over the grid, and the objective that alignment maximises.

Shapes: C candidates, P tail probabilities, G own incidents. Totals are true, false, missed, days and silent, stacked
float64 [5, ..., C, P]; silent: false pages, as far as nobody spoke about the entity (``silence``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.config import AlignConfig


def silence(judged: float, observed: float) -> float:
    """How far nobody spoke about an entity, 0 to 1, from its labelled and its observed time: 1 when most of it is
    unlabelled, as with a few marks; near 0 when only gaps are left, in which a page says little."""
    return float(np.clip(2 * (1 - judged / max(observed, 1)), 0, 1))


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """One entity, one score: per incident credit ``hits`` float [C, P, G] in [0, 1], ``credit`` float64 [G] (1, or the
    incident's length for point-adjusted objectives), ``false`` float [C, P], ``days`` observed, ``silence``
    how far nobody spoke about it (``silence``)."""

    hits: np.ndarray
    credit: np.ndarray
    false: np.ndarray
    days: float
    silence: float = 0.0

    def totals(self) -> np.ndarray:
        """Totals float64 [5, C, P]."""
        return self._totals(self.hits @ self.credit, self.credit.sum())

    def without_each(self) -> np.ndarray:
        """Totals without one incident, for each of them: float64 [5, G, C, P]."""
        true = self.hits @ self.credit - np.moveaxis(self.hits * self.credit, -1, 0)
        return self._totals(true, (self.credit.sum() - self.credit)[:, None, None])

    def _totals(self, true: np.ndarray, credit: np.ndarray) -> np.ndarray:
        false = self.false.astype(np.float64)
        return np.stack(np.broadcast_arrays(true, false, credit - true, self.days, self.silence * false))


@dataclass(frozen=True, slots=True)
class Pool:
    """Sums over the whole fleet: ``totals`` float64 [5, C, P] of its ``entities``, held or not."""

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
    """The objective at every grid point float64 [..., C, P] of ``totals`` [5, ..., C, P], smoothed along p."""
    true, false, missed, days, _ = totals
    if config.objective == "page_budget":
        allowed = false <= config.pages_per_entity_day * np.maximum(days, 1e-9)
        recall = true / np.maximum(true + missed, 1e-9)
        # Within the budget more recall wins; outside it fewer false pages do.
        return np.where(allowed, 1.0 + recall, -false)
    weight = config.beta**2 if config.objective == "event_f_beta" else 1.0
    value = (1 + weight) * true / np.maximum((1 + weight) * true + weight * missed + false, 1e-9)
    return capped(_moving_average(value, config.smooth), totals, config)


def capped(values: np.ndarray, totals: Sequence[np.ndarray] | np.ndarray, config: AlignConfig) -> np.ndarray:
    """``values`` [..., C, P] where ``totals`` keep the page budget in silence and ``align.max_pages_per_entity_day``; below
    0, the worse the more they exceed it, where they do not.

    A few marks say what some pages were, not that all others are wanted: where nobody spoke, pages keep the budget that
    held before the first mark. Point-adjusted F1 counts samples, not pages: it knows no cap.
    """
    if config.objective == "point_adjusted_f1":
        return values
    days = np.maximum(totals[3], 1e-3)  # what is left of a fleet that spoke as a whole is rounding
    over = np.zeros_like(values)
    for pages, limit in ((totals[4], _silent_limit(config)), (totals[1], config.max_pages_per_entity_day)):
        if limit is not None:
            rate = pages / days
            over = np.maximum(over, np.where(rate > limit, rate, 0.0))
    return np.where(over > 0, -over, values)


def _silent_limit(config: AlignConfig) -> float | None:
    """Pages per entity-day in silence; None where the objective itself is the page budget."""
    return None if config.objective == "page_budget" else config.pages_per_entity_day


def _moving_average(values: np.ndarray, width: int) -> np.ndarray:
    half, count = width // 2, values.shape[-1]
    padded = np.concatenate([values[..., :1]] * half + [values] + [values[..., -1:]] * half, axis=-1)
    # Whole rows added up: a mean over windows of five would take them one by one.
    return sum(padded[..., ahead : ahead + count] for ahead in range(2 * half + 1)) / (2 * half + 1)
