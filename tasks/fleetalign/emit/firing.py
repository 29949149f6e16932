"""The firing alerts between two scheduled runs: one small object in the store per channel.

A run reads it, joins it with the pages it found, informs Alertmanager, then writes it back by compare-and-swap. A run
that dies before the last step is repeated with the same outcome; of two concurrent runs the second is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config.run import EmitConfig
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.pages import Page, find_pages, merge_pages, own_seconds
from fleetalign.emit.incidents import Incident, group_pages, incident_id
from fleetalign.errors import Corrupt, NotFound, UsageError
from fleetalign.interval import format_time, parse_time
from fleetalign.storage import layout
from fleetalign.storage.store import Store

FIRING_VERSION = "1.2"


@dataclass(frozen=True, slots=True)
class Firing:
    """The firing alerts after a run."""

    pages: tuple[Page, ...] = ()
    """Pages of the incidents that have not ended."""
    newest: datetime | None = None
    """Time of the newest sample seen so far, of any entity; None before the first run."""
    version: str | None = None
    """Version of the object in the store; None before the first run."""
    silences: tuple[Page, ...] = ()
    """Silent and frozen entities of the alerts that have not ended (``emit.silence_alerts``)."""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels of each alert that has not ended, by incident id: they are part of its identity, so they stay."""


@dataclass(frozen=True, slots=True)
class Alert:
    """The alert about an incident."""

    incident: Incident
    ended: bool
    """Whether the incident has ended."""
    silence: str | None = None
    """``silent`` or ``frozen`` for an alert about missing telemetry; None: about alarms."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels made of the attributes that its first entity had when it began."""


def read_firing(store: Store, name: str) -> Firing:
    """Read the firing alerts of the channel (or release) ``name``.

    Raises:
        Corrupt: The object is not one that this version wrote.
    """
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
        silences = tuple(_page(entry) for entry in document.get("silences", ()))
        newest = parse_time(document["newest"]) if document["newest"] else None
        # Before 1.2 alerts had no labels of attributes: those that fire keep their identity.
        none: dict[str, dict[str, str]] = {incident_id(page): {} for page in (*pages, *silences)}
        labels = {incident: dict(mine) for incident, mine in document.get("labels", none).items()}
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise Corrupt(
            f"{store.uri}/{key}: not a record of what is firing ({error}); delete it, alerts then end by themselves"
        ) from None
    return Firing(pages, newest, found.version, silences, labels)


def write_firing(store: Store, name: str, firing: Firing) -> None:
    """Replace the object that ``firing`` was read from.

    Raises:
        Conflict: Another run was faster.
    """
    document = {
        "schema_version": FIRING_VERSION,
        "newest": format_time(firing.newest) if firing.newest else None,
        "pages": [_entry(page) for page in firing.pages],
        "silences": [_entry(page) for page in firing.silences],
        "labels": firing.labels,
    }
    store.swap(layout.firing(name), readable_json(document), firing.version)


def advance(
    before: Firing,
    scores: pa.Table,
    step_seconds: Mapping[str, int],
    merge_steps: int,
    settings: EmitConfig,
    now: datetime,
) -> tuple[list[Alert], Firing]:
    """Compute the alerts after ``scores`` (SCORES with contributions).

    A page ends when its entity was scored, or in maintenance, for ``merge_steps`` samples without an alarm. Samples
    without a score do not show that an entity is well: they end a page only when the newest sample of all is
    ``hold_hours`` later.

    Returns:
        Every incident that fires, or has ended since ``before``, and the firing alerts to store.
    """
    own = own_seconds(scores, step_seconds)
    pages = [*before.pages, *find_pages(scores, step_seconds, merge_steps)]
    pages = merge_pages(pages, step_seconds, merge_steps, own)
    observed = _last_observed(scores)
    # A clock that runs years ahead must not make every page of today look old.
    seen = [at for at in (before.newest, pc.max(scores["timestamp"]).as_py()) if at]
    newest = min(max(seen), now) if seen else None
    hold = timedelta(hours=settings.hold_hours)

    def ended(page: Page) -> bool:
        entity = (page.kind, page.entity_id)
        step = timedelta(seconds=own.get(entity, step_seconds.get(page.kind, 0)))
        last = observed.get(entity)
        quiet = last is not None and last + step - page.end >= step * merge_steps
        return quiet or (newest is not None and newest - page.end >= hold)

    alerts = [
        Alert(incident, all(ended(page) for page in incident.pages))
        for incident in group_pages(pages, timedelta(minutes=settings.group_minutes), settings.min_overlap)
    ]
    going_on = tuple(page for alert in alerts if not alert.ended for page in alert.incident.pages)
    return alerts, Firing(going_on, newest, before.version, before.silences)


def _last_observed(scores: pa.Table) -> dict[tuple[str, str], datetime]:
    """Find the newest sample of each (kind, entity) with a score or in maintenance."""
    conclusive = scores.filter(pc.or_kleene(pc.is_null(scores["reason"]), pc.equal(scores["reason"], "maintenance")))
    found = conclusive.group_by(["kind", "entity_id"]).aggregate([("timestamp", "max")])
    entities = zip(found["kind"].to_pylist(), found["entity_id"].to_pylist(), strict=True)
    return dict(zip(entities, found["timestamp_max"].to_pylist(), strict=True))


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
