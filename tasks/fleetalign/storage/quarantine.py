"""Quarantined rows and cells: immutable parts, and a listing per stage, written last.

Two stages quarantine from a partition: ``ingest`` and ``validate``. Each replaces only its own listing, and readers
see only the parts that the listings name, so that repeating a stage changes no byte and counts no row twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.tables import QUARANTINED_CELLS, QUARANTINED_ROWS, TableContract, from_parquet, to_parquet
from fleetalign.interval import Granularity, Interval, format_time
from fleetalign.storage import layout
from fleetalign.storage.store import Store

LISTING_VERSION = "1.0"
SHOWN = 80
"""Characters of an id or a value that a message shows; the quarantine holds all of it."""
What = Literal["rows", "cells"]
Stage = Literal["ingest", "validate"]


class Rule(StrEnum):
    """Why a row or cell was quarantined; docs/data.md explains each."""

    # ingest, rows
    MISSING_ENTITY = "missing_entity"
    ENTITY_ID_TOO_LONG = "entity_id_too_long"
    RESERVED_ENTITY_ID = "reserved_entity_id"
    BAD_KIND = "bad_kind"
    MISSING_METRIC = "missing_metric"
    MISSING_TIME = "missing_time"
    UNREADABLE_TIME = "unreadable_time"
    TIME_WITHOUT_ZONE = "time_without_zone"
    AMBIGUOUS_TIME = "ambiguous_time"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    CLOCK_JUMP = "clock_jump"
    WRONG_COLUMN_COUNT = "wrong_column_count"
    REPEATED_HEADER = "repeated_header"
    RESTART_LINE = "restart_line"
    UNKNOWN_STEP = "unknown_step"
    # ingest, rows of requests
    UNREADABLE_LINE = "unreadable_line"
    MISSING_OPERATION = "missing_operation"
    MISSING_DURATION = "missing_duration"
    DURATION_OUT_OF_RANGE = "duration_out_of_range"
    # ingest, cells
    NOT_A_NUMBER = "not_a_number"
    DUPLICATE_CELL = "duplicate_cell"
    # validate, rows
    OUTSIDE_PARTITION = "outside_partition"
    # validate, cells
    CONFLICTING_VALUE = "conflicting_value"
    INFINITE = "infinite"
    TOO_LARGE = "too_large"


CONTRACTS: dict[str, TableContract] = {"rows": QUARANTINED_ROWS, "cells": QUARANTINED_CELLS}


def write_quarantine(
    store: Store, what: What, stage: Stage, kind: str, interval: Interval, granularity: Granularity, table: pa.Table
) -> dict[str, int]:
    """Replace what ``stage`` quarantined from a partition and return the count per rule.

    An empty table is written only if an earlier run listed a row or cell.
    """
    table = CONTRACTS[what].conform(table)
    prefix = layout.quarantine(what, kind, interval, granularity)
    listing_key = f"{prefix}_{stage}.json"
    rules = count_rules(table)
    if table.num_rows == 0 and not store.exists(listing_key):
        return rules
    files: list[dict[str, Any]] = []
    if table.num_rows:
        data = to_parquet(table)
        digest = sha256(data)
        name = f"{digest[:32]}.parquet"
        store.put_immutable(prefix + name, data)
        files.append({"name": name, "bytes": len(data), "sha256": digest, "rows": table.num_rows})
    listing = {
        "schema_version": LISTING_VERSION,
        "stage": stage,
        "kind": kind,
        **interval.as_json(),
        "rows": table.num_rows,
        "rules": rules,
        "files": files,
    }
    data = readable_json(listing)
    if not (store.exists(listing_key) and store.get(listing_key) == data):
        store.put(listing_key, data)
    return rules


def read_quarantine(
    store: Store, what: What, stage: Stage, kind: str, interval: Interval, granularity: Granularity
) -> pa.Table:
    """Read what ``stage`` quarantined from a partition.

    Raises:
        Corrupt: A part differs from its sha256.
    """
    prefix = layout.quarantine(what, kind, interval, granularity)
    tables = [CONTRACTS[what].empty()]
    if store.exists(f"{prefix}_{stage}.json"):
        for file in store.get_json(f"{prefix}_{stage}.json")["files"]:
            key = prefix + file["name"]
            tables.append(from_parquet(store.get_checked(key, file["sha256"]), f"{store.uri}/{key}"))
    return pa.concat_tables(tables)


def without_equal(table: pa.Table, earlier: pa.Table) -> pa.Table:
    """Leave out the rows of ``table`` that ``earlier`` has too."""
    known = {tuple(row.values()) for row in earlier.to_pylist()}
    return table.filter(pa.array([tuple(row.values()) not in known for row in table.to_pylist()], pa.bool_()))


def quarantine_object(store: Store, origin: str, data: bytes, reason: str) -> str:
    """Keep a copy of a file that could not be used, its name ``origin`` and the reason.

    Returns the key of the copy.
    """
    key = layout.quarantined_object(sha256(data))
    store.put_immutable(key, data)
    store.put(f"{key}.reason.json", readable_json({"origin": origin, "bytes": len(data), "reason": reason}))
    return key


def count_rules(table: pa.Table) -> dict[str, int]:
    """Count the rows of each rule; rules are sorted."""
    counts = {c["values"]: c["counts"] for c in pc.value_counts(table["rule"].combine_chunks()).to_pylist()}
    return dict(sorted(counts.items()))


def taken_out(rows: Mapping[str, int], cells: Mapping[str, int]) -> str:
    """Write the counts by rule as text, such as ``2 bad_kind, 1 infinite (cells)``.

    Empty without any.
    """
    return ", ".join(
        [*(f"{n} {rule}" for rule, n in rows.items()), *(f"{n} {rule} (cells)" for rule, n in cells.items())]
    )


def quarantined(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Sum up what results of ingest and validation count as quarantined; empty when nothing is."""
    found = list(summaries)
    rows, cells = (
        sum((Counter(s[name]) for s in found), Counter()) for name in ("quarantined_rows", "quarantined_cells")
    )
    first = next((s["first_quarantined"] for s in found if s["first_quarantined"]), "")
    return f"{taken_out(rows, cells)}; first: {first}" if rows or cells else ""


