"""The reduction from shard tables to aligner rows: states, order, objectives, what feedback moves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.align.aligner_rows import Reduced, reduce_shards
from fleetalign.align.entity import seeded_uniform, tabulate
from fleetalign.align.held_out import HeldOutSummary
from fleetalign.align.pool import count
from fleetalign.align.shard import NO_SCORE, NO_TELEMETRY, SHARD_SCHEMA, TOO_LITTLE_HISTORY, flat
from fleetalign.align.threshold_drift import Previous
from fleetalign.config import AlignConfig, AlignGrid, Config, ModelConfig
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.plan import Plan, Ranges
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, NORMALIZER, from_parquet
from fleetalign.detectors.grid import condition_grid
from fleetalign.errors import BadInput
from fleetalign.evaluate.measures import f_beta
from fleetalign.interval import Interval, parse_time
from fleetalign.testing.plans import toy_kind, toy_plan

CONFIG = Config(
    model=ModelConfig(network="sharead", window_steps=16),
    align=AlignConfig(grid=AlignGrid(conditions=(2, 6), tail_probability_count=15)),
)
GRID = condition_grid(CONFIG.align, 16)
STEPS = 600
SHIFTS = np.array([0.2, 0.5, 0.8])
START = np.datetime64("2026-03-06T00:00:00", "us")
RANGES = Ranges(
    train=Interval.parse("2026-03-01", "2026-03-05"),
    calibrate=Interval.parse("2026-03-06T00:00:00Z", "2026-03-08T02:00:00Z"),
)


def plan_of(config: Config = CONFIG, **changes: Any) -> Plan:
    return toy_plan(config=config.build_settings(), kinds={"web": toy_kind(ranges=RANGES)}, **changes)


def member(
    entity_id: str, incidents: list[tuple[int, int]], height: float = 9.0, labelled: bool = True
) -> dict[str, Any]:
    seed = sum(entity_id.encode())
    margins = np.random.default_rng(seed).normal(size=(len(GRID.conditions), STEPS)).astype(np.float32)
    labels = np.full(STEPS, 0 if labelled and incidents else -1, dtype=np.int8)
    pairs = np.array(incidents if labelled else [], dtype=np.int64).reshape(-1, 2)
    for a, _ in incidents:
        margins[:, a] += height
    for a, b in pairs:
        labels[a:b] = 1
    tables = tabulate(
        margins, labels, pairs, GRID.tails, 3, random_scores=seeded_uniform(1, "web", entity_id, STEPS), shifts=SHIFTS
    )
    at = [(START + np.timedelta64(300 * int(i), "s")).astype("datetime64[us]").item() for i in pairs.ravel()]
    times = [t.replace(tzinfo=parse_time("2026-01-01").tzinfo) for t in at]
    row = {
        "kind": "web", "entity_id": entity_id, "observed_steps": STEPS,
        "incident_start": times[0::2], "incident_end": times[1::2], "incident_steps": [int(b - a) for a, b in pairs],
    }  # fmt: skip
    return row | flat(tables)


def left_out(entity_id: str, reason: str) -> dict[str, Any]:
    return {
        "kind": "web", "entity_id": entity_id, "reason": reason,
        "incident_start": [], "incident_end": [], "incident_steps": [],
    }  # fmt: skip


def shard(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SHARD_SCHEMA)


def normalizer(*entities: str) -> pa.Table:
    rows = [
        {"kind": "web", "entity_id": e, "metric": m, "location": 1.0, "scale": 2.0}
        for e in (*entities, DEFAULT_ENTITY)
        for m in ("cpu", "disk")
    ]
    return NORMALIZER.conform(pa.Table.from_pylist(rows, schema=NORMALIZER.schema))


def reduce(config: Config, *shards: pa.Table, previous: Previous | None = None) -> Reduced:
    return reduce_shards(plan_of(config), lambda columns: (s.select(list(columns)) for s in shards), GRID, previous)


def summary_of(reduced: Reduced) -> Reduced:
    """Everything but the tables."""
    return dataclasses.replace(reduced, aligner=b"", new_rows=None)


def before(aligner: bytes, *entities: str) -> Previous:
    """The aligner before, with a normalizer that has rows of ``entities``."""
    return Previous(FleetTable(ALIGNER, aligner, "aligner"), FleetTable.of(NORMALIZER, normalizer(*entities)))


def rows_of(aligner: bytes) -> dict[str, dict[str, Any]]:
    return {row["entity_id"]: row for row in from_parquet(aligner, "aligner").to_pylist()}


FLEET = [member(f"e{i}", [(100, 110), (300, 320)]) for i in range(5)] + [member("quiet", [])]


def test_the_cut_into_shards_changes_nothing():
    one = reduce(CONFIG, shard(*FLEET))
    many = reduce(CONFIG, *(shard(row) for row in FLEET))
    assert one.aligner == many.aligner
    assert summary_of(one) == summary_of(many)


def test_states_and_reasons():
    previous = reduce(CONFIG, shard(*FLEET, member("gone", [(50, 60)]))).aligner
    extra = [left_out("new", TOO_LITTLE_HISTORY), left_out("broken", NO_SCORE), left_out("gone", NO_TELEMETRY)]
    extra.append(left_out("never", NO_TELEMETRY))
    reduced = reduce(CONFIG, shard(*FLEET, *extra), previous=before(previous, "gone"))
    rows = rows_of(reduced.aligner)
    assert {e: rows[e]["state"] for e in ("quiet", "new", "broken", "gone", "never")} == {
        "quiet": "shared", "new": "new", "broken": "quarantined", "gone": "carried_over", "never": "gone",
    }  # fmt: skip
    assert rows["gone"]["threshold"] == rows_of(previous)["gone"]["threshold"]
    default = rows[DEFAULT_ENTITY]
    for entity in ("new", "broken", "never"):
        assert (rows[entity]["condition"], rows[entity]["threshold"]) == (default["condition"], default["threshold"])
        assert rows[entity]["reason"]
    coverage = reduced.coverage
    assert (coverage.entities, coverage.own_rows) == (10, 7)
    assert sum(coverage.by_state.values()) == 10
    assert coverage.share == 7 / 8


def newcomer(entity_id: str, samples: int = 40, kind: str = "web") -> dict[str, Any]:
    margins = np.random.default_rng(list(entity_id.encode())).normal(size=(len(GRID.conditions), samples))
    row = {"kind": kind, "observed_steps": samples, "newcomer_margins": margins.ravel().astype(np.float32)}
    return left_out(entity_id, TOO_LITTLE_HISTORY) | row


def test_newcomers_alone_make_the_default_row_together():
    """100 pods of 40 samples each: the threshold is a quantile of their 4,000 margins, and not the median of their own."""
    pods = [newcomer(f"pod-{i:03}") for i in range(100)]
    reduced = reduce(CONFIG, shard(*pods))
    row = rows_of(reduced.aligner)[DEFAULT_ENTITY]
    c = GRID.conditions.index(row["condition"])
    margins = np.concatenate([pod["newcomer_margins"].reshape(len(GRID.conditions), -1)[c] for pod in pods])
    above = float((margins > row["threshold"]).mean())
    assert above == pytest.approx(row["tail_probability"], abs=1 / 4000)
    assert reduced.pages_per_entity_day <= CONFIG.align.pages_per_entity_day
    assert reduced.coverage.by_state == {"new": 100}
    assert reduced.coverage.share == 0
    many = reduce(CONFIG, *(shard(pod) for pod in pods))
    assert (many.aligner, summary_of(many)) == (reduced.aligner, summary_of(reduced))
    # An entity with a threshold of its own speaks for the kind, as before.
    mixed = rows_of(reduce(CONFIG, shard(*FLEET, *pods[:1])).aligner)[DEFAULT_ENTITY]
    assert mixed["threshold"] == rows_of(reduce(CONFIG, shard(*FLEET)).aligner)[DEFAULT_ENTITY]["threshold"]


def test_entities_that_live_for_less_than_a_window_are_named_with_the_way_out():
    with pytest.raises(BadInput, match="map what outlives them, such as their deployment"):
        reduce(CONFIG, shard(newcomer("pod", 0)))


def test_feedback_on_one_entity_moves_its_row():
    quieter = [(100, 101), (200, 201), (300, 301), (400, 401), (500, 501)]
    before = rows_of(reduce(CONFIG, shard(*FLEET, member("x", quieter, 2.6, labelled=False))).aligner)
    after = rows_of(reduce(CONFIG, shard(*FLEET, member("x", quieter, 2.6))).aligner)
    assert before["x"]["incidents"] == 0
    assert after["x"]["incidents"] == 5
    assert after["x"]["threshold"] < before["x"]["threshold"]
    assert after["e0"]["incidents"] == before["e0"]["incidents"]


def test_a_new_entity_brings_its_own_normalizer_rows():
    new = member("young", [(100, 110)]) | {"location": [5.0, np.nan], "scale": [0.5, np.nan]}
    rows = reduce(CONFIG, shard(*FLEET, new)).new_rows.to_pylist()
    assert [(r["entity_id"], r["metric"], r["location"], r["scale"]) for r in rows] == [("young", "cpu", 5.0, 0.5)]
    assert reduce(CONFIG, shard(*FLEET)).new_rows.num_rows == 0


def test_the_receipt_holds_rows_of_entities_with_feedback_only():
    found = reduce(CONFIG, shard(*FLEET)).held_out
    for rows in (found.leave_one_out, found.random_tail_probabilities):
        assert [row.entity_id for row in rows] == [f"e{i}" for i in range(5)]
    assert found.random_tail_probability in GRID.tails
    assert reduce(CONFIG, shard(FLEET[-1])).held_out == HeldOutSummary()


def test_nothing_of_a_silent_entity_is_held_between_the_passes():
    crowd = [member(f"q{i}", []) for i in range(30)]
    few, many = (
        count(lambda columns, s=s: [s], GRID, CONFIG.align, plan_of()) for s in (shard(*FLEET), shard(*FLEET, *crowd))
    )
    assert [s.entity_id for s in many.labelled] == [s.entity_id for s in few.labelled]
    assert many.members == few.members + 30
    np.testing.assert_array_equal(
        many.detector[1] - few.detector[1],
        sum(np.reshape(row["detector_false_pages"], GRID.shape) for row in crowd),
    )
    held = many.labelled[0].detector
    assert (held.hits.dtype, held.hits.base, held.false.base) == (np.float32, None, None)


def test_leave_one_out_counts_every_incident_once_and_beats_its_controls_on_clear_incidents():
    entries = reduce(CONFIG, shard(*FLEET)).held_out.leave_one_out
    f1 = {}
    for side in ("detector", "random", "shifted"):
        hits, missed, false = (
            sum(getattr(getattr(e, side), n) for e in entries) for n in ("hits", "missed", "false_pages")
        )
        assert hits + missed == pytest.approx(10)
        f1[side] = f_beta(hits, false, missed)
    assert f1["detector"] > 0.9
    assert f1["random"] < 0.5
    assert f1["shifted"] < 0.5
    assert {e.entity_id for e in entries} == {f"e{i}" for i in range(5)}


@pytest.mark.parametrize("objective", ["event_f1", "point_adjusted_f1", "event_f_beta", "page_budget"])
def test_every_objective_finds_clear_incidents(objective: str):
    config = dataclasses.replace(CONFIG, align=dataclasses.replace(CONFIG.align, objective=objective, beta=2.0))
    reduced = reduce(config, shard(*FLEET))
    hits = sum(e.detector.hits for e in reduced.held_out.leave_one_out)
    assert hits == 10


def test_recall_weighs_more_under_a_larger_beta():
    faint = [member(f"e{i}", [(100, 101), (300, 301)], height=2.0) for i in range(6)]

    def tail(beta: float) -> float:
        align = dataclasses.replace(CONFIG.align, objective="event_f_beta", beta=beta)
        reduced = reduce(dataclasses.replace(CONFIG, align=align), shard(*faint))
        return reduced.shared.tail_probability

    assert tail(4.0) > tail(0.25)


def test_a_fleet_of_which_nothing_can_be_aligned_is_refused_with_reasons():
    with pytest.raises(BadInput, match="web/new: too_little_history"):
        reduce(CONFIG, shard(left_out("new", TOO_LITTLE_HISTORY)))


CANDIDATES = ((1.0, 1.0, 0.5, 0.5, 0.3), (1.0, 1.0, 0.5, 0.5, 1.0), (1.0, 1.0, 0.0, 0.0, 1.0))
"""Of a network whose candidate is the fleet's: as many as ``GRID`` has, so that ``FLEET`` fits."""
SHARED = dataclasses.replace(GRID, candidates=CANDIDATES, default=0, shared_candidate=True)
assert GRID.shape == SHARED.shape


