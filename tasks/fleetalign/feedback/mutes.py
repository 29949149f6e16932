"""Mutes of operators, checked before they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from fleetalign.contracts.mutes import ANY, mute_id
from fleetalign.contracts.tables import MUTES
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback.about import attribute_subjects
from fleetalign.interval import format_time
from fleetalign.storage.inventory import EntityInventory
from fleetalign.storage.statements import append_mutes, lift_mute, list_mutes
from fleetalign.storage.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class MuteRequest:
    """What to silence, and who asks for it."""

    entity: str | None
    """``[KIND/]ID``."""
    kind: str | None
    """Every entity of this kind, if no entity is named."""
    attribute: str | None = None
    """``KEY=VALUE``: every entity with it, of ``kind`` or of any."""
    metric: str | None
    """None mutes every metric: a maintenance window."""
    start: datetime | None
    """None: open at this end, as is ``end``."""
    end: datetime | None
    by: str
    why: str


def mute(store: Store, request: MuteRequest) -> list[str]:
    """Store one mute, of an attribute one for each kind, and return the ids.

    A maintenance window (no ``metric``) needs both ends: without an end it would silence for good. Raises BadInput
    when the entity, the kind or the metric is unknown, UsageError when the times make no sense.
    """
    if (request.entity is None) == (request.kind is None and request.attribute is None):
        raise UsageError("a mute is about an --entity, or about the entities of an --attribute, a --kind or both")
    inventory = EntityInventory(store)
    if request.attribute is not None:
        subjects = attribute_subjects(store, request.attribute, request.kind, request.start)
    elif request.entity is not None:
        kind, entity_id = inventory.resolve(request.entity)
        subjects = [{"kind": kind, "entity_id": entity_id}]
    else:
        inventory.check_kind(request.kind or "")
        subjects = [{"kind": request.kind, "entity_id": ANY}]
    start, end = request.start, request.end
    if request.metric is None and (start is None or end is None):
        raise UsageError("a maintenance window needs --from and --until; without them name the --metric to mute")
    if start is not None and end is not None and end <= start:
        raise UsageError(f"the mute ends at {format_time(end)}, not after its start {format_time(start)}; swap them")
    if request.metric is not None:
        for kind in (subject["kind"] for subject in subjects):
            metrics = inventory.metrics(kind)
            if request.metric not in metrics:
                raise BadInput(f"kind {kind} has no metric {request.metric!r}; it has {', '.join(sorted(metrics))}")
    what = {"metric": request.metric or ANY, "from": start, "until": end, "by": request.by, "why": request.why}
    rows = [{**subject, **what} for subject in subjects]
    append_mutes(store, pa.Table.from_pylist(rows, schema=MUTES.schema))
    return [mute_id(row) for row in rows]


def lift(store: Store, mute: str, *, at: datetime, by: str, why: str) -> str:
    """End the mute whose id starts with ``mute`` at ``at``; returns its id.

    Raises BadInput when there is no such mute, or when it has ended already.
    """
    rows = [row for row in list_mutes(store) if row["mute_id"].startswith(mute)]
    if len(rows) != 1:
        found = f"{len(rows)} mutes have an id that starts with" if rows else "no mute has the id"
        raise BadInput(f"{store.uri}: {found} {mute!r}; `fleetalign mute list` shows them")
    row = rows[0]
    ends = [end for end in (row["until"], *(x["at"] for x in row["lifts"])) if end is not None]
    if ends and min(ends) <= at:
        raise BadInput(f"mute {row['mute_id']} has ended already, at {format_time(min(ends))}")
    found_id = str(row["mute_id"])
    lift_mute(store, found_id, at, by, why)
    return found_id
