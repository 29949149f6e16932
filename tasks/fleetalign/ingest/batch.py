"""Sorts the rows of one table as read into telemetry and quarantine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools, Ints
from fleetalign.contracts.tables import (
    ATTRIBUTES,
    DEFAULT_ENTITY,
    KEY_COLUMNS,
    KIND_PATTERN,
    MAX_ENTITY_ID_BYTES,
    QUARANTINED_CELLS,
    QUARANTINED_ROWS,
    TELEMETRY,
    TIME,
)
from fleetalign.errors import UsageError
from fleetalign.ingest.attributes import attributes_of
from fleetalign.ingest.csv_format import RESTART
from fleetalign.ingest.labels import looks_like_label, may_be_label
from fleetalign.ingest.mapping import DEFAULT_KIND, Mapping, label_refused, series_of_columns
from fleetalign.ingest.matrix import unfold
from fleetalign.ingest.numbers import is_text, plain, to_float64
from fleetalign.ingest.repeated_hour import settle
from fleetalign.ingest.times import Times, to_utc, within
from fleetalign.interval import Interval
from fleetalign.storage.quarantine import Rule, first_taken_out, plain_values, rows_as_json

MATRIX_ENTITY = "entity_id"
UNKNOWN_KIND = "unknown"
"""Rows whose kind cannot be used are quarantined under this one."""

ROWS_WITH_TIME = pa.schema([*QUARANTINED_ROWS.schema, pa.field("at", TIME)])
"""Quarantined rows and their time, null when it is not usable."""

CONTRACT_COLUMNS = Mapping(entity_column="entity_id", time_column="timestamp", kind_column="kind", layout="wide")
"""Key columns of a table in the telemetry contract."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one table, sorted into kept, quarantined and outside the range."""

    kept: pa.Table
    """kind, entity_id, timestamp, then the metrics (wide) or metric and value (long), in file order."""
    cells: pa.Table
    """Quarantined cells."""
    rows: pa.Table
    """Quarantined rows (ROWS_WITH_TIME)."""
    read: int
    """Rows read."""
    outside: int
    """Rows outside the range."""
    is_long: bool
    first: str
    """Description of the first quarantined row or cell; empty without any."""
    attributes: pa.Table = field(default_factory=ATTRIBUTES.empty)
    """What its rows say of their entities (ATTRIBUTES); ``from`` is when it was last said in its hour."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of the rows of one table."""

    kinds: pa.ChunkedArray
    entities: pa.ChunkedArray
    times: pa.Array
    metrics: pa.ChunkedArray | None
    """Metric of each row of the long layout."""
    rules: npt.NDArray[np.object_]
    """The first rule that each row breaks, or None."""
    outside: Bools

    @property
    def broken(self) -> Bools:
        return np.asarray(self.rules != None, dtype=np.bool_)  # noqa: E711 - elementwise


def read_telemetry(table: pa.Table, interval: Interval | None, origin: str, first_row: int = 1) -> Batch:
    """Sort a table in the telemetry contract; each column beyond the keys is a metric.

    Raises BadInput when a key column is missing or a column has another type.
    """
    typed = TELEMETRY.typed(table)
    metrics = tuple(name for name in typed.schema.names if name not in KEY_COLUMNS)
    return read_batch(typed, dataclasses.replace(CONTRACT_COLUMNS, metrics=metrics), interval, origin, first_row)


