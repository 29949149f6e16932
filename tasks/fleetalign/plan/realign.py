"""Plans a new alignment of the newest trained model, or finds that nothing is new since the last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from fleetalign.config import Config
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval
from fleetalign.plan import receipts
from fleetalign.plan.document import plan_config, read_plan
from fleetalign.plan.draft import Reuse, draft, store_plan
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def plan_realignment(
    store: Store, config: Config, interval: Interval | None = None, as_of: datetime | None = None
) -> tuple[str, dict[str, Any], bool]:
    """(plan_id, plan, whether it is new): not new is the plan that trained or last aligned the newest model.

    Raises BadInput when no model is trained, and as ``plan.draft``.
    """
    trained_id = receipts.latest(store, "pretrain")
    if trained_id is None:
        raise BadInput(f"{store.uri}: no trained model to reuse; run pretrain first (or plan without --reuse-model)")
    trained = read_plan(store, trained_id)
    aligned_id, aligned = _last_alignment(store, trained_id)
    candidate = draft(store, config, interval, _reuse(store, trained_id, trained, aligned_id, aligned), as_of)
    if aligned_id and same_inputs(aligned, candidate):
        return aligned_id, aligned, False
    if same_inputs(trained, candidate):
        return trained_id, trained, False
    return store_plan(store, candidate), candidate, True


def same_inputs(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two plans were made from the same telemetry, statements and settings that decide the result."""
    return _inputs(left) == _inputs(right)


def _inputs(plan: Mapping[str, Any]) -> list[Any]:
    partitions = [[p["prefix"], p["sha256"]] for p in plan["partitions"]]
    try:
        config = plan_config(plan)  # a setting of after the plan is at its default, as for every step
        settings: Any = replace(config, align=replace(config.align, entities_per_shard=0))
    except ConfigError:
        settings = plan["config"]  # another fleetalign's
    return [partitions, plan["feedback"], plan["mutes"], settings]


def _last_alignment(store: Store, trained_id: str) -> tuple[str | None, dict[str, Any]]:
    """The newest plan whose shards were reduced, if its model is that of plan ``trained_id``."""
    aligned_id = receipts.latest(store, "align_reduce")
    if aligned_id is None:
        return None, {}
    aligned = read_plan(store, aligned_id)
    of_this_model = trained_id in (aligned_id, (aligned["reuse"] or {}).get("plan_id"))
    return (aligned_id, aligned) if of_this_model else (None, {})


def _reuse(
    store: Store, trained_id: str, trained: Mapping[str, Any], aligned_id: str | None, aligned: Mapping[str, Any]
) -> Reuse:
    produced = store.get_json(layout.receipt(trained_id, "pretrain"))
    models, normalizer_id = produced["models"], produced["normalizer_id"]
    if aligned_id is None:
        return Reuse(trained_id, trained, models, normalizer_id, None)
    before = store.get_json(layout.receipt(aligned_id, "align_reduce"))
    said = {which: aligned[which]["sha256"] for which in ("feedback", "mutes")}
    return Reuse(trained_id, trained, models, normalizer_id, before["aligner_id"], before["shared"]["candidate"], said)
