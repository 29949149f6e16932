"""The operator's word: one statement, a file of them, or the end of one. Append-only and attributed.

What was said is never changed or deleted: a retraction is a statement too. Bad statements are refused whole, with the
row and the rule, before anything is written. Who contradicts an earlier statement is told so, and wins (contracts 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.feedback import feedback_id, in_force
from fleetalign.contracts.tables import FEEDBACK, RETRACTED, TIME
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback.alarm_pages import find_page, read_pages
from fleetalign.feedback.files import quarantine_files
from fleetalign.interval import Interval, format_time
from fleetalign.storage.inventory import Known
from fleetalign.storage.statements import append_feedback, read_feedback
from fleetalign.storage.store import Store

VERDICT_WORDS = {"anomaly": "anomaly", "normal": "normal", "false_alarm": "normal"}
"""What people may write -> the verdict that is stored."""
FIELDS = ("verdict", "entity", "start", "end", "page", "scores", "note")
"""What can be said in one statement: an entity from start to end, or a page of a table of scores."""
NAMED = 3
"""Examples that a message gives before it only counts."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of statements: how many were read, how many of them are new, and what the speaker should know."""

    read: int
    new: int
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

    Raises UsageError when the form is filled in half or has a field that there is not, BadInput when nobody is called
    so, when there is no such page or when the interval lies ahead.
    """
    unknown = sorted(set(form) - set(FIELDS))
    if unknown:
        raise UsageError(f"unknown field {', '.join(unknown)}; the form has {', '.join(FIELDS)}")
    given = {name: form.get(name, "") for name in FIELDS}
    if given["verdict"] not in VERDICT_WORDS:
        raise UsageError(f"the verdict is {given['verdict']!r}; must be one of {', '.join(VERDICT_WORDS)}")
    known = Known(store)
    (kind, entity_id), interval = _about(given, known, merge_steps)
    row = {
        "kind": kind,
        "entity_id": entity_id,
        "start": interval.start,
        "end": interval.end,
        "verdict": VERDICT_WORDS[given["verdict"]],
        "source": by,
        "note": given["note"],
        "recorded_at": now,
    }
    row["feedback_id"] = feedback_id(row)
    heard = hear(store, pa.Table.from_pylist([row], schema=FEEDBACK.schema), f"{kind}/{entity_id}", now, known)
    about = {"entity": f"{kind}/{entity_id}", "verdict": row["verdict"], **interval.as_json()}
    return {"feedback_id": row["feedback_id"], **about, **heard.as_json()}


def _about(given: Mapping[str, str], known: Known, merge_steps: int) -> tuple[tuple[str, str], Interval]:
    filled = {name for name in ("entity", "start", "end", "page", "scores") if given[name]}
    if filled == {"entity", "start", "end"}:
        return known.resolve(given["entity"]), Interval.parse(given["start"], given["end"])
    if filled == {"page", "scores"}:
        page = find_page(read_pages(given["scores"], merge_steps), given["page"], given["scores"])
        return (page.kind, page.entity_id), Interval(page.start, page.end)
    raise UsageError(
        "name either an entity with its start and end, or a page with its table of scores, and nothing else"
    )


def hear(store: Store, table: pa.Table, where: str, now: datetime, known: Known) -> Heard:
    """Store the statements of ``table`` (from ``read_feedback_file``) that are new. Raises as ``check``."""
    warnings = check(table, where, now, known)
    new, contradictions = keep(store, table, where)
    return Heard(table.num_rows, new, (*warnings, *contradictions))


def hear_files(store: Store, table: pa.Table, path: str, now: datetime) -> Heard:
    """``hear`` what ``read_feedback_file`` read from ``path``, whose files go to the quarantine when it is refused."""
    try:
        return hear(store, table, path, now, Known(store))
    except BadInput as error:
        quarantine_files(store, path, str(error))
        raise


def check(table: pa.Table, where: str, now: datetime, known: Known) -> list[str]:
    """Warnings about the statements of ``table``.

    Raises BadInput when one lies in the future of ``now``, or when all are about entities that nobody knows.
    """
    _refuse_future(table, where, now)
    return _strangers(known, table, where)


def keep(store: Store, table: pa.Table, where: str) -> tuple[int, list[str]]:
    """Store the statements of ``table`` that are new: their number, and a warning when they contradict others."""
    stored = read_feedback(store)
    fresh = table.filter(pc.invert(pc.is_in(table["feedback_id"], value_set=stored["feedback_id"].combine_chunks())))
    warnings = _contradictions(fresh, in_force(pa.concat_tables([stored, fresh])), where)
    return append_feedback(store, fresh), warnings


def retract(store: Store, feedback: str, *, by: str, why: str, now: datetime) -> dict[str, Any]:
    """Take back the statement whose id starts with ``feedback``: a later statement that names it in ``retracts``.

    Raises BadInput when there is no such statement, or when it was taken back already.
    """
    stored = read_feedback(store)
    rows = stored.filter(pc.starts_with(stored["feedback_id"], feedback)).to_pylist()
    if len(rows) != 1:
        found = f"{len(rows)} statements have an id that starts with" if rows else "no statement has the id"
        raise BadInput(f"{store.uri}: {found} {feedback!r}; `fleetalign feedback list` shows them")
    row = rows[0]
    if row["verdict"] == RETRACTED:
        raise BadInput(f"statement {row['feedback_id']} is a retraction; say again what holds with `feedback add`")
    earlier = stored.filter(pc.equal(stored["retracts"], row["feedback_id"])).to_pylist()
    if earlier:
        when = format_time(earlier[0]["recorded_at"])
        raise BadInput(f"statement {row['feedback_id']} was taken back already by {earlier[0]['source']} at {when}")
    taken = row | {"verdict": RETRACTED, "source": by, "note": why, "recorded_at": max(now, row["recorded_at"])}
    taken["retracts"] = row["feedback_id"]
    taken["feedback_id"] = feedback_id(taken)
    append_feedback(store, pa.Table.from_pylist([taken], schema=FEEDBACK.schema))
    return {"feedback_id": taken["feedback_id"], "retracts": row["feedback_id"], "verdict_was": row["verdict"]}


def _refuse_future(table: pa.Table, where: str, now: datetime) -> None:
    for column in ("end", "recorded_at"):
        late = table.filter(pc.greater(table[column], pa.scalar(now, TIME)))
        if late.num_rows:
            row = late.slice(0, 1).to_pylist()[0]
            raise BadInput(
                f"{where}: {late.num_rows} of {table.num_rows} statements lie in the future (first: "
                f"{row['kind']}/{row['entity_id']}, column {column!r} is {format_time(row[column])}); "
                "end them now, or say it later"
            )


def _strangers(known: Known, table: pa.Table, where: str) -> list[str]:
    """A warning about statements whose entity has no stored telemetry. Raises BadInput when all are such."""
    strangers = []
    for kind in sorted(pc.unique(table["kind"]).to_pylist()):
        named = table.filter(pc.equal(table["kind"], kind))["entity_id"].to_pylist()
        missing = known.missing(kind, named)
        strangers += [f"{kind}/{entity}" for entity in named if entity in missing]
    if strangers and len(strangers) == table.num_rows:
        raise BadInput(
            f"{where}: no statement names an entity of the stored telemetry (first: {strangers[0]}); check kind and ids"
        )
    if not strangers:
        return []
    return [f"{where}: {len(strangers)} of {table.num_rows} statements name unknown entities, such as {strangers[0]}"]


def _contradictions(fresh: pa.Table, standing: pa.Table, where: str) -> list[str]:
    """One warning for all statements of ``fresh`` that overlap a standing one with the other verdict."""
    spoken_of = pc.is_in(standing["entity_id"], value_set=pc.unique(fresh["entity_id"]))
    by_entity: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in standing.filter(spoken_of).to_pylist():
        by_entity.setdefault((row["kind"], row["entity_id"]), []).append(row)
    pairs = {
        tuple(sorted((row["feedback_id"], other["feedback_id"])))
        for row in fresh.to_pylist()
        for other in by_entity.get((row["kind"], row["entity_id"]), [])
        if row["verdict"] != other["verdict"] and row["start"] < other["end"] and other["start"] < row["end"]
    }
    if not pairs:
        return []
    shown = ", ".join(" and ".join(pair) for pair in sorted(pairs)[:NAMED])
    return [f"{where}: {len(pairs)} pairs of statements contradict each other, the later recorded wins: {shown}"]
