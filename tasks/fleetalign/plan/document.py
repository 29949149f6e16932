"""The plan of a build: everything it depends on, written down once, so that every later step reads only the plan.

No URI, clock, host or run id: the same inputs give the same ``plan_id`` on any store.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config, from_build_settings
from fleetalign.contracts.feedback import in_force
from fleetalign.contracts.hashing import content_id, readable_json, sha256
from fleetalign.contracts.mutes import mute_id
from fleetalign.contracts.schema import checked_major
from fleetalign.contracts.tables import FEEDBACK, MUTES, TIME, from_parquet, to_parquet
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval, format_time
from fleetalign.plan.cost import entities_per_shard
from fleetalign.storage import lake, layout, statements
from fleetalign.storage.store import Store

PLAN_VERSION = "1.2"


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
        kinds[kind] = _kind_entry(config, kind, mine, standing.filter(known), interval, base)
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


def _kind_entry(
    config: Config,
    kind: str,
    partitions: Sequence[lake.Partition],
    feedback: pa.Table,
    interval: Interval | None,
    base: Mapping[str, Any] | None,
) -> dict[str, Any]:
    steps = sorted({p.step_seconds for p in partitions})
    if len(steps) > 1:
        odd = next(p for p in partitions if p.step_seconds != partitions[0].step_seconds)
        raise BadInput(
            f"kind {kind}: partitions have different steps {steps} s (first at {odd.prefix}); "
            f"set steps.{kind} in params.yaml and ingest those days again"
        )
    step = timedelta(seconds=steps[0])
    start, end = min(p.interval.start for p in partitions), max(p.interval.end for p in partitions)
    if interval is not None:
        start, end = max(start, interval.start), min(end, interval.end)
    gap = config.model.window_steps * step
    if config.ranges.train is not None:
        ranges = _explicit_ranges(config, kind, gap)
    else:
        ranges = _default_ranges(config, kind, Interval(start, end), step, gap, feedback, base)
    metrics = base["metrics"] if base else sorted({m for p in partitions for m in p.metrics})
    return {
        "step_seconds": steps[0],
        "metrics": list(metrics),
        "ranges": {name: value.as_json() if value else None for name, value in ranges.items()},
    }


def _explicit_ranges(config: Config, kind: str, gap: timedelta) -> dict[str, Interval | None]:
    given = config.ranges
    ranges = {n: Interval.parse(*r) if (r := getattr(given, n)) else None for n in ("train", "calibrate", "judge")}
    ordered = [r for r in ranges.values() if r is not None]
    for before, after in itertools.pairwise(ordered):
        if after.start < before.end:
            raise ConfigError(f"ranges: {before.end} comes after {after.start}; order is train, calibrate, judge")
        if after.start - before.end < gap:
            raise ConfigError(
                f"ranges for kind {kind}: the gap from {format_time(before.end)} to {format_time(after.start)} is shorter "
                f"than one window ({gap}); end the earlier range at {format_time(after.start - gap)} or before"
            )
    return ranges


def _default_ranges(
    config: Config,
    kind: str,
    data: Interval,
    step: timedelta,
    gap: timedelta,
    feedback: pa.Table,
    base: Mapping[str, Any] | None,
) -> dict[str, Interval | None]:
    """Contracts 1.4: calibrate runs from the first feedback to the end and is at least the configured share."""
    steps = int(np.ceil((1 - config.ranges.calibrate_share) * (data.seconds / step.total_seconds())))
    cut = data.start + steps * step
    # What was said about time before the telemetry says nothing about where to calibrate.
    inside = feedback.filter(pc.greater(feedback["end"], pa.scalar(data.start, TIME)))
    if inside.num_rows:
        first = max(pc.min(inside["start"]).as_py(), data.start)
        cut = min(cut, data.start + ((first - data.start) // step) * step)
    if base is not None:
        train = Interval.parse(base["ranges"]["train"]["start"], base["ranges"]["train"]["end"])
        if data.end <= train.end + gap:
            raise BadInput(
                f"kind {kind}: the telemetry ends at {format_time(data.end)}, within a window of the model's train range "
                f"(until {format_time(train.end)}); nothing is left to align on: widen --from and --to"
            )
        return {"train": train, "calibrate": Interval(max(cut, train.end + gap), data.end), "judge": None}
    if cut - gap < data.start + 2 * gap:
        raise BadInput(
            f"kind {kind}: only {(cut - data.start) / step:.0f} samples lie before the calibrate range "
            f"(it starts at {format_time(cut)}, with the first feedback or at the last {config.ranges.calibrate_share:.0%}); "
            f"at least {3 * config.model.window_steps} are needed: give more history, a smaller model.window_steps or explicit ranges"
        )
    return {"train": Interval(data.start, cut - gap), "calibrate": Interval(cut, data.end), "judge": None}
