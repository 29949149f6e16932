"""Sorts spans and request records into requests and quarantined rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import DEFAULT_ENTITY, MAX_ENTITY_ID_BYTES
from fleetalign.errors import UsageError
from fleetalign.ingest.batch import ROWS_WITH_TIME
from fleetalign.ingest.mapping import DEFAULT_KIND
from fleetalign.ingest.numbers import is_text, plain, to_float64
from fleetalign.ingest.spans.mapping import RecordColumns, SpanMapping, fill, status_class
from fleetalign.ingest.spans.spans import Span
from fleetalign.ingest.times import EARLIEST, LATEST, UNIT_SECONDS, to_utc
from fleetalign.interval import LENGTHS, Interval
from fleetalign.spans.accumulator import MAX_DURATION_US
from fleetalign.spans.spool import Spool
from fleetalign.storage.quarantine import Rule, rows_as_json

SPAN_ENTITY, SPAN_OPERATION = "{service.name}", "{name}"
FLUSH_REQUESTS = 20_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US, LATEST_US = (round(at.timestamp()) * 1_000_000 for at in (EARLIEST, LATEST))


@dataclass(slots=True)
class Sorter:
    """The requests of one file: usable ones go to the spool, others are kept with their rule."""

    mapping: SpanMapping
    interval: Interval | None
    spool: Spool
    origin: str
    partition: str
    """``day`` or ``hour``: what is closed when a request is late."""
    counts: Counter[str] = field(default_factory=Counter)
    """``read``, ``outside``, ``late`` and ``other_span_kinds``; the rules of quarantined rows are not in it."""
    bad: list[dict[str, Any]] = field(default_factory=list)
    """Rows ROWS_WITH_TIME."""
    _ids: list[str | None] = field(default_factory=list)
    _series: list[tuple[str, ...]] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _durations: list[int] = field(default_factory=list)
    _newest: int = -1
    """Newest partition of the lines before this one."""
    _newest_now: int = -1
    _partition_us: int = field(init=False)
    _bounds: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._partition_us = LENGTHS[self.partition] // timedelta(microseconds=1)
        self._bounds = (EARLIEST_US, LATEST_US)
        if self.interval is not None:
            ends = (self.interval.start, self.interval.end)
            first, last = ((at - EPOCH) // timedelta(microseconds=1) for at in ends)
            self._bounds = (first, last)

    @property
    def kind(self) -> str:
        return self.mapping.kind or DEFAULT_KIND

    def next_line(self) -> None:
        """Note that the requests that follow were written after those before."""
        self._newest = max(self._newest, self._newest_now)

    def add_span(self, span: Span, document: Any, place: str) -> None:
        """Sort one span."""
        if span.span_kind not in self.mapping.span_kinds:
            self.counts["read"] += 1
            self.counts["other_span_kinds"] += 1
            return
        entity = fill(self.mapping.entity or SPAN_ENTITY, span.attributes)
        operation = fill(self.mapping.operation or SPAN_OPERATION, span.attributes)
        rule = None
        if span.start_us is None:
            rule = Rule.MISSING_TIME
        self._add(
            entity, operation, span.status_class, span.start_us, span.duration_us, span.id, rule, place,
            lambda: json.dumps(document, ensure_ascii=False, sort_keys=True),
        )  # fmt: skip

    def add_broken(self, rule: Rule, content: Any, place: str) -> None:
        """Quarantine what cannot be read as a span."""
        self.counts["read"] += 1
        self._reject(rule, "", "", None, json.dumps(content, ensure_ascii=False, sort_keys=True), place)

    def add_records(self, table: pa.Table, columns: RecordColumns, places: Sequence[str], ordered: bool) -> None:
        """Sort request records, one a row; ``ordered``: each was written after the one before.

        Raises UsageError when times have no zone, or when a column has a type that does not fit.
        """
        where = f"{self.origin}: column {columns.time!r}"
        values = {name: plain(table.column(name)) for name in columns.names}
        times = to_utc(values[columns.time], self.mapping.time_zone, self.mapping.time_unit, where)
        starts = times.values.cast(pa.int64()).to_pylist()
        durations = microseconds(values[columns.duration], columns.duration_unit, self.origin, columns.duration)
        texts = {name: _texts(values[name], self.origin, name) for name in columns.names}
        absent = [""] * table.num_rows
        statuses, traces, spans = (
            texts.get(name, absent) for name in (columns.status, columns.trace_id, columns.span_id)
        )
        names = list(texts)
        for i, (start, duration, rule, *cells) in enumerate(
            zip(starts, durations, times.rules, *texts.values(), strict=True)
        ):
            if ordered:
                self.next_line()
            row = dict(zip(names, cells, strict=True))
            identity = f"{traces[i]}/{spans[i]}" if traces[i] and spans[i] else None
            self._add(
                fill(columns.entity, row), fill(columns.operation, row), status_class(statuses[i]), start, duration,
                identity, rule, places[i], lambda i=i: rows_as_json(table.slice(i, 1))[0], texts[columns.time][i],
            )  # fmt: skip

    def flush(self) -> None:
        """Send the requests so far to the spool."""
        if self._ids:
            self.spool.add(self._ids, self._series, self._starts, self._durations)
        self._ids, self._series, self._starts, self._durations = [], [], [], []

    def _add(
        self,
        entity: str,
        operation: str,
        status: str,
        start: int | None,
        duration: int | None,
        identity: str | None,
        rule: Rule | None,
        place: str,
        content: Any,
        written: str = "",
    ) -> None:
        self.counts["read"] += 1
        if rule is None and start is not None and not EARLIEST_US <= start < LATEST_US:
            written = written or f"{start} us since 1970"
            rule, start = Rule.TIME_OUT_OF_RANGE, None
        if rule is None and start is not None and not self._is_inside(start):
            self.counts["outside"] += 1
            return
        if rule is None:
            rule = _rule(entity, operation, duration)
        if rule is not None:
            self._reject(rule, entity, written, start, content(), place)
            return
        assert start is not None
        assert duration is not None
        self._ids.append(identity)
        self._series.append((self.kind, entity, operation, status))
        self._starts.append(start)
        self._durations.append(duration)
        if len(self._ids) >= FLUSH_REQUESTS:
            self.flush()

    def _is_inside(self, start_us: int) -> bool:
        """Whether a request is in the range; counts it if it came after its partition was closed."""
        partition = start_us // self._partition_us
        self.counts["late"] += partition < self._newest
        self._newest_now = max(self._newest_now, partition)
        return self._bounds[0] <= start_us < self._bounds[1]

    def _reject(self, rule: Rule, entity: str, written: str, start: int | None, content: str, place: str) -> None:
        at = None if start is None else EPOCH + timedelta(microseconds=start)
        self.bad.append(
            {
                "kind": self.kind,
                "entity_id": entity if len(entity.encode()) <= MAX_ENTITY_ID_BYTES else "",
                "timestamp_text": written or ("" if at is None else str(at)),
                "row_json": content,
                "rule": rule,
                "origin": f"{self.origin} {place}",
                "at": at,
            }
        )


def rejected(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Make a table ROWS_WITH_TIME of quarantined rows."""
    return pa.Table.from_pylist(list(rows), schema=ROWS_WITH_TIME)


