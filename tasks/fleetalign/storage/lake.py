"""Telemetry partitions: immutable parts, and ``_partition.json``, which lists them.

Parts are named by their content; the list is written last.

Readers see only the parts that ``_partition.json`` lists. Rewriting a partition adds new parts, then replaces that
one object; equal content gives equal bytes, so ingesting a day again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.plan import PartitionEntry
from fleetalign.contracts.schema import checked_major
from fleetalign.contracts.tables import KEY_COLUMNS, TELEMETRY, fleet_parquet, from_parquet, to_parquet
from fleetalign.errors import ConfigError, NotFound
from fleetalign.interval import Granularity, Interval, parse_time
from fleetalign.storage import layout
from fleetalign.storage.store import Store

PARTITION_VERSION = "1.1"
"""1.0 has no phases: its rows lie on the grid, or were written when a sample belonged to the slot that it lies in."""
ROWS_PER_PART = 100_000
"""Small enough that a shard of a large fleet reads few rows of other entities."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One completed time range of one kind."""

    prefix: str
    """Prefix of its keys in the store."""
    digest: str
    """sha256 of ``_partition.json``."""
    document: Mapping[str, Any]
    """The content of ``_partition.json``."""

    @property
    def kind(self) -> str:
        """The kind of its entities."""
        return str(self.document["kind"])

    @property
    def interval(self) -> Interval:
        """The time range that it covers."""
        return Interval(parse_time(self.document["start"]), parse_time(self.document["end"]))

    @property
    def step_seconds(self) -> int:
        """Seconds between samples."""
        return int(self.document["step_seconds"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric columns."""
        return tuple(self.document["metrics"])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.document["rows"])

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """Its parts: name, bytes, sha256, rows, first and last entity."""
        files: Sequence[Mapping[str, Any]] = self.document["files"]
        return files

    def as_plan_entry(self) -> PartitionEntry:
        """Return the entry of a plan.

        It suffices to read exactly these bytes, even after the partition was rewritten.
        """
        return PartitionEntry.from_document({**self.document, "prefix": self.prefix, "sha256": self.digest})

    @classmethod
    def from_plan_entry(cls, entry: PartitionEntry) -> Partition:
        """Make the partition of a plan's entry."""
        return cls(entry.prefix, entry.sha256, entry.as_document())


def write_partition(
    store: Store,
    layer: str,
    kind: str,
    interval: Interval,
    granularity: Granularity,
    table: pa.Table,
    step_seconds: int,
    counts: Mapping[str, Any],
    phases: pa.Table | None = None,
) -> Partition:
    """Write ``table`` (TELEMETRY, rows of ``kind`` inside ``interval``) as one partition.

    ``counts`` is stored unchanged: it holds the numbers of the count laws (contracts 2.2). ``phases`` (PHASES) are those
    of its entities; None: every row lies on the grid.

    Raises:
        ConfigError: The day is already partitioned with the other granularity.
    """
    table = TELEMETRY.conform(table)
    prefix = layout.partition_prefix(layer, kind, interval, granularity)
    _refuse_other_granularity(store, layer, kind, interval, granularity)
    metrics = [n for n in table.schema.names if n not in KEY_COLUMNS]
    files = []
    for start in range(0, max(table.num_rows, 1), ROWS_PER_PART):
        part = table.slice(start, ROWS_PER_PART)
        files.append({**_put_part(store, prefix, to_parquet(part)), "rows": part.num_rows, **_entity_range(part)})
    further: dict[str, Any] = {}
    if phases is not None:
        listed = _put_part(store, prefix, fleet_parquet(phases))
        further = {"phases": {**listed, "rows": phases.num_rows, **_entity_range(phases)}}
    document = {
        "schema_version": "1.0" if phases is None else PARTITION_VERSION,
        "layer": layer,
        "kind": kind,
        **interval.as_json(),
        "granularity": granularity,
        "step_seconds": step_seconds,
        "metrics": metrics,
        "rows": table.num_rows,
        "cells": sum(table.num_rows - table[m].null_count for m in metrics),
        "entities": pc.count_distinct(table["entity_id"]).as_py(),
        "files": files,
        **further,
        "counts": dict(counts),
    }
    data = readable_json(document)
    key = prefix + layout.PARTITION_FILE
    if not (store.exists(key) and store.get(key) == data):
        store.put(key, data)
    return Partition(prefix, sha256(data), document)


def _put_part(store: Store, prefix: str, data: bytes) -> dict[str, Any]:
    digest = sha256(data)
    name = f"{digest[:32]}.parquet"
    store.put_immutable(prefix + name, data)
    return {"name": name, "bytes": len(data), "sha256": digest}


def _refuse_other_granularity(
    store: Store, layer: str, kind: str, interval: Interval, granularity: Granularity
) -> None:
    day = layout.partition_prefix(layer, kind, interval, "day")
    hours = granularity == "day" and any(True for _ in store.list(day + "hour="))
    if hours or (granularity == "hour" and store.exists(day + layout.PARTITION_FILE)):
        raise ConfigError(
            f"{store.uri}/{day} already holds {'hours' if hours else 'a whole day'}: set partition back to "
            f"{'hour' if hours else 'day'}, or use another store"
        )


def _entity_range(part: pa.Table) -> dict[str, str | None]:
    """Return the first and last entity of a part sorted by entity; None for an empty part."""
    ids = part["entity_id"]
    return {
        "first_entity": ids[0].as_py() if part.num_rows else None,
        "last_entity": ids[-1].as_py() if part.num_rows else None,
    }


def get_partition(
    store: Store, layer: str, kind: str, interval: Interval, granularity: Granularity
) -> Partition | None:
    """Read one partition; None if it was never completed."""
    prefix = layout.partition_prefix(layer, kind, interval, granularity)
    return _load(store, prefix)


def _load(store: Store, prefix: str) -> Partition | None:
    key = prefix + layout.PARTITION_FILE
    try:
        data = store.get(key)
    except NotFound:
        return None
    document = json.loads(data)
    if "schema_version" in document:  # one restored from the data registry is a plan's entry, which has none
        checked_major(document, PARTITION_VERSION, f"{store.uri}/{key}")
    return Partition(prefix, sha256(data), document)


def list_partitions(
    store: Store, layer: str, kind: str | None = None, within: Interval | None = None
) -> list[Partition]:
    """List the completed partitions that overlap ``within``, in (kind, start) order.

    Raises:
        BadInput: A partition has an unknown major version.
    """
    found = []
    for info in store.list(layout.telemetry(layer, kind)):
        if info.key.endswith("/" + layout.PARTITION_FILE):
            partition = _load(store, info.key[: -len(layout.PARTITION_FILE)])
            if partition is not None and (within is None or partition.interval.overlaps(within)):
                found.append(partition)
    return sorted(found, key=lambda p: (p.kind, p.interval))


def newest_end(store: Store, layer: str, kind: str, since: datetime, now: datetime) -> datetime | None:
    """Return the end of the newest partition of ``kind`` since ``since``; None if there is none.

    It lists a month at a time, newest first, so that years of telemetry are not listed.
    """
    month = now.astimezone(UTC).replace(day=1)
    while month.strftime("%Y-%m") >= since.strftime("%Y-%m"):
        keys = [i.key for i in store.list(layout.telemetry_month(layer, kind, month))]
        completed = [key for key in keys if key.endswith("/" + layout.PARTITION_FILE)]
        if completed:
            partition = _load(store, max(completed).removesuffix(layout.PARTITION_FILE))
            return None if partition is None else partition.interval.end
        month = (month - timedelta(days=1)).replace(day=1)
    return None


def read_parts(
    store: Store,
    partition: Partition,
    columns: Sequence[str] | None = None,
    entity_range: tuple[str, str] | None = None,
    encoded: Sequence[str] | None = None,
) -> Iterator[pa.Table]:
    """Read the parts one at a time, each checked against its sha256.

    Args:
        store: The store.
        partition: The partition.
        columns: Columns to read; None reads all.
        entity_range: First and last entity wanted; parts without any of them are not fetched.
        encoded: Text columns to read as dictionaries, so that repeated texts take little memory.

    Raises:
        Corrupt: A part differs from its sha256.
    """
    filters = None
    if entity_range is not None:
        filters = (pc.field("entity_id") >= entity_range[0]) & (pc.field("entity_id") <= entity_range[1])
    for file in partition.files:
        if entity_range is not None and (
            file["first_entity"] is None
            or file["last_entity"] < entity_range[0]
            or file["first_entity"] > entity_range[1]
        ):
            continue
        key = partition.prefix + file["name"]
        data = store.get_checked(key, file["sha256"])
        yield from_parquet(data, f"{store.uri}/{key}", list(columns) if columns else None, filters, encoded)


def read_phases(store: Store, partition: Partition) -> pa.Table | None:
    """Read the phases (PHASES) of a partition's entities.

    None: it has none, and a row belongs to the slot that it lies in.

    Raises:
        Corrupt: The file differs from its sha256.
    """
    file = partition.document.get("phases")
    if file is None:
        return None
    key = partition.prefix + file["name"]
    return from_parquet(store.get_checked(key, file["sha256"]), f"{store.uri}/{key}")


def read_partition(store: Store, partition: Partition, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the whole partition as one table."""
    return pa.concat_tables(read_parts(store, partition, columns)).combine_chunks()


def entity_ids(store: Store, partitions: Iterable[Partition], kind: str) -> pa.StringArray:
    """Read the ids of all entities of ``kind`` in ``partitions``, sorted by code point."""
    parts = [
        pc.unique(part["entity_id"]).dictionary
        for partition in partitions
        if partition.kind == kind
        for part in read_parts(store, partition, ["entity_id"], encoded=["entity_id"])
    ]
    found = pc.unique(pa.chunked_array(parts, pa.string()))
    return found.take(pc.sort_indices(found))
