"""Chooses grid points (C, p) from counts: the fleet's, and that of each entity.

Shapes: n entities whose counts are in memory, C candidates, P tail probabilities, G own incidents. Totals are true, false,
missed, days and unlabelled false pages, stacked float64 [5, ..., C, P].

Fleet prior (docs/method.md): an entity's counts are its own plus ``k`` times the mean counts of the other entities,
so few own incidents cannot over-fit; ``k`` comes from leave-one-incident-out. Entities without feedback need not be in
memory: what they add is in the fleet's sums (``Pool``).

Where the fleet shares one candidate, entities differ in p alone, and a fold chooses the candidate again from the fleet
without its incident.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.align.counts import EntityCounts, Pool, capped, objective_values, pooled
from fleetalign.align.preference import Preference
from fleetalign.config import AlignConfig
from fleetalign.contracts.arrays import Bools, Floats, Ints
from fleetalign.detectors.grid import Grid


def best(
    totals: Floats, config: AlignConfig, candidate: Ints | int | None = None, bound: Floats | None = None
) -> tuple[Ints, Ints]:
    """Find the best grid point of ``totals`` [5, ..., C, P]: two indices (C, P), int64 [...].

    ``candidate`` int64 [...] fixes C. ``bound`` totals must keep the caps on pages as well. Among equals the larger p (lower
    threshold: better recall) wins, then the first candidate (smaller C: less state).
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
    """The grid points that were chosen."""

    shared: tuple[int, int]
    """That of the fleet: two indices (C, P)."""
    own: Ints
    """Those of the entities in memory [n, 2]."""
    k: float | None
    """The weight of the prior; None without incidents."""
    k_values: dict[float, float]
    """Leave-one-incident-out objective of each candidate k."""


class Chooser:
    """Chooses for a fleet, of which the counts of ``entities`` are in memory.

    ``labelled`` bool [n] marks those with feedback of their own; the others get the shared pair. ``pool`` holds the sums of
    the whole fleet when ``entities`` are only a part of it.
    """

    def __init__(
        self,
        entities: Sequence[EntityCounts],
        labelled: Bools,
        grid: Grid,
        config: AlignConfig,
        pool: Pool | None = None,
    ) -> None:
        self._entities, self._labelled, self._grid, self._config = entities, labelled, grid, config
        self._pool = pool or pooled(entities)
        self._preference = Preference(entities, self._pool, grid, config) if grid.shared_candidate else None
        self._fold_candidates: list[Ints | None] | None = None
        candidate = None if self._preference is None else self._preference.candidate()
        c, p = best(self._pool.totals, config, candidate, self._unlabelled())
        self.shared = (int(c), int(p))
        """The fleet's grid point."""

    def choose(self) -> Choice:
        """Choose the shared pair, the weight k of the prior, and the pair of every entity in memory.

        Without any incident in the fleet, C is the grid's default and p comes from the page budget (contracts 4.5).
        """
        if not any(len(e.credit) for e in self._entities):
            c, totals = self._grid.default, self._pool.totals
            cap = self._config.max_pages_per_entity_day
            rate = self._config.pages_per_entity_day if cap is None else min(self._config.pages_per_entity_day, cap)
            budget = totals[1, c] <= rate * totals[3, c]
            p = int(np.flatnonzero(budget).max()) if budget.any() else 0
            return Choice((c, p), np.tile([c, p], (len(self._entities), 1)), None, {})
        k_values = {k: self._leave_one_out_value(k) for k in self._config.grid.prior_weights}
        k = max(k_values, key=lambda k: (round(k_values[k], 12), k))
        return Choice(self.shared, self.points(k), k, k_values)

    def points(self, k: float) -> Ints:
        """Choose the grid point of every entity in memory under weight ``k``: int64 [n, 2]."""
        points = np.tile(np.array(self.shared), (len(self._entities), 1))
        fixed = None if self._preference is None else self.shared[0]
        for i in np.flatnonzero(self._labelled).tolist():
            own = self._entities[i].totals()
            points[i] = best(own + k * self._pool.others(own), self._config, fixed, own)
        return points

    def _unlabelled(self) -> Floats:
        """Sum the totals of the entities that get the shared pair.

        If they keep the cap, as each of the others does, so does the fleet.
        """
        totals = np.zeros_like(self._pool.totals)
        for entity, labelled in zip(self._entities, self._labelled, strict=True):
            if labelled:
                totals += entity.totals()
        rest: Floats = self._pool.totals - totals
        return rest

    def folds(self, k: float) -> list[list[tuple[int, int]]]:
        """Choose the grid point without each incident, for each entity in memory."""
        out: list[list[tuple[int, int]]] = []
        for i, (entity, candidates) in enumerate(zip(self._entities, self._without_each(), strict=True)):
            own, without = entity.totals(), entity.without_each()
            if self._labelled[i]:
                c, p = best(without + k * self._pool.others(own)[:, None], self._config, candidates, own[:, None])
            else:
                c, p = best((self._pool.totals - own)[:, None] + without, self._config, candidates)
            out.append(list(zip(c.tolist(), p.tolist(), strict=True)))
        return out

    def _without_each(self) -> list[Ints | None]:
        """Choose the fleet's candidate without each incident of each entity, int64 [G].

        None where entities have their own candidate.
        """
        if self._fold_candidates is None:
            self._fold_candidates = [
                None
                if self._preference is None
                else np.array([self._preference.candidate((i, g)) for g in range(len(e.credit))], dtype=np.int64)
                for i, e in enumerate(self._entities)
            ]
        return self._fold_candidates

    def _leave_one_out_value(self, k: float) -> float:
        """Compute the objective of held-out incidents and of the false counts of their folds."""
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
        # No pages in unlabelled time: every point that a fold may choose keeps their budget already.
        summed = np.reshape([true, false, missed, self._pool.totals[3, 0, 0], 0.0], (5, 1, 1))
        return float(objective_values(summed, self._config)[0, 0])


def choose(
    entities: Sequence[EntityCounts], labelled: Bools, grid: Grid, config: AlignConfig, pool: Pool | None = None
) -> Choice:
    """Choose for a fleet with a ``Chooser``."""
    return Chooser(entities, labelled, grid, config, pool).choose()
