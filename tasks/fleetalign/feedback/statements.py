"""Statements of operators: one, a file of them, or the retraction of one.

They are append-only and attributed, never changed or deleted: a retraction is a statement too. Bad statements are
refused as a whole, with the row and the rule, before anything is written. A statement that contradicts an earlier one
wins, with a warning (contracts 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.attributes import subject_of
from fleetalign.contracts.feedback import feedback_id, in_force
from fleetalign.contracts.tables import FEEDBACK, RETRACTED, TIME
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback.about import attribute_subjects
from fleetalign.feedback.alarm_pages import find_page, read_pages
from fleetalign.feedback.files import quarantine_files
from fleetalign.interval import Interval, format_time
from fleetalign.storage.attributes import attributes_for
from fleetalign.storage.inventory import EntityInventory
from fleetalign.storage.statements import append_feedback, read_feedback
from fleetalign.storage.store import Store

ACCEPTED_VERDICTS = {"anomaly": "anomaly", "normal": "normal", "false_alarm": "normal"}
"""Verdict as entered, to the verdict that is stored."""
FIELDS = ("verdict", "entity", "attribute", "kind", "start", "end", "page", "scores", "note")
"""Fields of one statement: about an entity, or every entity of an attribute (``KEY=VALUE``, of a kind), from start to
end, or about a page of a table of scores."""
MAX_EXAMPLES = 3
"""Most examples in a message."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of storing statements."""

    read: int
    new: int
    """How many of them were not stored yet."""
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "statements": self.read,
            "new": self.new,
            "known_already": self.read - self.new,
            "warnings": list(self.warnings),
        }


def add(store: Store, form: Mapping[str, str], *, merge_steps: int, by: str, now: datetime) -> dict[str, Any]:
    """Store one statement about an entity's interval, or about a page of a table of scores.

    Raises UsageError when the form is incomplete or has an unknown field, BadInput when no entity has that name, when
    there is no such page or when the interval lies in the future.
    """
    unknown = sorted(set(form) - set(FIELDS))
    if unknown:
        raise UsageError(f"unknown field {', '.join(unknown)}; the form has {', '.join(FIELDS)}")
    fields = {name: form.get(name, "") for name in FIELDS}
    if fields["verdict"] not in ACCEPTED_VERDICTS:
        raise UsageError(f"the verdict is {fields['verdict']!r}; must be one of {', '.join(ACCEPTED_VERDICTS)}")
    inventory = EntityInventory(store)
    subjects, interval = _subjects(store, fields, inventory, merge_steps)
    rows = []
    for subject in subjects:
        row = {
            **subject,
            "start": interval.start,
            "end": interval.end,
            "verdict": ACCEPTED_VERDICTS[fields["verdict"]],
            "source": by,
            "note": fields["note"],
            "recorded_at": now,
        }
        rows.append({**row, "feedback_id": feedback_id(row)})
    table = pa.Table.from_pylist(rows, schema=FEEDBACK.schema)
    names = [subject_of(row) for row in rows]
    imported = import_statements(store, table, names[0], now, inventory)
    about = {"entity": ", ".join(names), "verdict": rows[0]["verdict"], **interval.as_json()}
    return {"feedback_id": ", ".join(row["feedback_id"] for row in rows), **about, **imported.as_json()}


def _subjects(
    store: Store, fields: Mapping[str, str], inventory: EntityInventory, merge_steps: int
) -> tuple[list[dict[str, Any]], Interval]:
    """Return the columns of whom the fields name, a row for each kind, and the interval."""
    filled = {name for name in ("entity", "attribute", "kind", "start", "end", "page", "scores") if fields[name]}
    if filled == {"entity", "start", "end"}:
        kind, entity_id = inventory.resolve(fields["entity"])
        return [{"kind": kind, "entity_id": entity_id}], Interval.parse(fields["start"], fields["end"])
    if filled - {"kind"} == {"attribute", "start", "end"}:
        interval = Interval.parse(fields["start"], fields["end"])
        return attribute_subjects(store, fields["attribute"], fields["kind"], interval.start), interval
    if filled == {"page", "scores"}:
        page = find_page(read_pages(fields["scores"], merge_steps), fields["page"], fields["scores"])
        return [{"kind": page.kind, "entity_id": page.entity_id}], Interval(page.start, page.end)
    raise UsageError(
        "name an entity with its start and end, an attribute with these, or a page with its table of scores, and nothing else"
    )


def import_statements(store: Store, table: pa.Table, where: str, now: datetime, inventory: EntityInventory) -> Imported:
    """Store the statements of ``table`` (from ``read_feedback_file``) that are new.

    Raises as ``check``.
    """
    warnings = check(table, where, now, inventory)
    new, contradictions = store_new(store, table, where)
    return Imported(table.num_rows, new, (*warnings, *contradictions))


def import_files(store: Store, table: pa.Table, path: str, now: datetime) -> Imported:
    """Import the statements read from ``path``; if refused, its files go to the quarantine."""
    try:
        return import_statements(store, table, path, now, EntityInventory(store))
    except BadInput as error:
        quarantine_files(store, path, str(error))
        raise