def microseconds(column: pa.ChunkedArray, unit: str, origin: str, name: str) -> list[int | None]:
    """Read durations as whole microseconds, rounded; None where there is no number.

    Raises UsageError when the column holds no durations.
    """
    if pa.types.is_duration(column.type):
        column, unit = column.cast(pa.int64()), column.type.unit
    per_second = round(1 / UNIT_SECONDS[unit])
    if pa.types.is_integer(column.type):
        return [None if v is None else (v * 1_000_000 + per_second // 2) // per_second for v in column.to_pylist()]
    if not (is_text(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        raise UsageError(f"{origin}: column {name!r} of type {column.type} is no duration; name another in the mapping")
    numbers, _ = to_float64(column)
    micros = pc.multiply(numbers, 1_000_000 / per_second).to_pylist()
    return [None if v is None or v != v else round(v) if abs(v) < 1e18 else 10**18 for v in micros]


def _rule(entity: str, operation: str, duration: int | None) -> Rule | None:
    if not entity:
        return Rule.MISSING_ENTITY
    if len(entity.encode()) > MAX_ENTITY_ID_BYTES:
        return Rule.ENTITY_ID_TOO_LONG
    if entity == DEFAULT_ENTITY:
        return Rule.RESERVED_ENTITY_ID
    if not operation:
        return Rule.MISSING_OPERATION
    if duration is None:
        return Rule.MISSING_DURATION
    return None if 0 <= duration <= MAX_DURATION_US else Rule.DURATION_OUT_OF_RANGE


def _texts(column: pa.ChunkedArray, origin: str, name: str) -> list[str]:
    try:
        cells = column.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UsageError(f"{origin}: column {name!r} of type {column.type} names no request; map another") from None
    return ["" if cell is None else cell.strip() for cell in cells]
