"""One table in a file's own form to telemetry rows, and what had to be taken out of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import (
    DEFAULT_ENTITY,
    KIND_PATTERN,
    MAX_ENTITY_ID_BYTES,
    QUARANTINED_CELLS,
    QUARANTINED_ROWS,
    TELEMETRY,
    TIME,
)
from fleetalign.errors import UsageError
from fleetalign.ingest.labels import looks_like_label
from fleetalign.ingest.mapping import Mapping, refuse_label
from fleetalign.ingest.numbers import plain, to_float64
from fleetalign.ingest.times import to_utc, within
from fleetalign.interval import Interval
from fleetalign.storage.quarantine import Rule, first_taken_out, plain_values, rows_as_json

UNKNOWN_KIND = "unknown"
"""Rows whose kind cannot be used are quarantined under this one."""

ROWS_WITH_TIME = pa.schema([*QUARANTINED_ROWS.schema, pa.field("at", TIME)])
"""Quarantined rows and their time, null when it is not usable."""


@dataclass(frozen=True, slots=True)
class Batch:
    """``kept``: kind, entity_id, timestamp, then the metrics (wide) or metric and value (long), in file order;
    ``first`` says in words what was taken out first, and is empty when nothing was."""

    kept: pa.Table
    cells: pa.Table
    rows: pa.Table
    read: int
    outside: int
    is_long: bool
    first: str


def read_batch(
    table: pa.Table,
    mapping: Mapping,
    interval: Interval | None,
    origin: str,
    first_row: int = 1,
    broken_lines: tuple[str, ...] = (),
) -> Batch:
    """Sort the rows of ``table`` into kept, quarantined and outside ``interval`` (None: every time is inside).

    ``mapping`` is resolved. Raises UsageError when times have no zone and the mapping names none.
    """
    wanted = _wanted(table, mapping, origin)
    row_numbers = first_row + np.flatnonzero(wanted)
    table = table.filter(pa.array(wanted))
    columns = {name: plain(table.column(name)) for name in table.schema.names}
    times = to_utc(
        columns[mapping.time_column],
        mapping.time_zone,
        mapping.time_unit,
        f"{origin}: column {mapping.time_column!r}",
    )
    rules = times.rules
    usable = times.values.is_valid().to_numpy(zero_copy_only=False)
    outside = usable & ~_inside(times.values, interval)
    entities = texts(columns[mapping.entity_column])
    _break_rule(rules, usable & ~outside, _entity_rules(entities))
    kinds, bad_kind = _kinds(columns, mapping, table.num_rows)
    _break_rule(rules, usable & ~outside, {Rule.BAD_KIND: bad_kind})
    if mapping.layout == "long":
        metric_names = texts(columns[mapping.metric_column])
        _break_rule(rules, usable & ~outside, {Rule.MISSING_METRIC: _empty(metric_names)})
    broken = np.array([r is not None for r in rules], dtype=bool)
    keep = pa.array(~(broken | outside))
    key = {
        "kind": kinds.filter(keep),
        "entity_id": entities.filter(keep),
        "timestamp": times.values.filter(keep),
    }
    if mapping.layout == "long":
        source = columns[mapping.value_column].filter(keep)
        kept, cells = _long_values(key, metric_names.filter(keep), source, mapping)
    else:
        kept, cells = _wide_values(key, columns, keep, mapping)
    parts = [
        _rows(table, np.flatnonzero(broken), rules, kinds, entities, times.values, mapping, origin, row_numbers),
        _broken_lines(broken_lines, mapping, origin),
    ]
    taken_rows = pa.concat_tables(parts)
    taken_cells = pa.concat_tables([QUARANTINED_CELLS.empty(), *cells])
    return Batch(
        kept=kept,
        cells=taken_cells,
        rows=taken_rows,
        read=table.num_rows + len(broken_lines),
        outside=int(outside.sum()),
        is_long=mapping.layout == "long",
        first=first_taken_out(taken_rows, taken_cells, origin),
    )


def without_rows(rows: pa.Table, rule: Rule, origin: str, at: pa.ChunkedArray | pa.Array) -> pa.Table:
    """Kept ``rows`` as quarantined ones (ROWS_WITH_TIME). ``at``: the times to file them under, null = none."""
    constant = ([rule] * rows.num_rows, [origin] * rows.num_rows)
    texts = rows["timestamp"].cast(pa.string())
    columns = [rows["kind"], rows["entity_id"], texts, rows_as_json(rows), *constant, at]
    return pa.table(columns, schema=ROWS_WITH_TIME)


def _wanted(table: pa.Table, mapping: Mapping, origin: str) -> np.ndarray:
    """Which rows are to be read, bool [row]: in the long layout those of metrics that are named, or not ignored."""
    if mapping.layout != "long":
        return np.ones(table.num_rows, dtype=bool)
    names = texts(plain(table.column(mapping.metric_column)))
    chosen = names.drop_null().unique().to_pylist()
    if mapping.metrics:
        chosen = [n for n in chosen if n in mapping.metrics]
    else:
        chosen = [n for n in chosen if n not in mapping.ignore]
        for name in filter(looks_like_label, chosen):
            raise refuse_label(name, origin)
    for name in chosen:
        if name in TELEMETRY.schema.names:
            raise UsageError(f"{origin}: a metric cannot be called {name!r}; rename it or --ignore {name}")
    wanted = pc.is_in(names, value_set=pa.array(chosen, pa.string()))
    return pc.or_(wanted, pc.is_null(names)).to_numpy()


def _inside(times: pa.Array, interval: Interval | None) -> np.ndarray:
    if interval is None:
        return np.ones(len(times), dtype=bool)
    return pc.fill_null(within(times, interval.start, interval.end), False).to_numpy(zero_copy_only=False)


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """``column`` as the names it holds. Raises UsageError for a type that has no text, such as a list."""
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UsageError(f"a column of type {column.type} cannot name an entity, kind or metric; map another") from None


def _empty(texts: pa.ChunkedArray) -> np.ndarray:
    return pc.equal(texts.fill_null(""), "").to_numpy()


def _break_rule(rules: np.ndarray, where: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    """Note the first rule that each row of ``where`` breaks."""
    for rule, mask in masks.items():
        for i in np.flatnonzero(mask & where):
            if rules[i] is None:
                rules[i] = rule


def _entity_rules(entities: pa.ChunkedArray) -> dict[str, np.ndarray]:
    too_long = pc.greater(pc.binary_length(entities), MAX_ENTITY_ID_BYTES)
    return {
        Rule.MISSING_ENTITY: _empty(entities),
        Rule.ENTITY_ID_TOO_LONG: pc.fill_null(too_long, False).to_numpy(),
        Rule.RESERVED_ENTITY_ID: pc.fill_null(pc.equal(entities, DEFAULT_ENTITY), False).to_numpy(),
    }


def _kinds(columns: dict[str, pa.ChunkedArray], mapping: Mapping, rows: int) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Kind of each row, and where it cannot be used."""
    if not mapping.kind_column:
        return pa.chunked_array([pa.repeat(pa.scalar(mapping.kind), rows)]), np.zeros(rows, dtype=bool)
    kinds = texts(columns[mapping.kind_column])
    good = pc.fill_null(pc.match_substring_regex(kinds, KIND_PATTERN), False)
    return pc.if_else(good, kinds, pa.scalar(UNKNOWN_KIND)), ~good.to_numpy()


