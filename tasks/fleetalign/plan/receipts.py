"""Receipts: what the steps of a plan produced, found again in the store (docs/decisions/0001)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import NORMALIZER, from_parquet
from fleetalign.errors import BadInput, NotFound, UsageError
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def latest(store: Store, step: str) -> str | None:
    """Plan id of the newest receipt of ``step``: latest telemetry first, then latest feedback, then time written."""
    found = []
    for info in store.list(layout.PLANS):
        parts = info.key.split("/")
        if len(parts) == 3 and parts[2] == f"{step}.json":
            document = store.get_json(layout.plan(parts[1]))
            newest = max(p["end"] for p in document["partitions"])
            found.append((newest, document["feedback"]["as_of"] or "", info.modified_at, parts[1]))
    return max(found)[-1] if found else None


def newest_plan(store: Store) -> str:
    """Return the id of the plan that was written last. Raises UsageError when there is none."""
    plans = [info for info in store.list(layout.PLANS) if info.key.count("/") == 1]
    if not plans:
        raise UsageError(f"{store.uri}: there is no plan yet; run `fleetalign plan` first")
    newest = max(plans, key=lambda info: (info.modified_at, info.key))
    return newest.key.removeprefix(layout.PLANS).removesuffix(".json")


def trained(store: Store, plan_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan's pre-training produced, or the model it reuses. Raises BadInput when there is none yet."""
    if document["reuse"]:
        models = {kind: entry["model_id"] for kind, entry in document["kinds"].items()}
        return {"plan_id": plan_id, "models": models, "normalizer_id": document["reuse"]["normalizer_id"]}
    try:
        return store.get_json(layout.receipt(plan_id, "pretrain"))
    except NotFound:
        raise BadInput(f"plan {plan_id} has no model yet; run pretrain first") from None


def normalizer(store: Store, normalizer_id: str, rows: pc.Expression | None = None) -> pa.Table:
    """The normalizer table of that id, those ``rows`` of it only. Raises NotFound."""
    key = layout.normalizer(normalizer_id)
    return NORMALIZER.conform(from_parquet(store.get(key), f"{store.uri}/{key}", filters=rows))
