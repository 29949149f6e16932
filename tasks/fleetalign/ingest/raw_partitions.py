"""Sorts the batches of one reading into raw partitions and quarantine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.slots import slots_of
from fleetalign.contracts.tables import KEY_COLUMNS, QUARANTINED_CELLS, TIME
from fleetalign.errors import BadInput, NotReproducible
from fleetalign.ingest.batch import ROWS_WITH_TIME, UNKNOWN_KIND, Batch, without_rows
from fleetalign.ingest.long import pivot, series_of
from fleetalign.ingest.sampling import infer_step_seconds, split_by_clock, times_of
from fleetalign.ingest.times import within
from fleetalign.interval import LENGTHS, Interval, format_time, partition_key, split
from fleetalign.storage.lake import Partition, get_partition, read_partition, write_partition
from fleetalign.storage.quarantine import Rule, count_rules, first_taken_out, write_quarantine
from fleetalign.storage.store import Store

NO_TIME_AT_ALL = Interval(datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC))
"""Quarantined rows go here when the run has no range and not one row has a usable time."""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What a run read and wrote, in input rows.

    ``read = kept + sum(quarantined_rows) + duplicate_cells + outside`` is checked on every run; ``duplicate_cells`` is
    part of ``quarantined_cells`` (long layout: one input row is one cell).
    """

    partitions: tuple[Partition, ...]
    read: int
    kept: int
    outside: int
    quarantined_rows: dict[str, int]
    """Number of rows per rule."""
    quarantined_cells: dict[str, int]
    """Number of cells per rule."""
    first_quarantined: str = ""
    """Where the first of them stood and which rule it broke."""
    queries: tuple[dict[str, Any], ...] = ()
    """The queries of each reading and the server's warnings; stored beside the partitions."""


def merged(results: Sequence[IngestResult]) -> IngestResult:
    """Sum up results over disjoint partitions."""
    return IngestResult(
        partitions=tuple(sorted((p for r in results for p in r.partitions), key=lambda p: (p.kind, p.interval))),
        read=sum(r.read for r in results),
        kept=sum(r.kept for r in results),
        outside=sum(r.outside for r in results),
        quarantined_rows=dict(sum((Counter(r.quarantined_rows) for r in results), Counter())),
        quarantined_cells=dict(sum((Counter(r.quarantined_cells) for r in results), Counter())),
        first_quarantined=next((r.first_quarantined for r in results if r.first_quarantined), ""),
    )


@dataclass(slots=True)
class _Kind:
    wide: pa.Table
    step_seconds: int


