"""Reads statements from files: Parquet, CSV, JSON lines, or a payload of Alertmanager."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa

from fleetalign.contracts.feedback import feedback_id, unique
from fleetalign.contracts.tables import DEFAULT_ENTITY, FEEDBACK, MAX_ENTITY_ID_BYTES, VERDICTS
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback.alertmanager import read_payload
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.listing import SourceFile, list_files
from fleetalign.ingest.mapping import refuse_twice
from fleetalign.ingest.numbers import plain
from fleetalign.ingest.times import to_utc
from fleetalign.storage.layout import checked_kind
from fleetalign.storage.quarantine import plain_values, quarantine_object
from fleetalign.storage.store import Store

REQUIRED = ("entity_id", "start", "end", "verdict")
ATTRIBUTE = ("attribute_key", "attribute_value")
OPTIONAL = ("kind", "source", "note", "recorded_at", *ATTRIBUTE)
DEFAULT_SOURCE = "file"


def read_feedback_file(path: str, default_kind: str, origin: str = "", store: Store | None = None) -> pa.Table:
    """Read the statements of a file, folder or ``s3://`` prefix: FEEDBACK, each once, sorted.

    Columns (or JSON fields) ``entity_id, start, end, verdict`` and optionally ``kind, source, note, recorded_at``
    (default: ``end``); others are not read. ``attribute_key, attribute_value`` may stand in place of ``entity_id``. Times need a zone. ``.jsonl`` is JSON lines, ``.json`` a webhook payload of
    Alertmanager. ``origin`` names a single file in messages. Raises BadInput naming file, row and column; a copy
    of that file then lies in the quarantine of ``store``.
    """
    rows: list[dict[str, Any]] = []
    for file in list_files(path):
        where = origin or file.origin
        try:
            for table, first_row in _tables(file, where):
                rows += _statements(table, first_row, where, default_kind)
        except BadInput as error:
            if store is not None:
                quarantine_object(store, where, file.content(), str(error))
            raise
    return unique(pa.Table.from_pylist(rows, schema=FEEDBACK.schema))


def quarantine_files(store: Store, path: str, reason: str) -> None:
    """Keep a copy of every file of ``path``, whose statements were refused as a whole."""
    for file in list_files(path):
        quarantine_object(store, file.origin, file.content(), reason)


def _tables(file: SourceFile, origin: str) -> Iterator[tuple[pa.Table, int]]:
    """Yield the rows of one file, with the number of the first row of each table."""
    name = file.origin.lower()
    if name.endswith(".jsonl"):
        yield _json_lines(file.content(), origin), 1
    elif name.endswith(".json"):
        yield read_payload(file.content(), origin), 1
    else:
        for batch in read_batches(dataclasses.replace(file, origin=origin)):
            if batch.broken_lines:
                raise BadInput(f"{origin}: line {batch.broken_lines[0][:200]!r} has too few or too many columns")
            yield batch.table, batch.first_row


def _json_lines(data: bytes, origin: str) -> pa.Table:
    """Read the feedback columns of JSON lines, all text; row numbers are line numbers."""
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{origin}: line {number} is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise BadInput(f"{origin}: line {number} is not a JSON object of {', '.join(REQUIRED)}")
        rows.append(row)
    fields = {name for row in rows for name in row}
    names = [name for name in (*REQUIRED, *OPTIONAL) if name in fields or not rows]
    return pa.table({name: pa.array([_as_text(row.get(name)) for row in rows], pa.string()) for name in names})


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _statements(table: pa.Table, first_row: int, origin: str, default_kind: str) -> list[dict[str, Any]]:
    try:
        refuse_twice(table.schema.names, origin)
    except UsageError as error:
        raise BadInput(str(error)) from None
    required = [c for c in REQUIRED if c != "entity_id" or not set(ATTRIBUTE) <= set(table.schema.names)]
    missing = [c for c in required if c not in table.schema.names]
    if missing:
        raise BadInput(f"{origin}: column {missing[0]!r} is missing; feedback needs {', '.join(REQUIRED)}")
    columns = {c: plain(table.column(c)) for c in (*REQUIRED, *OPTIONAL) if c in table.schema.names}
    values = {name: plain_values(column) for name, column in columns.items()}
    time_texts = {name: values[name] for name in ("start", "end", "recorded_at") if name in values}
    times = {name: _times(columns[name], f"{origin}: column {name!r}") for name in time_texts}
    out = []
    for i in range(table.num_rows):
        where = f"{origin} row {first_row + i}"
        for name, texts in time_texts.items():
            if times[name][i] is None and (texts[i] not in (None, "") or name != "recorded_at"):
                raise BadInput(f"{where}: column {name!r} is {texts[i]!r}; write a time such as 2024-05-01T06:00:00Z")
        row = {
            "kind": _text(values, "kind", i) or default_kind,
            "entity_id": _text(values, "entity_id", i) or None,
            "start": times["start"][i],
            "end": times["end"][i],
            "verdict": _text(values, "verdict", i).strip().lower(),
            "source": _text(values, "source", i) or DEFAULT_SOURCE,
            "note": _text(values, "note", i),
            **{name: _text(values, name, i).strip() or None for name in ATTRIBUTE},
        }
        row["recorded_at"] = (times["recorded_at"][i] if "recorded_at" in times else None) or row["end"]
        _check(row, where)
        out.append({**row, "feedback_id": feedback_id(row)})
    return out


def _times(column: pa.ChunkedArray, where: str) -> list[datetime | None]:
    try:
        return list(to_utc(column, "", "", where).values.to_pylist())
    except UsageError:
        raise BadInput(f"{where}: no time with a zone; write times such as 2024-05-01T06:00:00Z") from None


def _text(values: dict[str, list[Any]], name: str, i: int) -> str:
    column = values.get(name)
    return "" if column is None or column[i] is None else str(column[i])


def _check(row: dict[str, Any], where: str) -> None:
    entity_id, named = row["entity_id"] or "", [name for name in ATTRIBUTE if row[name]]
    if named:
        if entity_id or len(named) < len(ATTRIBUTE):
            raise BadInput(
                f"{where}: name an entity_id, or an attribute_key with its attribute_value, and nothing else"
            )
    elif not entity_id or entity_id == DEFAULT_ENTITY or len(entity_id.encode()) > MAX_ENTITY_ID_BYTES:
        raise BadInput(f"{where}: column 'entity_id' is {entity_id[:40]!r}; name one entity")
    if row["verdict"] not in VERDICTS:
        raise BadInput(f"{where}: column 'verdict' is {row['verdict']!r}; must be {' or '.join(VERDICTS)}")
    if row["start"] >= row["end"]:
        raise BadInput(
            f"{where}: column 'end' ({row['end']}) is not after 'start' ({row['start']}); swap or repair them"
        )
    try:
        checked_kind(row["kind"])
    except UsageError as error:
        raise BadInput(f"{where}: column 'kind': {error}") from None
