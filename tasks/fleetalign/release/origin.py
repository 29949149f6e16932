"""Where artifacts come from, for asset events and people: nothing of it decides an artifact."""

from __future__ import annotations

from typing import Any

from fleetalign.plan.document import read_plan
from fleetalign.release.publish import data_version
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store


def of_plan(store: Store, plan_id: str) -> dict[str, Any]:
    """Which telemetry a plan reads: the id of its content, and its revision in the data registry (None: not recorded)."""
    recorded = layout.receipt(plan_id, "snapshot")
    return {
        "data_version": data_version([p["sha256"] for p in read_plan(store, plan_id)["partitions"]]),
        "data_revision": store.get_json(recorded)["revision"] if store.exists(recorded) else None,
    }


def of_release(store: Store, release_id: str) -> dict[str, Any]:
    """The sha256 of a release's manifest, the revision of its data, and the key of its report."""
    return {
        "manifest_sha256": read_manifest(store, release_id).digest,
        "data_revision": store.get_json(layout.release(release_id, "provenance.json"))["data_revision"],
        "report": layout.release(release_id, "report.html"),
    }
