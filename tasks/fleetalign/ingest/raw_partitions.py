"""Sorts the batches of one reading into raw partitions and quarantine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.phases import Phases, nearest_slots
from fleetalign.contracts.slots import slot_times, slots_of
from fleetalign.contracts.tables import ATTRIBUTES, KEY_COLUMNS, QUARANTINED_CELLS, TIME
from fleetalign.errors import BadInput, NotReproducible
from fleetalign.ingest.attributes import attributes_in
from fleetalign.ingest.batch import ROWS_WITH_TIME, UNKNOWN_KIND, Batch, without_rows
from fleetalign.ingest.long import pivot, series_of
from fleetalign.ingest.merging import as_samples, held_partitions, held_rows, without_repeats
from fleetalign.ingest.placing import EDGE, SLOT, in_partition, parts_of, place, starts_of, with_slots
from fleetalign.ingest.sampling import changed_step, infer_step_seconds, split_by_clock, times_of
from fleetalign.ingest.source import Stored
from fleetalign.ingest.times import within
from fleetalign.interval import LENGTHS, Interval, format_time, partition_key, split
from fleetalign.storage.attributes import write_attributes
from fleetalign.storage.lake import Partition, get_partition, read_partition, read_phases, write_partition
from fleetalign.storage.quarantine import (
    Rule,
    What,
    count_rules,
    first_taken_out,
    read_quarantine,
    without_equal,
    write_quarantine,
)
from fleetalign.storage.store import Store

KEPT = (*KEY_COLUMNS, SLOT)
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
    """Telemetry rows with SLOT."""
    step_seconds: int
    phases: dict[np.datetime64, pa.Table]
    """By the start of a partition those of its entities; none where all its rows lie on the grid."""
    touched: frozenset[np.datetime64] | None = None
    """Starts of the partitions that change; None: all that have rows."""

    def part(self, part: Interval) -> pa.Table:
        """Return the rows of ``part`` if it changes, with the metrics that have a value there.

        The columns of other days of a run must not change this day's bytes.
        """
        touched = self.touched is None or np.datetime64(part.start.replace(tzinfo=None), "us") in self.touched
        table = in_partition(self.wide, part) if touched else self.wide.slice(0, 0)
        return table.select([n for n in table.schema.names if n in KEPT or table[n].null_count < table.num_rows])

    def phases_of(self, part: Interval) -> pa.Table | None:
        """Return the phases of the entities of ``part``."""
        return self.phases.get(np.datetime64(part.start.replace(tzinfo=None), "us"))


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
    _attributes: list[pa.Table] = field(default_factory=list)
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
            self._attributes.append(batch.attributes)
            for kind in pc.unique(batch.kept["kind"]).to_pylist():
                self._kept[kind, batch.is_long].append(batch.kept.filter(pc.equal(batch.kept["kind"], kind)))

    def add_attributes(self, table: pa.Table) -> None:
        self._attributes.append(table)

    def write(self, store: Store, config: Config, how: Stored = "keep") -> IngestResult:
        """Write every raw partition and its quarantine; a kind of unknown step is quarantined.

        ``how`` says what becomes of stored partitions. Raises BadInput when a step does not divide the partition, and
        with ``keep`` also when a stored partition holds entities or times that these rows lack: writing would lose
        them. Nothing is written then.
        """
        duplicates: list[pa.Table] = []
        kinds = self._assemble(config, duplicates, store if how == "merge" else None)
        num_duplicates = sum(t.num_rows for t in duplicates)
        cells = self._of_the_range(pa.concat_tables([QUARANTINED_CELLS.empty(), *self._cells]), "timestamp")
        cells = pa.concat_tables([cells, *duplicates])
        rows = pa.concat_tables([ROWS_WITH_TIME.empty_table(), *self._rows])
        all_rows = rows.num_rows
        rows = self._of_the_range(rows, "at")
        self.outside += all_rows - rows.num_rows
        kept = self._kept_rows - num_duplicates
        if self.read != kept + rows.num_rows + num_duplicates + self.outside:
            raise NotReproducible(
                f"ingest: {self.read} rows read, but {kept} kept, {rows.num_rows} rows and {num_duplicates} cells "
                f"quarantined, {self.outside} outside the range: a bug, please report it"
            )
        partitions: list[Partition] = []
        first, *_ = split(self._range(kinds, rows), config.partition)
        parts = self._parts(kinds, [rows["at"], cells["timestamp"]], first, config)
        if how == "keep":
            for name, kind in kinds.items():
                for part in parts:
                    _refuse_loss(store, name, part, config, kind)
        for part in parts:
            part_cells = _between(cells, "timestamp", self._filing(part, parts))
            part_rows = _between(rows, "at", part)
            untimed = rows.filter(pc.is_null(rows["at"])) if part == first else rows.slice(0, 0)
            for name in sorted({*kinds, *pc.unique(rows["kind"]).to_pylist(), UNKNOWN_KIND}):
                own_cells, own_rows = _of_kind(part_cells, name), _of_kind(part_rows, name)
                filed = pa.concat_tables([own_rows, _of_kind(untimed, name)]).drop_columns(["at"])
                # Rows without a usable time are not counted: which partition they are filed under depends on the
                # run's range, and a partition's bytes must not.
                taken_out = {"quarantined_rows": count_rules(own_rows), "quarantined_cells": count_rules(own_cells)}
                if how == "merge":
                    filed, own_cells, taken_out = _with_earlier(store, config, name, part, filed, own_cells, taken_out)
                write_quarantine(store, "rows", "ingest", name, part, config.partition, filed)
                write_quarantine(store, "cells", "ingest", name, part, config.partition, own_cells)
                if name in kinds:
                    partitions += _write_part(store, name, kinds[name], part, config, taken_out)
        attributes = pa.concat_tables([ATTRIBUTES.empty(), *self._attributes])
        for partition in partitions:
            mine = attributes_in(attributes, partition.kind, partition.interval)
            merge = how != "replace"
            write_attributes(store, partition.kind, partition.interval, config.partition, mine, merge=merge)
        return IngestResult(
            partitions=tuple(sorted(partitions, key=lambda p: (p.kind, p.interval))),
            read=self.read,
            kept=kept,
            outside=self.outside,
            quarantined_rows=count_rules(rows),
            quarantined_cells=count_rules(cells),
            first_quarantined=self._first or first_taken_out(rows, cells, self.origin),
        )

    def _assemble(self, config: Config, duplicates: list[pa.Table], merged_into: Store | None) -> dict[str, _Kind]:
        """Build one wide table per kind; what the long layout had twice goes to ``duplicates``.

        What ``merged_into`` holds of the same time is part of it.
        """
        assembled: dict[str, _Kind] = {}
        for name in sorted({kind for kind, _ in self._kept}):
            layouts = (False, True)
            read = {long: _joined(parts) for long in layouts if (parts := self._kept.pop((name, long), None))}
            held: list[Partition] = []
            if merged_into is not None:
                columns = (table["timestamp"] for table in read.values())
                held = held_partitions(merged_into, name, columns, config.partition)
            step_seconds = config.steps.get(name) or next((p.step_seconds for p in held), None) or _step_of(read, name)
            if step_seconds is None:
                self._rows += [without_rows(t, Rule.UNKNOWN_STEP, self.origin, t["timestamp"]) for t in read.values()]
                continue
            _check_divides(step_seconds, name, config)
            if name not in config.steps and not held:  # what came late has gaps
                _refuse_changed_step(read, step_seconds, name, config)
            if self.interval is None:
                for is_long, table in read.items():
                    read[is_long], strays = split_by_clock(table, self.origin)
                    self._rows.append(strays)
            came = sum(table.num_rows for table in read.values())
            times = [times_of(table) for table in read.values()]
            if held and merged_into is not None:
                _put_before(read, held_rows(merged_into, held))
            keys = pa.concat_tables([table.select(["entity_id", "timestamp"]) for table in read.values()])
            placed, first, tables = place(name, keys, step_seconds, config.partition, self.interval), 0, []
            self._kept_rows += came - keys.num_rows
            touched = None
            if held:
                touched = starts_of(np.concatenate([*times, placed.at[len(placed.at) - came :]]), config.partition)
            for is_long in list(read):
                whole = read.pop(is_long)
                table = with_slots(whole, placed, first)
                first += whole.num_rows
                self.outside += whole.num_rows - table.num_rows
                self._kept_rows += table.num_rows
                if is_long:
                    pivoted = pivot(table)
                    duplicates.append(pivoted.duplicates)
                    table = pivoted.wide
                tables.append(table)
            wide = pa.concat_tables(tables, promote_options="default")
            assembled[name] = _Kind(wide, step_seconds, placed.phases, touched)
        return assembled

    def _filing(self, part: Interval, parts: list[Interval]) -> Interval:
        """Return the times of the cells that are filed under ``part``.

        Those of samples that jitter put beyond an end of the range belong to the partition at that end.
        """
        if self.interval is None:
            return part
        reach = part.widened(EDGE)
        return Interval(reach.start if part == parts[0] else part.start, reach.end if part == parts[-1] else part.end)

    def _of_the_range(self, table: pa.Table, column: str) -> pa.Table:
        """Leave out what was quarantined beyond the range: the run of that time quarantines it."""
        if self.interval is None:
            return table
        return table.filter(pc.fill_null(within(table[column], self.interval.start, self.interval.end), True))

    def _parts(
        self, kinds: dict[str, _Kind], quarantined: list[pa.ChunkedArray], first: Interval, config: Config
    ) -> list[Interval]:
        """Return the run's first partition and all that hold anything; the range may be decades."""
        quarantined = [self._of_the_range(pa.table({"at": column}), "at")["at"] for column in quarantined]
        columns = [*(k.wide[SLOT] for k in kinds.values()), *quarantined]
        times = pa.chunked_array([chunk for column in columns for chunk in column.chunks], TIME)
        floors = pc.unique(pc.floor_temporal(times.drop_null(), unit=config.partition)).to_pylist()
        length = LENGTHS[config.partition]
        return sorted({first, *(Interval(start, start + length) for start in floors)})

    def _range(self, kinds: dict[str, _Kind], rows: pa.Table) -> Interval:
        """Return the range of the run, or that of the rows."""
        if self.interval is not None:
            return self.interval
        times = [k.wide[SLOT] for k in kinds.values()] + [rows["at"].drop_null()]
        ends = [pc.min_max(t) for t in times if len(t)]
        if not ends:
            return NO_TIME_AT_ALL
        last = max(e["max"].as_py() for e in ends)
        return Interval(min(e["min"].as_py() for e in ends), last + timedelta(microseconds=1))


