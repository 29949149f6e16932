"""Drafts a plan from what the store holds now, and stores it.

No URI, clock, host or run id enters a plan: the same inputs give the same ``plan_id`` on any store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.feedback import in_force
from fleetalign.contracts.hashing import content_id, readable_json, sha256
from fleetalign.contracts.phases import newest_phases
from fleetalign.contracts.plan import FrozenStatements, FrozenTable, KindPlan, Plan, ReusedModel, Shard
from fleetalign.contracts.tables import PHASES, TIME, to_parquet
from fleetalign.errors import BadInput, ConfigError, NotFound
from fleetalign.interval import Interval
from fleetalign.plan import receipts
from fleetalign.plan.cost import entities_per_shard
from fleetalign.plan.document import FIRST_PLANS, STATEMENTS, plan_config, read_plan, read_statements
from fleetalign.plan.ranges import plan_kind
from fleetalign.storage import lake, layout
from fleetalign.storage.attributes import resolved_feedback, resolved_mutes
from fleetalign.storage.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Reuse:
    """A trained model that is to be aligned again, and its previous alignment."""

    plan_id: str
    """The plan that trained the model."""
    plan: Plan
    models: Mapping[str, str]
    """Kind to model id."""
    normalizer_id: str
    previous_aligner: str | None = None
    previous_candidate: Any = None
    previous_said: Mapping[str, str] | None = None
    """sha256 of the ``feedback`` and of the ``mutes`` that held when ``previous_aligner`` was made."""


def write_plan(
    store: Store, config: Config, interval: Interval | None = None, as_of: datetime | None = None
) -> tuple[str, Plan]:
    """Write the plan for what the store holds now; returns its id and the plan.

    If the newest trained plan is of an earlier version and says the same, it is returned instead: an upgrade trains
    nothing again. Raises what ``draft`` raises.
    """
    plan = draft(store, config, interval, as_of=as_of)
    trained_id = receipts.latest(store, "pretrain")
    if trained_id is not None:
        try:
            trained = read_plan(store, trained_id)
            kept = _says_the_same(store, trained, plan)
        except (BadInput, NotFound):  # a newer fleetalign wrote it, or what it froze is gone: it decides nothing here
            kept = False
        if kept:
            return trained_id, trained
    return store_plan(store, plan), plan


def _says_the_same(store: Store, older: Plan, plan: Plan) -> bool:
    """Say whether a plan 1.x would be ``plan`` today, trained alike."""
    if older.schema_version.partition(".")[0] != FIRST_PLANS or _labelled_in_train(store, older):
        return False
    older = _cut_as(older, plan)
    try:
        settings = plan_config(older).build_settings()
    except ConfigError:
        return False
    for which in STATEMENTS:
        if not read_statements(store, older, which).equals(read_statements(store, plan, which)):
            return False
    renewed = dataclasses.replace(
        older, schema_version=plan.schema_version, config=settings, feedback=plan.feedback, mutes=plan.mutes
    )
    return renewed.as_document() == plan.as_document()


def _cut_as(older: Plan, plan: Plan) -> Plan:
    """Return a plan 1.x with the ranges of ``plan`` where both cut the same time.

    Feedback moved the cut then.
    """
    kinds = dict(older.kinds)
    for kind, entry in older.kinds.items():
        today = plan.kinds[kind].ranges if kind in plan.kinds else entry.ranges
        if (today.train.start, today.calibrate.end) == (entry.ranges.train.start, entry.ranges.calibrate.end):
            kinds[kind] = dataclasses.replace(entry, ranges=today)
    return dataclasses.replace(older, kinds=kinds, shards=plan.shards if kinds == plan.kinds else older.shards)


def _labelled_in_train(store: Store, plan: Plan) -> bool:
    """Say whether an anomaly lies in a train range: plans 1.x trained on those."""
    feedback = in_force(read_statements(store, plan, "feedback"))
    found = feedback.filter(pc.equal(feedback["verdict"], "anomaly"))
    for kind, entry in plan.kinds.items():
        train = entry.ranges.train
        inside = pc.and_(
            pc.less(found["start"], pa.scalar(train.end, TIME)), pc.greater(found["end"], pa.scalar(train.start, TIME))
        )
        if pc.any(pc.and_(inside, pc.equal(found["kind"], kind))).as_py():
            return True
    return False


def store_plan(store: Store, plan: Plan) -> str:
    """Store a drafted plan; returns its id."""
    document = plan.as_document()
    plan_id = content_id(document)
    store.put_immutable(layout.plan(plan_id), readable_json(document))
    return plan_id


def candidates(store: Store, config: Config, interval: Interval | None = None) -> list[lake.Partition]:
    """List the validated partitions that a plan would take now.

    They are those in ``interval``, or of the last ``history_days``.
    """
    partitions = lake.list_partitions(store, "validated", within=interval)
    if config.ranges.history_days and partitions and interval is None and config.ranges.train is None:
        newest = max(p.interval.end for p in partitions)
        partitions = [p for p in partitions if p.interval.start >= newest - timedelta(days=config.ranges.history_days)]
    return [p for p in partitions if not _is_an_edge(p)]


def _is_an_edge(partition: lake.Partition) -> bool:
    """Return whether a partition only holds samples that jitter moved over its edge.

    It has one of each entity at most.
    """
    document = partition.document
    several = partition.interval.seconds > partition.step_seconds
    return "phases" in document and several and partition.rows <= document.get("entities", 0)


def draft(
    store: Store,
    config: Config,
    interval: Interval | None = None,
    reuse: Reuse | None = None,
    as_of: datetime | None = None,
) -> Plan:
    """Draft the plan for what the store holds now, and store the tables that it freezes.

    ``interval`` restricts the telemetry, ``reuse`` plans a new alignment of a trained model instead of a training, and
    feedback recorded after ``as_of`` is left out (None: all of it counts).
    Raises BadInput when there is no telemetry, ConfigError when ranges do not fit it.
    """
    partitions = candidates(store, config, interval)
    if reuse is not None:
        partitions = [p for p in partitions if p.kind in reuse.models]
    if not partitions:
        where = f" in {interval.start} to {interval.end}" if interval else ""
        raise BadInput(f"{store.uri}: no validated partition{where}; run ingest and validate first")
    feedback = resolved_feedback(store, as_of)
    mutes = resolved_mutes(store)
    kinds: dict[str, KindPlan] = {}
    ids_of: dict[str, pa.StringArray] = {}
    for kind in sorted({p.kind for p in partitions}):
        mine = [p for p in partitions if p.kind == kind]
        base = reuse.plan.kinds[kind] if reuse else None
        ids = ids_of[kind] = lake.entity_ids(store, mine, kind)
        entry = plan_kind(config, kind, mine, len(ids), interval, base)
        kinds[kind] = dataclasses.replace(entry, model_id=reuse.models[kind] if reuse else None)
    entities = [
        pa.table({"kind": pa.repeat(pa.scalar(kind), len(ids)), "entity_id": ids}) for kind, ids in ids_of.items()
    ]
    phases = pa.concat_tables([PHASES.empty(), *(_phases(store, partitions, kind) for kind in kinds)])
    shards: list[Shard] = []
    for kind, per_shard in entities_per_shard(config, kinds).items():
        shards += _shard_bounds(kind, ids_of[kind], per_shard, len(shards))
    return Plan(
        config=config.build_settings(),
        kinds=kinds,
        entity_ids=_freeze(store, pa.concat_tables(entities)),
        partitions=tuple(p.as_plan_entry() for p in partitions),
        feedback=_freeze_statements(store, feedback, _newest(feedback, "recorded_at")),
        mutes=_freeze_statements(store, mutes, None),
        previous_aligner=reuse.previous_aligner if reuse else None,
        previous_candidate=reuse.previous_candidate if reuse else None,
        previous_said=reuse.previous_said if reuse else None,
        reuse=ReusedModel(plan_id=reuse.plan_id, normalizer_id=reuse.normalizer_id) if reuse else None,
        shards=tuple(shards),
        phases=_freeze(store, phases) if phases.num_rows else None,
        seeds={"model": config.model.seed, "align": config.align.seed},
    )


def _phases(store: Store, partitions: list[lake.Partition], kind: str) -> pa.Table:
    """Return the newest phase of each entity of ``kind`` (PHASES).

    Partitions before one without phases do not count.
    """
    tables: list[pa.Table] = []
    for partition in sorted((p for p in partitions if p.kind == kind), key=lambda p: p.interval, reverse=True):
        table = lake.read_phases(store, partition)
        if table is None:
            break
        tables.append(table)
    return newest_phases(reversed(tables))


def _freeze(store: Store, table: pa.Table) -> FrozenTable:
    """Store ``table`` by its content, so that later steps read it as the plan saw it."""
    data = to_parquet(table)
    store.put_immutable(layout.plan_input(sha256(data)), data)
    return FrozenTable(sha256=sha256(data), rows=table.num_rows)


def _freeze_statements(store: Store, table: pa.Table, as_of: datetime | None) -> FrozenStatements:
    frozen = _freeze(store, table)
    return FrozenStatements(sha256=frozen.sha256, rows=frozen.rows, as_of=as_of)


def _newest(table: pa.Table, column: str) -> datetime | None:
    newest: datetime | None = pc.max(table[column]).as_py()
    return newest


def _shard_bounds(kind: str, ids: pa.StringArray, per_shard: int, first_index: int) -> list[Shard]:
    chunks = [ids[i : i + per_shard] for i in range(0, len(ids), per_shard)]
    return [
        Shard(index=first_index + n, kind=kind, first=chunk[0].as_py(), last=chunk[-1].as_py(), entities=len(chunk))
        for n, chunk in enumerate(chunks)
    ]
