"""Attributes of entities in telemetry, and in files of their own (contracts 2.9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import ATTRIBUTES, DEFAULT_ENTITY, MAX_ENTITY_ID_BYTES
from fleetalign.errors import BadInput, UsageError
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.listing import list_files
from fleetalign.ingest.numbers import plain
from fleetalign.ingest.times import to_utc, within
from fleetalign.interval import Interval
from fleetalign.storage.attributes import import_attributes
from fleetalign.storage.inventory import EntityInventory
from fleetalign.storage.layout import checked_kind
from fleetalign.storage.store import Store

REQUIRED = ("entity_id", "key", "value")
_NAMED = ["kind", "entity_id", "key"]


def attributes_of(keys: Mapping[str, pa.ChunkedArray], columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Return what ``columns`` say of the entities of ``keys`` (ATTRIBUTES, unsorted).

    ``columns`` are texts without blanks at their ends. Each value of an entity has one row for each hour in which it was said; ``from`` is when it was last. Cells without
    text say nothing.
    """
    found = [ATTRIBUTES.empty()]
    for name, column in columns.items():
        rows = pa.table({**keys, "value": column}).filter(pc.fill_null(pc.not_equal(column, ""), False))
        rows = rows.append_column("hour", pc.floor_temporal(rows["timestamp"], unit="hour"))
        said = rows.group_by(["kind", "entity_id", "value", "hour"]).aggregate([("timestamp", "max")])
        key = pa.repeat(pa.scalar(name), said.num_rows)
        found.append(
            pa.table(
                [said["kind"], said["entity_id"], key, said["value"], said["timestamp_max"]], schema=ATTRIBUTES.schema
            )
        )
    return pa.concat_tables(found)


def attributes_in(table: pa.Table, kind: str, part: Interval) -> pa.Table:
    """Return the attributes of ``kind`` in ``part``, as holding from its start (ATTRIBUTES).

    Of several values the one said last counts.
    """
    inside = pc.and_(pc.equal(table["kind"], kind), within(table["from"], part.start, part.end))
    # Of two values said at one time the greater one is taken, whatever the order of the files.
    newest = table.filter(inside).sort_by([(name, "ascending") for name in (*_NAMED, "from", "value")])
    last = newest.group_by(_NAMED, use_threads=False).aggregate([("value", "last")])
    start = pa.repeat(pa.scalar(part.start, ATTRIBUTES.schema.field("from").type), last.num_rows)
    return pa.table([*(last[name] for name in _NAMED), last["value_last"], start], schema=ATTRIBUTES.schema)


def import_attribute_file(store: Store, path: str, default_kind: str, now: datetime) -> dict[str, Any]:
    """Store the attributes of a file.

    They replace what telemetry says of the same entity and key, and count before earlier files.

    Raises BadInput as ``read_attribute_file``, or when all rows name unknown entities.
    """
    table = read_attribute_file(path, default_kind)
    inventory = EntityInventory(store)
    unknown: list[str] = []
    num_entities = 0
    for kind in sorted(pc.unique(table["kind"]).to_pylist()):
        named = set(table.filter(pc.equal(table["kind"], kind))["entity_id"].to_pylist())
        num_entities += len(named)
        unknown += [f"{kind}/{entity_id}" for entity_id in sorted(inventory.missing(kind, named))]
    if len(unknown) == num_entities:
        first = f" (first: {unknown[0]})" if unknown else ""
        raise BadInput(f"{path}: no row names an entity of the stored telemetry{first}; check kind and ids")
    import_attributes(store, table, now)
    notes = [f"{len(unknown)} of {num_entities} entities are unknown, such as {unknown[0]}"] if unknown else []
    return {"attributes": table.num_rows, "entities": num_entities, "notes": notes}


def read_attribute_file(path: str, default_kind: str) -> pa.Table:
    """Read attributes from a file, folder or ``s3://`` prefix (ATTRIBUTES).

    Columns ``entity_id, key, value`` and optionally ``kind`` and ``from`` (empty: always); or ``entity_id``, optionally
    ``kind`` and ``from``, and a column for each key. Empty cells say nothing. Raises BadInput naming file, row and column.
    """
    tables = [ATTRIBUTES.empty()]
    for file in list_files(path):
        for batch in read_batches(file):
            if batch.broken_lines:
                raise BadInput(f"{file.origin}: line {batch.broken_lines[0][:200]!r} has too few or too many columns")
            tables.append(_attributes(batch.table, batch.first_row, file.origin, default_kind))
    return pa.concat_tables(tables)


def _attributes(table: pa.Table, first_row: int, origin: str, default_kind: str) -> pa.Table:
    names = table.schema.names
    if "entity_id" not in names:
        raise BadInput(f"{origin}: column 'entity_id' is missing; it has {', '.join(names)}")
    columns = {name: pc.utf8_trim_whitespace(plain(table.column(name)).cast(pa.string())) for name in names}
    since: list[datetime | None] = [None] * table.num_rows
    if "from" in names:
        try:
            since = to_utc(plain(table.column("from")), "", "", f"{origin}: column 'from'").values.to_pylist()
        except UsageError as error:
            raise BadInput(str(error)) from None
    texts = {name: column.to_pylist() for name, column in columns.items()}
    is_long = {"key", "value"} <= set(names)
    keys = ["key"] if is_long else [n for n in names if n not in ("entity_id", "kind", "from")]
    if not keys:
        raise BadInput(f"{origin}: no column of an attribute beside 'entity_id'; name key and value, or a column each")
    rows = []
    for i in range(table.num_rows):
        where = f"{origin} row {first_row + i}"
        kind, entity_id = (texts["kind"][i] if "kind" in names else None) or default_kind, texts["entity_id"][i]
        _check(kind, entity_id, where)
        if "from" in names and texts["from"][i] and since[i] is None:
            raise BadInput(f"{where}: column 'from' is {texts['from'][i]!r}; write a time such as 2024-05-01T06:00:00Z")
        for name in keys:
            key, value = (texts["key"][i], texts["value"][i]) if is_long else (name, texts[name][i])
            if is_long and not key:
                raise BadInput(f"{where}: column 'key' is empty; name the attribute")
            if value is not None and (value or is_long):
                rows.append((kind, entity_id, key, value, since[i]))
    named = [dict(zip(ATTRIBUTES.schema.names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(named, schema=ATTRIBUTES.schema)


def _check(kind: str, entity_id: str | None, where: str) -> None:
    if not entity_id or entity_id == DEFAULT_ENTITY or len(entity_id.encode()) > MAX_ENTITY_ID_BYTES:
        raise BadInput(f"{where}: column 'entity_id' is {(entity_id or '')[:40]!r}; name one entity")
    try:
        checked_kind(kind)
    except UsageError as error:
        raise BadInput(f"{where}: column 'kind': {error}") from None
