"""The default row of a kind whose entities are all new.

They are pods that live for hours, or a fleet on its first day.

None of them has enough samples for a threshold of its own. Together they have: their margins are tabulated one after the
other, as if they were one entity.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.align.entity import EntityTables, seeded_uniform, tabulate
from fleetalign.config import AlignConfig
from fleetalign.contracts.arrays import Floats32
from fleetalign.contracts.feedback import UNLABELLED
from fleetalign.contracts.hashing import sha256
from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.margins import STATE_ROUNDING

MOST = 256
"""Newcomers of one kind that are tabulated, a draw that depends on their ids alone: it bounds memory."""


class Newcomers:
    """Margins of the new entities of every kind."""

    def __init__(self, candidates: int) -> None:
        self._candidates = candidates
        self._drawn: dict[str, list[tuple[str, str, Floats32]]] = {}

    def add(self, table: pa.Table) -> None:
        """Add the new entities of one shard (SHARD_SCHEMA)."""
        rows = table.filter(pc.greater(pc.list_value_length(table["newcomer_margins"]), 0))
        for kind, entity_id, margins in zip(
            rows["kind"].to_pylist(), rows["entity_id"].to_pylist(), rows["newcomer_margins"], strict=True
        ):
            values = margins.values.to_numpy().reshape(self._candidates, -1)
            drawn = [*self._drawn.get(kind, []), (sha256(entity_id.encode()), entity_id, values)]
            self._drawn[kind] = heapq.nsmallest(MOST, drawn, key=lambda entry: entry[:2])

    def kinds(self) -> Iterator[str]:
        """Yield the kinds that have newcomers with a score."""
        yield from sorted(self._drawn)

    def entities(self, kind: str) -> int:
        """Return how many of ``kind`` are tabulated."""
        return len(self._drawn[kind])

    def tables(self, kind: str, grid: Grid, config: AlignConfig) -> EntityTables:
        """Tabulate the newcomers of ``kind`` as one entity without feedback."""
        parts: list[Floats32] = []
        for _, _, margins in sorted(self._drawn[kind], key=lambda entry: entry[1]):
            # A page of one entity does not go on in the next.
            parts += [margins, np.full((self._candidates, config.merge_steps), np.nan, dtype=np.float32)]
        whole = np.concatenate(parts, axis=1)
        steps = whole.shape[1]
        return tabulate(
            whole, np.full(steps, UNLABELLED, dtype=np.int8), np.empty((0, 2), dtype=np.int64), grid.tails,
            config.merge_steps, random_scores=seeded_uniform(config.seed, kind, DEFAULT_ENTITY, steps),
            shifts=np.empty(0), rounding=STATE_ROUNDING,
        )  # fmt: skip
