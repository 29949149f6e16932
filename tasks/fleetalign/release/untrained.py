"""The untrained control: the network as it was before training, with its own aligner.

It lies beside the plan, as long as the plan exists, and is not part of the release.
"""

from __future__ import annotations

import dataclasses

from fleetalign.contracts.manifest import Manifest
from fleetalign.errors import NotFound
from fleetalign.release import publish
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def untrained(store: Store, plan_id: str, manifest: Manifest) -> Scorer | None:
    """Return a scorer of the control of ``plan_id``; None when it could judge no entity.

    ``manifest`` is the release's.
    """
    kinds = {
        kind: dataclasses.replace(entry, model=layout.model(entry.model_id, "untrained.onnx"))
        for kind, entry in manifest.kinds.items()
    }
    control = dataclasses.replace(
        manifest,
        release_id="control",
        kinds=kinds,
        aligner=layout.control_table(plan_id, "aligner"),
        normalizer=layout.control_table(plan_id, "normalizer"),
    )
    tables = {control.aligner, control.normalizer, control.mutes, control.phases}
    keys = {*filter(None, tables), *(entry.model for entry in kinds.values())}
    if not all(store.exists(key) for key in keys):
        return None
    files = tuple(publish.file_entry(key, store.get(key), "control") for key in sorted(keys))
    return Scorer(store, dataclasses.replace(control, files=files))


def control_of(store: Store, manifest: Manifest) -> Scorer | None:
    """Return the control of a published release; None when its plan has none, or is gone."""
    try:
        plan_id = store.get_json(layout.release(manifest.release_id, "provenance.json")).get("plan_id")
    except NotFound:
        return None
    return untrained(store, plan_id, manifest) if plan_id else None
