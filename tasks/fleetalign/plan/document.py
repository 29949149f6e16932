"""Reads a stored plan and what it froze: settings, partitions, statements and entities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config, from_build_settings
from fleetalign.config.moved import renamed_in_plan
from fleetalign.contracts.feedback import in_force
from fleetalign.contracts.mutes import mute_id
from fleetalign.contracts.plan import PLAN_VERSION, Plan, Shard
from fleetalign.contracts.schema import checked_major
from fleetalign.contracts.tables import FEEDBACK, MUTES, from_parquet
from fleetalign.errors import ConfigError
from fleetalign.storage import lake, layout
from fleetalign.storage.store import Store

FIRST_PLANS = "1"
"""The major version of plans whose settings have other names."""
Statements = Literal["feedback", "mutes"]
STATEMENTS: tuple[Statements, ...] = get_args(Statements)


def read_plan(store: Store, plan_id: str) -> Plan:
    """Read a plan. Raises NotFound, and BadInput for an unknown major version."""
    document = store.get_json(layout.plan(plan_id))
    checked_major(document, PLAN_VERSION, f"{store.uri}/{layout.plan(plan_id)}", FIRST_PLANS)
    return Plan.from_document(document)


def plan_config(plan: Plan) -> Config:
    """Return the build settings that the plan was made with.

    Those of a plan 1.x have the names of today. Raises ConfigError when this version of fleetalign does not know one of them.
    """
    try:
        of_first = plan.schema_version.partition(".")[0] == FIRST_PLANS
        return from_build_settings(renamed_in_plan(plan.config) if of_first else plan.config)
    except ConfigError as error:
        raise ConfigError(
            f"{error}: another fleetalign made this plan; make a new one (in Airflow: a new run)"
        ) from None


def partitions_of(plan: Plan, kind: str) -> list[lake.Partition]:
    """Return the partitions of one kind, as the plan saw them."""
    return [lake.Partition.from_plan_entry(entry) for entry in plan.partitions if entry.kind == kind]


def read_statements(store: Store, plan: Plan, which: Statements) -> pa.Table:
    """Read the feedback or the mutes that the plan froze."""
    frozen = {"feedback": plan.feedback, "mutes": plan.mutes}[which]
    return _read_statements(store, which, frozen.sha256)


def _read_statements(store: Store, which: Statements, digest: str) -> pa.Table:
    contract = {"feedback": FEEDBACK, "mutes": MUTES}[which]
    key = layout.plan_input(digest)
    return contract.conform(from_parquet(store.get_checked(key, digest), f"{store.uri}/{key}"))


def changed_entities(store: Store, plan: Plan) -> set[tuple[str, str]]:
    """Find the entities whose feedback or mutes changed since the previous aligner.

    Returns (kind, entity_id); the entity_id is ``*`` for a mute of every entity of the kind.
    """
    if not plan.previous_said:
        return set()
    now = {"feedback": plan.feedback.sha256, "mutes": plan.mutes.sha256}
    changed = _statements_in_force(store, now) ^ _statements_in_force(store, plan.previous_said)
    return {(kind, entity_id) for kind, entity_id, _ in changed}


def _statements_in_force(store: Store, digests: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """Return (kind, entity_id, id) of every statement in force and of every mute.

    ``digests`` maps the name of the table to its sha256.
    """
    feedback = in_force(_read_statements(store, "feedback", digests["feedback"]))
    columns = (feedback[name].to_pylist() for name in ("kind", "entity_id", "feedback_id"))
    mutes = _read_statements(store, "mutes", digests["mutes"]).to_pylist()
    return {*zip(*columns, strict=True), *((row["kind"], row["entity_id"], mute_id(row)) for row in mutes)}


def entities(store: Store, plan: Plan, rows: pc.Expression | None = None) -> pa.Table:
    """Read ``kind`` and ``entity_id`` of all entities, or of ``rows``, sorted by code point."""
    digest = plan.entity_ids.sha256
    key = layout.plan_input(digest)
    return from_parquet(store.get_checked(key, digest), f"{store.uri}/{key}", ["kind", "entity_id"], rows)


def shard_entities(store: Store, plan: Plan, shard: Shard) -> list[str]:
    """Read the entity ids of one shard."""
    entity = pc.field("entity_id")
    inside = (pc.field("kind") == shard.kind) & (entity >= shard.first) & (entity <= shard.last)
    ids: list[str] = entities(store, plan, inside)["entity_id"].to_pylist()
    return ids
