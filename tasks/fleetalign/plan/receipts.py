"""Reads receipts: what the steps of a plan produced (docs/decisions/0001)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.hashing import data_version
from fleetalign.contracts.model_card import ModelCard
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import AlignReceipt, PretrainReceipt, ReleaseReceipt, SnapshotReceipt
from fleetalign.contracts.tables import NORMALIZER, from_parquet
from fleetalign.errors import BadInput, NotFound, UsageError
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def read_snapshot(store: Store, plan_id: str) -> SnapshotReceipt:
    """Read where the plan's telemetry is recorded; empty when it is not."""
    try:
        return SnapshotReceipt.from_document(store.get_json(layout.receipt(plan_id, "snapshot")))
    except NotFound:
        return SnapshotReceipt()


def read_pretrain(store: Store, plan_id: str) -> PretrainReceipt:
    """Read what the pre-training produced. Raises NotFound."""
    return PretrainReceipt.from_document(store.get_json(layout.receipt(plan_id, "pretrain")))


def read_align(store: Store, plan_id: str) -> AlignReceipt:
    """Read what the fleet step produced. Raises NotFound."""
    return AlignReceipt.from_document(store.get_json(layout.receipt(plan_id, "align_reduce")))


def read_release(store: Store, plan_id: str) -> ReleaseReceipt:
    """Read which release was made of the plan. Raises NotFound."""
    return ReleaseReceipt.from_document(store.get_json(layout.receipt(plan_id, "release")))


def latest(store: Store, step: str) -> str | None:
    """Find the plan of the newest receipt of ``step``; None when there is none.

    The latest telemetry wins, then the latest feedback, then the time of writing.
    """
    found = []
    for info in store.list(layout.PLANS):
        parts = info.key.split("/")
        if len(parts) == 3 and parts[2] == f"{step}.json":
            # Not read_plan: a plan of another major version is refused only by who uses it.
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


def trained(store: Store, plan_id: str, plan: Plan) -> PretrainReceipt:
    """Return what the plan's pre-training produced, or the model that it reuses.

    Raises BadInput when there is none yet.
    """
    if plan.reuse:
        models = {kind: entry.model_id for kind, entry in plan.kinds.items() if entry.model_id is not None}
        return PretrainReceipt(plan_id=plan_id, models=models, normalizer_id=plan.reuse.normalizer_id)
    try:
        return read_pretrain(store, plan_id)
    except NotFound:
        raise BadInput(f"plan {plan_id} has no model yet; run pretrain first") from None


def card(store: Store, model_id: str) -> ModelCard:
    """Read the card of a model. Raises NotFound."""
    return ModelCard.from_document(store.get_json(layout.model(model_id, "card.json")))


def normalizer(store: Store, normalizer_id: str, rows: pc.Expression | None = None) -> pa.Table:
    """Read a normalizer table, or only those ``rows`` of it. Raises NotFound."""
    key = layout.normalizer(normalizer_id)
    return NORMALIZER.conform(from_parquet(store.get(key), f"{store.uri}/{key}", filters=rows))


def of_plan(store: Store, plan_id: str, plan: Plan) -> dict[str, str | None]:
    """Return the id of the plan's telemetry, and its revision in the data registry.

    The revision is None when it was not recorded.
    """
    return {
        "data_version": data_version(entry.sha256 for entry in plan.partitions),
        "data_revision": read_snapshot(store, plan_id).revision,
    }
