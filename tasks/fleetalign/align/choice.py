"""Chooses a grid point (C, p) from counts: the fleet's shared pair, each entity's own, and how much to believe it.

Shapes: n entities whose counts are held, C candidates, P tail probabilities, G own incidents. Totals are true, false,
missed and days, stacked float64 [4, ..., C, P].

Fleet prior (docs/method.md): an entity's counts are its own plus ``k`` times the mean counts of the other entities,
so few own incidents cannot over-fit; ``k`` comes from leave-one-incident-out. Entities nobody spoke about need not be
held: what they add is in the fleet's sums (``Pool``).

Where the grid's candidate is the fleet's, entities move p alone, and a fold chooses the candidate anew from the fleet
without its incident.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.align.grid import Grid
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


def best(totals: np.ndarray, config: AlignConfig, candidate: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Index (C, P) int64 [...] of the best grid point of ``totals`` [4, ..., C, P], of those of ``candidate`` int64 [...].

    Among equals the larger p (lower threshold: better recall) wins, then the first candidate (smaller C: less state).
    """
    values = np.round(objective_values(totals, config), 12)
    if candidate is not None:
        mine = np.arange(values.shape[-2])[:, None] == np.asarray(candidate)[..., None, None]
        values = np.where(mine, values, -np.inf)
    flipped = np.swapaxes(values, -1, -2)[..., ::-1, :]
    flat = flipped.reshape(*flipped.shape[:-2], flipped.shape[-2] * flipped.shape[-1]).argmax(axis=-1)
    p, c = np.divmod(flat, values.shape[-2])
    return c, values.shape[-1] - 1 - p


@dataclass(frozen=True, slots=True)
class Choice:
    """``shared`` (C, P) index; ``own`` int64 [n, 2] indices of every held entity under weight ``k``; ``k_values`` the
    leave-one-incident-out objective of each candidate k (empty without incidents)."""

    shared: tuple[int, int]
    own: np.ndarray
    k: float | None
    k_values: dict[float, float]


def choose(
    entities: Sequence[EntityCounts], spoken: np.ndarray, grid: Grid, config: AlignConfig, pool: Pool | None = None
) -> Choice:
    """Choose for every held entity. ``spoken`` bool [n]: those with feedback of their own; the others get the shared pair.

    ``pool`` holds the sums of the whole fleet when ``entities`` are only those with incidents or feedback of their own.
    Without any incident in the fleet, C is the grid's default and p comes from the page budget (contracts 4.5).
    """
    pool = pool or pooled(entities)
    if not any(len(e.credit) for e in entities):
        c = grid.default
        budget = pool.totals[1, c] <= config.pages_per_entity_day * pool.totals[3, c]
        p = int(np.flatnonzero(budget).max()) if budget.any() else 0
        return Choice((c, p), np.tile([c, p], (len(entities), 1)), None, {})
    shared = tuple(int(i) for i in best(pool.totals, config))
    k_values = {k: _leave_one_out_value(entities, spoken, k, grid, config, pool) for k in config.prior_weights}
    k = max(k_values, key=lambda k: (round(k_values[k], 12), k))
    return Choice(shared, final_points(entities, spoken, k, grid, config, pool), k, k_values)


def final_points(
    entities: Sequence[EntityCounts],
    spoken: np.ndarray,
    k: float,
    grid: Grid,
    config: AlignConfig,
    pool: Pool | None = None,
) -> np.ndarray:
    """The grid point of every held entity under weight ``k``: int64 [n, 2]."""
    pool = pool or pooled(entities)
    shared = best(pool.totals, config)
    points = np.tile(np.array(shared), (len(entities), 1))
    for i in np.flatnonzero(spoken):
        own = entities[i].totals()
        points[i] = best(own + k * pool.others(own), config, shared[0] if grid.shared_candidate else None)
    return points


def folds(
    entities: Sequence[EntityCounts],
    spoken: np.ndarray,
    k: float,
    grid: Grid,
    config: AlignConfig,
    pool: Pool | None = None,
) -> list[list[tuple[int, int]]]:
    """For each held entity and each of its incidents the grid point chosen without that incident."""
    pool = pool or pooled(entities)
    out: list[list[tuple[int, int]]] = []
    for i, entity in enumerate(entities):
        own, without = entity.totals(), entity.without_each()
        fleet = (pool.totals - own)[:, None] + without
        if spoken[i]:
            candidate = best(fleet, config)[0] if grid.shared_candidate else None
            c, p = best(without + k * pool.others(own)[:, None], config, candidate)
        else:
            c, p = best(fleet, config)
        out.append(list(zip(c.tolist(), p.tolist(), strict=True)))
    return out


def _leave_one_out_value(
    entities: Sequence[EntityCounts], spoken: np.ndarray, k: float, grid: Grid, config: AlignConfig, pool: Pool
) -> float:
    """Objective of held-out incidents and of the false counts that their folds would have raised."""
    c, p = (int(i) for i in best(pool.totals, config))
    true = missed = 0.0
    false = float(pool.totals[1, c, p]) - sum(float(e.false[c, p]) for e in entities)
    points = final_points(entities, spoken, k, grid, config, pool)
    for i, chosen in enumerate(folds(entities, spoken, k, grid, config, pool)):
        entity = entities[i]
        for g, (c, p) in enumerate(chosen):
            true += entity.credit[g] * float(entity.hits[c, p, g])
            missed += entity.credit[g] * (1 - float(entity.hits[c, p, g]))
        at = chosen or [tuple(points[i])]
        false += sum(float(entity.false[c, p]) for c, p in at) / len(at)
    summed = np.reshape([true, false, missed, pool.totals[3, 0, 0]], (4, 1, 1))
    return float(objective_values(summed, config)[0, 0])
