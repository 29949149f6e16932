"""One kind's rows of the normalizer and aligner tables, found by entity id (contracts 2.6, 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.errors import BadInput


@dataclass(frozen=True, slots=True)
class EntityRow:
    """What the graph needs to know about one entity.

    ``location``, ``scale`` float64 [metric]; ``statistics`` float32 [metric, k]; ``usable`` bool [metric], False
    where neither the entity nor the default has a location; ``condition`` C in steps; ``threshold`` Q.
    """

    location: np.ndarray
    scale: np.ndarray
    statistics: np.ndarray
    usable: np.ndarray
    condition: int
    threshold: float


class EntityRows:
    """Rows of every entity of one kind; an unknown entity, and a metric an entity has no row for, use the default."""

    def __init__(
        self, kind: str, metrics: Sequence[str], statistics: Sequence[str], normalizer: pa.Table, aligner: pa.Table
    ) -> None:
        """Raises BadInput when the aligner has no ``__default__`` row for ``kind`` or a statistics column is missing."""
        self._normalized, self._columns = _normalizer_rows(kind, metrics, statistics, normalizer)
        mine = aligner.filter(pc.equal(aligner["kind"], kind))
        self._aligned = {entity: row for row, entity in enumerate(mine["entity_id"].to_pylist())}
        if DEFAULT_ENTITY not in self._aligned:
            raise BadInput(f"aligner: kind {kind!r} has no {DEFAULT_ENTITY!r} row; align again")
        self._condition = mine["condition"].to_numpy(zero_copy_only=False)
        self._threshold = mine["threshold"].to_numpy(zero_copy_only=False)

    def of(self, entity_id: str) -> EntityRow:
        location, scale, *statistics = self._columns[:, self._normalized.get(entity_id, 0)]
        usable = np.isfinite(location) & np.isfinite(scale)
        default = self._aligned[DEFAULT_ENTITY]
        aligned = self._aligned.get(entity_id, default)
        if np.isnan(self._condition[aligned]) or np.isnan(self._threshold[aligned]):
            aligned = default
        return EntityRow(
            np.where(usable, location, 0.0),
            np.where(usable, scale, 1.0),
            np.reshape(statistics, (len(statistics), len(location))).T.astype(np.float32),
            usable,
            int(self._condition[aligned]),
            float(self._threshold[aligned]),
        )

    def has_own_location(self, entity_id: str) -> bool:
        return entity_id in self._normalized


def _normalizer_rows(
    kind: str, metrics: Sequence[str], statistics: Sequence[str], table: pa.Table
) -> tuple[dict[str, int], np.ndarray]:
    """Row of each entity, and columns float64 [2 + k, row, metric] whose row 0 is the default's.

    What a row lacks it has from the default; NaN: the default lacks it too.
    """
    missing = [name for name in statistics if name not in table.schema.names]
    if missing:
        raise BadInput(f"normalizer: kind {kind!r} needs column {missing[0]!r} and the table lacks it; build again")
    mine = table.filter(pc.equal(table["kind"], kind))
    ids = [DEFAULT_ENTITY, *(e for e in pc.unique(mine["entity_id"]).to_pylist() if e != DEFAULT_ENTITY)]
    rows = pc.index_in(mine["entity_id"], value_set=pa.array(ids, pa.string())).to_numpy()
    positions = pc.fill_null(pc.index_in(mine["metric"], value_set=pa.array(metrics, pa.string())), -1).to_numpy()
    known = positions >= 0
    columns = np.full((2 + len(statistics), len(ids), len(metrics)), np.nan)
    for index, name in enumerate(("location", "scale", *statistics)):
        values = mine[name].to_numpy(zero_copy_only=False).astype(np.float64)
        columns[index, rows[known], positions[known]] = values[known]
        np.copyto(columns[index], columns[index, :1], where=np.isnan(columns[index]))
    return {entity: row for row, entity in enumerate(ids)}, columns
