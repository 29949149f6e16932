"""The registry of Arrow tables. Schemas, sort orders and docs all come from here.

Parquet written through ``to_parquet`` is zstd, keeps the table's order and has no metadata of its writer, so that
equal content gives equal bytes under one lock file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fleetalign.errors import BadInput

TIME = pa.timestamp("us", tz="UTC")
KEY_COLUMNS = ("kind", "entity_id", "timestamp")
"""The columns of telemetry that are no metrics."""
DEFAULT_ENTITY = "__default__"
KIND_PATTERN = r"^[a-z0-9_-]{1,64}$"
MAX_ENTITY_ID_BYTES = 512
ROW_GROUP_ROWS = 65_536
PARQUET = {"compression": "zstd", "store_schema": False, "write_statistics": True}
FLEET_ROW_GROUP_ROWS = 8_192
"""For tables with rows for every entity: a reader of a few entities reads a few row groups."""

VERDICTS = ("anomaly", "normal")
RETRACTED = "retracted"
"""Verdict of a statement that takes an earlier one back."""
STATES = ("aligned", "shared", "default", "carried_over", "quarantined", "new", "gone")
SCORE_REASONS = ("warming_up", "no_metric", "maintenance", "unknown_kind")


@dataclass(frozen=True, slots=True)
class TableContract:
    """Columns, types and sort order of one table."""

    name: str
    version: str
    schema: pa.Schema
    """The fixed columns."""
    sort_by: tuple[str, ...]
    open_columns: pa.DataType | None = None
    """Type of further columns; None: there are none."""
    later_columns: tuple[str, ...] = ()
    """Columns added after version 1.0: a table without them is read as if they were null."""

    def empty(self) -> pa.Table:
        """Return a table without rows."""
        return self.schema.empty_table()

    def conform(self, table: pa.Table) -> pa.Table:
        """Cast to the contract's types, order the columns, sort the rows (stable).

        Raises:
            BadInput: A column is missing or has another type.
        """
        out = self.typed(table)
        if self.sort_by and out.num_rows > 1:
            order = sort_indices(out, self.sort_by)
            if not np.array_equal(order.to_numpy(), np.arange(out.num_rows)):
                out = out.take(order)
        return out.combine_chunks()

    def typed(self, table: pa.Table) -> pa.Table:
        """Cast and order the columns as ``conform`` does, for rows that are sorted already."""
        fields = list(self.schema)
        if self.open_columns is not None:
            fixed = set(self.schema.names)
            fields += [pa.field(n, self.open_columns) for n in sorted(table.schema.names) if n not in fixed]
        columns = []
        present = set(table.schema.names)
        for field in fields:
            if field.name in self.later_columns and field.name not in present:
                columns.append(pa.nulls(table.num_rows, field.type))
                continue
            if field.name not in present:
                raise BadInput(f"table {self.name}: column {field.name!r} is missing; it has {table.schema.names}")
            column = table.column(field.name)
            try:
                columns.append(column if column.type == field.type else pc.cast(column, field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise BadInput(f"table {self.name}: column {field.name!r} is not {field.type}: {error}") from None
        return pa.table(columns, schema=pa.schema(fields))


def sort_indices(table: pa.Table, names: tuple[str, ...]) -> pa.Array:
    """Compute the stable ascending row order by ``names``.

    Arrow does not document its own sort as stable.
    """
    keyed = table.select(list(dict.fromkeys(names))).append_column(
        "__position__", pa.array(np.arange(table.num_rows, dtype=np.int64))
    )
    return pc.sort_indices(keyed, sort_keys=[(n, "ascending") for n in (*dict.fromkeys(names), "__position__")])


def fleet_parquet(table: pa.Table) -> bytes:
    """Write Parquet as ``to_parquet`` does, for a table with rows for every entity."""
    return to_parquet(table, FLEET_ROW_GROUP_ROWS)


def to_parquet(table: pa.Table, row_group_rows: int = ROW_GROUP_ROWS) -> bytes:
    """Write ``table`` as deterministic Parquet bytes (zstd, no pandas or Arrow schema metadata)."""
    sink = BytesIO()
    pq.write_table(table.replace_schema_metadata(None), sink, row_group_size=row_group_rows, **PARQUET)
    return sink.getvalue()


def from_parquet(
    data: bytes,
    where: str,
    columns: list[str] | None = None,
    filters: pc.Expression | None = None,
    encoded: Sequence[str] | None = None,
) -> pa.Table:
    """Read Parquet bytes.

    Args:
        data: The bytes.
        where: Names the bytes in errors.
        columns: Columns to read; None reads all.
        filters: Rows to keep.
        encoded: Text columns to read as dictionaries.

    Raises:
        BadInput: The bytes are not Parquet.
    """
    try:
        return pq.read_table(pa.BufferReader(data), columns=columns, filters=filters, read_dictionary=encoded)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{where}: not readable as Parquet: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type's name."""
    return (str(error).splitlines() or [type(error).__name__])[0]


