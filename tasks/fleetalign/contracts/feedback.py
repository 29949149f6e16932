"""What operators said, as labels on a time grid (contracts 2.4).

For an instant the statement with the latest ``(recorded_at, feedback_id)`` wins. Time nobody spoke about is
unlabelled. Statements recorded after the as-of time do not exist. A retraction names one earlier statement in
``retracts``; both then say nothing, and what was said before them holds again.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.hashing import content_id
from fleetalign.contracts.tables import FEEDBACK

ANOMALY, NORMAL, UNLABELLED = np.int8(1), np.int8(0), np.int8(-1)


def feedback_id(row: dict) -> str:
    """Content id of one statement: the same statement imported twice has one id."""
    said = [
        row["kind"],
        row["entity_id"],
        row["start"].isoformat(),
        row["end"].isoformat(),
        row["verdict"],
        row["source"],
        row["note"],
        row["recorded_at"].isoformat(),
    ]
    return content_id([*said, row["retracts"]] if row.get("retracts") else said)


def unique(table: pa.Table, as_of: datetime | None = None) -> pa.Table:
    """Sorted statements, one per ``feedback_id``, none recorded after ``as_of`` (aware, inclusive; None = all)."""
    table = FEEDBACK.conform(table)
    if as_of is not None:
        table = table.filter(
            pc.less_equal(table["recorded_at"], pa.scalar(as_of, FEEDBACK.schema.field("recorded_at").type))
        )
    ids = table["feedback_id"].to_numpy(zero_copy_only=False)
    _, first = np.unique(ids, return_index=True)
    return table.take(pa.array(np.sort(first)))


def in_force(feedback: pa.Table) -> pa.Table:
    """The statements of ``feedback`` (from ``unique``) that nobody took back, without the retractions themselves."""
    taken_back = feedback["retracts"].drop_null().combine_chunks()
    gone = pc.or_(pc.is_valid(feedback["retracts"]), pc.is_in(feedback["feedback_id"], value_set=taken_back))
    return feedback.filter(pc.invert(gone))


class Statements:
    """What was said about one kind, grouped by entity once: a look-up costs nothing that grows with the fleet."""

    def __init__(self, feedback: pa.Table, kind: str) -> None:
        """``feedback`` comes from ``unique``."""
        mine = in_force(feedback.filter(pc.equal(feedback["kind"], kind)))
        self._starts = mine["start"].to_numpy().astype("datetime64[us]")
        self._ends = mine["end"].to_numpy().astype("datetime64[us]")
        self._verdicts = np.where(pc.equal(mine["verdict"], "anomaly").to_numpy(), ANOMALY, NORMAL)
        self._by_entity: dict[str, list[int]] = {}
        for row, entity in enumerate(mine["entity_id"].to_pylist()):
            self._by_entity.setdefault(entity, []).append(row)

    def speaks_of(self, entity_id: str) -> bool:
        return entity_id in self._by_entity

    def labels(self, entity_id: str, times: np.ndarray) -> np.ndarray:
        """Labels int8 [time] of one entity: 1 anomaly, 0 normal, -1 unlabelled.

        ``times`` is datetime64[us] [time], ascending.
        """
        labels = np.full(len(times), UNLABELLED, dtype=np.int8)
        rows = self._by_entity.get(entity_id, [])
        starts = _covering(times, self._starts[rows])
        ends = np.searchsorted(times, self._ends[rows], side="left")
        for start, end, verdict in zip(starts, ends, self._verdicts[rows], strict=True):
            labels[start:end] = verdict
        return labels

    def in_range(self, entity_id: str, times: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels int8 of ``times[start:stop]`` and the incidents wholly inside as index pairs int64 [G, 2] from ``start``.

        ``times`` datetime64[us] is the whole regular grid, of at least two samples. An incident that straddles a cut
        belongs to neither side (contracts 1.4): its samples inside are unlabelled.
        """
        if entity_id not in self._by_entity:
            return np.full(stop - start, UNLABELLED, dtype=np.int8), np.empty((0, 2), dtype=np.int64)
        step = times[1] - times[0]
        # One more sample on each side shows whether an incident goes on beyond the grid.
        wider = np.concatenate([times[:1] - step, times, times[-1:] + step])
        labels = self.labels(entity_id, wider)
        inside = []
        for a, b in intervals(labels == ANOMALY) - 1:
            if a >= start and b <= stop:
                inside.append((a - start, b - start))
            else:
                labels[a + 1 : b + 1] = UNLABELLED
        return labels[start + 1 : stop + 1], np.array(inside, dtype=np.int64).reshape(-1, 2)


def _covering(times: np.ndarray, instants: np.ndarray) -> np.ndarray:
    """Index of the sample whose step holds each instant: an incident shorter than a step still has one sample."""
    if len(times) < 2:
        return np.searchsorted(times, instants, side="left")
    index = np.maximum(np.searchsorted(times, instants, side="right") - 1, 0)
    return np.where(instants >= times[-1] + (times[1] - times[0]), len(times), index)


def intervals(mask: np.ndarray) -> np.ndarray:
    """Maximal runs of True in ``mask`` [time] as half-open index pairs int64 [run, 2]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], np.asarray(mask, dtype=bool), [False])).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)
