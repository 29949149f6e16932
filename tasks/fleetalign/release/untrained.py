"""The untrained control of a release: the network as it was before training, with its own aligner.

It is kept beside the plan, for as long as the plan is, and is no part of the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetalign.errors import NotFound
from fleetalign.release import publish
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.manifest import Manifest
from fleetalign.storage.store import Store


def untrained(store: Store, plan_id: str, body: Mapping[str, Any]) -> Scorer | None:
    """A scorer of the control of ``plan_id``; None when nobody could be judged by it. ``body`` is the manifest's."""
    tables = {name: layout.control_table(plan_id, name) for name in ("aligner", "normalizer")}
    kinds = {
        kind: {**entry, "model": layout.model(entry["model_id"], "untrained.onnx")}
        for kind, entry in body["kinds"].items()
    }
    keys = {*tables.values(), *(entry["model"] for entry in kinds.values()), body["mutes"]}
    if not all(store.exists(key) for key in keys):
        return None
    files = [publish.file_entry(key, store.get(key), "control") for key in sorted(keys)]
    return Scorer(store, Manifest("control", "", {**body, **tables, "kinds": kinds, "files": files}))


def control_of(store: Store, manifest: Manifest) -> Scorer | None:
    """The control of a published release; None when its plan has none, or is gone."""
    try:
        plan_id = store.get_json(layout.release(manifest.release_id, "provenance.json")).get("plan_id")
    except NotFound:
        return None
    return untrained(store, plan_id, manifest.document) if plan_id else None
