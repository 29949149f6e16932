"""Chooses a grid point (C, p) from counts: the fleet's shared pair, each entity's own, and how much to believe it.

Shapes: n entities whose counts are held, C candidates, P tail probabilities, G own incidents. Totals are true, false,
missed, days and silent, stacked float64 [5, ..., C, P].

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

from fleetalign.align.counts import EntityCounts, Pool, capped, objective_values, pooled
from fleetalign.align.preference import Preference
from fleetalign.config import AlignConfig
from fleetalign.detectors.grid import Grid


def best(
    totals: np.ndarray, config: AlignConfig, candidate: np.ndarray | None = None, bound: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Index (C, P) int64 [...] of the best grid point of ``totals`` [5, ..., C, P], of those of ``candidate`` int64 [...].

    ``bound`` totals must keep the caps on pages as well. Among equals the larger p (lower threshold: better recall) wins, then the first candidate (smaller C: less state).
    """
    values = np.round(objective_values(totals, config), 12)
    if bound is not None:
        values = capped(values, bound, config)
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


class Chooser:
    """Chooses for a fleet of held ``entities``, in the order given.

    ``spoken`` bool [n]: those with feedback of their own; the others get the shared pair. ``pool`` holds the sums of the
    whole fleet when ``entities`` are only those with incidents or feedback of their own.
    """

    def __init__(
        self,
        entities: Sequence[EntityCounts],
        spoken: np.ndarray,
        grid: Grid,
        config: AlignConfig,
        pool: Pool | None = None,
    ) -> None:
        self._entities, self._spoken, self._grid, self._config = entities, spoken, grid, config
        self._pool = pool or pooled(entities)
        self._preference = Preference(entities, self._pool, grid, config) if grid.shared_candidate else None
        self._fold_candidates: list[np.ndarray | None] | None = None
        c, p = best(self._pool.totals, config, self._preference and self._preference.candidate(), self._silent())
        self.shared = (int(c), int(p))
        """The fleet's grid point."""

    def choose(self) -> Choice:
        """The shared pair, the weight k of the prior, and the pair of every held entity.

        Without any incident in the fleet, C is the grid's default and p comes from the page budget (contracts 4.5).
        """
        if not any(len(e.credit) for e in self._entities):
            c, totals = self._grid.default, self._pool.totals
            cap = self._config.max_pages_per_entity_day
            rate = self._config.pages_per_entity_day if cap is None else min(self._config.pages_per_entity_day, cap)
            budget = totals[1, c] <= rate * totals[3, c]
            p = int(np.flatnonzero(budget).max()) if budget.any() else 0
            return Choice((c, p), np.tile([c, p], (len(self._entities), 1)), None, {})
        k_values = {k: self._leave_one_out_value(k) for k in self._config.prior_weights}
        k = max(k_values, key=lambda k: (round(k_values[k], 12), k))
        return Choice(self.shared, self.points(k), k, k_values)

    def points(self, k: float) -> np.ndarray:
        """The grid point of every held entity under weight ``k``: int64 [n, 2]."""
        points = np.tile(np.array(self.shared), (len(self._entities), 1))
        fixed = None if self._preference is None else np.int64(self.shared[0])
        for i in np.flatnonzero(self._spoken):
            own = self._entities[i].totals()
            points[i] = best(own + k * self._pool.others(own), self._config, fixed, own)
        return points

    def _silent(self) -> np.ndarray:
        """Totals of the entities that will have the shared pair: with those that choose, each within the cap, so is the
        fleet."""
        spoken = (e.totals() for e, has in zip(self._entities, self._spoken, strict=True) if has)
        return self._pool.totals - sum(spoken, np.zeros_like(self._pool.totals))

    def folds(self, k: float) -> list[list[tuple[int, int]]]:
        """For each held entity and each of its incidents the grid point chosen without that incident."""
        out: list[list[tuple[int, int]]] = []
        for i, (entity, candidates) in enumerate(zip(self._entities, self._without_each(), strict=True)):
            own, without = entity.totals(), entity.without_each()
            if self._spoken[i]:
                c, p = best(without + k * self._pool.others(own)[:, None], self._config, candidates, own[:, None])
            else:
                c, p = best((self._pool.totals - own)[:, None] + without, self._config, candidates)
            out.append(list(zip(c.tolist(), p.tolist(), strict=True)))
        return out

    def _without_each(self) -> list[np.ndarray | None]:
        """The fleet's candidate without each incident of each entity, int64 [G]; None where entities have their own."""
        if self._fold_candidates is None:
            self._fold_candidates = [
                self._preference
                and np.array([self._preference.candidate((i, g)) for g in range(len(e.credit))], dtype=np.int64)
                for i, e in enumerate(self._entities)
            ]
        return self._fold_candidates

    def _leave_one_out_value(self, k: float) -> float:
        """Objective of held-out incidents and of the false counts that their folds would have raised."""
        true = missed = 0.0
        c, p = self.shared
        false = float(self._pool.totals[1, c, p]) - sum(float(e.false[c, p]) for e in self._entities)
        points = self.points(k)
        for i, chosen in enumerate(self.folds(k)):
            entity = self._entities[i]
            for g, (c, p) in enumerate(chosen):
                true += entity.credit[g] * float(entity.hits[c, p, g])
                missed += entity.credit[g] * (1 - float(entity.hits[c, p, g]))
            at = chosen or [tuple(points[i])]
            false += sum(float(entity.false[c, p]) for c, p in at) / len(at)
        # No silent pages: every point that a fold may choose keeps their budget already.
        summed = np.reshape([true, false, missed, self._pool.totals[3, 0, 0], 0.0], (5, 1, 1))
        return float(objective_values(summed, self._config)[0, 0])


def choose(
    entities: Sequence[EntityCounts], spoken: np.ndarray, grid: Grid, config: AlignConfig, pool: Pool | None = None
) -> Choice:
    """``Chooser(...).choose()``."""
    return Chooser(entities, spoken, grid, config, pool).choose()