def reduce_shared(
    *shards: pa.Table, previous: Previous | None = None, candidate: Any = None, until: str = ""
) -> Reduced:
    plan = plan_of(previous_candidate=candidate)
    if until:
        calibrate = dataclasses.replace(RANGES.calibrate, end=parse_time(until))
        plan = dataclasses.replace(
            plan, kinds={"web": toy_kind(ranges=dataclasses.replace(RANGES, calibrate=calibrate))}
        )
    return reduce_shards(plan, lambda columns: (s.select(list(columns)) for s in shards), SHARED, previous)


def with_candidate(row: dict[str, Any], finds: int) -> dict[str, Any]:
    """``row`` as if its incidents were found by one candidate alone."""
    hits = np.reshape(row["detector_hits"], (*SHARED.shape, -1)).copy()
    hits[np.arange(len(hits)) != finds] = 0
    return row | {"detector_hits": hits.ravel()}


@pytest.mark.parametrize("finds", [0, 1, 2])
def test_the_fleet_has_one_candidate_and_the_cut_of_shards_does_not_choose_it(finds: int):
    fleet = [with_candidate(row, finds) if row["entity_id"] != "quiet" else row for row in FLEET]
    one = reduce_shared(shard(*fleet))
    many = reduce_shared(*(shard(row) for row in fleet))
    assert one.aligner == many.aligner
    assert summary_of(one) == summary_of(many)
    assert one.shared.candidate == list(CANDIDATES[finds])
    assert {row["condition"] for row in rows_of(one.aligner).values()} == {0}


