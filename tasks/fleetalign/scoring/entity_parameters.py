"""The parameters of each entity of a kind, from the normalizer and aligner tables.

Defined in contracts 2.6, 2.7.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.fleet_table import FleetTable, Index
from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.errors import BadInput

GROUPS_HELD = 16
"""Row groups of each table kept as arrays (some MB): entities that are scored together are neighbours in the table."""


@dataclass(frozen=True, slots=True)
class EntityRow:
    """The graph's parameters of one entity."""

    location: np.ndarray
    """float64 [metric], raw units; 0 where not ``usable``."""
    scale: np.ndarray
    """float64 [metric], raw units; 1 where not ``usable``."""
    statistics: np.ndarray
    """float32 [metric, k], in the order of the manifest's ``statistics_columns``."""
    usable: np.ndarray
    """bool [metric]: False where neither the entity nor the default has a location and a scale."""
    condition: int
    """C, in steps."""
    threshold: float
    """Q: an alarm is a margin above 0 at this threshold."""


@dataclass(frozen=True, slots=True)
class _Block:
    """One row group as arrays."""

    entities: list[str]
    """Sorted."""
    values: np.ndarray
    """[entity, ...]"""

    def of(self, entity_id: str) -> np.ndarray | None:
        at = bisect_left(self.entities, entity_id)
        return self.values[at] if at < len(self.entities) and self.entities[at] == entity_id else None


class EntityRows:
    """Parameters of every entity of one kind.

    An unknown entity or metric has those of the default row.
    """

    def __init__(
        self, kind: str, metrics: Sequence[str], statistics: Sequence[str], normalizer: FleetTable, aligner: FleetTable
    ) -> None:
        """Index both tables for ``kind`` and read its default row.

        Raises:
            BadInput: The aligner has no ``__default__`` row for ``kind``, or a statistics column is missing.
        """
        missing = [name for name in statistics if name not in normalizer.columns]
        if missing:
            raise BadInput(f"normalizer: kind {kind!r} needs column {missing[0]!r} and the table lacks it; build again")
        names = ("location", "scale", *statistics)
        self._normalized = _Blocks(normalizer, kind, lambda table: _normalized(table, metrics, names))
        self._aligned = _Blocks(aligner, kind, _aligned)
        self._default = np.full((len(names), len(metrics)), np.nan)
        for own in self._normalized.of(DEFAULT_ENTITY):
            self._default = _filled(own, self._default)
        default = list(self._aligned.of(DEFAULT_ENTITY))
        if not default:
            raise BadInput(f"aligner: kind {kind!r} has no {DEFAULT_ENTITY!r} row; align again")
        self._default_threshold = default[0]

    def of(self, entity_id: str) -> EntityRow:
        """Return the parameters of an entity."""
        found = self._default
        for own in self._normalized.of(entity_id):
            found = _filled(own, found)
        location, scale, *statistics = found
        usable = np.isfinite(location) & np.isfinite(scale)
        aligned = next(iter(self._aligned.of(entity_id)), self._default_threshold)
        if np.isnan(aligned).any():
            aligned = self._default_threshold
        return EntityRow(
            np.where(usable, location, 0.0),
            np.where(usable, scale, 1.0),
            np.reshape(statistics, (len(statistics), len(location))).T.astype(np.float32),
            usable,
            int(aligned[0]),
            float(aligned[1]),
        )

    def is_aligned(self, entity_id: str) -> bool:
        """Return whether the aligner has a row of the entity."""
        return bool(self._aligned.of(entity_id))

    def has_own_location(self, entity_id: str) -> bool:
        """Return whether the normalizer has rows of the entity."""
        return bool(self._normalized.of(entity_id))


class _Blocks:
    """The row groups of one kind in a fleet table; the last used ones are kept as arrays."""

    def __init__(self, table: FleetTable, kind: str, read: Callable[[pa.Table], _Block]) -> None:
        self._index = Index(table, kind)
        self._block = lru_cache(GROUPS_HELD)(lambda group: read(table.group(group, kind)))

    def of(self, entity_id: str) -> list[np.ndarray]:
        """Return the entity's values from each row group with rows of it; a cut may have split them."""
        found = [self._block(group).of(entity_id) for group in self._index.of(entity_id)]
        return [values for values in found if values is not None]


def _filled(values: np.ndarray, default: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), default, values)


def _aligned(table: pa.Table) -> _Block:
    """Read ``values`` float64 [entity, (condition, threshold)]."""
    columns = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in ("condition", "threshold")]
    return _Block(table["entity_id"].to_pylist(), np.stack(columns, axis=-1))


def _normalized(table: pa.Table, metrics: Sequence[str], names: Sequence[str]) -> _Block:
    """Read ``values`` float64 [entity, name, metric], NaN for a metric without a row."""
    ids = pc.unique(table["entity_id"])
    entities = pc.index_in(table["entity_id"], value_set=ids).to_numpy()
    positions = pc.fill_null(pc.index_in(table["metric"], value_set=pa.array(metrics, pa.string())), -1).to_numpy()
    wanted = positions >= 0
    values = np.full((len(ids), len(names), len(metrics)), np.nan)
    for index, name in enumerate(names):
        column = table[name].to_numpy(zero_copy_only=False).astype(np.float64)
        values[entities[wanted], index, positions[wanted]] = column[wanted]
    return _Block(ids.to_pylist(), values)