def _long_values(
    key: dict[str, pa.ChunkedArray], names: pa.ChunkedArray, source: pa.ChunkedArray, mapping: Mapping
) -> tuple[pa.Table, list[pa.Table]]:
    """``key`` with metric and value, and the cells that hold no number."""
    value, bad_cells = to_float64(source, mapping.decimal)
    kept = pa.table({**key, "metric": names, "value": value})
    return kept, [_cells(kept, names, source, bad_cells)]


def _wide_values(
    key: dict[str, pa.ChunkedArray], columns: dict[str, pa.ChunkedArray], keep: pa.Array, mapping: Mapping
) -> tuple[pa.Table, list[pa.Table]]:
    """``key`` with one column per metric, of the rows to ``keep``, and the cells that hold no number."""
    key_table, cells, measured = pa.table(key), [], {}
    for name in mapping.metrics:
        source = columns[name].filter(keep)
        measured[name], bad_cells = to_float64(source, mapping.decimal)
        if bad_cells.any():
            cells.append(_cells(key_table, name, source, bad_cells))
    return pa.table({**key, **measured}), cells


def _cells(kept: pa.Table, metric: str | pa.ChunkedArray, source: pa.ChunkedArray, bad: np.ndarray) -> pa.Table:
    if not bad.any():
        return QUARANTINED_CELLS.empty()
    where = pa.array(bad)
    part = kept.select(["kind", "entity_id", "timestamp"]).filter(where)
    names = pa.repeat(pa.scalar(metric), part.num_rows) if isinstance(metric, str) else metric.filter(where)
    texts = source.filter(where).cast(pa.string())
    rule = pa.repeat(pa.scalar(Rule.NOT_A_NUMBER), part.num_rows)
    return pa.table([*part.columns, names, texts, rule], schema=QUARANTINED_CELLS.schema)


def _rows(
    table: pa.Table,
    positions: np.ndarray,
    rules: np.ndarray,
    kinds: pa.ChunkedArray,
    entities: pa.ChunkedArray,
    times: pa.Array,
    mapping: Mapping,
    origin: str,
    row_numbers: np.ndarray,
) -> pa.Table:
    take = pa.array(positions)
    originals = table.take(take)
    named = entities.take(take).to_pylist()
    columns = [
        kinds.take(take),
        # A reader of the quarantine looks entities up; one that cannot be stored is found in row_json.
        [e if e is not None and len(e.encode()) <= MAX_ENTITY_ID_BYTES else "" for e in named],
        ["" if t is None else str(t) for t in plain_values(originals[mapping.time_column])],
        rows_as_json(originals),
        rules[positions].tolist(),
        [f"{origin} row {n}" for n in row_numbers[positions].tolist()],
        times.take(take),
    ]
    return pa.table(columns, schema=ROWS_WITH_TIME)


def _broken_lines(lines: tuple[str, ...], mapping: Mapping, origin: str) -> pa.Table:
    kind = mapping.kind or UNKNOWN_KIND
    return pa.Table.from_pylist(
        [
            {
                "kind": kind,
                "entity_id": "",
                "timestamp_text": "",
                "row_json": json.dumps({"line": line}, ensure_ascii=False),
                "rule": Rule.WRONG_COLUMN_COUNT,
                "origin": origin,
                "at": None,
            }
            for line in lines
        ],
        schema=ROWS_WITH_TIME,
    )
