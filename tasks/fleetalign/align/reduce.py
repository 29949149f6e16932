"""The fleet step over the store: reads shards, writes an aligner and its normalizer.

The untrained control is reduced beside the detector, from its own shards, in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from fleetalign.align.aligner_rows import Reduced, reduce_shards
from fleetalign.align.pool import Shards
from fleetalign.align.threshold_drift import Previous
from fleetalign.contracts.fleet_table import FleetTable, FleetWriter
from fleetalign.contracts.hashing import ID_LENGTH, sha256
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import AlignReceipt, HeldOutCounts
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, NORMALIZER, TableContract, fleet_parquet, from_parquet
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.registry import detector
from fleetalign.errors import BadInput, ConfigError, NotFound
from fleetalign.model.normalizer import with_constants
from fleetalign.plan import receipts
from fleetalign.plan.document import changed_entities, plan_config
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def reduce_plan(store: Store, plan_id: str, plan: Plan) -> AlignReceipt:
    """Write the aligner and the normalizer of a plan whose shards are aligned.

    Raises BadInput naming a shard that is missing.
    """
    trained = receipts.trained(store, plan_id, plan)
    base = _fleet_table(store, NORMALIZER, layout.normalizer(trained.normalizer_id))
    grid = _grid(store, plan, trained.models)
    previous = None
    if plan.previous_aligner:
        previous = Previous(_fleet_table(store, ALIGNER, layout.aligner(plan.previous_aligner)), base)
    shards = _shards(store, plan, plan_id, layout.shard)
    reduced = reduce_shards(plan, shards, grid, previous, changed_entities(store, plan))
    aligner_id = sha256(reduced.aligner)[:ID_LENGTH]
    store.put_immutable(layout.aligner(aligner_id), reduced.aligner)
    writer = FleetWriter(NORMALIZER, _with_fleet(reduced.new_rows, reduced, grid))
    for number in range(base.groups):
        writer.add(_with_fleet(base.group(number), reduced, grid))
    normalizer = writer.finish()
    normalizer_id = sha256(normalizer)[:ID_LENGTH]
    store.put_immutable(layout.normalizer(normalizer_id), normalizer)
    control = _reduce_control(store, plan, plan_id, grid, base) if _judges_control(plan) else ()
    return AlignReceipt(
        plan_id=plan_id,
        aligner_id=aligner_id,
        normalizer_id=normalizer_id,
        shared=reduced.shared,
        prior_weight=reduced.prior_weight,
        prior_weight_values=reduced.prior_weight_values,
        coverage=reduced.coverage,
        pages_per_entity_day=reduced.pages_per_entity_day,
        most_paged=reduced.most_paged,
        random_tail_probability=reduced.held_out.random_tail_probability,
        random_tail_probabilities=reduced.held_out.random_tail_probabilities,
        leave_one_out=_with_control(reduced.held_out.leave_one_out, control),
    )


def _fleet_table(store: Store, contract: TableContract, key: str) -> FleetTable:
    return FleetTable(contract, store.get(key), f"{store.uri}/{key}")


def _grid(store: Store, plan: Plan, models: Mapping[str, str]) -> Grid:
    """Return the grid of all the plan's kinds.

    Raises ConfigError when their networks differ, because their counts cannot be added.
    """
    config = plan_config(plan).align
    cards = {kind: receipts.card(store, model_id) for kind, model_id in models.items()}
    grids = {kind: detector(card.network).grid(config, card.window_steps) for kind, card in cards.items()}
    first = next(iter(grids.values()))
    odd = [kind for kind, grid in grids.items() if grid.candidates != first.candidates]
    if odd:
        raise ConfigError(
            f"plan: kind {odd[0]!r} has a model of another network or window; pre-train all kinds together"
        )
    return first


def _shards(store: Store, plan: Plan, plan_id: str, key_of: Callable[[str, int], str]) -> Shards:
    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        for shard in plan.shards:
            key = key_of(plan_id, shard.index)
            try:
                data = store.get(key)
            except NotFound:
                raise BadInput(
                    f"shard {shard.index} of plan {plan_id} ({shard.kind} {shard.first} … {shard.last}) is "
                    "not aligned yet; run align-shard first"
                ) from None
            yield from_parquet(data, f"{store.uri}/{key}", list(columns))

    return read


def _with_fleet(table: pa.Table, reduced: Reduced, grid: Grid) -> pa.Table:
    """``table`` with what the fleet chose in the columns that hold the fleet's numbers."""
    if not grid.fleet_statistics:
        return NORMALIZER.conform(table)
    return with_constants(table, dict(zip(grid.fleet_statistics, reduced.shared.candidate, strict=True)))


def _judges_control(plan: Plan) -> bool:
    return bool(plan.feedback.rows) and plan_config(plan).gates.untrained_control


def _reduce_control(store: Store, plan: Plan, plan_id: str, grid: Grid, base: FleetTable) -> tuple[HeldOutCounts, ...]:
    """Write the untrained network's aligner and normalizer; returns its held-out counts."""
    try:
        reduced = reduce_shards(plan, _shards(store, plan, plan_id, layout.control_shard), grid, None)
    except BadInput:
        # No entity with feedback could be scored: then there is nothing to judge either.
        return ()
    defaults = [base.rows(kind, [DEFAULT_ENTITY]) for kind in plan.kinds]
    rows = pa.concat_tables([*defaults, reduced.new_rows], promote_options="default")
    store.put_immutable(layout.control_table(plan_id, "aligner"), reduced.aligner)
    store.put_immutable(layout.control_table(plan_id, "normalizer"), fleet_parquet(_with_fleet(rows, reduced, grid)))
    return reduced.held_out.leave_one_out


def _with_control(entities: Sequence[HeldOutCounts], control: Sequence[HeldOutCounts]) -> tuple[HeldOutCounts, ...]:
    """Add the untrained control's counts to the detector's; None where it could not score."""
    found = {(counts.kind, counts.entity_id): counts.detector for counts in control}
    return tuple(
        dataclasses.replace(counts, untrained=found.get((counts.kind, counts.entity_id))) for counts in entities
    )
