"""Statements of operators as labels on a time grid (contracts 2.4).

For an instant the statement with the latest ``(recorded_at, feedback_id)`` wins. Time without a statement is
unlabelled. Statements recorded after the as-of time do not exist. A retraction names one earlier statement in
``retracts``; both then have no effect, and the statements before them hold again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.attributes import attribute_of
from fleetalign.contracts.hashing import content_id
from fleetalign.contracts.tables import FEEDBACK

ANOMALY, NORMAL, UNLABELLED = np.int8(1), np.int8(0), np.int8(-1)


def feedback_id(statement: Mapping[str, Any]) -> str:
    """Compute the content id of a statement (FEEDBACK columns): equal statements have one id."""
    content = [
        statement["kind"],
        statement["entity_id"],
        statement["start"].isoformat(),
        statement["end"].isoformat(),
        statement["verdict"],
        statement["source"],
        statement["note"],
        statement["recorded_at"].isoformat(),
        *attribute_of(statement),
    ]
    return content_id([*content, statement["retracts"]] if statement.get("retracts") else content)


def unique(table: pa.Table, as_of: datetime | None = None) -> pa.Table:
    """Sort the statements and keep one per ``feedback_id`` and entity.

    Args:
        table: Statements (FEEDBACK).
        as_of: Drop statements recorded after this aware time; None keeps all.
    """
    table = FEEDBACK.conform(table)
    if as_of is not None:
        table = table.filter(
            pc.less_equal(table["recorded_at"], pa.scalar(as_of, FEEDBACK.schema.field("recorded_at").type))
        )
    # A statement about an attribute has one row for each entity once it is resolved.
    order = table.append_column("__row__", pa.array(np.arange(table.num_rows)))
    first = order.group_by(["feedback_id", "entity_id"]).aggregate([("__row__", "min")])["__row___min"]
    return table.take(pa.array(np.sort(first.to_numpy())))


def in_force(feedback: pa.Table) -> pa.Table:
    """Drop retractions and the statements they retract.

    ``feedback`` comes from ``unique``.
    """
    retracted = feedback["retracts"].drop_null().combine_chunks()
    gone = pc.or_(pc.is_valid(feedback["retracts"]), pc.is_in(feedback["feedback_id"], value_set=retracted))
    return feedback.filter(pc.invert(gone))


class Statements:
    """The statements about one kind.

    They are grouped by entity once, so that a look-up does not slow down with the fleet.
    """

    def __init__(self, feedback: pa.Table, kind: str) -> None:
        """Group the statements about ``kind`` by entity; ``feedback`` comes from ``unique``."""
        mine = in_force(feedback.filter(pc.equal(feedback["kind"], kind)))
        self._starts = mine["start"].to_numpy().astype("datetime64[us]")
        self._ends = mine["end"].to_numpy().astype("datetime64[us]")
        self._verdicts = np.where(pc.equal(mine["verdict"], "anomaly").to_numpy(), ANOMALY, NORMAL)
        self._by_entity: dict[str, list[int]] = {}
        for row, entity in enumerate(mine["entity_id"].to_pylist()):
            self._by_entity.setdefault(entity, []).append(row)

    def speaks_of(self, entity_id: str) -> bool:
        """Return whether a statement about the entity holds."""
        return entity_id in self._by_entity

    def labels(self, entity_id: str, times: np.ndarray) -> np.ndarray:
        """Return the labels of one entity: 1 anomaly, 0 normal, -1 unlabelled.

        Args:
            entity_id: The entity.
            times: Ascending sample times, datetime64[us] [time].

        Returns:
            Labels, int8 [time].
        """
        labels = np.full(len(times), UNLABELLED, dtype=np.int8)
        rows = self._by_entity.get(entity_id, [])
        starts = _covering(times, self._starts[rows])
        ends = np.searchsorted(times, self._ends[rows], side="left")
        for start, end, verdict in zip(starts, ends, self._verdicts[rows], strict=True):
            labels[start:end] = verdict
        return labels

    def spoiled(self, entity_id: str, times: np.ndarray, after_steps: int) -> np.ndarray:
        """Return which samples are of an anomaly, or follow one within ``after_steps``.

        No statistic is fitted on them (contracts 1.4).

        Args:
            entity_id: The entity.
            times: A regular grid, datetime64[us] [time], of at least two samples.
            after_steps: Samples after each anomaly whose window still reaches into it.

        Returns:
            bool [time].
        """
        spoiled = np.zeros(len(times), dtype=bool)
        if entity_id not in self._by_entity:
            return spoiled
        step = times[1] - times[0]
        # An anomaly that ended shortly before the grid still reaches into it.
        earlier = times[0] - step * np.arange(after_steps, 0, -1)
        labels = self.labels(entity_id, np.concatenate([earlier, times]))
        for start, end in intervals(labels == ANOMALY) - after_steps:
            spoiled[max(start, 0) : max(end + after_steps, 0)] = True
        return spoiled

    def starts_before(self, entity_id: str, instant: np.datetime64) -> bool:
        """Return whether an anomaly of the entity starts before ``instant``, datetime64[us]."""
        rows = self._by_entity.get(entity_id, [])
        return bool(((self._verdicts[rows] == ANOMALY) & (self._starts[rows] < instant)).any())

    def in_range(self, entity_id: str, times: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels of ``times[start:stop]`` and the incidents that lie wholly inside.

        An incident that straddles a cut belongs to neither side (contracts 1.4): its samples inside are unlabelled.

        Args:
            entity_id: The entity.
            times: The whole regular grid, datetime64[us] [time], of at least two samples.
            start: Index of the first sample wanted.
            stop: Index behind the last sample wanted.

        Returns:
            Labels, int8 [stop - start], and half-open index pairs of incidents counted from ``start``, int64 [G, 2].
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
    """Find the sample that covers each instant.

    An incident shorter than the time between samples still has one sample.
    """
    if len(times) < 2:
        return np.searchsorted(times, instants, side="left")
    index = np.maximum(np.searchsorted(times, instants, side="right") - 1, 0)
    return np.where(instants >= times[-1] + (times[1] - times[0]), len(times), index)


def intervals(mask: np.ndarray) -> np.ndarray:
    """Find the maximal runs of True in ``mask`` [time] as half-open index pairs, int64 [run, 2]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], np.asarray(mask, dtype=bool), [False])).astype(np.int8)))
    return edges.reshape(-1, 2).astype(np.int64)