def first_taken_out(rows: pa.Table, cells: pa.Table, origin: str) -> str:
    """Describe the first quarantined row, else the first quarantined cell; empty without any.

    ``origin`` names the file of the cells; rows have a column for it.
    """
    for row in rows.slice(0, 1).to_pylist():
        whose = f", entity {row['entity_id'][:SHOWN]!r}" if row["entity_id"] else ""
        at = f" at {row['timestamp_text'][:SHOWN]!r}" if row["timestamp_text"] else ""
        return f"{row['origin']}{whose}{at}: {row['rule']}"
    for cell in cells.slice(0, 1).to_pylist():
        return (
            f"{origin}, entity {cell['entity_id'][:SHOWN]!r} at {format_time(cell['timestamp'])}, column "
            f"{cell['metric'][:SHOWN]!r} is {cell['value_text'][:SHOWN]!r}: {cell['rule']}"
        )
    return ""


def rows_as_json(table: pa.Table) -> list[str]:
    """Write each row as a JSON object of text or null, which keeps infinities and times."""

    def text(value: object) -> str | None:
        return None if value is None else str(value)

    columns = [plain_values(column) for column in table.columns]
    return [
        json.dumps(
            {n: text(v) for n, v in zip(table.schema.names, row, strict=True)}, sort_keys=True, ensure_ascii=False
        )
        for row in zip(*columns, strict=True)
    ]


def plain_values(column: pa.ChunkedArray) -> list[Any]:
    """Convert to Python values.

    A time beyond Python's calendar becomes the text of its number since 1970.
    """

    def value(scalar: pa.Scalar) -> object:
        try:
            return scalar.as_py()
        except (OverflowError, ValueError):
            return str(scalar.value)

    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        return [value(scalar) for scalar in column]
