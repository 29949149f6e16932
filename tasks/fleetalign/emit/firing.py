"""What is firing, from one scheduled run to the next: one small object in the store per channel.

A run reads it, joins it with the pages it found, tells Alertmanager, then writes it back by compare-and-swap. A run
that dies before the last step is repeated with the same outcome; of two runs at once the second is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.hashing import readable_json
from fleetalign.errors import Corrupt, NotFound
from fleetalign.interval import format_time, parse_time
from fleetalign.release.grouping import Incident, group_pages
from fleetalign.release.pages import Page, find_pages, merge_pages
from fleetalign.settings import EmitConfig
from fleetalign.storage import layout
from fleetalign.storage.store import Store

FIRING_VERSION = "1.0"


@dataclass(frozen=True, slots=True)
class Firing:
    """``pages`` of the incidents that have not ended; ``newest`` sample ever seen of each kind; ``version`` of the
    object in the store, None before the first run."""

    pages: tuple[Page, ...] = ()
    newest: Mapping[str, datetime] = field(default_factory=dict)
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An incident, and whether it goes on or has ended."""

    incident: Incident
    ended: bool


def read_firing(store: Store, name: str) -> Firing:
    """What was firing of channel (or release) ``name``. Raises Corrupt when the object is not one this version wrote."""
    key = layout.firing(name)
    try:
        found = store.get_versioned(key)
    except NotFound:
        return Firing()
    try:
        document = json.loads(found.data)
        if document["schema_version"].split(".")[0] != FIRING_VERSION.split(".")[0]:
            raise ValueError(f"schema_version {document['schema_version']}")
        pages = tuple(_page(entry) for entry in document["pages"])
        newest = {kind: parse_time(at) for kind, at in document["newest"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            f"{store.uri}/{key}: not a record of what is firing ({error}); delete it, alerts then end by themselves"
        ) from None
    return Firing(pages, newest, found.version)


def write_firing(store: Store, name: str, firing: Firing) -> None:
    """Replace what ``firing`` was read from. Raises Conflict when another run was faster."""
    document = {
        "schema_version": FIRING_VERSION,
        "newest": {kind: format_time(at) for kind, at in firing.newest.items()},
        "pages": [_entry(page) for page in firing.pages],
    }
    store.swap(layout.firing(name), readable_json(document), firing.version)


def advance(
    before: Firing, scores: pa.Table, step_seconds: Mapping[str, int], merge_steps: int, settings: EmitConfig
) -> tuple[list[Alert], Firing]:
    """Every incident that fires after ``scores`` (SCORES with contributions) or has ended since, and what goes on.

    A page ends when its entity was scored, or in maintenance, for ``merge_steps`` samples without an alarm. Samples
    without a score are no sign of health: they end a page only when the kind's newest sample is ``hold_hours`` on.
    """
    pages = merge_pages([*before.pages, *find_pages(scores, step_seconds, merge_steps)], step_seconds, merge_steps)
    newest = _later(before.newest, _newest(scores, ["kind"]))
    telling = scores.filter(pc.or_kleene(pc.is_null(scores["reason"]), pc.equal(scores["reason"], "maintenance")))
    heard = _newest(telling, ["kind", "entity_id"])
    hold = timedelta(hours=settings.hold_hours)

    def ended(page: Page) -> bool:
        step = timedelta(seconds=step_seconds.get(page.kind, 0))
        last = heard.get((page.kind, page.entity_id))
        quiet = last is not None and last + step - page.end >= step * merge_steps
        return quiet or newest.get(page.kind, page.end) - page.end >= hold

    alerts = [
        Alert(incident, all(ended(page) for page in incident.pages))
        for incident in group_pages(pages, timedelta(minutes=settings.group_minutes), settings.min_overlap)
    ]
    going_on = tuple(page for alert in alerts if not alert.ended for page in alert.incident.pages)
    return alerts, Firing(going_on, newest, before.version)


def _newest(scores: pa.Table, keys: list[str]) -> dict[Any, datetime]:
    """Newest sample by kind, or by (kind, entity)."""
    found = scores.group_by(keys).aggregate([("timestamp", "max")])
    columns = [found[name].to_pylist() for name in keys]
    return dict(
        zip(
            columns[0] if len(keys) == 1 else zip(*columns, strict=True),
            found["timestamp_max"].to_pylist(),
            strict=True,
        )
    )


def _later(one: Mapping[str, datetime], other: Mapping[str, datetime]) -> dict[str, datetime]:
    return {kind: max(side[kind] for side in (one, other) if kind in side) for kind in sorted({*one, *other})}


def _entry(page: Page) -> dict[str, Any]:
    return {
        "kind": page.kind,
        "entity_id": page.entity_id,
        "start": format_time(page.start),
        "end": format_time(page.end),
        "margin": page.margin,
        "metrics": [list(item) for item in page.metrics],
    }


def _page(entry: Mapping[str, Any]) -> Page:
    return Page(
        entry["kind"],
        entry["entity_id"],
        parse_time(entry["start"]),
        parse_time(entry["end"]),
        entry["margin"],
        tuple((name, share) for name, share in entry["metrics"]),
    )
