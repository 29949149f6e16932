"""Channels: mutable pointers to immutable releases (contracts 5.3).

The pointer is the truth and history follows it: a move swaps the pointer, then writes the same bytes under
``channels/history/<name>/<sequence>.json``. A writer killed between the two leaves one history entry missing, which
the pointer itself still holds; every later writer repairs it before it swaps.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.schema import checked_major
from fleetalign.errors import Conflict, Corrupt, NotFound, UsageError
from fleetalign.interval import format_time, parse_time
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store

POINTER_VERSION = "1.0"


@dataclass(frozen=True, slots=True)
class Pointer:
    """One state of a channel. Times are ISO 8601 in UTC."""

    channel: str
    sequence: int
    """Counts the moves of the channel, from 1."""
    release_id: str
    manifest_sha256: str
    previous: str | None
    """The release before this one; None at first."""
    previous_sha256: str | None
    """Hash of its manifest."""
    moved_at: str
    expires_at: str
    """After this time a scorer may continue, and should raise an alarm."""
    by: str
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"schema_version": POINTER_VERSION, **asdict(self)}

    def expired(self, now: datetime) -> bool:
        """Say whether ``expires_at`` has passed."""
        return now >= parse_time(self.expires_at)


def read(store: Store, name: str) -> Pointer | None:
    """Return where the channel points; None when nothing was ever promoted to it."""
    current = _current(store, name)
    return None if current is None else current[0]


def move(
    store: Store,
    name: str,
    release_id: str,
    by: str,
    why: str,
    expires_after_hours: float,
    now: datetime,
    *,
    expected: Pointer | Literal["any"] | None = "any",
) -> Pointer:
    """Point the channel to ``release_id``, repairing history first.

    ``expected`` is the pointer a decision was based on (None: the channel did not exist); with another one there
    now, the move is a Conflict. Moving to the release it already points to renews ``expires_at`` and keeps
    ``previous``.
    Raises NotFound and Corrupt for a release that is not whole, Conflict when another writer moved the channel
    meanwhile (then read it and decide again), UsageError without ``by`` or ``why``.
    """
    if not by.strip() or not why.strip():
        raise UsageError(f"channel {name}: say who moves it (--by) and why (--why)")
    manifest = read_manifest(store, release_id)
    current = _current(store, name)
    if expected != "any" and expected != (current[0] if current else None):
        raise Conflict(f"{store.uri}: another writer moved channel {name!r} meanwhile; look at it and decide again")
    if current is None:
        version, sequence, previous, previous_sha256 = None, 1, None, None
    else:
        pointer, data, version = current
        store.put_immutable(layout.channel_history(name, pointer.sequence), data)
        sequence = pointer.sequence + 1
        previous, previous_sha256 = (
            (pointer.previous, pointer.previous_sha256)
            if pointer.release_id == release_id
            else (pointer.release_id, pointer.manifest_sha256)
        )
    moved = Pointer(
        channel=name,
        sequence=sequence,
        release_id=release_id,
        manifest_sha256=manifest.digest,
        previous=previous,
        previous_sha256=previous_sha256,
        moved_at=format_time(now),
        expires_at=format_time(now + timedelta(hours=expires_after_hours)),
        by=by,
        why=why,
    )
    data = readable_json(moved.as_json())
    store.swap(layout.channel(name), data, version)
    store.put_immutable(layout.channel_history(name, sequence), data)
    return moved


def history(store: Store, name: str) -> list[Pointer]:
    """Return every state of the channel, first to last.

    The current one is included even when its history entry is missing.
    """
    found = {}
    for info in store.list(layout.channel_history(name)):
        pointer = _parse(store.get(info.key), f"{store.uri}/{info.key}")
        found[pointer.sequence] = pointer
    current = read(store, name)
    if current is not None:
        found[current.sequence] = current
    return [found[sequence] for sequence in sorted(found)]


def recent(store: Store, pointer: Pointer, most: int) -> Iterator[Pointer]:
    """Yield at most ``most`` states of a channel before ``pointer``, newest first.

    A missing entry is passed over.
    """
    for sequence in range(pointer.sequence - 1, max(pointer.sequence - 1 - most, 0), -1):
        key = layout.channel_history(pointer.channel, sequence)
        with contextlib.suppress(NotFound):
            yield _parse(store.get(key), f"{store.uri}/{key}")


def names(store: Store) -> list[str]:
    """List every channel of the store, sorted."""
    keys = (info.key.removeprefix(layout.CHANNELS) for info in store.list(layout.CHANNELS))
    return [key.removesuffix(".json") for key in keys if "/" not in key]


def _current(store: Store, name: str) -> tuple[Pointer, bytes, str] | None:
    key = layout.channel(name)
    try:
        found = store.get_versioned(key)
    except NotFound:
        return None
    return _parse(found.data, f"{store.uri}/{key}"), found.data, found.version


def _parse(data: bytes, where: str) -> Pointer:
    try:
        document: Mapping[str, Any] = json.loads(data)
        checked_major(document, POINTER_VERSION, where)
        return Pointer(**{field: document[field] for field in Pointer.__slots__})
    except (ValueError, KeyError, AttributeError) as error:
        raise Corrupt(f"{where}: not a pointer ({error!r}); restore it from its history") from None
