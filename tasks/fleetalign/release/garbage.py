"""Deletes what nothing references: candidates, releases, plans, replaced telemetry parts.

Roots are every release that a channel points to or ever pointed to (its history), plans younger than the minimum age,
and per step the newest plan that has finished it, because alignment goes on from it. A kept document reaches every
identifier written in it: a plan its inputs, what it reuses and what its receipts name; a release its files and, by
its provenance, its plan. Feedback, mutes, quarantine, validation results and the data registry are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.store import ObjectInfo, Store

IDENTIFIER = re.compile(r"(?<![0-9a-f])[0-9a-f]{16,64}(?![0-9a-f])")
ARTIFACTS = (layout.MODELS, layout.ALIGNERS, layout.NORMALIZERS)
PLAN_INPUTS = f"{layout.PLANS}inputs/"
MIN_AGE_HOURS = 168.0


def collect(
    store: Store, dry_run: bool = True, min_age_hours: float = MIN_AGE_HOURS, now: datetime | None = None
) -> list[str]:
    """Find unreferenced keys older than ``min_age_hours``, and delete them unless ``dry_run``.

    The age protects work in progress: choose it longer than the longest build. A release loses its manifest first,
    a plan its document, so that a partly deleted one cannot be found.
    """
    born_before = (now or datetime.now(UTC)) - timedelta(hours=min_age_hours)
    plans = list(store.list(layout.PLANS))
    reached = _reached(store, plans, born_before)
    garbage = [info for info in plans if _plan_identifier(info.key) not in reached]
    for prefix in (*ARTIFACTS, layout.RELEASES, layout.DRIFT):
        garbage += [info for info in store.list(prefix) if _segment(info.key, 1) not in reached]
    garbage += [info for info in _telemetry_parts(store) if _segment(info.key, -1).partition(".")[0] not in reached]
    keys = sorted((info.key for info in garbage if info.modified_at < born_before), key=_deletion_order)
    if not dry_run:
        for key in keys:
            store.delete(key)
    return keys


def _reached(store: Store, plans: list[ObjectInfo], born_before: datetime) -> set[str]:
    """Find every identifier that can be reached from a root."""
    documents = {_plan_identifier(i.key): [i.key] for i in plans if i.key.endswith(".json") and i.key.count("/") == 1}
    newest: dict[str, ObjectInfo] = {}
    for info in plans:
        plan_id = _plan_identifier(info.key)
        if info.key.endswith(".json") and info.key.count("/") == 2 and plan_id in documents:
            documents[plan_id].append(info.key)
            step = _segment(info.key, 2)
            if step not in newest or info.modified_at > newest[step].modified_at:
                newest[step] = info
    for info in store.list(layout.RELEASES):
        if info.key.endswith(".json"):
            documents.setdefault(_segment(info.key, 1), []).append(info.key)
    released = {_segment(i.key, 1) for i in store.list(layout.RELEASES) if i.key.endswith("/manifest.json")}
    waiting = released | {
        _plan_identifier(i.key) for i in plans if i.modified_at >= born_before or i in newest.values()
    }
    for name in channels.names(store):
        for pointer in channels.history(store, name):
            waiting |= {pointer.release_id, *([pointer.previous] if pointer.previous else [])}
    reached: set[str] = set()
    while waiting:
        identifier = waiting.pop()
        reached.add(identifier)
        for key in documents.get(identifier, ()):
            waiting |= _identifiers(store.get(key)) - reached
    for prefix in map(layout.telemetry, layout.LAYERS):
        for info in store.list(prefix):
            if info.key.endswith(layout.PARTITION_FILE):
                reached |= _identifiers(store.get(info.key))
    return reached


def _identifiers(document: bytes) -> set[str]:
    return set(IDENTIFIER.findall(document.decode()))


def _telemetry_parts(store: Store) -> Iterable[ObjectInfo]:
    for prefix in map(layout.telemetry, layout.LAYERS):
        yield from (info for info in store.list(prefix) if info.key.endswith(".parquet"))


def _segment(key: str, index: int) -> str:
    return key.split("/")[index]


def _plan_identifier(key: str) -> str:
    """Return the plan of a key under ``plans/``; of an input, the sha256 in its name."""
    owner = key.removeprefix(PLAN_INPUTS) if key.startswith(PLAN_INPUTS) else _segment(key, 1)
    return owner.partition(".")[0]


def _deletion_order(key: str) -> tuple[bool, str]:
    return (not (key.endswith("/manifest.json") or (key.startswith(layout.PLANS) and key.count("/") == 1)), key)
