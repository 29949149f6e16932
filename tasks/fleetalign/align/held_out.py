"""What the fold of every incident that was held out would have done: the figures of a release without a judge range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fleetalign.align.choice import Choice, Chooser, best
from fleetalign.align.pool import Counted, bounds_of, values_of
from fleetalign.config import Config
from fleetalign.contracts.receipts import EntityTail, EventCounts, HeldOutCounts
from fleetalign.detectors.grid import Grid

SOURCES = ("detector", "random", "shifted")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutSummary:
    """Counts of held-out incidents, and the random control's aligner; empty where no incident was held out."""

    random_tail_probability: float | None = None
    """What the same choice gives a uniform random score, for entities without feedback."""
    random_tail_probabilities: tuple[EntityTail, ...] = ()
    """The same for entities with feedback."""
    leave_one_out: tuple[HeldOutCounts, ...] = ()


class HeldOut:
    """Counts of held-out incidents per spoken entity for the detector and both controls; none for ``published_tpe``.

    The random score goes through the same choice as the detector; the shifted alarms are those of the detector's folds.
    """

    def __init__(self, counted: Counted, choice: Choice, grid: Grid, config: Config) -> None:
        self._counted, self._grid = counted, grid
        self._applies = choice.k is not None and config.align.method != "published_tpe"
        self._entries: list[tuple[int, HeldOutCounts]] = []
        if not self._applies:
            return
        self._points, self._folds = {}, {}
        for source in ("detector", "random"):
            counts = [getattr(s, source) for s in counted.spoken]
            spoken = np.ones(len(counts), dtype=bool)
            chooser = Chooser(counts, spoken, grid, config.align, counted.pool(source))
            self._points[source], self._folds[source] = chooser.points(choice.k), chooser.folds(choice.k)
        self._points["shifted"], self._folds["shifted"] = self._points["detector"], self._folds["detector"]
        self._random_shared = int(best(counted.random, config.align)[1])

    def add(self, table: pa.Table, owners: Sequence[int]) -> None:
        """Members of one shard; ``owners`` says which spoken entity each is, -1 for none."""
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

    def _entry(self, i: int, shifted: np.ndarray, judged: Mapping[str, np.ndarray]) -> HeldOutCounts:
        spoken = self._counted.spoken[i]
        found = {"detector": spoken.detector.hits, "random": spoken.random.hits, "shifted": shifted}
        counts = {}
        for source in SOURCES:
            chosen = self._folds[source][i]
            hits = sum(float(found[source][c, p, g]) for g, (c, p) in enumerate(chosen))
            at = chosen or [tuple(self._points[source][i])]
            false = sum(float(judged[source][c, p]) for c, p in at) / len(at)
            counts[source] = EventCounts(hits=hits, missed=len(chosen) - hits, false_pages=false)
        return HeldOutCounts(kind=spoken.kind, entity_id=spoken.entity_id, judged_steps=spoken.judged_steps, **counts)

    def summary(self) -> HeldOutSummary:
        """Return the counts of every shard that was added."""
        if not self._applies:
            return HeldOutSummary()
        tails = self._grid.tails
        return HeldOutSummary(
            random_tail_probability=float(tails[self._random_shared]),
            random_tail_probabilities=tuple(
                EntityTail(kind=s.kind, entity_id=s.entity_id, tail_probability=float(tails[p]))
                for s, (_, p) in zip(self._counted.spoken, self._points["random"], strict=True)
            ),
            leave_one_out=tuple(counts for _, counts in sorted(self._entries, key=lambda e: e[0])),
        )
