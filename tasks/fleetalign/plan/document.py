"""The plan of a build: everything it depends on, written down once, so that every later step reads only the plan.

No URI, clock, host or run id: the same inputs give the same ``plan_id`` on any store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config, from_build_settings
from fleetalign.contracts.feedback import in_force
from fleetalign.contracts.mutes import mute_id
from fleetalign.contracts.schema import checked_major
from fleetalign.contracts.tables import FEEDBACK, MUTES, from_parquet
from fleetalign.errors import ConfigError
from fleetalign.interval import Interval
from fleetalign.storage import lake, layout
from fleetalign.storage.store import Store

PLAN_VERSION = "1.2"


def read_plan(store: Store, plan_id: str) -> dict[str, Any]:
    """The plan document. Raises NotFound, BadInput for an unknown major version."""
    document = store.get_json(layout.plan(plan_id))
    checked_major(document, PLAN_VERSION, f"{store.uri}/{layout.plan(plan_id)}")
    return document


def plan_config(plan: Mapping[str, Any]) -> Config:
    """The build settings that the plan was made with. Raises ConfigError when this fleetalign does not take them."""
    try:
        return from_build_settings(plan["config"])
    except ConfigError as error:
        raise ConfigError(
            f"{error}: another fleetalign made this plan; make a new one (in Airflow: a new run)"
        ) from None


def partitions_of(plan: Mapping[str, Any], kind: str) -> list[lake.Partition]:
    return [lake.Partition.from_plan_entry(e) for e in plan["partitions"] if e["kind"] == kind]


def read_statements(store: Store, plan: Mapping[str, Any], which: str) -> pa.Table:
    """``feedback`` or ``mutes`` as the plan froze them."""
    contract = {"feedback": FEEDBACK, "mutes": MUTES}[which]
    digest = plan[which]["sha256"]
    key = layout.plan_input(digest)
    return contract.conform(from_parquet(store.get_checked(key, digest), f"{store.uri}/{key}"))


def said_anew(store: Store, plan: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(kind, entity_id, or ``*`` for all) about whom something else holds than when the previous aligner was made."""
    if not plan.get("previous_said"):
        return set()
    before = {which: {"sha256": digest} for which, digest in plan["previous_said"].items()}
    changed = _held(store, plan) ^ _held(store, before)
    return {(kind, entity_id) for kind, entity_id, _ in changed}


def _held(store: Store, plan: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """(kind, entity_id, id) of every statement in force and of every mute."""
    feedback = in_force(read_statements(store, plan, "feedback"))
    columns = (feedback[name].to_pylist() for name in ("kind", "entity_id", "feedback_id"))
    mutes = read_statements(store, plan, "mutes").to_pylist()
    return {*zip(*columns, strict=True), *((row["kind"], row["entity_id"], mute_id(row)) for row in mutes)}


def entities(store: Store, plan: Mapping[str, Any], wanted: pc.Expression | None = None) -> pa.Table:
    """``kind`` and ``entity_id`` of every entity in the plan's telemetry that is ``wanted``, sorted by code point."""
    digest = plan["entity_ids"]["sha256"]
    key = layout.plan_input(digest)
    return from_parquet(store.get_checked(key, digest), f"{store.uri}/{key}", ["kind", "entity_id"], wanted)


def shard_entities(store: Store, plan: Mapping[str, Any], shard: Mapping[str, Any]) -> list[str]:
    """The entities of one shard of the plan."""
    entity = pc.field("entity_id")
    mine = (pc.field("kind") == shard["kind"]) & (entity >= shard["first"]) & (entity <= shard["last"])
    return entities(store, plan, mine)["entity_id"].to_pylist()


def range_of(plan: Mapping[str, Any], kind: str, name: str) -> Interval | None:
    """The ``train``, ``calibrate`` or ``judge`` range of a kind; None for an empty judge range."""
    entry = plan["kinds"][kind]["ranges"][name]
    return Interval.parse(entry["start"], entry["end"]) if entry else None