_KEY = [pa.field("kind", pa.string()), pa.field("entity_id", pa.string())]
_ATTRIBUTE = [pa.field("attribute_key", pa.string()), pa.field("attribute_value", pa.string())]
"""Whom a statement is about where ``entity_id`` is null: every entity with this value of the attribute."""

TELEMETRY = TableContract(
    "telemetry", "1.0", pa.schema([*_KEY, ("timestamp", TIME)]), ("entity_id", "timestamp"), pa.float64()
)
QUARANTINED_CELLS = TableContract(
    "quarantined_cells",
    "1.0",
    pa.schema(
        [*_KEY, ("timestamp", TIME), ("metric", pa.string()), ("value_text", pa.string()), ("rule", pa.string())]
    ),
    ("entity_id", "timestamp", "metric", "rule"),
)
QUARANTINED_ROWS = TableContract(
    "quarantined_rows",
    "1.0",
    pa.schema(
        [
            *_KEY,
            ("timestamp_text", pa.string()),
            ("row_json", pa.string()),
            ("rule", pa.string()),
            ("origin", pa.string()),
        ]
    ),
    ("entity_id", "timestamp_text", "rule", "row_json"),
)
FEEDBACK = TableContract(
    "feedback",
    "1.2",
    pa.schema(
        [
            *_KEY,
            ("start", TIME),
            ("end", TIME),
            ("verdict", pa.string()),
            ("source", pa.string()),
            ("note", pa.string()),
            ("recorded_at", TIME),
            ("feedback_id", pa.string()),
            ("retracts", pa.string()),
            *_ATTRIBUTE,
        ]
    ),
    ("recorded_at", "feedback_id"),
    later_columns=("retracts", "attribute_key", "attribute_value"),
)
MUTES = TableContract(
    "mutes",
    "1.1",
    pa.schema(
        [
            *_KEY,
            ("metric", pa.string()),
            ("from", TIME),
            ("until", TIME),
            ("by", pa.string()),
            ("why", pa.string()),
            *_ATTRIBUTE,
        ]
    ),
    ("kind", "entity_id", "metric", "from", "until"),
    later_columns=("attribute_key", "attribute_value"),
)
ATTRIBUTES = TableContract(
    "attributes",
    "1.0",
    pa.schema([*_KEY, ("key", pa.string()), ("value", pa.string()), ("from", TIME)]),
    ("kind", "entity_id", "key", "from"),
)
NORMALIZER = TableContract(
    "normalizer",
    "1.0",
    pa.schema([*_KEY, ("metric", pa.string()), ("location", pa.float64()), ("scale", pa.float64())]),
    ("kind", "entity_id", "metric"),
    pa.float32(),
)
ALIGNER = TableContract(
    "aligner",
    "1.0",
    pa.schema(
        [
            *_KEY,
            ("condition", pa.int32()),
            ("threshold", pa.float32()),
            ("tail_probability", pa.float32()),
            ("state", pa.string()),
            ("reason", pa.string()),
            ("incidents", pa.int32()),
            ("calibrated_until", TIME),
        ]
    ),
    ("kind", "entity_id"),
)
SCORES = TableContract(
    "scores",
    "1.0",
    pa.schema(
        [
            *_KEY,
            ("timestamp", TIME),
            ("score", pa.float32()),
            ("margin", pa.float32()),
            ("alarm", pa.bool_()),
            ("reason", pa.string()),
        ]
    ),
    ("kind", "entity_id", "timestamp"),
)
PHASES = TableContract(
    "phases",
    "1.0",
    pa.schema([*_KEY, ("phase_us", pa.int64())]),
    ("kind", "entity_id"),
)
SPAN_STATS = TableContract(
    "span_stats",
    "1.0",
    pa.schema(
        [
            *_KEY,
            ("timestamp", TIME),
            ("operation", pa.string()),
            ("status_class", pa.string()),
            ("step_seconds", pa.int32()),
            ("count", pa.int64()),
            ("minimum_us", pa.int64()),
            ("maximum_us", pa.int64()),
            ("sum_us", pa.string()),
            ("sum_us2", pa.string()),
            ("sum_us3", pa.string()),
            ("sum_us4", pa.string()),
            ("bucket", pa.list_(pa.int32())),
            ("bucket_count", pa.list_(pa.int64())),
        ]
    ),
    ("kind", "entity_id", "timestamp", "operation", "status_class"),
)
"""Requests by window. Power sums are integers as decimal text: the fourth power of one minute in microseconds exceeds
int64, and many readers of Parquet know no decimal of more than 38 digits."""

CONTRIBUTIONS = pa.field("contributions", pa.map_(pa.string(), pa.float32()))
"""A further column of SCORES on request: each metric's share of the score."""

TABLES: dict[str, TableContract] = {
    t.name: t
    for t in (
        TELEMETRY,
        QUARANTINED_CELLS,
        QUARANTINED_ROWS,
        FEEDBACK,
        MUTES,
        NORMALIZER,
        ALIGNER,
        ATTRIBUTES,
        PHASES,
        SCORES,
        SPAN_STATS,
    )
}
