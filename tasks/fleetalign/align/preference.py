"""Chooses the candidate that the fleet shares.

It is the default, unless feedback shows another to be better.

With a handful of incidents many candidates look better than the default by chance, and what looks best on feedback is
often worse afterwards. A candidate must therefore beat the default with 95 % confidence, by a paired bootstrap over
entities in which each candidate has its best tail probability on every draw.

Shapes: D draws (the first is the fleet as it is), n entities, R candidates, P tail probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleetalign.align.counts import EntityCounts, Pool, objective_values
from fleetalign.config import AlignConfig
from fleetalign.detectors.grid import Grid

DRAWS = 100
LEAST_ENTITIES = 5
"""Fewer entities with incidents than this are too few for a bootstrap: resamples of two or three hardly differ."""
CONFIDENCE_SD = 1.96


class Preference:
    """Finds the candidate that the fleet prefers, with all incidents or without one."""

    def __init__(self, entities: Sequence[EntityCounts], pool: Pool, grid: Grid, config: AlignConfig) -> None:
        self._entities, self._config = entities, config
        self._default = min(grid.default, int(pool.totals.shape[1]) - 1)
        self._with_incidents = sum(len(entity.credit) > 0 for entity in entities)
        self._open = pool.totals.shape[1] > 1 and self._with_incidents >= LEAST_ENTITIES
        if not self._open:
            return
        count = len(entities)
        random = np.random.default_rng(config.seed)
        drawn = random.multinomial(count, np.full(count, 1 / count), size=DRAWS)
        self._draws = np.concatenate([np.ones((1, count)), drawn])
        self._sums = np.zeros((5, len(self._draws), *pool.totals.shape[1:]))
        rest = pool.totals.copy()
        for column, entity in zip(self._draws.T, entities, strict=True):
            totals = entity.totals()
            rest -= totals
            self._sums += column[None, :, None, None] * totals[:, None]
        self._sums += rest[:, None]

    def candidate(self, without: tuple[int, int] | None = None) -> int:
        """Return the candidate's index; ``without`` (entity, incident) leaves one incident out."""
        if not self._open:
            return self._default
        true, false, missed, days, unlabelled = self._sums
        if without is not None:
            i, g = without
            entity, weight = self._entities[i], self._draws[:, i, None, None]
            if self._with_incidents - (len(entity.credit) == 1) < LEAST_ENTITIES:
                return self._default
            gone = weight * (entity.hits[..., g] * entity.credit[g])
            true, missed = true - gone, missed - (weight * entity.credit[g] - gone)
        value = objective_values((true, false, missed, days, unlabelled), self._config).max(axis=-1)  # [D, R]
        gain = value - value[:, [self._default]]
        sure = gain[0] > CONFIDENCE_SD * gain[1:].std(axis=0)
        ranked = np.where(sure & (gain[0] > 1e-12), value[0], -np.inf)
        return int(ranked.argmax()) if np.isfinite(ranked).any() else self._default
