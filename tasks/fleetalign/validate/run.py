"""Raw partitions to validated ones, and the record of why (contracts 2.2, 2.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fleetalign.config import Config
from fleetalign.contracts.hashing import readable_json
from fleetalign.errors import NotFound, NotReproducible, PartitionHeld
from fleetalign.interval import Interval, partition_key
from fleetalign.storage import layout
from fleetalign.storage.lake import (
    Partition,
    get_partition,
    list_partitions,
    read_partition,
    read_phases,
    write_partition,
)
from fleetalign.storage.quarantine import first_taken_out, write_quarantine
from fleetalign.storage.store import Store
from fleetalign.validate.cells import check_cells
from fleetalign.validate.expectations import Finding, Judgement, judge
from fleetalign.validate.raw_warnings import raw_warnings
from fleetalign.validate.rows import check_rows
from fleetalign.validate.series import fill_gaps
from fleetalign.validate.summary import summarise

RESULT_VERSION = "1.1"


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What validation made of one raw partition.

    ``raw_rows = kept + merged + sum(quarantined_rows)`` and validated rows = ``kept + inserted`` are checked on every run.
    """

    kind: str
    interval: Interval
    partition: Partition
    """The validated partition."""
    raw_rows: int
    kept: int
    merged: int
    """Rows that went into another row of their slot."""
    inserted: int
    quarantined_rows: dict[str, int]
    quarantined_cells: dict[str, int]
    first_quarantined: str
    warnings: tuple[str, ...]
    result_key: str
    """Object that holds the same numbers and every finding as JSON."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values, the partition by its key and digest."""
        return {
            "kind": self.kind,
            **self.interval.as_json(),
            "partition": self.partition.prefix,
            "sha256": self.partition.digest,
            "raw_rows": self.raw_rows,
            "kept": self.kept,
            "merged": self.merged,
            "inserted": self.inserted,
            "quarantined_rows": self.quarantined_rows,
            "quarantined_cells": self.quarantined_cells,
            "first_quarantined": self.first_quarantined,
            "warnings": list(self.warnings),
            "result": self.result_key,
        }


def validate_partition(store: Store, config: Config, kind: str, interval: Interval) -> ValidationResult:
    """Validate the raw partition of ``kind`` and ``interval``.

    Raises NotFound without a raw partition and PartitionHeld when a critical expectation fails: the validated
    partition is then not written (an earlier one stays), the quarantine and the result are.
    """
    granularity = config.partition
    raw = get_partition(store, "raw", kind, interval, granularity)
    if raw is None:
        key = partition_key(interval, granularity)
        raise NotFound(f"no raw partition of kind {kind} for {key} in {store.uri}; ingest it first")
    table = read_partition(store, raw)
    table_rows = table.num_rows
    table, bad = check_cells(table)
    phases = read_phases(store, raw)
    checked = check_rows(table, interval, raw.step_seconds, raw.prefix, phases)
    measured, rows, cells = checked.kept, checked.outside, pa.concat_tables([bad, checked.conflicts])
    validated, inserted = fill_gaps(measured, raw.step_seconds)
    _check_laws(raw, table_rows, measured.num_rows, checked.merged, rows.num_rows, inserted, validated.num_rows)
    row_rules = write_quarantine(store, "rows", "validate", kind, interval, granularity, rows)
    cell_rules = write_quarantine(store, "cells", "validate", kind, interval, granularity, cells)
    counts = {
        "raw_rows": table_rows,
        "kept": measured.num_rows,
        "merged": checked.merged,
        "inserted": inserted,
        "quarantined_rows": row_rules,
        "quarantined_cells": cell_rules,
    }
    name = f"{kind} {partition_key(interval, granularity)}"
    frames = {
        "telemetry": validated.select(["entity_id", "timestamp"]),
        "entity_summary": summarise(validated, rows, interval, raw.step_seconds, measured, checked.contradicted),
    }
    # The partition's own time, not the clock's: validating again replaces the pages.
    judgement = judge(frames, name.replace(" ", "_"), interval.start, config.validation.data_docs)
    held = [f for f in judgement.findings if f.holds_partition]
    result_key = _store_result(store, config, raw, counts, judgement, held)
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise PartitionHeld(
            f"{name} is held: {held[0]}{more}; see {store.uri}/{result_key}, repair the source and ingest the "
            "partition again"
        )
    taken = {**counts, "raw": raw.digest}
    partition = write_partition(
        store, "validated", kind, interval, granularity, validated, raw.step_seconds, taken, phases
    )
    return ValidationResult(
        kind=kind,
        interval=interval,
        partition=partition,
        raw_rows=table_rows,
        kept=measured.num_rows,
        merged=checked.merged,
        inserted=inserted,
        quarantined_rows=row_rules,
        quarantined_cells=cell_rules,
        first_quarantined=first_taken_out(rows, cells, raw.prefix),
        warnings=(
            *(str(f) for f in judgement.findings if not f.success),
            *raw_warnings(store, raw, table, granularity),
        ),
        result_key=result_key,
    )


def validate_interval(store: Store, config: Config, interval: Interval) -> list[ValidationResult]:
    """Validate every raw partition that overlaps ``interval``, all kinds, in (kind, time) order.

    Raises PartitionHeld for the first partition held, after the others are validated; NotFound when there is none.
    """
    partitions = list_partitions(store, "raw", within=interval)
    if not partitions:
        span = interval.as_json()
        raise NotFound(f"no raw partition from {span['start']} to {span['end']} in {store.uri}; ingest it first")
    results, held = [], []
    for partition in partitions:
        try:
            results.append(validate_partition(store, config, partition.kind, partition.interval))
        except PartitionHeld as error:
            held.append(error)
    if held:
        raise held[0]
    return results


def _check_laws(
    raw: Partition, read: int, kept: int, merged: int, quarantined: int, inserted: int, validated: int
) -> None:
    if read != kept + merged + quarantined or validated != kept + inserted or read != raw.rows:
        raise NotReproducible(
            f"{raw.prefix}: {raw.rows} rows listed, {read} read, {kept} kept, {merged} merged, {quarantined} quarantined, "
            f"{inserted} inserted, {validated} validated do not add up: a bug, please report it"
        )


def _store_result(
    store: Store, config: Config, raw: Partition, counts: Mapping[str, Any], judgement: Judgement, held: list[Finding]
) -> str:
    """Write the result as JSON and the Data Docs pages; returns the result's key."""
    interval, granularity = raw.interval, config.partition
    document = {
        "schema_version": RESULT_VERSION,
        "kind": raw.kind,
        **interval.as_json(),
        "raw": raw.digest,
        "verdict": "held" if held else "passed",
        "counts": counts,
        "findings": [dataclasses.asdict(f) for f in judgement.findings],
    }
    key = layout.validation_result(raw.kind, interval, granularity)
    store.put(key, readable_json(document))
    site = f"{layout.DATA_DOCS}{layout.partition_path(raw.kind, interval, granularity)}/"
    for path, html in judgement.html.items():
        store.put(site + path, html)
    return key
