"""Scores telemetry as it arrives, with the results of scoring in bulk (to 1e-5).

A session keeps, for every entity, the samples that the next window reaches back to and the graph's state. It lives in
memory: after a restart, feed it ``Scorer.history_steps`` of telemetry first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fleetalign.contracts.slots import slot_times, slots_of, stretch_starts
from fleetalign.contracts.tables import SCORES
from fleetalign.errors import BadInput
from fleetalign.scoring.kind_scorer import KindScorer, Scores, Series
from fleetalign.scoring.score_table import grids, kinds_of, measured, score_table, unknown_kind
from fleetalign.scoring.scorer import Scorer


@dataclass(slots=True)
class _Memory:
    """The state of one entity's stream."""

    values: np.ndarray
    """float64 [<= context, metric]: the newest samples, up to slot ``last``."""
    first: int
    """The slot that its present stretch began with."""
    last: int
    """The entity's newest slot."""
    state: np.ndarray
    """float32 [m]: the graph's state."""
    returned: bool
    """Whether the stretch followed a gap."""


class Session:
    """One stream of telemetry through one release; the rows of each entity come in time order."""

    def __init__(self, scorer: Scorer) -> None:
        """Start an empty stream."""
        self._scorer = scorer
        self._memories: dict[tuple[str, str], _Memory] = {}

    def score(self, telemetry: pa.Table, *, batch: int = 1024) -> pa.Table:
        """Score the rows of ``telemetry`` as ``Scorer.score`` would score the whole stream so far.

        Raises:
            BadInput: As ``Scorer.score``, and if an entity's rows are not newer than those scored before: a score
                cannot be corrected later.
        """
        fresh: dict[tuple[str, str], _Memory] = {}
        parts = [SCORES.empty()]
        for kind, rows in kinds_of(telemetry):
            scorer = self._scorer.kind(kind)
            if scorer is None:
                parts.append(unknown_kind(rows).select(SCORES.schema.names))
            elif rows.num_rows:
                series = self._extended(scorer, scorer.on_grid(measured(rows, scorer.metrics)), fresh)
                parts.append(score_table(scorer, _remembered(scorer, series, batch, fresh)))
        self._memories |= fresh  # only now, so that a rejected piece has no effect
        return pa.concat_tables(parts).combine_chunks()

    def _extended(self, scorer: KindScorer, rows: pa.Table, fresh: dict[tuple[str, str], _Memory]) -> Iterator[Series]:
        """Yield every entity's new grid, appended to the samples kept of it."""
        # At least a window, so that a gap of one is seen as one.
        keep = max(scorer.context_steps, scorer.window_steps)
        for one in grids(scorer, rows):
            slot = int(slots_of(one.times[:1], scorer.step_seconds)[0])
            memory = self._memories.get((scorer.kind, one.entity_id))
            values, before, first, state, returned = one.values, 0, slot, None, False
            if memory is not None:
                if slot <= memory.last:
                    raise BadInput(
                        f"telemetry: entity {one.entity_id!r} of kind {scorer.kind!r} has a row at {one.times[0]}Z, not after "
                        "its last one; a session takes rows in time order"
                    )
                gap = np.full((min(slot - memory.last - 1, keep), values.shape[1]), np.nan)
                values = np.concatenate([memory.values, gap, values])
                before, first, state = len(values) - len(one.values), memory.first, memory.state
                returned = memory.returned
            origin = slot - before  # the slot of values[0]
            began = origin + int(stretch_starts(values, first - origin, scorer.window_steps)[-1])
            fresh[scorer.kind, one.entity_id] = _Memory(
                values[max(len(values) - keep, 0) :].copy(),
                began,
                slot + len(one.values) - 1,
                np.empty(0, np.float32),
                returned or began > first,
            )
            times = slot_times(np.arange(len(values)) - before, scorer.step_seconds, one.times[0])
            yield Series(one.entity_id, values, times, first - origin, one.positions + before, state, returned)


def _remembered(
    scorer: KindScorer, series: Iterator[Series], batch: int, fresh: dict[tuple[str, str], _Memory]
) -> Iterator[tuple[Series, Scores]]:
    for one, found in scorer.score_all(series, batch):
        fresh[scorer.kind, one.entity_id].state = found.state
        yield one, found