def read_rows(
    table: pa.Table,
    mapping: Mapping,
    interval: Interval | None,
    origin: str,
    first_row: int = 1,
    broken_lines: tuple[str, ...] = (),
) -> list[Batch]:
    """Sort the rows of ``table``, whose layout may be ``matrix``.

    A row of a matrix is as many rows as entities have a value in it. Arguments and errors are those of ``read_batch``.
    """
    if mapping.layout != "matrix":
        return [read_batch(table, mapping, interval, origin, first_row, broken_lines)]
    times = _line_times(table, mapping, origin)
    good = np.asarray(times.rules == None, dtype=np.bool_)  # noqa: E711 - elementwise
    batches = [_lines_without_time(table, times, good, mapping, origin, first_row, broken_lines)]
    if not good.any():
        return batches
    lines, columns = np.flatnonzero(good), series_of_columns(mapping, table.schema.names, origin)[0]
    timed = table.filter(pa.array(good)).drop_columns([mapping.time_column])
    timed = timed.append_column(mapping.time_column, times.values.filter(pa.array(good)))
    for kind, metrics, rows, places in unfold(
        timed, mapping.time_column, columns, MATRIX_ENTITY, mapping.decimal or "."
    ):
        wide = Mapping(
            entity_column=MATRIX_ENTITY, time_column=mapping.time_column, kind=kind or DEFAULT_KIND, layout="wide",
            metrics=metrics, decimal=mapping.decimal, thousands=mapping.thousands,
        )  # fmt: skip
        batches.append(read_batch(rows, wide, interval, origin, first_row, places=lines[places]))
    return batches


def _line_times(table: pa.Table, mapping: Mapping, origin: str) -> Times:
    """Return the time of each line of a matrix, whose lines are one series."""
    column = plain(table.column(mapping.time_column))
    times = to_utc(column, mapping.time_zone, mapping.time_unit, f"{origin}: column {mapping.time_column!r}")
    times = settle(times, np.zeros(table.num_rows, dtype=np.int64))
    ends = {name: plain(table.column(name)) for name in (table.schema.names[0], mapping.time_column)}
    times.rules[_as_bools(pc.is_null(times.values)) & _repeats_header(ends, mapping.time_column)] = Rule.REPEATED_HEADER
    return times


def _lines_without_time(
    table: pa.Table, times: Times, good: Bools, mapping: Mapping, origin: str, first_row: int, broken: tuple[str, ...]
) -> Batch:
    """Quarantine the lines of a matrix that have no usable time, each as one row."""
    bad = np.flatnonzero(~good)
    lines, take = table.take(pa.array(bad)), pa.array(bad)
    none = pa.chunked_array([pa.array([""] * len(bad), pa.string())])
    kinds = pa.chunked_array([pa.array([mapping.kind or UNKNOWN_KIND] * len(bad), pa.string())])
    keys = _Keys(kinds, none, times.values.take(take), None, times.rules[bad], np.zeros(len(bad), dtype=np.bool_))
    rows = _rows(lines, keys, mapping.time_column, [f"{origin} row {first_row + line}" for line in bad.tolist()])
    rows = pa.concat_tables([rows, _broken_lines(broken, mapping.kind, origin)])
    cells = QUARANTINED_CELLS.empty()
    return Batch(
        kept=TELEMETRY.empty(), cells=cells, rows=rows, read=rows.num_rows, outside=0, is_long=False,
        first=first_taken_out(rows, cells, origin),
    )  # fmt: skip


