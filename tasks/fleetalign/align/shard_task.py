"""One mapped task: aligns a shard and its untrained control, and stores both tables."""

from __future__ import annotations

import pyarrow.compute as pc

from fleetalign.align.shard import align_shard
from fleetalign.config import Config
from fleetalign.contracts.hashing import sha256
from fleetalign.contracts.plan import Shard
from fleetalign.contracts.receipts import ShardReceipt
from fleetalign.contracts.tables import DEFAULT_ENTITY, to_parquet
from fleetalign.errors import UsageError
from fleetalign.plan import receipts
from fleetalign.plan.document import plan_config, read_plan
from fleetalign.progress import Progress
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def align_and_store(
    store: Store,
    config: Config,
    plan_id: str,
    index: int,
    progress: Progress | None = None,
) -> ShardReceipt:
    """Align shard ``index`` of a plan and store its tables; returns how many entities it holds.

    Raises UsageError when there is no such shard, BadInput when the plan has no model yet.
    """
    plan = read_plan(store, plan_id)
    if not 0 <= index < len(plan.shards):
        raise UsageError(f"plan {plan_id} has shards 0 to {len(plan.shards) - 1}; there is no shard {index}")
    trained = receipts.trained(store, plan_id, plan)
    shard, entity = plan.shards[index], pc.field("entity_id")
    # Sorting the whole fleet's rows in every shard would cost more than the alignment.
    mine = ((entity >= shard.first) & (entity <= shard.last)) | (entity == DEFAULT_ENTITY)
    normalizer = receipts.normalizer(store, trained.normalizer_id, (pc.field("kind") == shard.kind) & mine)
    inputs = (store, plan, index, trained.models, normalizer, config.storage, progress)
    table = align_shard(*inputs)
    data = to_parquet(table)
    store.put_immutable(layout.shard(plan_id, index), data)
    if plan_config(plan).gates.untrained_control:
        store.put_immutable(layout.control_shard(plan_id, index), to_parquet(align_shard(*inputs, control=True)))
    return ShardReceipt(
        index=index,
        label=label(shard),
        sha256=sha256(data),
        entities=table.num_rows,
        left_out=table.num_rows - table["reason"].null_count,
    )


def label(shard: Shard) -> str:
    """Describe what a shard of a plan holds, in a few words."""
    names = shard.first if shard.entities == 1 else f"{shard.first} … {shard.last} ({shard.entities})"
    return f"{shard.index}: {shard.kind} {names}"
