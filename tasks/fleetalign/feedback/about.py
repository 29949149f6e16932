"""Whom a statement or mute is about where it names an attribute instead of an entity."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fleetalign.contracts.attributes import parse_attribute
from fleetalign.errors import BadInput
from fleetalign.storage.attributes import read_attributes
from fleetalign.storage.store import Store


def attribute_subjects(store: Store, text: str, kind: str | None, at: datetime | None) -> list[dict[str, Any]]:
    """Return the columns of FEEDBACK and MUTES that name ``KEY=VALUE``.

    There is a row for each kind of which an entity has it at ``at``.

    ``kind`` keeps one of them. Raises UsageError for other text, BadInput when no entity has the attribute.
    """
    attribute = parse_attribute(text)
    attributes = read_attributes(store, [kind] if kind else None)
    kinds = sorted({found for found, _ in attributes.entities(attribute, at)})
    if not kinds:
        key, value = attribute
        known = attributes.values(key)
        there = f"{key} is {', '.join(known[:10])}" if known else f"its keys are {', '.join(attributes.keys) or 'none'}"
        raise BadInput(f"{store.uri}: no entity has the attribute {key}={value}; {there}")
    named = {"entity_id": None, "attribute_key": attribute[0], "attribute_value": attribute[1]}
    return [{"kind": found, **named} for found in kinds]
