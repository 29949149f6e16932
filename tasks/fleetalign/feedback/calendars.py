"""Calendars of downtimes and holidays, imported as mutes.

A row mutes one window (``from``, ``until``), one local day (``date``), or the same hours of some weekdays (``days``,
``start``, ``end``) between ``from`` and ``until``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.mutes import ANY, mute_id
from fleetalign.contracts.tables import MUTES
from fleetalign.errors import BadInput, ConfigError, UsageError
from fleetalign.feedback.about import attribute_subjects
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.listing import list_files
from fleetalign.ingest.mapping import check_zone
from fleetalign.ingest.numbers import plain
from fleetalign.storage.inventory import EntityInventory
from fleetalign.storage.statements import append_mutes, list_mutes
from fleetalign.storage.store import Store

COLUMNS = (
    *(
        "kind",
        "entity_id",
        "attribute_key",
        "attribute_value",
        "metric",
        "from",
        "until",
        "date",
        "days",
        "start",
        "end",
    ),
    *("time_zone", "why"),
)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_MUTES = 10_000
"""More windows than this in one file are a mistake, such as a weekly pattern until the year 9999."""

Bounds = tuple[datetime | None, datetime | None]


def import_calendar(store: Store, path: str, bounds: Bounds, *, zone: str, by: str) -> dict[str, Any]:
    """Store the mutes of a calendar.

    It is a CSV or Parquet file with columns of ``COLUMNS``, or a folder of them.

    A row without entity and attribute mutes every entity of its ``kind``, without one of every kind; without a ``metric``
    it is a maintenance window.

    Args:
        store: The store.
        path: The file.
        bounds: First and last instant of weekly patterns that name no ``from`` or ``until``.
        zone: IANA zone of times without one, in rows that name no ``time_zone``; empty: such times are refused.
        by: Who mutes.

    Returns:
        Number of rows and mutes read, and of mutes that are new.

    Raises:
        BadInput: A row cannot be used; nothing is stored then. The message names file, row and column.
    """
    inventory = EntityInventory(store)
    mutes: list[dict[str, Any]] = []
    num_rows = 0
    for file in list_files(path):
        for batch in read_batches(file):
            if batch.broken_lines:
                raise BadInput(f"{file.origin}: line {batch.broken_lines[0][:200]!r} has too few or too many columns")
            for i, row in enumerate(_texts(batch.table, file.origin)):
                where = f"{file.origin} row {batch.first_row + i}"
                try:
                    mutes += _mutes(store, inventory, row, bounds, zone, by)
                except (BadInput, UsageError, ConfigError) as error:
                    raise BadInput(f"{where}: {error}") from None
                if len(mutes) > MOST_MUTES:
                    raise BadInput(f"{where}: more than {MOST_MUTES} windows; end the weekly pattern with 'until'")
                num_rows += 1
    known = {mute["mute_id"] for mute in list_mutes(store)}
    new = {mute_id(mute): mute for mute in mutes if mute_id(mute) not in known}
    if new:
        append_mutes(store, pa.Table.from_pylist(list(new.values()), schema=MUTES.schema))
    return {"rows": num_rows, "mutes": len(mutes), "new": len(new)}


def _texts(table: pa.Table, origin: str) -> list[dict[str, str]]:
    unknown = sorted(set(table.schema.names) - set(COLUMNS))
    if unknown:
        raise BadInput(f"{origin}: unknown column {unknown[0]!r}; a calendar has {', '.join(COLUMNS)}")
    columns = {name: plain(table.column(name)).cast(pa.string()) for name in table.schema.names}
    filled = {name: pc.utf8_trim_whitespace(pc.fill_null(column, "")).to_pylist() for name, column in columns.items()}
    return [{name: filled[name][i] if name in filled else "" for name in COLUMNS} for i in range(table.num_rows)]


def _mutes(
    store: Store, inventory: EntityInventory, row: Mapping[str, str], bounds: Bounds, zone: str, by: str
) -> Iterator[dict[str, Any]]:
    name = row["time_zone"] or zone
    check_zone(name)
    windows = list(_windows(row, bounds, ZoneInfo(name) if name else None))
    for subject in _subjects(store, inventory, row, windows[0][0]):
        if row["metric"] and row["metric"] not in inventory.metrics(subject["kind"]):
            raise BadInput(f"column 'metric': kind {subject['kind']} has no metric {row['metric']!r}")
        for start, end in windows:
            what = {"metric": row["metric"] or ANY, "from": start, "until": end, "by": by, "why": row["why"]}
            yield {**subject, **what}


def _subjects(store: Store, inventory: EntityInventory, row: Mapping[str, str], at: datetime) -> list[dict[str, Any]]:
    if row["attribute_key"] or row["attribute_value"]:
        if row["entity_id"]:
            raise BadInput("name an entity_id or an attribute, not both")
        return attribute_subjects(store, f"{row['attribute_key']}={row['attribute_value']}", row["kind"], at)
    if row["kind"]:
        inventory.check_kind(row["kind"])
    if row["entity_id"] and row["kind"]:
        if inventory.missing(row["kind"], [row["entity_id"]]):
            raise BadInput(f"column 'entity_id': kind {row['kind']} has no entity {row['entity_id']!r}")
        return [{"kind": row["kind"], "entity_id": row["entity_id"]}]
    if row["entity_id"]:
        kind, entity_id = inventory.resolve(row["entity_id"])
        return [{"kind": kind, "entity_id": entity_id}]
    if not inventory.kinds:
        raise BadInput("the store has no telemetry yet; ingest some first")
    return [{"kind": kind, "entity_id": ANY} for kind in ([row["kind"]] if row["kind"] else inventory.kinds)]


def _windows(row: Mapping[str, str], bounds: Bounds, zone: ZoneInfo | None) -> Iterator[tuple[datetime, datetime]]:
    """Yield the windows of a row, half open, in UTC."""
    named = [name for name in ("date", "days") if row[name]]
    if len(named) > 1 or (row["date"] and (row["from"] or row["until"])):
        raise BadInput("give one of from and until, date, or days with start and end")
    if not row["days"] and (row["start"] or row["end"]):
        raise BadInput("column 'days' is empty, but start or end is not; name weekdays such as mon-fri")
    if row["date"]:
        day = _parsed(date.fromisoformat, row, "date", "2024-12-25")
        yield _instant(day, time(), zone, "date"), _instant(day + timedelta(days=1), time(), zone, "date")
        return
    first = _time(row, "from", zone) or (bounds[0] if row["days"] else None)
    last = _time(row, "until", zone) or (bounds[1] if row["days"] else None)
    if first is None or last is None:
        missing = "from" if first is None else "until"
        raise BadInput(f"column {missing!r} is empty; a window, and a weekly pattern, needs both ends")
    if last <= first:
        raise BadInput(f"column 'until' ({row['until'] or last}) is not after 'from' ({row['from'] or first})")
    if not row["days"]:
        yield first, last
        return
    days, start, end = _weekdays(row["days"]), _clock(row, "start"), _clock(row, "end")
    local = zone or UTC
    if zone is None:
        raise BadInput("column 'time_zone' is empty; hours of a weekday need a zone such as Europe/Berlin")
    found = False
    day = first.astimezone(local).date() - timedelta(days=1)  # hours past midnight may reach into the range
    while day <= last.astimezone(local).date():
        if day.weekday() in days:
            until = day if end > start else day + timedelta(days=1)
            window = max(_instant(day, start, zone, "start"), first), min(_instant(until, end, zone, "end"), last)
            if window[0] < window[1]:
                found = True
                yield window
        day += timedelta(days=1)
    if not found:
        raise BadInput(f"column 'days': no {row['days']} lies between {first} and {last}")


def _parsed(parse: Any, row: Mapping[str, str], column: str, example: str) -> Any:
    try:
        return parse(row[column])
    except ValueError:
        raise BadInput(f"column {column!r} is {row[column]!r}; write {example}") from None


def _time(row: Mapping[str, str], column: str, zone: ZoneInfo | None) -> datetime | None:
    if not row[column]:
        return None
    found: datetime = _parsed(datetime.fromisoformat, row, column, "a time such as 2024-05-01T06:00:00Z")
    if found.tzinfo is None:
        return _instant(found.date(), found.time(), zone, column)
    return found.astimezone(UTC)


def _instant(day: date, clock: time, zone: ZoneInfo | None, column: str) -> datetime:
    if zone is None:
        raise BadInput(f"column {column!r} has no zone; name one in time_zone or with --time-zone")
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _clock(row: Mapping[str, str], column: str) -> time:
    if row[column] == "24:00":
        return time()
    found: time = _parsed(time.fromisoformat, row, column, "an hour such as 22:00")
    return found


def _weekdays(text: str) -> set[int]:
    """Read weekdays such as ``mon-fri`` or ``sat, sun``; a range may go past Sunday."""
    found: set[int] = set()
    for part in text.lower().replace(";", ",").split(","):
        first, _, last = (name.strip()[:3] for name in part.partition("-"))
        if first not in WEEKDAYS or (last and last not in WEEKDAYS):
            raise BadInput(f"column 'days' is {text!r}; name weekdays such as mon-fri or sat, sun")
        begin = WEEKDAYS.index(first)
        length = (WEEKDAYS.index(last or first) - begin) % 7 + 1
        found |= {(begin + i) % 7 for i in range(length)}
    return found
