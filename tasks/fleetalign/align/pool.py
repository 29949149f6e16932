"""First pass over the shards: the fleet's sums, and the counts of the entities that somebody spoke about.

Memory grows with the spoken entities alone. Shapes: C candidates, P tail probabilities, G incidents of one entity.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.align.counts import EntityCounts, Pool, silence
from fleetalign.config import AlignConfig
from fleetalign.contracts.plan import Plan
from fleetalign.detectors.grid import Grid

Shards = Callable[[Sequence[str]], Iterable[pa.Table]]
"""Reads the plan's shards once more, one at a time and in the plan's order, with the columns that are named."""

KEYS = ("kind", "entity_id", "reason")
_COUNTED = (*KEYS, "points", "judged_steps", "observed_steps", "incident_steps")
REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Spoken:
    """One entity with feedback of its own; ``random`` has one candidate, because a random score knows none."""

    kind: str
    entity_id: str
    judged_steps: int
    detector: EntityCounts
    random: EntityCounts


@dataclass(slots=True)
class Counted:
    """What the first pass found: ``spoken`` in (kind, entity) order, the sums over ``members`` (entities with tables),
    and reasons of a few entities that have none."""

    detector: np.ndarray
    random: np.ndarray
    members: int = 0
    spoken: list[Spoken] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def pool(self, source: str) -> Pool:
        return Pool(getattr(self, source), self.members)


def count(shards: Shards, grid: Grid, config: AlignConfig, plan: Plan) -> Counted:
    """Add up every shard, entity after entity, so that the sums do not depend on how the fleet was cut."""
    found = Counted(np.zeros((5, *grid.shape)), np.zeros((5, 1, len(grid.tails))))
    adjusted = config.objective == "point_adjusted_f1"
    false = "false_points" if adjusted else "detector_false_pages"
    for table in shards([*_COUNTED, false, "detector_hits", "random_hits", "random_false_pages"]):
        left_out = table.filter(pc.is_valid(table["reason"])).select(KEYS).to_pylist()
        reasons = (f"{row['kind']}/{row['entity_id']}: {row['reason']}" for row in left_out)
        found.reasons = heapq.nsmallest(REASONS_SHOWN, {*found.reasons, *reasons})
        _add(found, members_of(table), false, grid, adjusted, plan)
    found.spoken.sort(key=lambda spoken: (spoken.kind, spoken.entity_id))
    return found


def _add(found: Counted, table: pa.Table, false_column: str, grid: Grid, adjusted: bool, plan: Plan) -> None:
    candidates, tails = grid.shape
    false = values_of(table, false_column).reshape(-1, candidates, tails)
    if adjusted:
        random_false = grid.tails * table["points"].to_numpy()[:, None]
    else:
        random_false = values_of(table, "random_false_pages").reshape(-1, candidates, tails)[:, 0]
    steps, bounds = values_of(table, "incident_steps"), bounds_of(table, "incident_steps")
    hits = {source: values_of(table, f"{source}_hits") for source in ("detector", "random")}
    judged, observed = table["judged_steps"].to_numpy(), table["observed_steps"].to_pylist()
    for i, (kind, entity_id) in enumerate(zip(table["kind"].to_pylist(), table["entity_id"].to_pylist(), strict=True)):
        days = observed[i] * plan.kinds[kind].step_seconds / 86_400
        if judged[i] == 0:
            for row in (1, 4):  # all its pages are in silence
                found.detector[row] += false[i]
                found.random[row] += random_false[i]
            found.detector[3] += days
            found.random[3] += days
            continue
        mine = steps[bounds[i] : bounds[i + 1]].astype(np.float64)
        credit = mine if adjusted else np.ones(len(mine))
        unheard = silence(judged[i], observed[i])
        shape = (candidates, tails, len(mine))
        own, chance = (
            hits[source][candidates * tails * bounds[i] : candidates * tails * bounds[i + 1]].reshape(shape)
            for source in ("detector", "random")
        )
        spoken = Spoken(
            kind,
            entity_id,
            int(judged[i]),
            EntityCounts(own.copy(), credit, false[i].copy(), days, unheard),
            EntityCounts(chance[:1].copy(), credit, random_false[i][None].copy(), days, unheard),
        )
        found.spoken.append(spoken)
        found.detector += spoken.detector.totals()
        found.random += spoken.random.totals()
    found.members += table.num_rows


def members_of(table: pa.Table) -> pa.Table:
    """The rows that have tables."""
    return table.filter(pc.is_null(table["reason"])).combine_chunks()


def values_of(table: pa.Table, column: str) -> np.ndarray:
    """The values of a list column of all rows, one after the other."""
    return table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)


def bounds_of(table: pa.Table, column: str) -> np.ndarray:
    """Where each row's values begin in ``values_of``, and the end: int64 [rows + 1]."""
    lengths = pc.fill_null(pc.list_value_length(table[column]), 0).to_numpy()
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
