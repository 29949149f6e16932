"""Reduces the shards to the fleet's aligner and normalizer (contracts 4.4).

Rows are reduced in (kind, entity) order, so the result does not depend on how the fleet was cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.align.choice import Choice, EntityCounts, choose, final_points, folds
from fleetalign.align.grid import Grid, make_grid
from fleetalign.align.plan import plan_config, range_of
from fleetalign.align.shard import NO_SCORE, SHARD_SCHEMA
from fleetalign.config import Config
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, NORMALIZER
from fleetalign.errors import BadInput

SOURCES = ("detector", "random", "shifted")


@dataclass(frozen=True, slots=True)
class Reduced:
    """``aligner`` and ``normalizer`` tables; ``summary`` plain JSON: shared pair, k, coverage, leave-one-out counts."""

    aligner: pa.Table
    normalizer: pa.Table
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Member:
    """One entity that has tables: its shard row, quantiles float32 [C, P], and counts per source."""

    row: Mapping[str, Any]
    quantiles: np.ndarray
    counts: Mapping[str, EntityCounts]
    judged: Mapping[str, np.ndarray]
    entity_days: float


def reduce_shards(
    plan: Mapping[str, Any],
    shards: Sequence[pa.Table],
    base_normalizer: pa.Table,
    previous: pa.Table | None,
) -> Reduced:
    """Aligner and normalizer of the fleet from every shard's table.

    ``previous`` is the aligner whose rows may be carried over: given only when model, normalizer and window are the
    same. Raises BadInput when no entity of the fleet could be scored.
    """
    config = plan_config(plan)
    grid = make_grid(config.align, config.model.window_steps)
    table = pa.concat_tables([s.cast(SHARD_SCHEMA) for s in shards])
    order = pc.sort_indices(table, sort_keys=[("kind", "ascending"), ("entity_id", "ascending")])
    rows = table.take(order).to_pylist()
    members = [_member(row, grid, config, plan) for row in rows if row["reason"] is None]
    if not members:
        reasons = sorted({f"{r['kind']}/{r['entity_id']}: {r['reason']}" for r in rows})[:3]
        raise BadInput(f"no entity could be aligned ({'; '.join(reasons)}); check the calibrate range and the history")
    spoken = np.array([m.row["judged_steps"] > 0 for m in members])
    choice = choose([m.counts["detector"] for m in members], spoken, grid, config.align)
    aligner = _aligner_rows(plan, rows, members, spoken, choice, grid, config, _carriable(previous, base_normalizer))
    return Reduced(
        ALIGNER.conform(pa.Table.from_pylist(aligner, schema=ALIGNER.schema)),
        _with_new_entities(base_normalizer, rows, plan),
        _summary(aligner, members, spoken, choice, grid, config),
    )


def _member(row: Mapping[str, Any], grid: Grid, config: Config, plan: Mapping[str, Any]) -> _Member:
    shape = grid.shape
    count = len(row["incident_steps"])
    steps = np.array(row["incident_steps"], dtype=np.float64)
    adjusted = config.align.objective == "point_adjusted_f1"
    days = row["observed_steps"] * plan["kinds"][row["kind"]]["step_seconds"] / 86_400
    false_points = {
        "detector": np.array(row["false_points"], dtype=np.float64).reshape(shape),
        "random": np.broadcast_to(grid.tails * row["points"], shape),
    }
    false_points["shifted"] = false_points["detector"]
    counts, judged = {}, {}
    for source in SOURCES:
        hits = np.array(row[f"{source}_hits"], dtype=np.float64).reshape(*shape, count)
        false = np.array(row[f"{source}_false_pages"], dtype=np.float64).reshape(shape)
        credit = steps if adjusted else np.ones(count)
        counts[source] = EntityCounts(hits, credit, false_points[source] if adjusted else false, days)
        judged[source] = np.array(row[f"{source}_false_judged"], dtype=np.float64).reshape(shape)
    quantiles = np.array(row["quantiles"], dtype=np.float32).reshape(shape)
    return _Member(row, quantiles, counts, judged, days)


def _aligner_rows(
    plan: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    members: Sequence[_Member],
    spoken: np.ndarray,
    choice: Choice,
    grid: Grid,
    config: Config,
    carried: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    out = []
    defaults = {}
    c, p = choice.shared
    for kind in sorted(plan["kinds"]):
        mine = [m.quantiles[c, p] for m in members if m.row["kind"] == kind] or [m.quantiles[c, p] for m in members]
        defaults[kind] = {
            "kind": kind,
            "condition": grid.conditions[c],
            "threshold": np.float32(np.median(np.array(mine, dtype=np.float32))),
            "tail_probability": np.float32(grid.tails[p]),
            "state": "default",
            "incidents": 0,
            "calibrated_until": range_of(plan, kind, "calibrate").end,
        }
        out.append(defaults[kind] | {"entity_id": DEFAULT_ENTITY, "reason": "for entities without a row of their own"})
    position = {(m.row["kind"], m.row["entity_id"]): i for i, m in enumerate(members)}
    for row in rows:
        key = (row["kind"], row["entity_id"])
        default = defaults[row["kind"]] | {"entity_id": key[1], "incidents": len(row["incident_steps"])}
        if key in position:
            i = position[key]
            out.append(default | _own_row(members[i], choice, i, bool(spoken[i]), grid, config))
        elif key in carried:
            out.append(carried[key] | {"state": "carried_over", "reason": row["reason"]})
        else:
            out.append(
                default | {"state": "quarantined" if row["reason"] == NO_SCORE else "default", "reason": row["reason"]}
            )
    return out


def _carriable(previous: pa.Table | None, normalizer: pa.Table) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of the previous aligner that still hold: the entity's own, with a normalizer row that has not changed."""
    if previous is None:
        return {}
    normalized = set(zip(normalizer["kind"].to_pylist(), normalizer["entity_id"].to_pylist(), strict=True))
    rows = {(r["kind"], r["entity_id"]): r for r in previous.to_pylist()}
    own = ("aligned", "shared", "carried_over")
    return {key: row for key, row in rows.items() if key in normalized and row["state"] in own}


