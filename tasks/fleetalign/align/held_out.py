"""Counts every incident under thresholds chosen without it.

These are the figures of a release without a judge range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fleetalign.align.choice import Choice, Chooser, best
from fleetalign.align.counts import EntityCounts
from fleetalign.align.pool import Counted, Source, bounds_of, values_of
from fleetalign.config import Config
from fleetalign.contracts.arrays import Floats32, Ints
from fleetalign.contracts.receipts import EntityTail, EventCounts, HeldOutCounts
from fleetalign.detectors.grid import Grid

SOURCES = ("detector", "random", "shifted")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutSummary:
    """Counts of held-out incidents, and the random control's aligner.

    Empty where no incident was held out.
    """

    random_tail_probability: float | None = None
    """What the same choice gives a uniform random score, for entities without feedback."""
    random_tail_probabilities: tuple[EntityTail, ...] = ()
    """The same for entities with feedback."""
    leave_one_out: tuple[HeldOutCounts, ...] = ()


class HeldOut:
    """Counts held-out incidents per entity with feedback, for the detector and two controls.

    It counts none for ``published_tpe``.

    The random score goes through the same choice as the detector; the shifted alarms are those of the detector's folds.
    """

    def __init__(self, counted: Counted, choice: Choice, grid: Grid, config: Config) -> None:
        self._counted, self._grid = counted, grid
        k = choice.k
        self._applies = k is not None and config.align.method != "published_tpe"
        self._entries: list[tuple[int, HeldOutCounts]] = []
        if k is None or not self._applies:
            return
        self._points: dict[str, Ints] = {}
        self._folds: dict[str, list[list[tuple[int, int]]]] = {}
        counts: dict[Source, list[EntityCounts]] = {
            "detector": [entity.detector for entity in counted.labelled],
            "random": [entity.random for entity in counted.labelled],
        }
        labelled = np.ones(len(counted.labelled), dtype=bool)
        for source, mine in counts.items():
            chooser = Chooser(mine, labelled, grid, config.align, counted.pool(source))
            self._points[source], self._folds[source] = chooser.points(k), chooser.folds(k)
        self._points["shifted"], self._folds["shifted"] = self._points["detector"], self._folds["detector"]
        self._random_shared = int(best(counted.random, config.align)[1])

    def add(self, table: pa.Table, owners: Sequence[int]) -> None:
        """Add one shard.

        ``owners`` holds the index of each row among the entities with feedback, -1 for the others.
        """
        if not self._applies:
            return
        size = self._grid.shape[0] * self._grid.shape[1]
        bounds = size * bounds_of(table, "incident_steps")
        shifted = values_of(table, "shifted_hits")
        judged = {
            source: values_of(table, f"{source}_false_judged").reshape(-1, *self._grid.shape) for source in SOURCES
        }
        for row, i in enumerate(owners):
            if i >= 0:
                hits = shifted[bounds[row] : bounds[row + 1]].reshape(*self._grid.shape, -1)
                self._entries.append((i, self._entry(i, hits, {s: judged[s][row] for s in SOURCES})))

    def _entry(self, i: int, shifted: Floats32, judged: Mapping[str, Floats32]) -> HeldOutCounts:
        entity = self._counted.labelled[i]
        found = {"detector": entity.detector.hits, "random": entity.random.hits, "shifted": shifted}
        counts = {}
        for source in SOURCES:
            chosen = self._folds[source][i]
            hits = sum(float(found[source][c, p, g]) for g, (c, p) in enumerate(chosen))
            at = chosen or [tuple(self._points[source][i])]
            false = sum(float(judged[source][c, p]) for c, p in at) / len(at)
            counts[source] = EventCounts(hits=hits, missed=len(chosen) - hits, false_pages=false)
        return HeldOutCounts(kind=entity.kind, entity_id=entity.entity_id, judged_steps=entity.judged_steps, **counts)

    def summary(self) -> HeldOutSummary:
        """Return the counts of every shard that was added."""
        if not self._applies:
            return HeldOutSummary()
        tails = self._grid.tails
        return HeldOutSummary(
            random_tail_probability=float(tails[self._random_shared]),
            random_tail_probabilities=tuple(
                EntityTail(kind=s.kind, entity_id=s.entity_id, tail_probability=float(tails[p]))
                for s, (_, p) in zip(self._counted.labelled, self._points["random"], strict=True)
            ),
            leave_one_out=tuple(counts for _, counts in sorted(self._entries, key=lambda e: e[0])),
        )
