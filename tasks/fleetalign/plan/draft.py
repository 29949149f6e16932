"""Drafts a plan from what the store holds now, and stores it.

No URI, clock, host or run id enters a plan: the same inputs give the same ``plan_id`` on any store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.feedback import in_force
from fleetalign.contracts.hashing import content_id, readable_json, sha256
from fleetalign.contracts.tables import to_parquet
from fleetalign.errors import BadInput
from fleetalign.interval import Interval, format_time
from fleetalign.plan.cost import entities_per_shard
from fleetalign.plan.document import PLAN_VERSION
from fleetalign.plan.ranges import kind_entry
from fleetalign.storage import lake, layout, statements
from fleetalign.storage.store import Store


@dataclass(frozen=True, slots=True)
class Reuse:
    """An existing model whose aligners are to be refreshed: the plan that trained it and what it produced."""

    plan_id: str
    plan: Mapping[str, Any]
    models: Mapping[str, str]
    normalizer_id: str
    previous_aligner: str | None
    previous_candidate: Any = None
    previous_said: Mapping[str, str] | None = None
    """What had been said when ``previous_aligner`` was made: sha256 of its ``feedback`` and of its ``mutes``."""


def write_plan(
    store: Store, config: Config, interval: Interval | None = None, as_of: datetime | None = None
) -> tuple[str, dict[str, Any]]:
    """Write the plan for what the store holds now; returns (plan_id, plan). Raises as ``draft``."""
    plan = draft(store, config, interval, as_of=as_of)
    return store_plan(store, plan), plan


def store_plan(store: Store, plan: Mapping[str, Any]) -> str:
    """Store a drafted plan; returns its id."""
    plan_id = content_id(plan)
    store.put_immutable(layout.plan(plan_id), readable_json(plan))
    return plan_id


def candidates(store: Store, config: Config, interval: Interval | None = None) -> list[lake.Partition]:
    """The validated partitions a plan made now would take: those in ``interval``, or of the last ``history_days``."""
    partitions = lake.list_partitions(store, "validated", within=interval)
    if config.ranges.history_days and partitions and interval is None and config.ranges.train is None:
        newest = max(p.interval.end for p in partitions)
        partitions = [p for p in partitions if p.interval.start >= newest - timedelta(days=config.ranges.history_days)]
    return partitions


def draft(
    store: Store,
    config: Config,
    interval: Interval | None = None,
    reuse: Reuse | None = None,
    as_of: datetime | None = None,
) -> dict[str, Any]:
    """The plan document for what the store holds now; its frozen statements are stored, the plan itself is not.

    ``interval`` restricts the telemetry, ``reuse`` plans a new alignment of an existing model instead of a training;
    feedback recorded after ``as_of`` does not exist (None: everything stored counts).
    Raises BadInput when there is nothing to build from, ConfigError when ranges do not fit the data.
    """
    partitions = candidates(store, config, interval)
    if reuse is not None:
        partitions = [p for p in partitions if p.kind in reuse.models]
    if not partitions:
        where = f" in {interval.start} to {interval.end}" if interval else ""
        raise BadInput(f"{store.uri}: no validated partition{where}; run ingest and validate first")
    feedback = statements.read_feedback(store, as_of)
    standing = in_force(feedback)
    mutes = statements.read_mutes(store)
    kinds, ids_of = {}, {}
    for kind in sorted({p.kind for p in partitions}):
        mine = [p for p in partitions if p.kind == kind]
        base = reuse.plan["kinds"][kind] if reuse else None
        ids = ids_of[kind] = lake.entity_ids(store, mine, kind)
        known = pc.and_(pc.equal(standing["kind"], kind), pc.is_in(standing["entity_id"], value_set=ids))
        kinds[kind] = kind_entry(config, kind, mine, standing.filter(known), interval, base)
        kinds[kind]["model_id"] = reuse.models[kind] if reuse else None
        kinds[kind]["entities"] = len(ids)
    entities = [
        pa.table({"kind": pa.repeat(pa.scalar(kind), len(ids)), "entity_id": ids}) for kind, ids in ids_of.items()
    ]
    shards: list[dict[str, Any]] = []
    for kind, per_shard in entities_per_shard(config, kinds).items():
        shards += _shard_bounds(kind, ids_of[kind], per_shard, len(shards))
    return {
        "schema_version": PLAN_VERSION,
        "config": config.build_settings(),
        "kinds": kinds,
        "entity_ids": _freeze(store, pa.concat_tables(entities)),
        "partitions": [p.as_plan_entry() for p in partitions],
        "feedback": {**_freeze(store, feedback), "as_of": _newest(feedback, "recorded_at")},
        "mutes": {**_freeze(store, mutes), "as_of": None},
        "previous_aligner": reuse.previous_aligner if reuse else None,
        "previous_candidate": reuse.previous_candidate if reuse else None,
        "previous_said": reuse.previous_said if reuse else None,
        "reuse": {"plan_id": reuse.plan_id, "normalizer_id": reuse.normalizer_id} if reuse else None,
        "shards": shards,
        "seeds": {"model": config.model.seed, "align": config.align.seed},
    }


def _freeze(store: Store, table: pa.Table) -> dict[str, Any]:
    """Store ``table`` by its content, so that later steps read it as the plan saw it."""
    data = to_parquet(table)
    store.put_immutable(layout.plan_input(sha256(data)), data)
    return {"sha256": sha256(data), "rows": table.num_rows}


def _newest(table: pa.Table, column: str) -> str | None:
    return format_time(pc.max(table[column]).as_py()) if table.num_rows else None


def _shard_bounds(kind: str, ids: pa.StringArray, per_shard: int, first_index: int) -> list[dict[str, Any]]:
    chunks = [ids[i : i + per_shard] for i in range(0, len(ids), per_shard)]
    return [
        {
            "index": first_index + n,
            "kind": kind,
            "first": chunk[0].as_py(),
            "last": chunk[-1].as_py(),
            "entities": len(chunk),
        }
        for n, chunk in enumerate(chunks)
    ]
