"""Reduces the shards to the fleet's aligner and normalizer (contracts 4.4).

Two passes over the shard files, one shard in memory at a time: the first adds up the fleet and chooses, the second
writes rows. Memory holds a threshold per entity, the written tables, compressed, and the counts of entities with feedback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.align.choice import Choice, Chooser
from fleetalign.align.held_out import SOURCES, HeldOut, HeldOutSummary
from fleetalign.align.pool import KEYS, Counted, Shards, bounds_of, count, members_of, values_of
from fleetalign.align.shard import NO_SCORE, NO_TELEMETRY, TOO_LITTLE_HISTORY
from fleetalign.align.threshold_drift import CARRIED_STATES, Drift, Previous
from fleetalign.config import Config
from fleetalign.contracts.arrays import Bools, Floats, Floats32, Ints
from fleetalign.contracts.fleet_table import FleetTable, FleetWriter
from fleetalign.contracts.manifest import Coverage
from fleetalign.contracts.mutes import ANY
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import PagedEntity, PriorWeight, SharedPoint
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, NORMALIZER
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.registry import detector
from fleetalign.errors import BadInput
from fleetalign.evaluate.gates import coverage_share
from fleetalign.model import normalizer
from fleetalign.plan.document import plan_config

STATES_WITHOUT_ROW = {NO_SCORE: "quarantined", TOO_LITTLE_HISTORY: "new", NO_TELEMETRY: "gone"}
"""State of an entity by the reason why it has no row of its own; ``default`` for any other reason."""
MOST_PAGED = 3
"""How many entities that page most the receipt names."""
_WRITTEN = (
    *KEYS,
    "incident_steps",
    "quantiles",
    "recent_quantiles",
    "location",
    "scale",
    "statistics",
    "shifted_hits",
    "detector_false_pages",
)
_JUDGED = tuple(f"{source}_false_judged" for source in SOURCES)
_TPE = ("tpe_condition", "tpe_threshold", "tpe_tail_probability", "tpe_pages")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduced:
    """The fleet's aligner, and what the fleet step reports of it.

    It has an entry per entity only for entities with feedback.
    """

    aligner: bytes
    """The table as Parquet."""
    new_rows: pa.Table
    """Rows that the normalizer gains."""
    shared: SharedPoint
    prior_weight: float | None
    prior_weight_values: tuple[PriorWeight, ...]
    coverage: Coverage
    pages_per_entity_day: float
    most_paged: tuple[PagedEntity, ...]
    held_out: HeldOutSummary


def reduce_shards(
    plan: Plan,
    shards: Shards,
    grid: Grid,
    previous: Previous | None,
    changed: Collection[tuple[str, str]] = (),
) -> Reduced:
    """Reduce every shard's table to the aligner and the new normalizer rows of the fleet.

    ``previous`` holds the aligner rows that may be carried over; thresholds of the (kind, entity_id) ``changed`` do not
    follow them. The result does not depend on how the fleet was cut. Raises BadInput when no entity of the fleet could be scored.
    """
    config = plan_config(plan)
    counted = count(shards, grid, config.align, plan)
    if not counted.members:
        raise BadInput(
            f"no entity could be aligned ({'; '.join(counted.reasons)}); check the calibrate range and the history; where "
            f"entities live for less than model.window_steps ({config.model.window_steps}) samples, map what outlives them, such "
            "as their deployment, as the entity"
        )
    labelled = np.ones(len(counted.labelled), dtype=bool)
    detector = [s.detector for s in counted.labelled]
    choice = Chooser(detector, labelled, grid, config.align, counted.pool("detector")).choose()
    writer = _Writer(plan, config, grid, counted, choice, previous, changed)
    for table in shards([*_WRITTEN, *_JUDGED, *_TPE]):
        writer.add(table)
    return writer.finish()


class _Writer:
    """Writes one aligner row per entity and counts held-out incidents: the second pass."""

    def __init__(
        self,
        plan: Plan,
        config: Config,
        grid: Grid,
        counted: Counted,
        choice: Choice,
        previous: Previous | None,
        changed: Collection[tuple[str, str]],
    ) -> None:
        self._previous, self._changed = previous, changed
        self._plan, self._config, self._grid, self._counted, self._choice = plan, config, grid, counted, choice
        self._published = config.align.method == "published_tpe"
        self._owners = {(s.kind, s.entity_id): i for i, s in enumerate(counted.labelled)}
        self._held_out = HeldOut(counted, choice, grid, config)
        self._own = FleetWriter(ALIGNER)
        self._by_state: Counter[str] = Counter()
        self._new: list[pa.Table] = [NORMALIZER.empty()]
        self._left_out: list[dict[str, Any]] = []
        # A kind whose entities are all new has one threshold, fitted on all of them.
        self._fleet_thresholds: dict[str, list[Floats32]] = {
            kind: [tables.quantiles[None, *choice.shared]] for kind, tables in counted.newcomers.items()
        }
        self._pages = sum(float(tables.detector.false_pages[choice.shared]) for tables in counted.newcomers.values())
        self._most_paged: list[PagedEntity] = []

    def add(self, table: pa.Table) -> None:
        """Add one shard, all of one kind."""
        bounds = bounds_of(table, "incident_steps")
        silent = pc.is_valid(table["reason"]).to_numpy()
        for row, incidents in zip(
            table.filter(pa.array(silent)).select(KEYS).to_pylist(), np.diff(bounds)[silent], strict=True
        ):
            self._left_out.append(row | {"incidents": int(incidents)})
        if silent.all():
            return
        table = members_of(table)
        kind = table["kind"][0].as_py()
        owners = [self._owners.get((kind, entity), -1) for entity in table["entity_id"].to_pylist()]
        labelled = np.array(owners) >= 0
        points = np.tile(self._choice.shared, (len(owners), 1))
        points[labelled] = self._choice.own[[i for i in owners if i >= 0]]
        at = (np.arange(len(owners)), *points.T)
        shape = (len(owners), *self._grid.shape)
        quantiles = values_of(table, "quantiles").reshape(shape)
        recent = values_of(table, "recent_quantiles").reshape(shape)
        self._fleet_thresholds.setdefault(kind, []).append(quantiles[:, *self._choice.shared].copy())
        rows = self._aligner_rows(table, kind, points, quantiles[at], recent[at], labelled)
        self._own.add(rows)
        self._by_state.update(rows["state"].to_pylist())
        if self._published:
            pages = table["tpe_pages"].to_numpy()
        else:
            pages = values_of(table, "detector_false_pages").reshape(shape)[at].astype(np.float64)
            pages[labelled] += [self._hit_pages(owner) for owner in owners if owner >= 0]
        self._pages += float(pages.sum())
        self._note_most_paged(kind, table["entity_id"], pages)
        new = self._normalizer_rows(table, kind)
        if new.num_rows:
            self._new.append(new)
        self._held_out.add(table, owners)

    def _note_most_paged(self, kind: str, entities: pa.ChunkedArray, pages: Floats) -> None:
        """Keep those of ``entities`` and of all before them that page most; ``pages`` [entity]."""
        most = np.argsort(-pages, kind="stable")[:MOST_PAGED]
        found = [
            PagedEntity(kind=kind, entity_id=entities[int(i)].as_py(), pages=float(pages[i])) for i in most if pages[i]
        ]
        ranked = sorted([*self._most_paged, *found], key=lambda e: (-e.pages, e.kind, e.entity_id))
        self._most_paged = ranked[:MOST_PAGED]

    def _aligner_rows(
        self,
        table: pa.Table,
        kind: str,
        points: Ints,
        quantiles: Floats32,
        recent: Floats32,
        labelled: Bools,
    ) -> pa.Table:
        moved = labelled & (points != self._choice.shared).any(axis=1)
        tails = self._grid.tails[points[:, 1]].astype(np.float32)
        until = self._plan.kinds[kind].ranges.calibrate.end
        conditions = np.array(self._grid.conditions)[points[:, 0]]
        thresholds = self._drift(kind, table["entity_id"].to_pylist()).follow(
            table["entity_id"], quantiles, recent, conditions, tails, until,
            self._config.align.max_threshold_change_per_day,
        )  # fmt: skip
        rows = {
            "kind": table["kind"],
            "entity_id": table["entity_id"],
            "condition": conditions,
            "threshold": thresholds,
            "tail_probability": tails,
            "state": np.where(moved, "aligned", "shared"),
            "reason": np.where(moved, "own feedback", "fleet values, own quantile"),
            "incidents": np.diff(bounds_of(table, "incident_steps")),
            "calibrated_until": pa.repeat(until, table.num_rows),
        }
        if self._published:
            rows |= {name: table[f"tpe_{name}"] for name in ("condition", "threshold", "tail_probability")}
            rows |= {"state": np.where(labelled, "aligned", "shared"), "reason": ["published_tpe"] * table.num_rows}
        return ALIGNER.conform(pa.table(rows))

    def _drift(self, kind: str, entity_ids: list[str]) -> Drift:
        """Return the previous rows that the thresholds of these entities follow."""
        same = not self._grid.shared_candidate or self._plan.previous_candidate == self._candidate()
        changed = {entity for of_kind, entity in self._changed if of_kind == kind}
        if self._previous is None or not same or ANY in changed:
            return Drift(None)
        return Drift(self._previous.rows(kind, entity_ids), changed)

    def _normalizer_rows(self, table: pa.Table, kind: str) -> pa.Table:
        """Rows of entities that had none before."""
        new = table.filter(pc.is_valid(table["location"]))
        metrics = self._plan.kinds[kind].metrics
        location, scale = (values_of(new, n).reshape(-1, len(metrics)) for n in ("location", "scale"))
        usable = np.where(np.isfinite(scale), location, np.nan)
        ids = new["entity_id"].to_pylist()
        rows = normalizer.to_table(kind, ids, metrics, usable, scale)
        if not new.num_rows or new["statistics"].null_count:
            return rows
        columns = detector(self._config.model.network).own_statistics
        own = values_of(new, "statistics").reshape(len(ids), len(metrics), len(columns))
        return normalizer.with_statistics(rows, ids, metrics, columns, own, own[0])

    def _candidate(self) -> Any:
        """Return the fleet's candidate as JSON; the next plan repeats it."""
        candidate = self._grid.candidates[self._choice.shared[0]]
        return list(candidate) if isinstance(candidate, tuple) else candidate

    def finish(self) -> Reduced:
        defaults = self._defaults()
        carried = self._carried()
        rows = []
        for row in self._left_out:
            state = STATES_WITHOUT_ROW.get(row["reason"], "default")
            old = carried.get((row["kind"], row["entity_id"]))
            why = {"state": "carried_over", "reason": row["reason"]}
            rows.append(old | why if old else defaults[row["kind"]] | row | {"state": state})
        self._by_state.update(row["state"] for row in rows)
        # The default is known only now, and its rows belong among those that are written already.
        own = FleetTable(ALIGNER, self._own.finish(), ALIGNER.name)
        writer = FleetWriter(ALIGNER, pa.Table.from_pylist([*defaults.values(), *rows], schema=ALIGNER.schema))
        for group in range(own.groups):
            writer.add(own.group(group))
        c, p = self._choice.shared
        days = float(self._counted.detector[3, 0, 0])
        return Reduced(
            aligner=writer.finish(),
            new_rows=pa.concat_tables(self._new, promote_options="default"),
            shared=SharedPoint(
                candidate=self._candidate(),
                condition=self._grid.conditions[c],
                tail_probability=float(self._grid.tails[p]),
            ),
            prior_weight=self._choice.k,
            prior_weight_values=tuple(PriorWeight(k=k, value=round(v, 9)) for k, v in self._choice.k_values.items()),
            coverage=self._coverage(),
            pages_per_entity_day=self._pages / days if days else 0.0,
            most_paged=tuple(self._most_paged),
            held_out=self._held_out.summary(),
        )

    def _carried(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the previous rows of the entities that were left out."""
        if self._previous is None:
            return {}
        ids: dict[str, list[str]] = {}
        for row in self._left_out:
            ids.setdefault(row["kind"], []).append(row["entity_id"])
        rows = [row for kind, mine in ids.items() for row in self._previous.rows(kind, mine).to_pylist()]
        return {(row["kind"], row["entity_id"]): row for row in rows}

    def _defaults(self) -> dict[str, dict[str, Any]]:
        """Make the ``__default__`` row of every kind: the median threshold at the shared point."""
        c, p = self._choice.shared
        whole = [part for parts in self._fleet_thresholds.values() for part in parts]
        return {
            kind: {
                "kind": kind,
                "entity_id": DEFAULT_ENTITY,
                "condition": self._grid.conditions[c],
                "threshold": np.float32(np.median(np.concatenate(self._fleet_thresholds.get(kind, whole)))),
                "tail_probability": np.float32(self._grid.tails[p]),
                "state": "default",
                "reason": "for entities without a row of their own",
                "incidents": 0,
                "calibrated_until": self._plan.kinds[kind].ranges.calibrate.end,
            }
            for kind in sorted(self._plan.kinds)
        }

    def _coverage(self) -> Coverage:
        entities = self._by_state.total()
        own_rows = sum(self._by_state[state] for state in CARRIED_STATES)
        by_state = dict(sorted(self._by_state.items()))
        return Coverage(entities=entities, own_rows=own_rows, share=coverage_share(by_state) or 0.0, by_state=by_state)

    def _hit_pages(self, owner: int) -> float:
        """Count the incidents of the calibrate range that the pages of an entity with feedback hit."""
        c, p = self._choice.own[owner]
        entity = self._counted.labelled[owner]
        return float(entity.detector.hits[c, p, entity.earlier_steps == 0].sum())
