"""Finds which thresholds changed between two aligner tables, and by how much.

The tables are read row group by row group; a few numbers per row stay in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools, Floats, Ints
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import DEFAULT_ENTITY, STATES


@dataclass(frozen=True, slots=True)
class ThresholdChanges:
    """An aligner table compared with the earlier one; arrays have one value per row."""

    before: Floats
    """The earlier threshold; NaN where the earlier table has no such entity."""
    factor: Floats
    """The threshold as a multiple of the earlier one; NaN where they cannot be compared."""
    state: npt.NDArray[np.int8]
    """Position in ``STATES``."""
    kind: npt.NDArray[np.int16]
    """Position in ``kinds``."""
    entity: Bools
    """False for the default row of a kind."""
    kinds: tuple[str, ...]
    gone: int
    """Rows that only the earlier table has."""

    @property
    def moved(self) -> Bools:
        """Entities whose threshold changed [row]."""
        moved: Bools = self.entity & np.isfinite(self.factor) & (self.factor != 1)
        return moved

    def furthest(self) -> Ints:
        """Return the rows of entities, largest change first, up or down.

        Ties and unchanged thresholds come in the order of the table.
        """
        rows = np.flatnonzero(self.entity)
        distance = np.abs(np.log(np.where(self.moved, self.factor, 1.0)))[rows]
        return rows[np.argsort(-distance, kind="stable")]


def compare(table: FleetTable, before: FleetTable | None) -> ThresholdChanges:
    """Compare an aligner table with the earlier one, ``before`` (None: there is none)."""
    kinds: dict[str, int] = {}
    parts, met = [], 0
    for number in range(table.groups):
        rows = table.group(number)
        kind = np.array([kinds.setdefault(name, len(kinds)) for name in rows["kind"].to_pylist()], np.int16)
        earlier = np.full(rows.num_rows, np.nan)
        if before is not None:
            for name in pc.unique(rows["kind"]).to_pylist():
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
        parts.append((nothing, nothing, nothing.astype(np.int8), nothing.astype(np.int16), nothing.astype(bool)))
    thresholds, factors, states, of_kinds, entities = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ThresholdChanges(thresholds, factors, states, of_kinds, entities, tuple(kinds), gone)


def _earlier(before: FleetTable, kind: str, entities: pa.ChunkedArray) -> tuple[Floats, int]:
    """Find the earlier threshold of each of these entities (sorted), and how many have one.

    The threshold is NaN where there is none.
    """
    found = np.full(len(entities), np.nan)
    met = 0
    first, last = entities[0].as_py(), entities[-1].as_py()
    for number, least, most in before.spans(kind):
        if least <= last and first <= most:
            rows = before.group(number, kind)
            at = pc.index_in(entities, value_set=rows["entity_id"].combine_chunks())
            stored = np.flatnonzero(at.is_valid().to_numpy())
            found[stored] = rows["threshold"].take(at.drop_null()).to_numpy()
            met += len(stored)
    return found, met
