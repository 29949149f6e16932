"""The kinds, entities and metrics of the stored telemetry.

Feedback and mutes are checked against them.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from fleetalign.errors import BadInput, UsageError
from fleetalign.storage import lake
from fleetalign.storage.store import Store


class EntityInventory:
    """The entities of a store's raw partitions; the newest partition is searched first."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._partitions = sorted(lake.list_partitions(store, "raw"), key=lambda p: p.interval, reverse=True)
        self.kinds = sorted({p.kind for p in self._partitions})

    def missing(self, kind: str, entities: Iterable[str]) -> set[str]:
        """Return those of ``entities`` that no stored partition of ``kind`` has.

        The search stops when all are found.
        """
        missing = set(entities)
        for partition in self._partitions:
            if not missing:
                break
            if partition.kind == kind:
                between = (min(missing), max(missing))
                for part in lake.read_parts(self.store, partition, ["entity_id"], between):
                    missing.difference_update(pc.unique(part["entity_id"]).to_pylist())
        return missing

    def metrics(self, kind: str) -> set[str]:
        """Return every metric of ``kind``."""
        return {m for p in self._partitions if p.kind == kind for m in p.metrics}

    def resolve(self, name: str) -> tuple[str, str]:
        """Return ``(kind, entity_id)`` of ``[KIND/]ID``.

        Raises BadInput when no entity has that name, UsageError when several have.
        """
        before, _, after = name.partition("/")
        possible = [(kind, name) for kind in self.kinds]
        if before in self.kinds and after:
            possible.append((before, after))
        found = [(kind, entity) for kind, entity in possible if not self.missing(kind, [entity])]
        if len(found) > 1:
            raise UsageError(
                f"{name!r} names {len(found)} entities; write KIND/ID with a kind of {', '.join(self.kinds)}"
            )
        if not found:
            raise BadInput(
                f"{self.store.uri}: no telemetry of an entity {name!r}; write [KIND/]ID as in the telemetry "
                f"(kinds: {', '.join(self.kinds) or 'none is stored yet'})"
            )
        return found[0]

    def check_kind(self, kind: str) -> None:
        """Raise BadInput when no telemetry of ``kind`` is stored."""
        if kind not in self.kinds:
            raise BadInput(
                f"{self.store.uri}: no telemetry of kind {kind!r}; there is {', '.join(self.kinds) or 'none yet'}"
            )
