"""Answered series on the grid of one partition, and the telemetry rows they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.tables import ATTRIBUTES, TIME
from fleetalign.errors import BadInput
from fleetalign.ingest.prometheus.api import Series
from fleetalign.interval import Interval, format_time

ROWS_PER_TABLE = 65_536
NO_SERIES = -1


def grid_points(interval: Interval, step_seconds: int) -> range:
    """Return the multiples of the step since 1970 inside ``interval``, in seconds."""
    first = -(-interval.start.timestamp() // step_seconds) * step_seconds
    return range(int(first), int(np.ceil(interval.end.timestamp())), step_seconds)


@dataclass(slots=True)
class _Column:
    """One metric of one entity."""

    values: Floats
    """[point], NaN = missing."""
    owners: npt.NDArray[np.int32]
    """[point]: the series of each value, an index into ``names``."""
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Grid:
    """The series of one range by kind, entity and metric. Memory is 12 bytes per point of each."""

    points: range
    """Seconds since 1970."""
    _columns: dict[tuple[str, str, str], _Column] = field(default_factory=dict)
    _said: dict[tuple[str, str, str], tuple[int, str]] = field(default_factory=dict)
    """Time and value of the newest label by kind, entity and label."""

    def add(self, key: tuple[str, str, str], name: str, series: Series) -> None:
        """Put ``series`` into the column ``key`` (kind, entity id, metric), as ``name`` in messages.

        Series may follow each other in one column, such as those of a restarted pod. Raises BadInput naming both when
        two have a point at one time.
        """
        if len(series.times) == 0:
            return
        column = self._columns.get(key)
        if column is None:
            size = len(self.points)
            column = self._columns[key] = _Column(np.full(size, np.nan), np.full(size, NO_SERIES, dtype=np.int32))
        if name not in column.names:
            column.names.append(name)
        slots = (series.times - self.points.start) // self.points.step
        taken = np.flatnonzero(column.owners[slots] != NO_SERIES)
        if len(taken):
            slot = slots[taken[0]]
            at = format_time(datetime.fromtimestamp(self.points[int(slot)], UTC))
            raise BadInput(
                f"{' / '.join(key)} at {at} has two series: {column.names[column.owners[slot]]}; and {name}; "
                "narrow a query or put more labels into the templates"
            )
        column.values[slots] = series.values
        column.owners[slots] = column.names.index(name)

    def describe(self, key: tuple[str, str, str], series: Series, labels: Iterable[str]) -> None:
        """Take the ``labels`` of ``series``, of the column ``key``, as attributes of its entity."""
        for label in labels:
            if len(series.times) and (value := series.labels.get(label)):
                at = (*key[:2], label)
                self._said[at] = max(self._said.get(at, (0, "")), (int(series.times[-1]), value))

    @property
    def attributes(self) -> pa.Table:
        """What the labels say of the entities (ATTRIBUTES); ``from`` is when it was last said."""
        rows = [(*key, value, datetime.fromtimestamp(at, UTC)) for key, (at, value) in self._said.items()]
        names = ATTRIBUTES.schema.names
        return ATTRIBUTES.conform(
            pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=ATTRIBUTES.schema)
        )

    @property
    def is_empty(self) -> bool:
        """Whether no series has a value."""
        return all(np.isnan(column.values).all() for column in self._columns.values())

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(sorted({metric for _, _, metric in self._columns}))

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted({kind for kind, _, _ in self._columns}))

    def tables(self) -> Iterator[pa.Table]:
        """Yield telemetry tables of one kind each, in pieces; times without any value have no row."""
        times = np.arange(self.points.start, self.points.stop, self.points.step, dtype=np.int64) * 1_000_000
        entities: dict[str, list[str]] = defaultdict(list)
        metrics: dict[str, list[str]] = defaultdict(list)
        for kind, entity, metric in sorted(self._columns):
            if not entities[kind] or entities[kind][-1] != entity:
                entities[kind].append(entity)
            metrics[kind].append(metric)
        per_table = max(1, ROWS_PER_TABLE // len(times))
        for kind, ids in entities.items():
            names = sorted(set(metrics[kind]))
            for start in range(0, len(ids), per_table):
                table = self._table(kind, ids[start : start + per_table], names, times)
                if table.num_rows:
                    yield table

    def _table(self, kind: str, entities: list[str], metrics: list[str], times: Ints) -> pa.Table:
        missing = np.full(len(times), np.nan)
        values = {}
        for metric in metrics:
            columns = (self._columns.get((kind, entity, metric)) for entity in entities)
            values[metric] = np.concatenate([missing if c is None else c.values for c in columns])
        used = np.flatnonzero(~np.all([np.isnan(v) for v in values.values()], axis=0))
        indices = pa.array(used // len(times), pa.int32())
        return pa.table(
            {
                "kind": pa.repeat(pa.scalar(kind), len(used)),
                "entity_id": pa.DictionaryArray.from_arrays(indices, entities),
                "timestamp": pa.array(times[used % len(times)]).cast(pa.timestamp("us")).cast(TIME),
                **{name: pa.array(v[used], from_pandas=True) for name, v in values.items()},
            }
        )