def _put_before(read: dict[bool, pa.Table], held: pa.Table) -> None:
    """Put stored rows before those that were ``read``, in the layout of those.

    A row that is stored already is left out.
    """
    if True in read:
        read[True] = pa.concat_tables([as_samples(held), read[True]])
    else:
        read[False] = pa.concat_tables([held, without_repeats(read[False], held)], promote_options="default")


def _with_earlier(
    store: Store,
    config: Config,
    kind: str,
    part: Interval,
    rows: pa.Table,
    cells: pa.Table,
    taken_out: dict[str, dict[str, int]],
) -> tuple[pa.Table, pa.Table, dict[str, dict[str, int]]]:
    """Add what an earlier ingest quarantined from a partition, and its counts."""
    stored = get_partition(store, "raw", kind, part, config.partition)
    counts = stored.document["counts"] if stored is not None else {}
    found = []
    whats: tuple[tuple[What, pa.Table], ...] = (("rows", rows), ("cells", cells))
    for what, table in whats:
        earlier = read_quarantine(store, what, "ingest", kind, part, config.partition)
        fresh = without_equal(table, earlier)
        name = f"quarantined_{what}"
        counted = count_rules(fresh) if what == "cells" else taken_out[name] if fresh.num_rows else {}
        taken_out = {**taken_out, name: dict(sorted((Counter(counts.get(name, {})) + Counter(counted)).items()))}
        found.append(pa.concat_tables([earlier, fresh]))
    return found[0], found[1], taken_out


