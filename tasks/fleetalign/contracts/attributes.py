"""Attributes of entities, such as their team or data centre (contracts 2.9).

A value holds from its ``from`` (null: always) until the next ``from`` of the same entity and key; before the first one
the first holds. An empty value takes the attribute away. Statements and mutes may name an attribute instead of an
entity; ``resolve`` gives each entity its row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import ATTRIBUTES
from fleetalign.errors import UsageError

COLUMNS = ("attribute_key", "attribute_value")
_ALWAYS = datetime.min.replace(tzinfo=UTC)

Pair = tuple[str, str]


def attribute_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the attribute that a statement or mute names: (key, value), or ()."""
    key, value = (row.get(name) for name in COLUMNS)
    return () if key is None else (str(key), str(value))


def subject_of(row: Mapping[str, Any]) -> str:
    """Name whom a statement or mute is about: ``KIND/ID``, or ``KIND: KEY=VALUE``."""
    named = attribute_of(row)
    return f"{row['kind']}: {'='.join(named)}" if named else f"{row['kind']}/{row['entity_id']}"


def parse_attribute(text: str) -> Pair:
    """Split ``KEY=VALUE`` at its first ``=``.

    Raises:
        UsageError: One of them is missing.
    """
    key, _, value = (part.strip() for part in text.partition("="))
    if not key or not value:
        raise UsageError(f"{text!r} is no attribute; write KEY=VALUE, such as team=payments")
    return key, value


class Attributes:
    """The attributes of entities over time."""

    def __init__(self, table: pa.Table) -> None:
        """Group ``table`` (ATTRIBUTES) by entity and key.

        Of two values from one time the later row counts.
        """
        self._series: dict[Pair, dict[str, tuple[list[datetime], list[str]]]] = {}
        self._ever: dict[Pair, set[Pair]] = {}
        for row in ATTRIBUTES.conform(table).to_pylist():
            mine = self._series.setdefault((row["kind"], row["entity_id"]), {})
            starts, values = mine.setdefault(row["key"], ([], []))
            start = row["from"] or _ALWAYS
            # Nulls sort last, but begin before all others.
            at = bisect_right(starts, start)
            starts.insert(at, start)
            values.insert(at, row["value"] or "")
            self._ever.setdefault((row["key"], row["value"] or ""), set()).add((row["kind"], row["entity_id"]))

    def __bool__(self) -> bool:
        return bool(self._series)

    def of(self, kind: str, entity_id: str, at: datetime | None = None) -> dict[str, str]:
        """Return the attributes of an entity at an aware time (None: the newest), sorted by key."""
        found = {}
        for key, (starts, values) in sorted(self._series.get((kind, entity_id), {}).items()):
            place = len(starts) if at is None else max(bisect_right(starts, at), 1)
            if values[place - 1]:
                found[key] = values[place - 1]
        return found

    def entities(self, attribute: Pair, at: datetime | None = None, kind: str | None = None) -> list[Pair]:
        """List the entities, (kind, entity_id), with ``attribute`` (key, value) at ``at``, sorted."""
        key, value = attribute
        return sorted(
            one
            for one in self._ever.get(attribute, ())
            if kind in (None, one[0]) and self.of(*one, at).get(key) == value
        )

    def everyone(self) -> list[Pair]:
        """List the entities, (kind, entity_id), of which something is known, sorted."""
        return sorted(self._series)

    @property
    def keys(self) -> list[str]:
        """Every key, sorted."""
        return sorted({key for mine in self._series.values() for key in mine})

    def values(self, key: str) -> list[str]:
        """List the newest values of ``key``, sorted."""
        return sorted({value for one in self._series if (value := self.of(*one).get(key))})

    def resolve(self, table: pa.Table, start: str) -> pa.Table:
        """Give each entity the rows of ``table`` that name an attribute it has.

        ``table`` is FEEDBACK or MUTES. The attribute at the time in the column ``start`` counts (null: the newest). The
        result has no columns for an attribute.
        """
        about = pc.is_valid(table["attribute_key"]).to_numpy()
        rows, ids = list(range(table.num_rows)), table["entity_id"].to_pylist()
        if about.any():
            named = [
                self._named(table.slice(row, 1).to_pylist()[0], start) if about[row] else [ids[row]] for row in rows
            ]
            rows = [row for row, mine in zip(rows, named, strict=True) for _ in mine]
            ids = [entity_id for mine in named for entity_id in mine]
        resolved = table.take(pa.array(rows, pa.int64()))
        place = table.schema.get_field_index("entity_id")
        return resolved.set_column(place, "entity_id", pa.array(ids, pa.string())).drop_columns(list(COLUMNS))

    def _named(self, row: Mapping[str, Any], start: str) -> list[str]:
        attribute = (row["attribute_key"], row["attribute_value"])
        return [entity_id for _, entity_id in self.entities(attribute, row[start], row["kind"])]
