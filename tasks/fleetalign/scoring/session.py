"""Scores telemetry as it comes in, in pieces of any size, and says what it would have said in bulk (to 1e-5).

A session remembers of every entity what the next window reaches back to and the graph's state. It lives in memory: a
scorer that starts anew hands in ``Scorer.history_steps`` of telemetry first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fleetalign.contracts.slots import slot_times, slots_of
from fleetalign.contracts.tables import SCORES
from fleetalign.errors import BadInput
from fleetalign.scoring.kind_scorer import KindScorer, Scores, Series
from fleetalign.scoring.score_table import grids, kinds_of, measured, score_table, unknown_kind
from fleetalign.scoring.scorer import Scorer


@dataclass(slots=True)
class _Memory:
    """One entity so far: ``values`` float64 [<= context, metric] up to slot ``last``; ``first`` its first slot;
    ``state`` float32 [m]."""

    values: np.ndarray
    first: int
    last: int
    state: np.ndarray


class Session:
    """One stream of telemetry through one release. Pieces come in time order per entity."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._memories: dict[tuple[str, str], _Memory] = {}

    def score(self, telemetry: pa.Table, *, batch: int = 1024) -> pa.Table:
        """Scores of the rows of ``telemetry``, as ``Scorer.score`` gives them for everything so far.

        Raises BadInput as ``Scorer.score`` does, and naming the entity whose rows are not newer than those before: what
        was scored cannot be taken back.
        """
        fresh: dict[tuple[str, str], _Memory] = {}
        parts = [SCORES.empty()]
        for kind, rows in kinds_of(telemetry):
            scorer = self._scorer.kind(kind)
            if scorer is None:
                parts.append(unknown_kind(rows).select(SCORES.schema.names))
            elif rows.num_rows:
                series = self._extended(scorer, measured(rows, scorer.metrics), fresh)
                parts.append(score_table(scorer, _remembered(scorer, series, batch, fresh)))
        self._memories |= fresh  # only now: a piece that was refused has left no trace
        return pa.concat_tables(parts).combine_chunks()

    def _extended(self, scorer: KindScorer, rows: pa.Table, fresh: dict[tuple[str, str], _Memory]) -> Iterator[Series]:
        """Every entity's new grid behind what is remembered of it."""
        keep = scorer.context_steps
        for one in grids(scorer, rows):
            slot = int(slots_of(one.times[:1], scorer.step_seconds)[0])
            known = self._memories.get((scorer.kind, one.entity_id))
            values, before, first, state = one.values, 0, slot, None
            if known is not None:
                if slot <= known.last:
                    raise BadInput(
                        f"telemetry: entity {one.entity_id!r} of kind {scorer.kind!r} has a row at {one.times[0]}Z, not after "
                        "its last one; a session takes rows in time order"
                    )
                silent = np.full((min(slot - known.last - 1, keep), values.shape[1]), np.nan)
                values = np.concatenate([known.values, silent, values])
                before, first, state = len(values) - len(one.values), known.first, known.state
            fresh[scorer.kind, one.entity_id] = _Memory(
                values[max(len(values) - keep, 0) :].copy(), first, slot + len(one.values) - 1, np.empty(0, np.float32)
            )
            times = slot_times(np.arange(len(values)) - before, scorer.step_seconds, one.times[0])
            yield Series(one.entity_id, values, times, first - slot + before, one.positions + before, state)


def _remembered(
    scorer: KindScorer, series: Iterator[Series], batch: int, fresh: dict[tuple[str, str], _Memory]
) -> Iterator[tuple[Series, Scores]]:
    for one, found in scorer.score_all(series, batch):
        fresh[scorer.kind, one.entity_id].state = found.state
        yield one, found