def read_batch(
    table: pa.Table,
    mapping: Mapping,
    interval: Interval | None,
    origin: str,
    first_row: int = 1,
    broken_lines: tuple[str, ...] = (),
    places: Ints | None = None,
) -> Batch:
    """Sort the rows of ``table`` into kept, quarantined and outside ``interval`` (None: all in).

    ``mapping`` is resolved. ``places`` are the rows of the file from ``first_row`` on, int [row]; None: each is one. Raises
    UsageError when times have no zone and the mapping names none.
    """
    wanted = _wanted(table, mapping, origin)
    row_numbers = first_row + (np.arange(table.num_rows) if places is None else places)[wanted]
    table = table.filter(pa.array(wanted))
    columns = {name: plain(table.column(name)) for name in table.schema.names}
    keys = _keys(columns, mapping, interval, origin)
    broken = keys.broken
    keep = pa.array(~(broken | keys.outside))
    kept_keys = {
        "kind": keys.kinds.filter(keep),
        "entity_id": keys.entities.filter(keep),
        "timestamp": keys.times.filter(keep),
    }
    if keys.metrics is not None:
        values = columns[mapping.value_column].filter(keep)
        kept, cells = _long_values(kept_keys, keys.metrics.filter(keep), values, mapping.marks)
    else:
        metrics = {name: columns[name].filter(keep) for name in mapping.metrics}
        kept, cells = _wide_values(kept_keys, metrics, mapping.marks)
    where = [f"{origin} row {number}" for number in row_numbers[broken].tolist()]
    rows = pa.concat_tables(
        [_rows(table, keys, mapping.time_column, where), _broken_lines(broken_lines, mapping.kind, origin)]
    )
    return Batch(
        kept=kept,
        cells=cells,
        rows=rows,
        read=table.num_rows + len(broken_lines),
        outside=int(keys.outside.sum()),
        is_long=mapping.layout == "long",
        first=first_taken_out(rows, cells, origin),
        attributes=attributes_of(
            kept_keys, {name: texts(columns[name]).filter(keep) for name in mapping.attribute_columns}
        ),
    )


def without_rows(rows: pa.Table, rule: Rule, origin: str, at: pa.ChunkedArray | pa.Array) -> pa.Table:
    """Turn kept ``rows`` into quarantined ones, filed under the times ``at`` (null: none)."""
    constant = ([rule] * rows.num_rows, [origin] * rows.num_rows)
    texts = rows["timestamp"].cast(pa.string())
    columns = [rows["kind"], rows["entity_id"], texts, rows_as_json(rows), *constant, at]
    return pa.table(columns, schema=ROWS_WITH_TIME)


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ``column`` as the names it holds, without blanks at their ends.

    Raises UsageError for a type that has no text, such as a list.
    """
    try:
        return pc.utf8_trim_whitespace(column.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UsageError(f"a column of type {column.type} cannot name an entity, kind or metric; map another") from None


def _wanted(table: pa.Table, mapping: Mapping, origin: str) -> Bools:
    """Mark the rows to read, bool [row]: of the long layout those of chosen metrics."""
    if mapping.layout != "long":
        return np.ones(table.num_rows, dtype=np.bool_)
    names = texts(plain(table.column(mapping.metric_column)))
    chosen = names.drop_null().unique().to_pylist()
    if mapping.metrics:
        chosen = [n for n in chosen if n in mapping.metrics]
    else:
        chosen = [n for n in chosen if n not in mapping.ignore]
        for name in chosen:
            if looks_like_label(name) or (
                may_be_label(name) and looks_like_label(name, _of_metric(table, mapping, names, name))
            ):
                raise label_refused(name, origin)
    for name in chosen:
        if name in TELEMETRY.schema.names:
            raise UsageError(f"{origin}: a metric cannot be called {name!r}; rename it or --ignore {name}")
    wanted = pc.is_in(names, value_set=pa.array(chosen, pa.string()))
    return _as_bools(pc.or_(wanted, pc.is_null(names)))


def _of_metric(table: pa.Table, mapping: Mapping, names: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return the values of one metric of the long layout."""
    values = plain(table.column(mapping.value_column)).filter(pc.fill_null(pc.equal(names, name), False))
    return to_float64(values, *mapping.marks)[0]