def _own_row(member: _Member, choice: Choice, i: int, spoken: bool, grid: Grid, config: Config) -> dict[str, Any]:
    if config.align.method == "published_tpe":
        return {
            "condition": member.row["tpe_condition"],
            "threshold": member.row["tpe_threshold"],
            "tail_probability": member.row["tpe_tail_probability"],
            "state": "aligned" if spoken else "shared",
            "reason": "published_tpe",
        }
    c, p = (int(v) for v in choice.own[i])
    moved = spoken and (c, p) != choice.shared
    return {
        "condition": grid.conditions[c],
        "threshold": member.quantiles[c, p],
        "tail_probability": np.float32(grid.tails[p]),
        "state": "aligned" if moved else "shared",
        "reason": "own feedback" if moved else "fleet values, own quantile",
    }


def _with_new_entities(base: pa.Table, rows: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> pa.Table:
    new = [
        {"kind": r["kind"], "entity_id": r["entity_id"], "metric": metric, "location": location, "scale": scale}
        for r in rows
        if r["reason"] is None and r["location"] is not None
        for metric, location, scale in zip(plan["kinds"][r["kind"]]["metrics"], r["location"], r["scale"], strict=True)
        if np.isfinite(location) and np.isfinite(scale)
    ]
    return NORMALIZER.conform(pa.concat_tables([base, pa.Table.from_pylist(new, schema=NORMALIZER.schema)]))


def _summary(
    aligner: Sequence[Mapping[str, Any]],
    members: Sequence[_Member],
    spoken: np.ndarray,
    choice: Choice,
    grid: Grid,
    config: Config,
) -> dict[str, Any]:
    own = [r for r in aligner if r["entity_id"] != DEFAULT_ENTITY]
    by_state = dict(sorted(Counter(row["state"] for row in own).items()))
    own_rows = sum(by_state.get(state, 0) for state in ("aligned", "shared", "carried_over"))
    if config.align.method == "published_tpe":
        raised = sum(m.row["tpe_pages"] for m in members)
    else:
        raised = sum(
            m.counts["detector"].hits[c, p].sum() + np.asarray(m.row["detector_false_pages"]).reshape(grid.shape)[c, p]
            for m, (c, p) in zip(members, choice.own, strict=True)
        )
    days = sum(m.entity_days for m in members)
    c, p = choice.shared
    return {
        "shared": {"condition": grid.conditions[c], "tail_probability": float(grid.tails[p])},
        "prior_weight": choice.k,
        "prior_weight_values": [{"k": k, "value": round(v, 9)} for k, v in choice.k_values.items()],
        "coverage": {
            "entities": len(own),
            "own_rows": own_rows,
            "share": own_rows / len(own) if own else None,
            "by_state": by_state,
        },
        "pages_per_entity_day": float(raised / days) if days else 0.0,
        "random_tail_probabilities": _random_tails(members, spoken, choice, grid, config),
        "leave_one_out": _leave_one_out(members, spoken, choice, config),
    }


def _random_tails(
    members: Sequence[_Member], spoken: np.ndarray, choice: Choice, grid: Grid, config: Config
) -> list[dict[str, Any]]:
    """Tail probability that the same choice gives a uniform random score, per entity: the random control's aligner."""
    if choice.k is None or config.align.method == "published_tpe":
        return []
    points = final_points([m.counts["random"] for m in members], spoken, choice.k, config.align)
    return [
        {"kind": m.row["kind"], "entity_id": m.row["entity_id"], "tail_probability": float(grid.tails[p])}
        for m, (_, p) in zip(members, points, strict=True)
    ]


def _leave_one_out(
    members: Sequence[_Member], spoken: np.ndarray, choice: Choice, config: Config
) -> list[dict[str, Any]]:
    """Counts of held-out incidents per entity for the detector and both controls; empty for ``published_tpe``.

    The random score goes through the same choice as the detector; the shifted alarms are those of the detector's folds.
    """
    if choice.k is None or config.align.method == "published_tpe":
        return []
    points, chosen = {}, {}
    for source in ("detector", "random"):
        counts = [m.counts[source] for m in members]
        points[source] = final_points(counts, spoken, choice.k, config.align)
        chosen[source] = folds(counts, spoken, choice.k, config.align)
    points["shifted"], chosen["shifted"] = points["detector"], chosen["detector"]
    out = []
    for i in np.flatnonzero(spoken):
        row = members[i].row
        entry: dict[str, Any] = {key: row[key] for key in ("kind", "entity_id", "judged_steps")}
        for source in SOURCES:
            held_out = chosen[source][i]
            hits = sum(float(members[i].counts[source].hits[c, p, g]) for g, (c, p) in enumerate(held_out))
            at = held_out or [tuple(points[source][i])]
            false = sum(float(members[i].judged[source][c, p]) for c, p in at) / len(at)
            entry[source] = {"hits": hits, "missed": len(held_out) - hits, "false_pages": false}
        out.append(entry)
    return out
