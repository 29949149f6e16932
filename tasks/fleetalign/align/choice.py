"""Chooses a grid point (C, p) from counts: the fleet's shared pair, each entity's own, and how much to believe it.

Shapes: n entities, C conditions, P tail probabilities. Counts are true, false, missed float64 [..., C, P].

Fleet prior (docs/method.md): an entity's counts are its own plus ``k`` times the mean counts of the other entities,
so few own incidents cannot over-fit; ``k`` comes from leave-one-incident-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.align.grid import Grid
from fleetalign.config import AlignConfig


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """One entity, one score: per incident credit ``hits`` float64 [C, P, G] in [0, 1], ``credit`` float64 [G] (1, or the
    incident's length for point-adjusted objectives), ``false`` float64 [C, P], ``days`` observed."""

    hits: np.ndarray
    credit: np.ndarray
    false: np.ndarray
    days: float

    def totals(self, without: int | None = None) -> np.ndarray:
        """True, false, missed and days, stacked float64 [4, C, P]; ``without`` leaves one incident out."""
        keep = np.ones(len(self.credit), dtype=bool)
        if without is not None:
            keep[without] = False
        true = self.hits[..., keep] @ self.credit[keep]
        return np.stack([true, self.false, self.credit[keep].sum() - true, np.full_like(self.false, self.days)])


def objective_values(totals: np.ndarray, config: AlignConfig) -> np.ndarray:
    """The objective at every grid point float64 [..., C, P] of ``totals`` [4, ..., C, P], smoothed along p."""
    true, false, missed, days = totals
    if config.objective == "page_budget":
        allowed = false <= config.pages_per_entity_day * np.maximum(days, 1e-9)
        recall = true / np.maximum(true + missed, 1e-9)
        # Within the budget more recall wins; outside it fewer false pages do.
        return np.where(allowed, 1.0 + recall, -false)
    weight = config.beta**2 if config.objective == "event_f_beta" else 1.0
    value = (1 + weight) * true / np.maximum((1 + weight) * true + weight * missed + false, 1e-9)
    return _moving_average(value, config.smooth)


def _moving_average(values: np.ndarray, width: int) -> np.ndarray:
    half = width // 2
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=-1).mean(axis=-1)


def best(totals: np.ndarray, config: AlignConfig, conditions: slice | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Index (C, P) int64 [...] of the best grid point of ``totals`` [4, ..., C, P].

    Among equals the larger p (lower threshold: better recall) wins, then the smaller C (less state).
    """
    values = np.round(objective_values(totals, config), 12)
    if conditions is not None:
        mask = np.full(values.shape[-2], -np.inf)
        mask[conditions] = 0.0
        values = values + mask[:, None]
    flipped = np.swapaxes(values, -1, -2)[..., ::-1, :]
    flat = flipped.reshape(*flipped.shape[:-2], -1).argmax(axis=-1)
    p, c = np.divmod(flat, values.shape[-2])
    return c, values.shape[-1] - 1 - p


@dataclass(frozen=True, slots=True)
class Choice:
    """``shared`` (C, P) index; ``own`` int64 [n, 2] indices of every entity under weight ``k``; ``k_values`` the
    leave-one-incident-out objective of each candidate k (empty without incidents)."""

    shared: tuple[int, int]
    own: np.ndarray
    k: float | None
    k_values: dict[float, float]


def choose(entities: Sequence[EntityCounts], spoken: np.ndarray, grid: Grid, config: AlignConfig) -> Choice:
    """Choose for every entity. ``spoken`` bool [n]: entities with feedback of their own; the others get the shared pair.

    Without any incident in the fleet, C comes from config and p from the page budget (contracts 4.5).
    """
    totals = np.stack([e.totals() for e in entities], axis=1)
    pooled = totals.sum(axis=1)
    incidents = sum(len(e.credit) for e in entities)
    if incidents == 0:
        c = grid.conditions.index(min(config.default_condition, max(grid.conditions)))
        budget = pooled[1, c] <= config.pages_per_entity_day * pooled[3, c]
        p = int(np.flatnonzero(budget).max()) if budget.any() else 0
        return Choice((c, p), np.tile([c, p], (len(entities), 1)), None, {})
    shared = tuple(int(i) for i in best(pooled, config))
    k_values = {k: _leave_one_out_value(entities, spoken, k, config) for k in config.prior_weights}
    k = max(k_values, key=lambda k: (round(k_values[k], 12), k))
    return Choice(shared, final_points(entities, spoken, k, config), k, k_values)


def final_points(entities: Sequence[EntityCounts], spoken: np.ndarray, k: float, config: AlignConfig) -> np.ndarray:
    """The grid point of every entity under weight ``k``: int64 [n, 2]."""
    totals = np.stack([e.totals() for e in entities], axis=1)
    pooled = totals.sum(axis=1)
    points = np.tile(np.array(best(pooled, config)), (len(entities), 1))
    for i in np.flatnonzero(spoken):
        points[i] = best(totals[:, i] + k * _mean_of_others(pooled, totals[:, i], len(entities)), config)
    return points


def folds(
    entities: Sequence[EntityCounts], spoken: np.ndarray, k: float, config: AlignConfig
) -> list[list[tuple[int, int]]]:
    """For each entity and each of its incidents the grid point chosen without that incident."""
    totals = np.stack([e.totals() for e in entities], axis=1)
    pooled = totals.sum(axis=1)
    out: list[list[tuple[int, int]]] = []
    for i, entity in enumerate(entities):
        chosen = []
        for g in range(len(entity.credit)):
            without = entity.totals(without=g)
            others = _mean_of_others(pooled, totals[:, i], len(entities))
            point = best(without + k * others, config) if spoken[i] else best(pooled - totals[:, i] + without, config)
            chosen.append((int(point[0]), int(point[1])))
        out.append(chosen)
    return out


def _mean_of_others(pooled: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    return (pooled - own) / max(count - 1, 1)


def _leave_one_out_value(entities: Sequence[EntityCounts], spoken: np.ndarray, k: float, config: AlignConfig) -> float:
    """Objective of held-out incidents and of the false counts that their folds would have raised."""
    summed = np.zeros((4, 1, 1))
    points = final_points(entities, spoken, k, config)
    for i, chosen in enumerate(folds(entities, spoken, k, config)):
        entity = entities[i]
        for g, (c, p) in enumerate(chosen):
            summed[0] += entity.credit[g] * entity.hits[c, p, g]
            summed[2] += entity.credit[g] * (1 - entity.hits[c, p, g])
        at = chosen or [tuple(points[i])]
        summed[1] += sum(entity.false[c, p] for c, p in at) / len(at)
        summed[3] += entity.days
    return float(objective_values(summed, config)[0, 0])