def _keys(columns: AnyMapping[str, pa.ChunkedArray], mapping: Mapping, interval: Interval | None, origin: str) -> _Keys:
    column = columns[mapping.time_column]
    times = to_utc(column, mapping.time_zone, mapping.time_unit, f"{origin}: column {mapping.time_column!r}")
    entities = texts(columns[mapping.entity_column])
    metrics = texts(columns[mapping.metric_column]) if mapping.layout == "long" else None
    if mapping.label_columns:
        labels = {name: texts(columns[name]) for name in mapping.label_columns}
        if metrics is not None:
            metrics = with_labels(metrics, labels)
        else:
            entities = _joined([entities, *labels.values()])
    if times.later is not None:
        times = settle(times, _series(entities, metrics))
    rules = times.rules
    usable = _as_bools(times.values.is_valid())
    rules[~usable & _repeats_header(columns, mapping.time_column)] = Rule.REPEATED_HEADER
    inside = np.ones(len(usable), dtype=np.bool_)
    if interval is not None:
        inside = _as_bools(within(times.values, interval.start, interval.end))
    outside = usable & ~inside
    kinds, bad_kind = _kinds(columns, mapping, len(usable))
    broken = {**_entity_rules(entities), Rule.BAD_KIND: bad_kind}
    if metrics is not None:
        broken[Rule.MISSING_METRIC] = _empty(metrics)
    for rule, mask in broken.items():
        for i in np.flatnonzero(mask & usable & ~outside):
            if rules[i] is None:
                rules[i] = rule
    return _Keys(kinds, entities, times.values, metrics, rules, outside)


