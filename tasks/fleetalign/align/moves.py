"""Which thresholds moved between two aligner tables, and how far.

Read row group by row group: what is held of a table of any length is a few numbers per row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import DEFAULT_ENTITY, STATES


@dataclass(frozen=True, slots=True)
class Moves:
    """An aligner table beside the one before it; every array has one value per row of it, in its order.

    ``before`` float64, the earlier threshold, NaN where the earlier table has no such entity; ``factor`` float64, the
    threshold as a multiple of it, NaN where the two cannot be compared; ``state`` int8, position in ``STATES``; ``kind``
    int16, position in ``kinds``; ``entity`` bool, False for the default row of a kind. ``gone`` counts rows that only the
    earlier table has.
    """

    before: np.ndarray
    factor: np.ndarray
    state: np.ndarray
    kind: np.ndarray
    entity: np.ndarray
    kinds: tuple[str, ...]
    gone: int

    @property
    def moved(self) -> np.ndarray:
        """bool [row]: entities whose threshold is another one than before."""
        return self.entity & np.isfinite(self.factor) & (self.factor != 1)

    def furthest(self) -> np.ndarray:
        """Rows of entities: those whose threshold changed by the largest factor first, up or down; ties and the rest in
        the table's order."""
        rows = np.flatnonzero(self.entity)
        distance = np.abs(np.log(np.where(self.moved, self.factor, 1.0)))[rows]
        return rows[np.argsort(-distance, kind="stable")]


def compare(table: FleetTable, before: FleetTable | None) -> Moves:
    """``table`` beside ``before``, both aligner tables; None when there is none before."""
    kinds: dict[str, int] = {}
    parts, met = [], 0
    for number in range(table.groups):
        rows = table.group(number)
        kind = np.array([kinds.setdefault(name, len(kinds)) for name in rows["kind"].to_pylist()], np.int16)
        earlier = np.full(rows.num_rows, np.nan)
        for name in pc.unique(rows["kind"]).to_pylist() if before is not None else ():
            mine = np.flatnonzero(kind == kinds[name])
            earlier[mine], found = _earlier(before, name, rows["entity_id"].take(mine))
            met += found
        now = rows["threshold"].to_numpy().astype(np.float64)
        comparable = (now > 0) & (earlier > 0)
        factor = np.divide(now, earlier, where=comparable, out=np.full_like(now, np.nan))
        state = pc.index_in(rows["state"], value_set=pa.array(STATES)).fill_null(-1).to_numpy().astype(np.int8)
        entity = pc.not_equal(rows["entity_id"], DEFAULT_ENTITY).to_numpy()
        parts.append((earlier, factor, state, kind, entity))
    gone = 0 if before is None else before.group_starts[-1] - met
    if not parts:
        nothing = np.empty(0)
        return Moves(
            nothing, nothing, nothing.astype(np.int8), nothing.astype(np.int16), nothing.astype(bool), (), gone
        )
    return Moves(*(np.concatenate(column) for column in zip(*parts, strict=True)), tuple(kinds), gone)


def _earlier(before: FleetTable, kind: str, entities: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    """Threshold of each of these entities (sorted) in the table before, NaN where it has none; how many it has."""
    found = np.full(len(entities), np.nan)
    met = 0
    first, last = entities[0].as_py(), entities[-1].as_py()
    for number, least, most in before.spans(kind):
        if least <= last and first <= most:
            rows = before.group(number, kind)
            at = pc.index_in(entities, value_set=rows["entity_id"].combine_chunks())
            known = np.flatnonzero(at.is_valid().to_numpy())
            found[known] = rows["threshold"].take(at.drop_null()).to_numpy()
            met += len(known)
    return found, met
