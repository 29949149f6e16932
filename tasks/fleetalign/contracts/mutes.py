"""Mutes of operators as weights over time (contracts 2.5).

A mute of one metric sets that metric's weight to 0. A mute of every metric, of one entity or of all, is a
maintenance window: no score, no alarm. A mute without ``from`` or ``until`` is open at that end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.attributes import attribute_of
from fleetalign.contracts.hashing import content_id
from fleetalign.interval import format_time

ANY = "*"
_EARLIEST = np.iinfo(np.int64).min
_LATEST = np.iinfo(np.int64).max


def mute_id(row: Mapping[str, Any]) -> str:
    """Compute the content id of a mute (MUTES columns): equal mutes have one id."""
    times = [row[name].isoformat() if row[name] else None for name in ("from", "until")]
    content = [row["kind"], row["entity_id"], row["metric"], *times, row["by"], row["why"]]
    return content_id([*content, *attribute_of(row)])


def in_words(row: Mapping[str, Any]) -> str:
    """Describe a mute (MUTES columns): what it mutes, from when until when, by whom and why."""
    what = "maintenance" if row["metric"] == ANY else f"metric {row['metric']}"
    start = format_time(row["from"]) if row["from"] else "the beginning"
    end = f"until {format_time(row['until'])}" if row["until"] else "until it is lifted"
    return f"{what}, from {start} {end}, by {row['by']}: {row['why']}"


class Mutes:
    """The mutes of one kind."""

    def __init__(self, kind: str, table: pa.Table) -> None:
        """Group the mutes of ``kind`` in ``table`` (MUTES) by entity."""
        mine = table.filter(pc.equal(table["kind"], kind))
        self._starts = pc.fill_null(mine["from"].cast(pa.int64()), _EARLIEST).to_numpy()
        self._ends = pc.fill_null(mine["until"].cast(pa.int64()), _LATEST).to_numpy()
        self._metrics = mine["metric"].to_pylist()
        self._by_entity: dict[str, list[int]] = {}
        for row, entity in enumerate(mine["entity_id"].to_pylist()):
            self._by_entity.setdefault(entity, []).append(row)

    def weights(self, entity_id: str, metrics: Sequence[str], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(weight, maintenance)`` of an entity over time.

        Args:
            entity_id: The entity.
            metrics: The metrics, in the order of the second axis of the weights.
            times: Sample times, datetime64[us] [t].

        Returns:
            Weights of 1 and 0, float32 [t, metric], and whether a maintenance window holds, bool [t].
        """
        micros = times.astype("datetime64[us]").astype(np.int64)
        weight = np.ones((len(times), len(metrics)), dtype=np.float32)
        maintenance = np.zeros(len(times), dtype=bool)
        column = {metric: index for index, metric in enumerate(metrics)}
        for row in (*self._by_entity.get(ANY, ()), *self._by_entity.get(entity_id, ())):
            muted = (micros >= self._starts[row]) & (micros < self._ends[row])
            if self._metrics[row] == ANY:
                maintenance |= muted
            elif self._metrics[row] in column:
                weight[muted, column[self._metrics[row]]] = 0.0
        return weight, maintenance