def check(table: pa.Table, where: str, now: datetime, inventory: EntityInventory) -> list[str]:
    """Return warnings about the statements of ``table``.

    Raises BadInput when one lies in the future of ``now``, or when all are about unknown entities or attributes.
    """
    _refuse_future(table, where, now)
    unknown = [*_unknown_entities(inventory, table), *_unknown_attributes(inventory.store, table)]
    if unknown and len(unknown) == table.num_rows:
        raise BadInput(
            f"{where}: no statement names an entity of the stored telemetry, or an attribute that one has then (first: "
            f"{unknown[0]}); check kind and ids"
        )
    if not unknown:
        return []
    return [f"{where}: {len(unknown)} of {table.num_rows} statements name unknown entities, such as {unknown[0]}"]


def store_new(store: Store, table: pa.Table, where: str) -> tuple[int, list[str]]:
    """Store the new statements of ``table``; returns their number and warnings."""
    stored = read_feedback(store)
    fresh = table.filter(pc.invert(pc.is_in(table["feedback_id"], value_set=stored["feedback_id"].combine_chunks())))
    standing = in_force(pa.concat_tables([stored, fresh]))
    attributes = attributes_for(store, standing)
    warnings = _contradictions(attributes.resolve(fresh, "start"), attributes.resolve(standing, "start"), where)
    return append_feedback(store, fresh), warnings


def retract(store: Store, feedback: str, *, by: str, why: str, now: datetime) -> dict[str, Any]:
    """Retract the statement whose id starts with ``feedback``, by a later statement.

    Raises BadInput when there is no such statement, or when it is retracted already.
    """
    stored = read_feedback(store)
    rows = stored.filter(pc.starts_with(stored["feedback_id"], feedback)).to_pylist()
    if len(rows) != 1:
        found = f"{len(rows)} statements have an id that starts with" if rows else "no statement has the id"
        raise BadInput(f"{store.uri}: {found} {feedback!r}; `fleetalign feedback list` shows them")
    row = rows[0]
    if row["verdict"] == RETRACTED:
        raise BadInput(f"statement {row['feedback_id']} is a retraction; state again what holds with `feedback add`")
    earlier = stored.filter(pc.equal(stored["retracts"], row["feedback_id"])).to_pylist()
    if earlier:
        when = format_time(earlier[0]["recorded_at"])
        raise BadInput(f"statement {row['feedback_id']} was taken back already by {earlier[0]['source']} at {when}")
    retraction = row | {"verdict": RETRACTED, "source": by, "note": why, "recorded_at": max(now, row["recorded_at"])}
    retraction["retracts"] = row["feedback_id"]
    retraction["feedback_id"] = feedback_id(retraction)
    append_feedback(store, pa.Table.from_pylist([retraction], schema=FEEDBACK.schema))
    return {"feedback_id": retraction["feedback_id"], "retracts": row["feedback_id"], "verdict_was": row["verdict"]}


def _refuse_future(table: pa.Table, where: str, now: datetime) -> None:
    for column in ("end", "recorded_at"):
        late = table.filter(pc.greater(table[column], pa.scalar(now, TIME)))
        if late.num_rows:
            row = late.slice(0, 1).to_pylist()[0]
            raise BadInput(
                f"{where}: {late.num_rows} of {table.num_rows} statements lie in the future (first: "
                f"{subject_of(row)}, column {column!r} is {format_time(row[column])}); "
                "end them now, or state it later"
            )


def _unknown_entities(inventory: EntityInventory, table: pa.Table) -> list[str]:
    """Name each statement's entity that has no stored telemetry."""
    unknown = []
    table = table.filter(pc.is_valid(table["entity_id"]))
    for kind in sorted(pc.unique(table["kind"]).to_pylist()):
        named = table.filter(pc.equal(table["kind"], kind))["entity_id"].to_pylist()
        missing = inventory.missing(kind, named)
        unknown += [f"{kind}/{entity}" for entity in named if entity in missing]
    return unknown


def _unknown_attributes(store: Store, table: pa.Table) -> list[str]:
    """Name each statement's attribute that no entity has at its start."""
    about = table.filter(pc.is_valid(table["attribute_key"]))
    found = set(attributes_for(store, about).resolve(about, "start")["feedback_id"].to_pylist())
    return [subject_of(row) for row in about.to_pylist() if row["feedback_id"] not in found]


def _contradictions(fresh: pa.Table, standing: pa.Table, where: str) -> list[str]:
    """Warn of all statements of ``fresh`` that overlap a standing one with the other verdict."""
    same_entity = pc.is_in(standing["entity_id"], value_set=pc.unique(fresh["entity_id"]))
    by_entity: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in standing.filter(same_entity).to_pylist():
        by_entity.setdefault((row["kind"], row["entity_id"]), []).append(row)
    pairs = {
        tuple(sorted((row["feedback_id"], other["feedback_id"])))
        for row in fresh.to_pylist()
        for other in by_entity.get((row["kind"], row["entity_id"]), [])
        if row["verdict"] != other["verdict"] and row["start"] < other["end"] and other["start"] < row["end"]
    }
    if not pairs:
        return []
    shown = ", ".join(" and ".join(pair) for pair in sorted(pairs)[:MAX_EXAMPLES])
    return [f"{where}: {len(pairs)} pairs of statements contradict each other, the later recorded wins: {shown}"]