def with_labels(names: pa.ChunkedArray, labels: AnyMapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    """Write ``names`` with their labels, as in ``cpu{mode=idle}``, but for empty ones."""
    filled = [_between(f"{label}=", column, ",") for label, column in labels.items()]
    joined = pc.utf8_rtrim(pc.binary_join_element_wise(*filled, ""), ",")
    bare = names.combine_chunks()
    return pa.chunked_array([pc.binary_join_element_wise(bare, _between("{", joined, "}"), "")])


def _joined(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Join names with slashes; null where the first one is, and without labels that are empty."""
    first, *others = columns
    parts = [first.combine_chunks(), *(_between("/", other, "") for other in others)]
    return pa.chunked_array([pc.binary_join_element_wise(*parts, "")])


def _between(before: str, names: pa.ChunkedArray | pa.Array, after: str) -> pa.Array:
    """Put text around ``names``; an empty one stays empty, and so does a null."""
    filled = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    filled = pc.fill_null(filled, "")
    return pc.if_else(pc.equal(filled, ""), "", pc.binary_join_element_wise(before, filled, after, ""))


def _series(entities: pa.ChunkedArray, metrics: pa.ChunkedArray | None) -> Ints:
    """Return the number of each row's series, int [row]."""
    names = entities if metrics is None else _joined([entities, metrics])
    codes: Ints = pc.fill_null(names, "").combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _repeats_header(columns: AnyMapping[str, pa.ChunkedArray], time_column: str) -> Bools:
    """Mark rows that hold the names of the columns again, or an annotation, bool [row]."""
    times, first = columns[time_column], next(iter(columns.values()))
    found = np.zeros(len(times), dtype=np.bool_)
    if is_text(times.type):
        found |= _as_bools(pc.equal(pc.utf8_trim_whitespace(times), time_column))
    if is_text(first.type):
        found |= _as_bools(pc.starts_with(first, "#"))
    return found


def _as_bools(column: pa.Array | pa.ChunkedArray) -> Bools:
    """``column`` as an array, nulls as False."""
    filled = pc.fill_null(column, False)
    if isinstance(filled, pa.ChunkedArray):
        filled = filled.combine_chunks()
    bools: Bools = filled.to_numpy(zero_copy_only=False)
    return bools


def _empty(names: pa.ChunkedArray) -> Bools:
    return _as_bools(pc.equal(names.fill_null(""), ""))


def _entity_rules(entities: pa.ChunkedArray) -> dict[Rule, Bools]:
    return {
        Rule.MISSING_ENTITY: _empty(entities),
        Rule.ENTITY_ID_TOO_LONG: _as_bools(pc.greater(pc.binary_length(entities), MAX_ENTITY_ID_BYTES)),
        Rule.RESERVED_ENTITY_ID: _as_bools(pc.equal(entities, DEFAULT_ENTITY)),
    }


def _kinds(columns: AnyMapping[str, pa.ChunkedArray], mapping: Mapping, num_rows: int) -> tuple[pa.ChunkedArray, Bools]:
    """Kind of each row, and where it cannot be used."""
    if not mapping.kind_column:
        return pa.chunked_array([pa.repeat(pa.scalar(mapping.kind), num_rows)]), np.zeros(num_rows, dtype=np.bool_)
    kinds = texts(columns[mapping.kind_column])
    good = pc.fill_null(pc.match_substring_regex(kinds, KIND_PATTERN), False)
    return pc.if_else(good, kinds, pa.scalar(UNKNOWN_KIND)), ~_as_bools(good)


def _long_values(
    keys: AnyMapping[str, pa.ChunkedArray], names: pa.ChunkedArray, values: pa.ChunkedArray, marks: tuple[str, str]
) -> tuple[pa.Table, pa.Table]:
    """``keys`` with metric and value, and the cells that hold no number."""
    numbers, bad_cells = to_float64(values, *marks)
    kept = pa.table({**keys, "metric": names, "value": numbers})
    return kept, _cells(kept, names, values, bad_cells)


def _wide_values(
    keys: AnyMapping[str, pa.ChunkedArray], metrics: AnyMapping[str, pa.ChunkedArray], marks: tuple[str, str]
) -> tuple[pa.Table, pa.Table]:
    """``keys`` with one column per metric, and the cells that hold no number."""
    key_table, cells, numbers = pa.table(keys), [QUARANTINED_CELLS.empty()], {}
    for name, column in metrics.items():
        numbers[name], bad_cells = to_float64(column, *marks)
        cells.append(_cells(key_table, name, column, bad_cells))
    return pa.table({**keys, **numbers}), pa.concat_tables(cells)


def _cells(keys: pa.Table, metric: str | pa.ChunkedArray, values: pa.ChunkedArray, bad: Bools) -> pa.Table:
    if not bad.any():
        return QUARANTINED_CELLS.empty()
    where = pa.array(bad)
    part = keys.select(list(KEY_COLUMNS)).filter(where)
    names = pa.repeat(pa.scalar(metric), part.num_rows) if isinstance(metric, str) else metric.filter(where)
    value_texts = values.filter(where).cast(pa.string())
    rule = pa.repeat(pa.scalar(Rule.NOT_A_NUMBER), part.num_rows)
    return pa.table([*part.columns, names, value_texts, rule], schema=QUARANTINED_CELLS.schema)


def _rows(table: pa.Table, keys: _Keys, time_column: str, places: list[str]) -> pa.Table:
    """Return the rows of ``table`` that break a rule; ``places`` holds where each stands."""
    positions = np.flatnonzero(keys.broken)
    take = pa.array(positions)
    originals = table.take(take)
    named = keys.entities.take(take).to_pylist()
    columns = [
        keys.kinds.take(take),
        # A reader of the quarantine looks entities up; one that cannot be stored is found in row_json.
        [e if e is not None and len(e.encode()) <= MAX_ENTITY_ID_BYTES else "" for e in named],
        ["" if t is None else str(t) for t in plain_values(originals[time_column])],
        rows_as_json(originals),
        keys.rules[positions].tolist(),
        places,
        keys.times.take(take),
    ]
    return pa.table(columns, schema=ROWS_WITH_TIME)


def _broken_lines(lines: tuple[str, ...], kind: str, origin: str) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "kind": kind or UNKNOWN_KIND,
                "entity_id": "",
                "timestamp_text": "",
                "row_json": json.dumps({"line": line}, ensure_ascii=False),
                "rule": Rule.RESTART_LINE if RESTART in line else Rule.WRONG_COLUMN_COUNT,
                "origin": origin,
                "at": None,
            }
            for line in lines
        ],
        schema=ROWS_WITH_TIME,
    )
