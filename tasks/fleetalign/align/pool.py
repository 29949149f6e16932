"""Sums over the fleet, and counts of the entities with feedback: the first pass.

Memory grows only with the entities that have feedback. Shapes: C candidates, P tail probabilities, G incidents of one entity.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.align.counts import EntityCounts, Pool, unlabelled_share
from fleetalign.align.entity import EntityTables
from fleetalign.align.newcomers import Newcomers
from fleetalign.config import AlignConfig
from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.plan import KindPlan, Plan
from fleetalign.detectors.grid import Grid

Source = Literal["detector", "random"]
Shards = Callable[[Sequence[str]], Iterable[pa.Table]]
"""Reads the named columns of the plan's shards, one shard at a time and in the plan's order."""

KEYS = ("kind", "entity_id", "reason")
_COUNTED = (*KEYS, "points", "judged_steps", "observed_steps", "incident_steps", "incident_start", "newcomer_margins")
REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LabelledEntity:
    """Counts of one entity with feedback of its own."""

    kind: str
    entity_id: str
    judged_steps: int
    """Labelled samples."""
    earlier_steps: Ints
    """Samples of each incident that lie before the calibrate range [G]."""
    detector: EntityCounts
    random: EntityCounts
    """Those of a random score: one candidate, because it does not depend on any."""


@dataclass(slots=True)
class Counted:
    """What the first pass found."""

    detector: Floats
    """Totals over the fleet [5, C, P]."""
    random: Floats
    """Those of a random score [5, 1, P]."""
    members: int = 0
    """Entities with tables."""
    labelled: list[LabelledEntity] = field(default_factory=list)
    """Entities with feedback, in order of (kind, entity)."""
    reasons: list[str] = field(default_factory=list)
    """Why a few entities have no tables."""
    newcomers: dict[str, EntityTables] = field(default_factory=dict)
    """Of each kind without an entity with tables: those of its new entities, taken together."""

    def pool(self, source: Source) -> Pool:
        """Return the sums of the fleet for one score."""
        return Pool(self.detector if source == "detector" else self.random, self.members)


def count(shards: Shards, grid: Grid, config: AlignConfig, plan: Plan) -> Counted:
    """Add up every shard.

    Entities are added one by one, so that the sums do not depend on how the fleet was cut.
    """
    found = Counted(np.zeros((5, *grid.shape)), np.zeros((5, 1, len(grid.tails))))
    newcomers, own_rows = Newcomers(grid.shape[0]), set[str]()
    adjusted = config.objective == "point_adjusted_f1"
    false = "false_points" if adjusted else "detector_false_pages"
    for table in shards([*_COUNTED, false, "detector_hits", "random_hits", "random_false_pages"]):
        left_out = table.filter(pc.is_valid(table["reason"])).select(KEYS).to_pylist()
        reasons = (f"{row['kind']}/{row['entity_id']}: {row['reason']}" for row in left_out)
        found.reasons = heapq.nsmallest(REASONS_SHOWN, {*found.reasons, *reasons})
        members = members_of(table)
        own_rows.update(members["kind"].to_pylist())
        newcomers.add(table)
        _add(found, members, false, grid, adjusted, plan)
    for kind in newcomers.kinds():
        if kind not in own_rows:
            tables = found.newcomers[kind] = newcomers.tables(kind, grid, config)
            _add_newcomers(found, tables, plan.kinds[kind], grid, adjusted)
            found.members += newcomers.entities(kind)
    found.labelled.sort(key=lambda entity: (entity.kind, entity.entity_id))
    return found


def _add(found: Counted, table: pa.Table, false_column: str, grid: Grid, adjusted: bool, plan: Plan) -> None:
    candidates, tails = grid.shape
    false = values_of(table, false_column).reshape(-1, candidates, tails)
    if adjusted:
        random_false = grid.tails * table["points"].to_numpy()[:, None]
    else:
        random_false = values_of(table, "random_false_pages").reshape(-1, candidates, tails)[:, 0]
    steps, bounds = values_of(table, "incident_steps"), bounds_of(table, "incident_steps")
    starts = values_of(table, "incident_start").astype("datetime64[us]")
    hits = {source: values_of(table, f"{source}_hits") for source in ("detector", "random")}
    judged, observed = table["judged_steps"].to_numpy(), table["observed_steps"].to_pylist()
    for i, (kind, entity_id) in enumerate(zip(table["kind"].to_pylist(), table["entity_id"].to_pylist(), strict=True)):
        days = observed[i] * plan.kinds[kind].step_seconds / 86_400
        if judged[i] == 0:
            for row in (1, 4):  # all its pages are in unlabelled time
                found.detector[row] += false[i]
                found.random[row] += random_false[i]
            found.detector[3] += days
            found.random[3] += days
            continue
        at = slice(bounds[i], bounds[i + 1])
        mine = steps[at].astype(np.float64)
        credit = mine if adjusted else np.ones(len(mine))
        earlier = _steps_before(plan.kinds[kind], starts[at], steps[at])
        unlabelled = unlabelled_share(judged[i] - earlier.sum(), observed[i])
        shape = (candidates, tails, len(mine))
        own, chance = (
            hits[source][candidates * tails * bounds[i] : candidates * tails * bounds[i + 1]].reshape(shape)
            for source in ("detector", "random")
        )
        entity = LabelledEntity(
            kind,
            entity_id,
            int(judged[i]),
            earlier,
            EntityCounts(own.copy(), credit, false[i].copy(), days, unlabelled),
            EntityCounts(chance[:1].copy(), credit, random_false[i][None].copy(), days, unlabelled),
        )
        found.labelled.append(entity)
        found.detector += entity.detector.totals()
        found.random += entity.random.totals()
    found.members += table.num_rows


def _add_newcomers(found: Counted, tables: EntityTables, kind: KindPlan, grid: Grid, adjusted: bool) -> None:
    """Add the new entities of a kind to the fleet's sums.

    All their pages are in unlabelled time.
    """
    for row in (1, 4):
        found.detector[row] += tables.false_points if adjusted else tables.detector.false_pages
        found.random[row] += grid.tails * tables.points if adjusted else tables.random.false_pages[:1]
    for totals in (found.detector, found.random):
        totals[3] += tables.points * kind.step_seconds / 86_400


def _steps_before(kind: KindPlan, starts: np.ndarray, steps: Ints) -> Ints:
    """Return how many samples of each incident lie before the calibrate range [G].

    The incidents begin at ``starts`` datetime64[us] [G] and have ``steps`` int64 [G] samples.
    """
    begin = round(kind.ranges.calibrate.start.timestamp() * 1e6)
    before = -((starts.astype(np.int64) - begin) // (kind.step_seconds * 1_000_000))
    return np.clip(before, 0, steps)


def members_of(table: pa.Table) -> pa.Table:
    """Return the rows of entities that have tables."""
    return table.filter(pc.is_null(table["reason"])).combine_chunks()


def values_of(table: pa.Table, column: str) -> npt.NDArray[Any]:
    """Return the values of a list column of all rows, one after the other."""
    values: npt.NDArray[Any] = table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values


def bounds_of(table: pa.Table, column: str) -> Ints:
    """Return where each row's values begin in ``values_of``, and the end: int64 [rows + 1]."""
    lengths = pc.fill_null(pc.list_value_length(table[column]), 0).to_numpy()
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