@dataclass(slots=True)
class RawPartitionWriter:
    """Collects batches and writes them as raw partitions. Memory is bounded by the range read."""

    interval: Interval | None
    """The range of the run; None: that of the rows."""
    origin: str
    """Name of the source in the quarantine."""
    read: int = 0
    outside: int = 0
    has_batches: bool = False
    _kept: dict[tuple[str, bool], list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    _cells: list[pa.Table] = field(default_factory=list)
    _rows: list[pa.Table] = field(default_factory=list)
    _kept_rows: int = 0
    _first: str = ""

    def add(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.has_batches = True
            self.read += batch.read
            self.outside += batch.outside
            self._first = self._first or batch.first
            self._cells.append(batch.cells)
            self._rows.append(batch.rows)
            for kind in pc.unique(batch.kept["kind"]).to_pylist():
                self._kept[kind, batch.is_long].append(batch.kept.filter(pc.equal(batch.kept["kind"], kind)))

    def write(self, store: Store, config: Config, replace: bool) -> IngestResult:
        """Write every raw partition and its quarantine; a kind of unknown step is quarantined.

        Raises BadInput when a step does not divide the partition, and without ``replace`` also when a stored partition
        holds entities or times that these rows lack: writing would lose them. Nothing is written then.
        """
        duplicates: list[pa.Table] = []
        kinds = self._assemble(config, duplicates)
        num_duplicates = sum(t.num_rows for t in duplicates)
        cells = pa.concat_tables([QUARANTINED_CELLS.empty(), *self._cells, *duplicates])
        rows = pa.concat_tables([ROWS_WITH_TIME.empty_table(), *self._rows])
        kept = self._kept_rows - num_duplicates
        if self.read != kept + rows.num_rows + num_duplicates + self.outside:
            raise NotReproducible(
                f"ingest: {self.read} rows read, but {kept} kept, {rows.num_rows} rows and {num_duplicates} cells "
                f"quarantined, {self.outside} outside the range: a bug, please report it"
            )
        partitions: list[Partition] = []
        first, *_ = split(self._range(kinds, rows), config.partition)
        parts = self._parts(kinds, [rows["at"], cells["timestamp"]], first, config)
        if not replace:
            for name, kind in kinds.items():
                for part in parts:
                    _refuse_loss(store, name, part, config, kind)
        for part in parts:
            part_cells = _between(cells, "timestamp", part)
            part_rows = _between(rows, "at", part)
            untimed = rows.filter(pc.is_null(rows["at"])) if part == first else rows.slice(0, 0)
            for name in sorted({*kinds, *pc.unique(rows["kind"]).to_pylist(), UNKNOWN_KIND}):
                own_cells, own_rows = _of_kind(part_cells, name), _of_kind(part_rows, name)
                filed = pa.concat_tables([own_rows, _of_kind(untimed, name)]).drop_columns(["at"])
                write_quarantine(store, "rows", "ingest", name, part, config.partition, filed)
                write_quarantine(store, "cells", "ingest", name, part, config.partition, own_cells)
                if name in kinds:
                    # Rows without a usable time are not counted: which partition they are filed under depends on the
                    # run's range, and a partition's bytes must not.
                    taken_out = {
                        "quarantined_rows": count_rules(own_rows),
                        "quarantined_cells": count_rules(own_cells),
                    }
                    partitions += _write_part(store, name, kinds[name], part, config, taken_out)
        return IngestResult(
            partitions=tuple(sorted(partitions, key=lambda p: (p.kind, p.interval))),
            read=self.read,
            kept=kept,
            outside=self.outside,
            quarantined_rows=count_rules(rows),
            quarantined_cells=count_rules(cells),
            first_quarantined=self._first or first_taken_out(rows, cells, self.origin),
        )

    def _assemble(self, config: Config, duplicates: list[pa.Table]) -> dict[str, _Kind]:
        """Build one wide table per kind; what the long layout had twice goes to ``duplicates``."""
        assembled: dict[str, _Kind] = {}
        for name in sorted({kind for kind, _ in self._kept}):
            layouts = (False, True)
            read = {long: _joined(parts) for long in layouts if (parts := self._kept.pop((name, long), None))}
            step_seconds = config.steps.get(name) or _step_of(read, name)
            if step_seconds is None:
                self._rows += [without_rows(t, Rule.UNKNOWN_STEP, self.origin, t["timestamp"]) for t in read.values()]
                continue
            _check_divides(step_seconds, name, config)
            tables = []
            for is_long in list(read):
                table = read.pop(is_long)
                if self.interval is None:
                    table, strays = split_by_clock(table, self.origin)
                    self._rows.append(strays)
                self._kept_rows += table.num_rows
                if is_long:
                    pivoted = pivot(table, step_seconds)
                    duplicates.append(pivoted.duplicates)
                    table = pivoted.wide
                tables.append(table)
            assembled[name] = _Kind(pa.concat_tables(tables, promote_options="default"), step_seconds)
        return assembled

    def _parts(
        self, kinds: dict[str, _Kind], quarantined: list[pa.ChunkedArray], first: Interval, config: Config
    ) -> list[Interval]:
        """Return the run's first partition and all that hold anything; the range may be decades."""
        columns = [*(k.wide["timestamp"] for k in kinds.values()), *quarantined]
        times = pa.chunked_array([chunk for column in columns for chunk in column.chunks], TIME)
        floors = pc.unique(pc.floor_temporal(times.drop_null(), unit=config.partition)).to_pylist()
        length = LENGTHS[config.partition]
        return sorted({first, *(Interval(start, start + length) for start in floors)})

    def _range(self, kinds: dict[str, _Kind], rows: pa.Table) -> Interval:
        """Return the range of the run, or that of the rows."""
        if self.interval is not None:
            return self.interval
        times = [k.wide["timestamp"] for k in kinds.values()] + [rows["at"].drop_null()]
        ends = [pc.min_max(t) for t in times if len(t)]
        if not ends:
            return NO_TIME_AT_ALL
        last = max(e["max"].as_py() for e in ends)
        return Interval(min(e["min"].as_py() for e in ends), last + timedelta(microseconds=1))


def _write_part(
    store: Store, name: str, kind: _Kind, part: Interval, config: Config, taken_out: dict[str, dict[str, int]]
) -> list[Partition]:
    """Write the raw partition of ``part`` if it has rows; ``taken_out`` goes into its counts."""
    table = _measured(_between(kind.wide, "timestamp", part))
    if table.num_rows == 0:
        return []
    counts = {"kept": table.num_rows, **taken_out}
    return [write_partition(store, "raw", name, part, config.partition, table, kind.step_seconds, counts)]


def _joined(parts: list[pa.Table]) -> pa.Table:
    """Concatenate ``parts`` and empty the list: a day of a large fleet would be held twice."""
    table = pa.concat_tables(parts, promote_options="default").combine_chunks()
    parts.clear()
    return table


def _step_of(read: Mapping[bool, pa.Table], kind: str) -> int | None:
    """Infer the step of a kind from its rows by layout; None without two samples of an entity."""
    for is_long, table in read.items():
        try:
            return infer_step_seconds(series_of(table, is_long), times_of(table), kind)
        except BadInput:
            continue
    return None


def _check_divides(step_seconds: int, kind: str, config: Config) -> None:
    """Raise BadInput unless the step divides the partition: grids would disagree otherwise."""
    length = int(LENGTHS[config.partition].total_seconds())
    if length % step_seconds:
        nearest = min((d for d in range(1, length + 1) if length % d == 0), key=lambda d: abs(d - step_seconds))
        raise BadInput(
            f"kind {kind}: its most common spacing is {step_seconds} s, which does not divide a {config.partition}; "
            f"set steps.{kind} in params.yaml to one that does, for example {nearest}"
        )


def _refuse_loss(store: Store, kind: str, part: Interval, config: Config, kept: _Kind) -> None:
    """Raise BadInput when the new partition lacks something of the stored one.

    That is an entity, a metric or a sample.
    """
    table = _measured(_between(kept.wide, "timestamp", part))
    stored = get_partition(store, "raw", kind, part, config.partition)
    if stored is None or table.num_rows == 0:
        return
    held = read_partition(store, stored, ["entity_id", "timestamp"])
    entities = sorted(set(pc.unique(held["entity_id"]).to_pylist()) - set(pc.unique(table["entity_id"]).to_pylist()))
    metrics = sorted(set(stored.metrics) - set(table.schema.names))
    lost = _samples(held, stored.step_seconds).join(
        _samples(table, stored.step_seconds), ["entity_id", "slot"], join_type="left anti"
    )
    missing = ""
    if entities:
        missing = f"{len(entities)} entities such as {entities[0]!r}"
    elif metrics:
        missing = f"{len(metrics)} metrics such as {metrics[0]!r}"
    elif lost.num_rows:
        entity_id, first = min(zip(lost["entity_id"].to_pylist(), lost["first"].to_pylist(), strict=True))
        missing = f"{lost.num_rows} samples such as that of {entity_id!r} at {format_time(first)}"
    if missing:
        raise BadInput(
            f"kind {kind}, {partition_key(part, config.partition)}: the stored partition holds {missing} that these files lack, "
            "and ingesting them would replace it whole; give all files of the partition at once (rows of one time are merged), "
            "or --replace"
        )


def _samples(rows: pa.Table, step_seconds: int) -> pa.Table:
    """Return ``entity_id``, ``slot`` and the ``first`` time of every slot with a row."""
    slots = slots_of(rows["timestamp"].to_numpy().astype("datetime64[us]"), step_seconds)
    table = pa.table({"entity_id": rows["entity_id"], "slot": slots, "first": rows["timestamp"]})
    return (
        table.group_by(["entity_id", "slot"])
        .aggregate([("first", "min")])
        .rename_columns(["entity_id", "slot", "first"])
    )


def _between(table: pa.Table, column: str, part: Interval) -> pa.Table:
    inside = pc.fill_null(within(table[column], part.start, part.end), False)
    return table if pc.all(inside).as_py() else table.filter(inside)


def _measured(table: pa.Table) -> pa.Table:
    """Drop the metrics that have no value in ``table``.

    The columns of other days of a run must not change this day's bytes.
    """
    return table.select([n for n in table.schema.names if n in KEY_COLUMNS or table[n].null_count < table.num_rows])


def _of_kind(table: pa.Table, kind: str) -> pa.Table:
    return table.filter(pc.equal(table["kind"], kind))
