"""Counts over the grid, of one entity and of the fleet, and the objective of alignment.

Shapes: C candidates, P tail probabilities, G own incidents. Totals are hits, false pages, misses, days and unlabelled
false pages (false pages times ``unlabelled_share``), stacked float64 [5, ..., C, P].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.config import AlignConfig
from fleetalign.contracts.arrays import Floats, Floats32


def unlabelled_share(judged: float, observed: float) -> float:
    """Return the weight of an entity's unlabelled time, 0 to 1, from its sample counts.

    1 when at least half of the time is unlabelled, as with a few marks; near 0 when only gaps are, where a page means little.
    """
    return float(np.clip(2 * (1 - judged / max(observed, 1)), 0, 1))


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """Counts of one entity under one score."""

    hits: Floats32
    """Share of each incident that is hit, 0 to 1: [C, P, G]."""
    credit: Floats
    """Weight of each incident [G]: 1, or its length for point-adjusted objectives."""
    false: Floats32
    """False pages, or false samples for point-adjusted objectives: [C, P]."""
    days: float
    """Observed time."""
    unlabelled: float = 0.0
    """``unlabelled_share`` of the entity."""

    def totals(self) -> Floats:
        """Return the totals [5, C, P]."""
        return self._totals(self.hits @ self.credit, self.credit.sum())

    def without_each(self) -> Floats:
        """Return the totals without one incident, for each of them: [5, G, C, P]."""
        true = self.hits @ self.credit - np.moveaxis(self.hits * self.credit, -1, 0)
        return self._totals(true, (self.credit.sum() - self.credit)[:, None, None])

    def _totals(self, true: Floats, credit: Floats) -> Floats:
        false = self.false.astype(np.float64)
        return np.stack(np.broadcast_arrays(true, false, credit - true, self.days, self.unlabelled * false))


@dataclass(frozen=True, slots=True)
class Pool:
    """Sums over the whole fleet."""

    totals: Floats
    """[5, C, P]."""
    entities: int

    def others(self, own: Floats) -> Floats:
        """Return the mean totals of all entities but the one with the totals ``own``."""
        mean: Floats = (self.totals - own) / max(self.entities - 1, 1)
        return mean


def pooled(entities: Sequence[EntityCounts]) -> Pool:
    """Return the pool of a fleet whose counts are all in memory, summed in its order."""
    totals = entities[0].totals()
    for entity in entities[1:]:
        totals += entity.totals()
    return Pool(totals, len(entities))


def objective_values(totals: Sequence[Floats] | Floats, config: AlignConfig) -> Floats:
    """Return the objective at every grid point [..., C, P], smoothed along p.

    ``totals`` is [5, ..., C, P].
    """
    true, false, missed, days, _ = totals
    if config.objective == "page_budget":
        allowed = false <= config.pages_per_entity_day * np.maximum(days, 1e-9)
        recall = true / np.maximum(true + missed, 1e-9)
        # Within the budget more recall wins; outside it fewer false pages do.
        return np.where(allowed, 1.0 + recall, -false)
    weight = config.beta**2 if config.objective == "event_f_beta" else 1.0
    value = (1 + weight) * true / np.maximum((1 + weight) * true + weight * missed + false, 1e-9)
    return capped(_moving_average(value, config.grid.smooth), totals, config)


def capped(values: Floats, totals: Sequence[Floats] | Floats, config: AlignConfig) -> Floats:
    """Make ``values`` [..., C, P] negative where ``totals`` exceed a cap on pages.

    The larger the excess, the lower the value.

    The caps are the page budget in unlabelled time and ``align.max_pages_per_entity_day``. A few labels judge a few pages
    and do not approve all others, so pages in unlabelled time keep the budget that held without feedback. Point-adjusted
    F1 counts samples instead of pages and has no cap.
    """
    if config.objective == "point_adjusted_f1":
        return values
    days = np.maximum(totals[3], 1e-3)  # where every entity has feedback, the rest of the fleet is rounding
    over = np.zeros_like(values)
    for pages, limit in ((totals[4], _unlabelled_limit(config)), (totals[1], config.max_pages_per_entity_day)):
        if limit is not None:
            rate = pages / days
            over = np.maximum(over, np.where(rate > limit, rate, 0.0))
    return np.where(over > 0, -over, values)


def _unlabelled_limit(config: AlignConfig) -> float | None:
    """Return the limit in unlabelled time; None where the objective is the page budget."""
    return None if config.objective == "page_budget" else config.pages_per_entity_day


def _moving_average(values: Floats, width: int) -> Floats:
    half, count = width // 2, values.shape[-1]
    padded = np.concatenate([values[..., :1]] * half + [values] + [values[..., -1:]] * half, axis=-1)
    total = np.zeros_like(values)
    for ahead in range(2 * half + 1):  # whole rows at once: a mean over windows would take them one by one
        total += padded[..., ahead : ahead + count]
    return total / (2 * half + 1)
