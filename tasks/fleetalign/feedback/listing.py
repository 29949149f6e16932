"""Statements, mutes and pages, listed with the ids by which later commands refer to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetalign.contracts.attributes import parse_attribute, subject_of
from fleetalign.contracts.mutes import in_words
from fleetalign.contracts.pages import Page
from fleetalign.interval import format_time
from fleetalign.storage.attributes import attributes_for, read_attributes
from fleetalign.storage.inventory import EntityInventory
from fleetalign.storage.statements import list_mutes, read_feedback
from fleetalign.storage.store import Store


def statements(store: Store, entity: str | None = None) -> list[dict[str, Any]]:
    """List every statement, oldest first, as FEEDBACK columns and ``retracted``.

    ``retracted`` is whether a later statement retracts it. ``entity`` (``[KIND/]ID``) keeps the statements about one entity,
    also by an attribute. Raises what ``EntityInventory.resolve`` raises.
    """
    stored = read_feedback(store)
    found = stored.to_pylist()
    wanted = {row["feedback_id"] for row in found}
    if entity:
        about = EntityInventory(store).resolve(entity)
        resolved = attributes_for(store, stored).resolve(stored, "start").to_pylist()
        wanted = {row["feedback_id"] for row in resolved if (row["kind"], row["entity_id"]) == about}
    retracted = {row["retracts"] for row in found}
    return [{**row, "retracted": row["feedback_id"] in retracted} for row in found if row["feedback_id"] in wanted]


def statements_json(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Format ``statements`` as one JSON document."""
    return {"statements": [_with_text_times(row, "start", "end", "recorded_at") for row in found]}


def statements_text(found: Sequence[Mapping[str, Any]]) -> str:
    """Format ``statements``, one line each."""
    lines = []
    for row in found:
        about = f"{subject_of(row)}  {format_time(row['start'])} to {format_time(row['end'])}"
        verdict = f"retracts {row['retracts']}" if row["retracts"] else row["verdict"]
        gone = "  (retracted)" if row["retracted"] else ""
        note = f": {row['note']}" if row["note"] else ""
        recorded = format_time(row["recorded_at"])
        lines.append(f"{row['feedback_id']}  {recorded}  {about}  {verdict}{gone}  {row['source']}{note}")
    return "\n".join(lines)


def mutes_json(store: Store) -> dict[str, Any]:
    """Format every mute as one JSON document."""
    found = []
    for row in list_mutes(store):
        lifts = [_with_text_times(lift, "at") for lift in row["lifts"]]
        found.append({**_with_text_times(row, "from", "until"), "lifts": lifts})
    return {"mutes": found}


def mutes_text(store: Store) -> str:
    """Format every mute in one line, with who lifted it."""
    lines = []
    for row in list_mutes(store):
        lifted = "".join(f"; lifted at {format_time(x['at'])} by {x['by']}: {x['why']}" for x in row["lifts"][:1])
        lines.append(f"{row['mute_id']}  {subject_of(row)}  {in_words(row)}{lifted}")
    return "\n".join(lines)


def attributes_json(store: Store, kind: str | None = None, where: str | None = None) -> dict[str, Any]:
    """List every entity with attributes and their newest values as one JSON document.

    ``kind`` keeps one kind, ``where`` (``KEY=VALUE``) the entities with that attribute.
    """
    attributes = read_attributes(store, [kind] if kind else None)
    named = attributes.everyone() if where is None else attributes.entities(parse_attribute(where))
    return {
        "entities": [
            {"kind": kind, "entity_id": entity_id, "attributes": attributes.of(kind, entity_id)}
            for kind, entity_id in named
        ]
    }


def attributes_text(found: Mapping[str, Any]) -> str:
    """Format ``attributes_json``, one line an entity."""
    lines = []
    for row in found["entities"]:
        said = "  ".join(f"{key}={value}" for key, value in row["attributes"].items())
        lines.append(f"{row['kind']}/{row['entity_id']}  {said}")
    return "\n".join(lines) or "no entity has attributes"


def pages_json(pages: Sequence[Page]) -> dict[str, Any]:
    """Format pages as one JSON document."""
    return {
        "pages": [
            {
                "page_id": page.page_id,
                "kind": page.kind,
                "entity_id": page.entity_id,
                "start": format_time(page.start),
                "end": format_time(page.end),
            }
            for page in pages
        ]
    }


def pages_text(pages: Sequence[Page]) -> str:
    """Format pages, one line each: id and end."""
    return "\n".join(f"{page.page_id}  until {format_time(page.end)}" for page in pages)


def _with_text_times(row: Mapping[str, Any], *times: str) -> dict[str, Any]:
    return {**row, **{name: format_time(row[name]) if row[name] else None for name in times}}