def _write_part(
    store: Store, name: str, kind: _Kind, part: Interval, config: Config, taken_out: dict[str, dict[str, int]]
) -> list[Partition]:
    """Write the raw partition of ``part`` if it has rows; ``taken_out`` goes into its counts."""
    table = kind.part(part).drop_columns([SLOT])
    if table.num_rows == 0:
        return []
    counts, phases = {"kept": table.num_rows, **taken_out}, kind.phases_of(part)
    return [write_partition(store, "raw", name, part, config.partition, table, kind.step_seconds, counts, phases)]


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


def _refuse_changed_step(read: Mapping[bool, pa.Table], step_seconds: int, kind: str, config: Config) -> None:
    """Raise BadInput when most entities of a partition have another step.

    Its grid would be mostly empty, or several samples would share a slot.
    """
    for is_long, table in read.items():
        times = times_of(table)
        changed = changed_step(series_of(table, is_long), times, parts_of(times, config.partition), step_seconds)
        if changed is not None:
            other, part = changed
            raise BadInput(
                f"kind {kind}: partitions have different steps {sorted([step_seconds, other])} s (first at {part}); set "
                f"steps.{kind} in params.yaml and ingest those days again"
            )


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
    table = kept.part(part)
    stored = get_partition(store, "raw", kind, part, config.partition)
    if stored is None or table.num_rows == 0:
        return
    held = read_partition(store, stored, ["entity_id", "timestamp"])
    held = held.append_column(SLOT, _slots_held(store, stored, held))
    entities = sorted(set(pc.unique(held["entity_id"]).to_pylist()) - set(pc.unique(table["entity_id"]).to_pylist()))
    metrics = sorted(set(stored.metrics) - set(table.schema.names))
    lost = _samples(held).join(_samples(table), ["entity_id", SLOT], join_type="left anti")
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
            "--merge to add them to it, or --replace"
        )


def _slots_held(store: Store, stored: Partition, rows: pa.Table) -> pa.Array:
    """Return where the slot of each of the ``rows`` of a stored partition begins."""
    phases, times = read_phases(store, stored), times_of(rows)
    if phases is None:
        slots = slots_of(times, stored.step_seconds)
    else:
        slots = nearest_slots(times, stored.step_seconds, Phases(phases).of(rows["entity_id"]))
    return pa.array(slot_times(slots, stored.step_seconds)).cast(TIME)


def _samples(rows: pa.Table) -> pa.Table:
    """Return ``entity_id``, SLOT and the ``first`` time of every slot with a row."""
    table = rows.select(["entity_id", SLOT, "timestamp"]).group_by(["entity_id", SLOT])
    return table.aggregate([("timestamp", "min")]).rename_columns(["entity_id", SLOT, "first"])


def _between(table: pa.Table, column: str, part: Interval) -> pa.Table:
    inside = pc.fill_null(within(table[column], part.start, part.end), False)
    return table if pc.all(inside).as_py() else table.filter(inside)


def _of_kind(table: pa.Table, kind: str) -> pa.Table:
    return table.filter(pc.equal(table["kind"], kind))
