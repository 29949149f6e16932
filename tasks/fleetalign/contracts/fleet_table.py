"""A table with rows for every entity of a fleet, read a few Parquet row groups at a time.

Its bytes stay compressed in memory: a scorer of a hundred thousand entities holds as much as one of a thousand.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fleetalign.contracts.tables import FLEET_ROW_GROUP_ROWS, PARQUET, TableContract, first_line, fleet_parquet
from fleetalign.errors import BadInput

KEY = ("kind", "entity_id")


class FleetTable:
    """Parquet bytes of a table that is sorted by kind and entity (contracts 2.6, 2.7)."""

    def __init__(self, contract: TableContract, data: bytes, where: str) -> None:
        """Open the Parquet bytes ``data``; ``where`` names them in errors.

        Raises:
            BadInput: The bytes are not Parquet or lack a column of the contract.
        """
        self._contract, self._where = contract, where
        try:
            self._file = pq.ParquetFile(pa.BufferReader(data))
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(f"{where}: not readable as Parquet: {first_line(error)}") from None
        missing = [name for name in contract.schema.names if name not in self.columns]
        if missing:
            raise BadInput(f"{where}: column {missing[0]!r} is missing; it has {self.columns}")

    @classmethod
    def of(cls, contract: TableContract, table: pa.Table) -> FleetTable:
        """Wrap an Arrow table as if it had been read from a store."""
        return cls(contract, fleet_parquet(contract.conform(table)), contract.name)

    @property
    def columns(self) -> list[str]:
        """Column names."""
        return list(self._file.schema_arrow.names)

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return int(self._file.num_row_groups)

    def group(self, index: int, kind: str | None = None) -> pa.Table:
        """Read one row group with the contract's types; with ``kind``, only that kind's rows."""
        table = self._contract.typed(self._file.read_row_group(index, use_threads=False))
        return table if kind is None else table.filter(pc.equal(table["kind"], kind))

    def rows(self, kind: str, entity_ids: Collection[str]) -> pa.Table:
        """Read the rows of those entities, in the table's order."""
        index, wanted = Index(self, kind), pa.array(list(entity_ids), pa.string())
        found = [self._contract.typed(self._file.schema_arrow.empty_table())]
        for number in sorted({g for entity_id in entity_ids for g in index.of(entity_id)}):
            table = self.group(number, kind)
            found.append(table.filter(pc.is_in(table["entity_id"], value_set=wanted)))
        return pa.concat_tables(found)

    @property
    def group_starts(self) -> list[int]:
        """Position of the first row of every row group, and the number of rows."""
        sizes = (int(self._file.metadata.row_group(number).num_rows) for number in range(self.groups))
        return list(accumulate(sizes, initial=0))

    def at(self, positions: Sequence[int]) -> pa.Table:
        """Read the rows at these positions, in this order, from the row groups that hold them."""
        starts, wanted = self.group_starts, np.asarray(positions, np.int64)
        found, order = [self._contract.typed(self._file.schema_arrow.empty_table())], []
        groups = np.searchsorted(starts, wanted, side="right") - 1
        for number in np.unique(groups):
            chosen = np.flatnonzero(groups == number)
            found.append(self.group(int(number)).take(wanted[chosen] - starts[number]))
            order.append(chosen)
        return pa.concat_tables(found).take(np.argsort(np.concatenate(order))) if order else found[0]

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read these columns of every row."""
        return self._file.read(list(columns), use_threads=False)

    def spans(self, kind: str) -> Iterator[tuple[int, str, str]]:
        """Yield (row group, first entity, last entity) of every row group with rows of ``kind``."""
        names = self.columns
        for number in range(self.groups):
            metadata = self._file.metadata.row_group(number)
            kinds, ids = (metadata.column(names.index(name)).statistics for name in KEY)
            has_statistics = all(s is not None and s.has_min_max for s in (kinds, ids))
            if has_statistics and not kinds.min <= kind <= kinds.max:
                continue
            if has_statistics and kinds.min == kinds.max:
                yield number, ids.min, ids.max
                continue
            keys = self._file.read_row_group(number, list(KEY), use_threads=False)
            mine = keys.filter(pc.equal(keys["kind"], kind))["entity_id"]
            if len(mine):
                yield number, mine[0].as_py(), mine[-1].as_py()


class Index:
    """Which row groups of a fleet table may hold the rows of an entity of one kind."""

    def __init__(self, table: FleetTable, kind: str) -> None:
        """Read the entity ranges of the row groups that hold ``kind``."""
        spans = list(table.spans(kind))
        self._groups = [group for group, _, _ in spans]
        self._first = [first for _, first, _ in spans]
        self._last = [last for _, _, last in spans]

    def of(self, entity_id: str) -> Sequence[int]:
        """Return the row groups that may hold the entity."""
        return self._groups[bisect_left(self._last, entity_id) : bisect_right(self._first, entity_id)]


class FleetWriter:
    """Writes a fleet table from rows that arrive in order.

    Holds one row group and the compressed bytes.
    """

    def __init__(self, contract: TableContract, between: pa.Table | None = None) -> None:
        """Start an empty table; rows of ``between`` are merged in at their place in the order."""
        self._contract = contract
        self._between = contract.conform(contract.empty() if between is None else between)
        self._sink = pa.BufferOutputStream()
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self._last = ("", "")

    def add(self, rows: pa.Table) -> None:
        """Add rows of entities that sort after all entities added before.

        The rows may have any order among themselves.

        Raises:
            ValueError: An entity sorts before one that was added earlier.
        """
        if rows.num_rows:
            rows = self._contract.conform(rows)
            first, last = _key(rows, 0), _key(rows, rows.num_rows - 1)
            if first < self._last:
                raise ValueError(f"table {self._contract.name}: rows of {first} come after those of {self._last}")
            self._last = last
            self._append(self._with_those_before(rows, last))

    def finish(self) -> bytes:
        """Return the table's Parquet bytes, equal to ``fleet_parquet`` of all its rows."""
        writer = self._append(self._between)
        self._flush(writer, 1)
        writer.close()
        return bytes(self._sink.getvalue())

    def _with_those_before(self, rows: pa.Table, last: tuple[str, str]) -> pa.Table:
        kind, entity_id = (self._between[name] for name in KEY)
        due = pc.or_(pc.less(kind, last[0]), pc.and_(pc.equal(kind, last[0]), pc.less_equal(entity_id, last[1])))
        early, self._between = self._between.filter(due), self._between.filter(pc.invert(due))
        return self._contract.conform(_joined(rows, early)) if early.num_rows else rows

    def _append(self, rows: pa.Table) -> pq.ParquetWriter:
        writer = self._writer
        if writer is None:
            # All later rows have these columns: those of the first rows, and of the rows between.
            self._schema = self._contract.typed(_joined(rows.slice(0, 0), self._between.slice(0, 0))).schema
            writer = self._writer = pq.ParquetWriter(self._sink, self._schema, **PARQUET)
        self._held.append(self._contract.typed(_joined(rows, self._schema.empty_table())))
        self._flush(writer, FLEET_ROW_GROUP_ROWS)
        return writer

    def _flush(self, writer: pq.ParquetWriter, least: int) -> None:
        """Write row groups while at least ``least`` rows are held."""
        held = pa.concat_tables(self._held)
        at = 0
        while held.num_rows - at >= least and at < held.num_rows:
            writer.write_table(held.slice(at, FLEET_ROW_GROUP_ROWS))
            at += FLEET_ROW_GROUP_ROWS
        # A copy: a slice would keep what it was cut from.
        self._held = [held.slice(at).combine_chunks()]


def _key(rows: pa.Table, at: int) -> tuple[str, str]:
    return rows["kind"][at].as_py(), rows["entity_id"][at].as_py()


def _joined(*tables: pa.Table) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default")
