"""What operators silence, checked before it is stored: who, which metric, from when until when."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from fleetalign.contracts.mutes import ANY, mute_id
from fleetalign.contracts.tables import MUTES
from fleetalign.errors import BadInput, UsageError
from fleetalign.interval import format_time
from fleetalign.storage.inventory import Known
from fleetalign.storage.statements import append_mutes, lift_mute, list_mutes
from fleetalign.storage.store import Store


def mute(
    store: Store,
    *,
    entity: str | None,
    kind: str | None,
    metric: str | None,
    start: datetime | None,
    end: datetime | None,
    by: str,
    why: str,
) -> str:
    """Store one mute and return its id: of ``entity`` (``[KIND/]ID``) or every entity of ``kind``, of ``metric`` or all.

    A maintenance window (no ``metric``) needs both ends: one that nobody ends would silence for good. Raises BadInput
    when the entity, the kind or the metric is unknown, UsageError when the times make no sense.
    """
    known = Known(store)
    if entity is not None:
        kind, entity = known.resolve(entity)
    else:
        known.check_kind(kind or "")
    if metric is None and (start is None or end is None):
        raise UsageError("a maintenance window needs --from and --until; without them name the --metric to mute")
    if start is not None and end is not None and end <= start:
        raise UsageError(f"the mute ends at {format_time(end)}, not after its start {format_time(start)}; swap them")
    if metric is not None and metric not in known.metrics(kind):
        raise BadInput(f"kind {kind} has no metric {metric!r}; it has {', '.join(sorted(known.metrics(kind)))}")
    row = {
        "kind": kind,
        "entity_id": entity or ANY,
        "metric": metric or ANY,
        "from": start,
        "until": end,
        "by": by,
        "why": why,
    }
    append_mutes(store, pa.Table.from_pylist([row], schema=MUTES.schema))
    return mute_id(row)


def lift(store: Store, mute: str, *, at: datetime, by: str, why: str) -> str:
    """End the mute whose id starts with ``mute`` at ``at``; returns its id. Raises BadInput when there is no such mute."""
    rows = [row for row in list_mutes(store) if row["mute_id"].startswith(mute)]
    if len(rows) != 1:
        found = f"{len(rows)} mutes have an id that starts with" if rows else "no mute has the id"
        raise BadInput(f"{store.uri}: {found} {mute!r}; `fleetalign mute list` shows them")
    row = rows[0]
    ends = [end for end in (row["until"], *(x["at"] for x in row["lifts"])) if end is not None]
    if ends and min(ends) <= at:
        raise BadInput(f"mute {row['mute_id']} has ended already, at {format_time(min(ends))}")
    lift_mute(store, row["mute_id"], at, by, why)
    return row["mute_id"]