def test_thresholds_follow_drift_while_the_candidate_stays_and_start_anew_when_it_changes():
    drifted = [row | {"recent_quantiles": (np.asarray(row["quantiles"]) * 10).astype(np.float32)} for row in FLEET]
    candidate = list(CANDIDATES[0])
    first = reduce_shared(shard(*FLEET))
    assert first.shared.candidate == candidate
    later = {
        "previous": before(first.aligner, *(row["entity_id"] for row in FLEET)),
        "until": "2026-03-10T02:00:00Z",
    }  # two days later
    follows = rows_of(reduce_shared(shard(*drifted), candidate=candidate, **later).aligner)
    for entity_id, row in rows_of(first.aligner).items():
        if entity_id == DEFAULT_ENTITY:
            continue
        moved = follows[entity_id]["threshold"] - row["threshold"]
        assert moved == pytest.approx(2 * CONFIG.align.max_threshold_change_per_day * abs(row["threshold"]), rel=1e-5)
    anew = reduce_shared(shard(*drifted), candidate=list(CANDIDATES[1]), **later)
    assert anew.aligner == reduce_shared(shard(*drifted), until=later["until"]).aligner
    assert rows_of(anew.aligner)["e0"]["threshold"] == rows_of(first.aligner)["e0"]["threshold"]
