"""The fleet step over the store: reads shards, writes the aligner and the normalizer that belong together.

The untrained control is reduced beside the detector, from its own shards, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from fleetalign.align.aligner_rows import Reduced, reduce_shards
from fleetalign.align.threshold_drift import Previous
from fleetalign.contracts.fleet_table import FleetTable, FleetWriter
from fleetalign.contracts.hashing import ID_LENGTH, sha256
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, NORMALIZER, TableContract, fleet_parquet, from_parquet
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.registry import detector
from fleetalign.errors import BadInput, ConfigError, NotFound
from fleetalign.model.normalizer import with_constants
from fleetalign.plan import receipts
from fleetalign.plan.document import plan_config, read_plan, said_anew
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def reduce_plan(store: Store, plan_id: str) -> dict[str, Any]:
    """Write the aligner and the normalizer of a plan whose shards are aligned; returns the step's receipt.

    Raises BadInput naming a shard that is missing.
    """
    plan = read_plan(store, plan_id)
    trained = receipts.trained(store, plan_id, plan)
    base = _fleet_table(store, NORMALIZER, layout.normalizer(trained["normalizer_id"]))
    grid = _grid(store, plan, trained["models"])
    previous = None
    if plan["previous_aligner"]:
        previous = Previous(_fleet_table(store, ALIGNER, layout.aligner(plan["previous_aligner"])), base)
    shards = _shards(store, plan, plan_id, layout.shard)
    reduced = reduce_shards(plan, shards, grid, previous, said_anew(store, plan))
    aligner_id = sha256(reduced.aligner)[:ID_LENGTH]
    store.put_immutable(layout.aligner(aligner_id), reduced.aligner)
    writer = FleetWriter(NORMALIZER, _with_fleet(reduced.new_rows, reduced, grid))
    for number in range(base.groups):
        writer.add(_with_fleet(base.group(number), reduced, grid))
    normalizer = writer.finish()
    normalizer_id = sha256(normalizer)[:ID_LENGTH]
    store.put_immutable(layout.normalizer(normalizer_id), normalizer)
    receipt = {"plan_id": plan_id, "aligner_id": aligner_id, "normalizer_id": normalizer_id, **reduced.summary}
    control = _reduce_control(store, plan, plan_id, grid, base) if _judges_control(plan) else []
    return receipt | {"leave_one_out": _beside(receipt["leave_one_out"], control)}


def _fleet_table(store: Store, contract: TableContract, key: str) -> FleetTable:
    return FleetTable(contract, store.get(key), f"{store.uri}/{key}")


def _grid(store: Store, plan: Mapping[str, Any], models: Mapping[str, str]) -> Grid:
    """The grid of all the plan's kinds. Raises ConfigError when their networks differ: their counts cannot be added."""
    config = plan_config(plan).align
    cards = {kind: store.get_json(layout.model(model_id, "card.json")) for kind, model_id in models.items()}
    grids = {kind: detector(card["network"]).grid(config, card["window_steps"]) for kind, card in cards.items()}
    first = next(iter(grids.values()))
    odd = [kind for kind, grid in grids.items() if grid.candidates != first.candidates]
    if odd:
        raise ConfigError(
            f"plan: kind {odd[0]!r} has a model of another network or window; pre-train all kinds together"
        )
    return first


def _shards(store: Store, plan: Mapping[str, Any], plan_id: str, key_of: Callable[[str, int], str]):
    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        for shard in plan["shards"]:
            key = key_of(plan_id, shard["index"])
            try:
                data = store.get(key)
            except NotFound:
                raise BadInput(
                    f"shard {shard['index']} of plan {plan_id} ({shard['kind']} {shard['first']} … {shard['last']}) is "
                    "not aligned yet; run align-shard first"
                ) from None
            yield from_parquet(data, f"{store.uri}/{key}", list(columns))

    return read


def _with_fleet(table: pa.Table, reduced: Reduced, grid: Grid) -> pa.Table:
    """``table`` with what the fleet chose in the columns that hold the fleet's numbers."""
    if not grid.fleet_statistics:
        return NORMALIZER.conform(table)
    return with_constants(table, dict(zip(grid.fleet_statistics, reduced.summary["shared"]["candidate"], strict=True)))


def _judges_control(plan: Mapping[str, Any]) -> bool:
    return bool(plan["feedback"]["rows"]) and plan_config(plan).gates.untrained_control


def _reduce_control(
    store: Store, plan: Mapping[str, Any], plan_id: str, grid: Grid, base: FleetTable
) -> list[Mapping[str, Any]]:
    """Aligner and normalizer of the untrained network; returns its held-out counts per entity."""
    try:
        reduced = reduce_shards(plan, _shards(store, plan, plan_id, layout.control_shard), grid, None)
    except BadInput:
        # Nobody who was spoken about could be scored: then there is nothing to judge either.
        return []
    defaults = [base.rows(kind, [DEFAULT_ENTITY]) for kind in plan["kinds"]]
    rows = pa.concat_tables([*defaults, reduced.new_rows], promote_options="default")
    store.put_immutable(layout.control_table(plan_id, "aligner"), reduced.aligner)
    store.put_immutable(layout.control_table(plan_id, "normalizer"), fleet_parquet(_with_fleet(rows, reduced, grid)))
    return reduced.summary["leave_one_out"]


def _beside(entries: list[dict[str, Any]], control: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Held-out counts of the detector with those of the untrained control, None where it could not score."""
    found = {(c["kind"], c["entity_id"]): c["detector"] for c in control}
    return [entry | {"untrained": found.get((entry["kind"], entry["entity_id"]))} for entry in entries]
