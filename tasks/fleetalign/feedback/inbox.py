"""The inbox for statements of other tools: each object of ``inbox/feedback/`` is read once.

A receipt records the result for each object. A good object stays; a bad one moves to ``quarantine/objects/`` whole, with
the reason. A kill between any two writes loses nothing: the object is read again, and its statements are stored once.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from fleetalign.contracts.feedback import unique
from fleetalign.contracts.hashing import content_id, readable_json
from fleetalign.contracts.tables import FEEDBACK
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback import statements
from fleetalign.feedback.files import read_feedback_file
from fleetalign.interval import format_time
from fleetalign.storage import layout
from fleetalign.storage.inventory import EntityInventory
from fleetalign.storage.quarantine import quarantine_object
from fleetalign.storage.store import ObjectInfo, Store

SUFFIXES = (".jsonl", ".csv", ".json")
"""Objects with other names are ignored: a tool may still be writing them."""
MAX_OBJECTS = 1000
"""Most objects that one call reads; the next call continues."""
MAX_BYTES = 64 << 20
MAX_OBJECT_BYTES = 16 << 20
WARNINGS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Collected:
    """What one call imported."""

    objects: int
    statements: int
    new: int
    bad: dict[str, str]
    """Key of each quarantined object, with the reason."""
    warnings: tuple[str, ...]
    left: int
    """Number of objects that wait for the next call."""

    def as_json(self) -> dict[str, Any]:
        return {
            "objects": self.objects,
            "statements": self.statements,
            "new": self.new,
            "quarantined": self.bad,
            "warnings": list(self.warnings),
            "left_for_the_next_run": self.left,
        }


def collect(store: Store, default_kind: str, now: datetime) -> Collected:
    """Import the objects of the inbox that have no receipt yet.

    Idempotent; one call reads a bounded number of them.
    """
    receipts = {info.key for info in store.list(layout.INBOX_RECEIPTS)}
    waiting = [
        info
        for info in store.list(layout.FEEDBACK_INBOX)
        if info.key.lower().endswith(SUFFIXES) and _receipt_key(info) not in receipts
    ]
    taken = _batch(waiting)
    if not taken:
        return Collected(0, 0, 0, {}, (), 0)
    inventory = EntityInventory(store)
    good: list[tuple[ObjectInfo, pa.Table]] = []
    bad: dict[str, str] = {}
    warnings: list[str] = []
    for info in taken:
        try:
            table = _read(store, info, default_kind)
            if table.num_rows:
                warnings += statements.check(table, info.key, now, inventory)
            good.append((info, table))
        except (BadInput, UsageError) as error:
            bad[info.key] = str(error)
            _quarantine(store, info, str(error))
    imported = unique(pa.concat_tables([FEEDBACK.empty(), *(table for _, table in good)]))
    new, contradictions = statements.store_new(store, imported, layout.FEEDBACK_INBOX)
    # Only now: after a kill before this line the objects are read again, and nothing is new.
    for info, table in good:
        _leave_receipt(store, info, {"statements": table.num_rows, "reason": None})
    shown = (*warnings, *contradictions)[:WARNINGS_KEPT]
    return Collected(len(taken), imported.num_rows, new, bad, shown, len(waiting) - len(taken))


def _batch(waiting: list[ObjectInfo]) -> list[ObjectInfo]:
    """Return the first of ``waiting`` for one call: at least one, bounded in number and bytes."""
    sizes = accumulate(info.bytes for info in waiting)
    fitting = sum(size <= MAX_BYTES for size in sizes)
    return waiting[: min(max(fitting, 1), MAX_OBJECTS)]


def _read(store: Store, info: ObjectInfo, default_kind: str) -> pa.Table:
    if info.bytes > MAX_OBJECT_BYTES:
        raise BadInput(f"{info.key}: {info.bytes} bytes; an object of the inbox has at most {MAX_OBJECT_BYTES}")
    # The readers take files, and choose the format by the suffix.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"object{Path(info.key).suffix.lower()}"
        path.write_bytes(store.get(info.key))
        return read_feedback_file(str(path), default_kind, origin=info.key)


def _quarantine(store: Store, info: ObjectInfo, reason: str) -> None:
    """Move the object to the quarantine.

    One that was rewritten meanwhile stays: it is another object by now.
    """
    found = store.get_versioned(info.key)
    key = quarantine_object(store, info.key, found.data, reason)
    _leave_receipt(store, info, {"reason": reason, "quarantined_as": key})
    if store.get_versioned(info.key).version == found.version:
        store.delete(info.key)


def _receipt_key(info: ObjectInfo) -> str:
    return layout.inbox_receipt(content_id([info.key, info.bytes, format_time(info.modified_at)]))


def _leave_receipt(store: Store, info: ObjectInfo, result: dict[str, Any]) -> None:
    described = {"key": info.key, "bytes": info.bytes, "modified_at": format_time(info.modified_at)}
    # A concurrent call leaves the same receipt, or one that counts nothing new.
    store.put_if_absent(_receipt_key(info), readable_json(described | result))
