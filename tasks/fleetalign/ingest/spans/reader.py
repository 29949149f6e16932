"""Reads files of requests, and tables ``span_stats``, into one ``span_stats``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fleetalign.contracts.tables import QUARANTINED_CELLS, SPAN_STATS
from fleetalign.errors import BadInput, NotReproducible, UsageError
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.listing import SourceFile
from fleetalign.ingest.source import READING, Refused
from fleetalign.ingest.spans.documents import documents
from fleetalign.ingest.spans.mapping import RecordColumns, SpanMapping, record_columns
from fleetalign.ingest.spans.requests import Sorter, rejected
from fleetalign.ingest.spans.spans import is_otlp, is_zipkin, otlp_span, otlp_spans, zipkin_span
from fleetalign.ingest.times import within
from fleetalign.interval import Granularity, Interval
from fleetalign.progress import Progress
from fleetalign.spans.accumulator import merge
from fleetalign.spans.spool import Spool
from fleetalign.storage.quarantine import Rule, count_rules, first_taken_out, taken_out

RECORDS_AT_ONCE = 5_000
MANY_OPERATIONS = 200
"""More operations of one entity are named in a note."""
NOT_A_SPAN = (TypeError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class SpansRead:
    """What files of requests held."""

    table: pa.Table
    """SPAN_STATS."""
    counts: dict[str, int]
    """``read``, which is the sum of ``requests``, ``merged`` (requests of tables), ``duplicates``, ``outside``,
    ``other_span_kinds`` and ``quarantined``; and of those ``unequal_duplicates`` and ``late``."""
    rows: pa.Table
    """Quarantined rows, ROWS_WITH_TIME."""
    refused: tuple[Refused, ...]
    """Files that cannot be read to their end."""

    @property
    def set_aside(self) -> str:
        """The quarantined rows by rule and the first of them; empty without any."""
        if self.rows.num_rows == 0:
            return ""
        first = first_taken_out(self.rows, QUARANTINED_CELLS.empty(), "")
        return f"{taken_out(count_rules(self.rows), {})}; first: {first}"

    @property
    def notes(self) -> list[str]:
        """What was left out or came late, one sentence each."""
        counts = self.counts
        found = {
            f"{counts['duplicates']} requests left out, because another one has the same trace id and span id"
            + (f"; {counts['unequal_duplicates']} of them differ from it, the longest is kept"
               if counts["unequal_duplicates"] else ""): counts["duplicates"],
            f"{counts['late']} requests came late, after a line of a later partition in their file; aggregate or ingest "
            "the partitions they belong to again": counts["late"],
            f"{counts['outside']} requests are outside the range": counts["outside"],
            f"{counts['other_span_kinds']} spans are no requests (client, internal or producer); span_kinds in the "
            "mapping chooses": counts["other_span_kinds"],
        }  # fmt: skip
        return [*(text for text, number in found.items() if number), *_many_operations(self.table)]


@dataclass(slots=True)
class _Reader:
    mapping: SpanMapping
    interval: Interval | None
    partition: Granularity
    spool: Spool
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)

    def read(self, file: SourceFile, report: Callable[[int], None]) -> None:
        """Read one file, or nothing of it. Raises BadInput when it cannot be read to its end."""
        mark = self.spool.mark()
        sorter = Sorter(self.mapping, self.interval, self.spool, file.origin, self.partition)
        try:
            if not file.is_parquet:
                self._read_json(file, sorter, report)
            elif _is_stats(file):
                self._read_stats(file)
            else:
                self._read_parquet(file, sorter, report)
            sorter.flush()
        except BadInput:
            self.spool.back_to(mark)
            raise
        self.counts.update(sorter.counts)
        self.rows += sorter.bad

    def _read_json(self, file: SourceFile, sorter: Sorter, report: Callable[[int], None]) -> None:
        if file.is_text:
            raise BadInput(f"{file.origin}: not readable: CSV holds no spans; write request records as JSON or Parquet")
        records: list[tuple[str, dict[str, Any]]] = []
        columns: RecordColumns | None = None
        for document in documents(file, report):
            value = document.value
            sorter.next_line()
            if isinstance(value, dict) and value and not (is_otlp(value) or is_zipkin(value) or _is_other(value)):
                records.append((document.place, value))
                if len(records) >= RECORDS_AT_ONCE:
                    columns = _add_records(sorter, records, columns)
                    records = []
            else:
                # Records wait for others; the order of what is neither late nor a record does not matter.
                _add_document(sorter, document.place, value, document.text)
        if records:
            _add_records(sorter, records, columns)
        if sorter.bad and len(sorter.bad) == sorter.counts["read"] == _count_unreadable(sorter.bad):
            raise BadInput(f"{file.origin}: not readable: it holds no span and no request record")

    def _read_parquet(self, file: SourceFile, sorter: Sorter, report: Callable[[int], None]) -> None:
        columns: RecordColumns | None = None
        for part in read_batches(file):
            columns = columns or record_columns(self.mapping, part.table.schema.names, file.origin)
            places = [f"row {part.first_row + i}" for i in range(part.table.num_rows)]
            # The rows of a Parquet file may be sorted by anything, so none of them is late.
            sorter.add_records(part.table, columns, places, ordered=False)
            report(part.bytes_done)

    def _read_stats(self, file: SourceFile) -> None:
        table = pa.concat_tables(part.table for part in read_batches(file))
        table = SPAN_STATS.typed(table)
        self.counts["read"] += pc.sum(table["count"]).as_py() or 0
        if self.interval is not None:
            inside = within(table["timestamp"], self.interval.start, self.interval.end)
            self.counts["outside"] += pc.sum(table.filter(pc.invert(inside))["count"]).as_py() or 0
            table = table.filter(inside)
        self.counts["merged"] += pc.sum(table["count"]).as_py() or 0
        self.tables.append(table)


def read_spans(
    files: Sequence[SourceFile],
    mapping: SpanMapping,
    interval: Interval | None,
    step_seconds: int,
    partition: Granularity,
    progress: Progress | None = None,
    scratch_dir: str = "",
) -> SpansRead:
    """Read files of requests in any order; the table does not depend on it.

    A file is read whole or refused whole. Files of the table ``span_stats`` are merged with the requests; duplicates of
    requests in different tables cannot be recognised. Raises UsageError when the columns of a file do not fit
    ``mapping``, BadInput when tables have windows of another length.
    """
    refused: list[Refused] = []
    total, before = sum(file.size for file in files), 0
    with Spool(step_seconds, scratch_dir or None) as spool:
        reader = _Reader(mapping, interval, partition, spool)

        def report(done: int) -> None:
            if progress:
                progress(min(before + done, total - 1), total, READING)

        for file in files:
            try:
                reader.read(file, report)
            except BadInput as error:
                refused.append(Refused(file.origin, file.content(), str(error)))
            before += file.size
        found = spool.accumulated()
    if progress:
        progress(total, total, READING)
    rows = rejected(reader.rows)
    counts = {
        "read": reader.counts["read"],
        "requests": found.requests,
        "duplicates": found.duplicates,
        "unequal_duplicates": found.unequal,
        **{name: reader.counts[name] for name in ("late", "outside", "other_span_kinds", "merged")},
        "quarantined": rows.num_rows,
    }
    parts = ("requests", "merged", "duplicates", "outside", "other_span_kinds", "quarantined")
    if counts["read"] != sum(counts[name] for name in parts):
        raise NotReproducible(f"spans: what was read does not add up: {counts}: a bug, please report it")
    return SpansRead(merge([found.table, *reader.tables]), counts, rows, tuple(refused))


def _many_operations(table: pa.Table) -> Iterator[str]:
    """Warn of names of operations that hold ids: each one is a metric."""
    found = table.group_by(["kind", "entity_id"]).aggregate([("operation", "count_distinct")])
    worst = max(found.to_pylist(), key=lambda row: (row["operation_count_distinct"], row["entity_id"]), default=None)
    if worst and worst["operation_count_distinct"] > MANY_OPERATIONS:
        yield (
            f"entity {worst['entity_id']!r} has {worst['operation_count_distinct']} operations, and each is a metric; "
            "if their names hold ids, name them with operation in the mapping, such as {http.route}"
        )


def _add_document(sorter: Sorter, place: str, value: Any, text: str) -> None:
    """Sort the spans of one document that is no request record."""
    spans: list[tuple[dict[str, str] | None, Any]]
    try:
        if isinstance(value, list):
            for item in value:
                _add_document(sorter, place, item, "")
            return
        spans = list(otlp_spans(value)) if is_otlp(value) else [(None, value)] if is_zipkin(value) else []
        if not spans and not (is_otlp(value)):
            raise TypeError
    except NOT_A_SPAN:
        sorter.add_broken(Rule.UNREADABLE_LINE, {"line": text} if value is None else value, place)
        return
    for number, (shared, span) in enumerate(spans, 1):
        where = place if shared is None else f"{place} span {number}"
        try:
            read = zipkin_span(span) if shared is None else otlp_span(shared, span)
        except ValueError:
            sorter.add_broken(Rule.UNREADABLE_TIME, span, where)
        except NOT_A_SPAN:
            sorter.add_broken(Rule.UNREADABLE_LINE, span, where)
        else:
            sorter.add_span(read, span, where)


def _add_records(
    sorter: Sorter, records: list[tuple[str, dict[str, Any]]], columns: RecordColumns | None
) -> RecordColumns | None:
    """Sort request records of JSON lines; ``columns`` are those of the records before."""
    names = list(dict.fromkeys(name for _, record in records for name in record))
    try:
        # Again for each batch: a column such as the status of errors may begin late.
        seen = list(dict.fromkeys([*(columns.names if columns else ()), *names]))
        columns = record_columns(sorter.mapping, seen, sorter.origin)
    except UsageError:
        if not sorter.counts["read"]:
            raise
        # A file of spans: these lines are something else.
        for place, record in records:
            sorter.add_broken(Rule.UNREADABLE_LINE, record, place)
        return None
    table = pa.table({n: _column([record.get(n) for _, record in records]) for n in {*names, *columns.names}})
    sorter.add_records(table, columns, [place for place, _ in records], ordered=True)
    return columns


def _column(values: list[Any]) -> pa.Array:
    """Make a column of JSON values: numbers if all are, else text."""
    present = [v for v in values if v is not None]
    for kind, types in ((pa.int64(), int), (pa.float64(), (int, float))):
        if present and all(isinstance(v, types) and not isinstance(v, bool) for v in present):
            try:
                return pa.array(values, kind)
            except (OverflowError, pa.ArrowInvalid):
                continue
    return pa.array(
        [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values], pa.string()
    )


def _count_unreadable(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["rule"] == Rule.UNREADABLE_LINE for row in rows)


def _is_other(value: dict[str, Any]) -> bool:
    """Whether a document is a known one without spans: metrics, logs, or an answer of Jaeger."""
    return "resourceMetrics" in value or "resourceLogs" in value or isinstance(value.get("data"), list)


def _is_stats(file: SourceFile) -> bool:
    try:
        with file.open() as raw:
            return {"sum_us4", "bucket", "bucket_count"} <= set(pq.read_schema(raw).names)
    except (pa.ArrowException, OSError):
        return False
