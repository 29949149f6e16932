"""Plans a new alignment of the newest trained model, unless nothing is new."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from fleetalign.config import Config
from fleetalign.contracts.plan import Plan
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval
from fleetalign.plan import receipts
from fleetalign.plan.document import plan_config, read_plan
from fleetalign.plan.draft import Reuse, draft, store_plan
from fleetalign.storage.store import Store


def plan_realignment(
    store: Store, config: Config, interval: Interval | None = None, as_of: datetime | None = None
) -> tuple[str, Plan, bool]:
    """Plan a new alignment of the newest model.

    When nothing is new, the plan that trained or last aligned it is returned.

    Returns the plan's id, the plan and whether it is new. Raises BadInput when no model is trained, and what ``draft``
    raises.
    """
    trained_id = receipts.latest(store, "pretrain")
    if trained_id is None:
        raise BadInput(f"{store.uri}: no trained model to reuse; run pretrain first (or plan without --reuse-model)")
    trained = read_plan(store, trained_id)
    aligned_id = _last_alignment(store, trained_id)
    aligned = read_plan(store, aligned_id) if aligned_id else None
    candidate = draft(store, config, interval, _reuse(store, trained_id, trained, aligned_id, aligned), as_of)
    if aligned_id and aligned and same_inputs(aligned, candidate):
        return aligned_id, aligned, False
    if same_inputs(trained, candidate):
        return trained_id, trained, False
    return store_plan(store, candidate), candidate, True


def same_inputs(left: Plan, right: Plan) -> bool:
    """Say whether two plans have the same telemetry, statements and relevant settings."""
    return _inputs(left) == _inputs(right)


def _inputs(plan: Plan) -> list[Any]:
    partitions = [(entry.prefix, entry.sha256) for entry in plan.partitions]
    try:
        config = plan_config(plan)  # a setting that is newer than the plan has its default, as for every step
        settings: Any = replace(config, align=replace(config.align, entities_per_shard=0))
    except ConfigError:
        settings = plan.config  # made by another version of fleetalign
    return [partitions, plan.feedback, plan.mutes, settings]


def _last_alignment(store: Store, trained_id: str) -> str | None:
    """Find the newest reduced plan, if its model is that of plan ``trained_id``."""
    aligned_id = receipts.latest(store, "align_reduce")
    if aligned_id is None or aligned_id == trained_id:
        return aligned_id
    reuse = read_plan(store, aligned_id).reuse
    return aligned_id if reuse and reuse.plan_id == trained_id else None


def _reuse(store: Store, trained_id: str, trained: Plan, aligned_id: str | None, aligned: Plan | None) -> Reuse:
    pretrained = receipts.read_pretrain(store, trained_id)
    model = Reuse(plan_id=trained_id, plan=trained, models=pretrained.models, normalizer_id=pretrained.normalizer_id)
    if aligned_id is None or aligned is None:
        return model
    before = receipts.read_align(store, aligned_id)
    return replace(
        model,
        previous_aligner=before.aligner_id,
        previous_candidate=before.shared.candidate,
        previous_said={"feedback": aligned.feedback.sha256, "mutes": aligned.mutes.sha256},
    )
