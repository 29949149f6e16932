"""Plans: ranges, gaps, identity over stores, what a new plan depends on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.config import Config, ModelConfig, RangesConfig
from fleetalign.contracts.feedback import feedback_id
from fleetalign.contracts.phases import phase_table
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.tables import FEEDBACK, TIME, from_parquet
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval
from fleetalign.plan.document import read_plan
from fleetalign.plan.draft import Reuse, candidates, draft, write_plan
from fleetalign.plan.realign import same_inputs
from fleetalign.storage import lake, layout, statements
from fleetalign.storage.memory import MemoryStore

DAY = timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)
CONFIG = Config(model=ModelConfig(window_steps=16))


def telemetry_day(day: datetime, entities: tuple[str, ...], step_seconds: int = 600) -> pa.Table:
    steps = 86_400 // step_seconds
    times = [day + timedelta(seconds=step_seconds * i) for i in range(steps)]
    rng = np.random.default_rng(int(day.timestamp()) % 2**31)
    return pa.table(
        {
            "kind": ["web"] * steps * len(entities),
            "entity_id": [e for e in entities for _ in range(steps)],
            "timestamp": pa.array(times * len(entities), TIME),
            "cpu": rng.normal(size=steps * len(entities)),
        }
    )


def lake_of(days: int = 10, entities: tuple[str, ...] = ("a", "b/c", "ü"), step_seconds: int = 600) -> MemoryStore:
    store = MemoryStore()
    for n in range(days):
        day = START + n * DAY
        lake.write_partition(
            store, "validated", "web", Interval(day, day + DAY), "day", telemetry_day(day, entities), step_seconds, {}
        )
    return store


def say(
    store: MemoryStore, start: datetime, end: datetime, verdict: str = "anomaly", recorded_at: datetime | None = None
):
    row = {
        "kind": "web", "entity_id": "a", "start": start, "end": end, "verdict": verdict,
        "source": "test", "note": "", "recorded_at": recorded_at or end,
    }  # fmt: skip
    row["feedback_id"] = feedback_id(row)
    statements.append_feedback(store, pa.Table.from_pylist([row], schema=FEEDBACK.schema))


def test_default_ranges_keep_the_last_share_and_one_window_of_gap():
    _, plan = write_plan(lake_of(), CONFIG)
    train, calibrate = plan.kinds["web"].ranges.train, plan.kinds["web"].ranges.calibrate
    assert calibrate == Interval(START + 7 * DAY, START + 10 * DAY)
    assert train == Interval(START, START + 7 * DAY - 16 * timedelta(seconds=600))
    assert plan.kinds["web"].ranges.judge is None


@pytest.mark.parametrize("verdict", ["anomaly", "normal"])
@pytest.mark.parametrize("hours", [0, 2, 4 * 24, 7 * 24 - 1])
def test_feedback_moves_no_range_and_never_makes_a_plan_impossible(verdict, hours):
    store = lake_of()
    say(store, START + timedelta(hours=hours), START + timedelta(hours=hours + 2), verdict)
    _, plan = write_plan(store, CONFIG)
    assert plan.kinds["web"].ranges == write_plan(lake_of(), CONFIG)[1].kinds["web"].ranges


def test_the_train_range_moves_on_with_the_data_in_spite_of_an_early_label():
    ends = []
    for days in (10, 20):
        store = lake_of(days)
        say(store, START + 3 * DAY, START + 3 * DAY + timedelta(hours=1))
        ends.append(write_plan(store, CONFIG)[1].kinds["web"].ranges.train.end)
    assert ends[1] - ends[0] == 7 * DAY


def test_too_little_telemetry_is_rejected_with_the_way_out():
    with pytest.raises(BadInput, match=r"kind web: only 42 samples .* the last 30%.* explicit ranges"):
        write_plan(lake_of(1, step_seconds=1440), CONFIG)


def test_equal_content_gives_an_equal_plan_on_any_store_and_new_feedback_another():
    first, second = lake_of(), lake_of()
    assert write_plan(first, CONFIG) == write_plan(second, CONFIG)
    say(second, START + 8 * DAY, START + 8 * DAY + timedelta(hours=1))
    assert write_plan(first, CONFIG)[0] != write_plan(second, CONFIG)[0]


def test_feedback_imported_in_two_batches_gives_the_plan_of_one_batch():
    one, two = lake_of(), lake_of()
    spans = [(START + 8 * DAY, START + 8 * DAY + timedelta(hours=h)) for h in (1, 2)]
    rows = []
    for start, end in spans:
        say(two, start, end)
        say(two, start, end)
    for start, end in reversed(spans):
        row = {"kind": "web", "entity_id": "a", "start": start, "end": end, "verdict": "anomaly", "source": "test",
               "note": "", "recorded_at": end}  # fmt: skip
        rows.append(row | {"feedback_id": feedback_id(row)})
    statements.append_feedback(one, pa.Table.from_pylist(rows, schema=FEEDBACK.schema))
    assert write_plan(one, CONFIG)[0] == write_plan(two, CONFIG)[0]


def test_explicit_ranges_need_order_and_a_window_of_gap():
    def plan(train, calibrate, judge=None):
        ranges = RangesConfig(train=train, calibrate=calibrate, judge=judge)
        return write_plan(lake_of(), dataclasses.replace(CONFIG, ranges=ranges))

    with pytest.raises(ConfigError, match="shorter than one window"):
        plan(("2026-03-02", "2026-03-08"), ("2026-03-08T01:00:00Z", "2026-03-12"))
    with pytest.raises(ConfigError, match="order is train, calibrate, judge"):
        plan(("2026-03-06", "2026-03-08"), ("2026-03-03", "2026-03-05"))
    _, document = plan(("2026-03-02", "2026-03-06"), ("2026-03-07", "2026-03-09"), ("2026-03-10", "2026-03-12"))
    assert document.kinds["web"].ranges.judge.end == START + 10 * DAY


def test_partitions_of_one_kind_must_share_their_step():
    store = lake_of()
    day = START + 10 * DAY
    lake.write_partition(
        store, "validated", "web", Interval(day, day + DAY), "day", telemetry_day(day, ("a",), 300), 300, {}
    )
    with pytest.raises(BadInput, match=r"different steps \[300, 600\] s .*steps.web"):
        write_plan(store, CONFIG)


def test_shards_cover_every_entity_once_whatever_their_size():
    config = dataclasses.replace(CONFIG, align=dataclasses.replace(CONFIG.align, entities_per_shard=2))
    _, plan = write_plan(lake_of(), config)
    assert [(s.first, s.last, s.entities) for s in plan.shards] == [("a", "b/c", 2), ("ü", "ü", 1)]


def test_a_kind_whose_rows_all_went_to_quarantine_has_no_shard():
    store = lake_of()
    nothing = telemetry_day(START, ("a",)).slice(0, 0)
    for n in range(10):
        day = START + n * DAY
        lake.write_partition(store, "validated", "gone", Interval(day, day + DAY), "day", nothing, 600, {})
    _, plan = write_plan(store, CONFIG)
    assert plan.kinds["gone"].entities == 0
    assert {shard.kind for shard in plan.shards} == {"web"}


def test_an_empty_store_says_what_to_do():
    with pytest.raises(BadInput, match="run ingest and validate first"):
        write_plan(MemoryStore(), CONFIG)


def test_reuse_keeps_the_train_range_and_the_model():
    store = lake_of()
    plan_id, base = write_plan(store, CONFIG)
    reuse = Reuse(plan_id=plan_id, plan=base, models={"web": "m1"}, normalizer_id="n1")
    assert same_inputs(base, draft(store, CONFIG, None, reuse))
    day = START + 10 * DAY
    lake.write_partition(
        store, "validated", "web", Interval(day, day + DAY), "day", telemetry_day(day, ("a",)), 600, {}
    )
    newer = draft(store, CONFIG, None, reuse)
    assert not same_inputs(base, newer)
    assert newer.kinds["web"].model_id == "m1"
    assert newer.kinds["web"].ranges.train == base.kinds["web"].ranges.train
    assert newer.kinds["web"].ranges.calibrate.end == day + DAY


def test_neither_how_entities_are_cut_into_shards_nor_an_upgrade_makes_inputs_new():
    def config_of(align: dict) -> Plan:
        return dataclasses.replace(plan, config={**plan.config, "align": align})

    store = lake_of()
    _, plan = write_plan(store, CONFIG)
    align = plan.config["align"]
    older = {name: value for name, value in align.items() if name != "max_pages_per_entity_day"}
    assert same_inputs(config_of({**align, "entities_per_shard": 50}), plan)
    assert same_inputs(config_of(older), plan)
    assert not same_inputs(config_of({**align, "grid": align["grid"] | {"smooth": align["grid"]["smooth"] + 1}}), plan)
    assert not same_inputs(config_of({**align, "of_tomorrow": 1}), plan)


def test_what_was_recorded_after_the_as_of_time_does_not_exist():
    store = lake_of()
    say(store, START + 8 * DAY, START + 8 * DAY + timedelta(hours=1))
    before, _ = write_plan(store, CONFIG)
    say(store, START + 5 * DAY, START + 6 * DAY, recorded_at=START + 20 * DAY)
    assert write_plan(store, CONFIG, as_of=START + 9 * DAY)[0] == before
    assert write_plan(store, CONFIG)[0] != before


def test_reuse_without_telemetry_after_the_train_range_says_so():
    store = lake_of()
    plan_id, base = write_plan(store, CONFIG)
    reuse = Reuse(plan_id=plan_id, plan=base, models={"web": "m1"}, normalizer_id="n1")
    with pytest.raises(BadInput, match="nothing is left to align on"):
        draft(store, CONFIG, Interval(START, START + 2 * DAY), reuse)


def test_history_days_decides_what_a_plan_takes():
    config = dataclasses.replace(CONFIG, ranges=RangesConfig(history_days=5))
    assert len(candidates(lake_of(), config)) == 5
    assert len(candidates(lake_of(), CONFIG)) == 10


def phases(**seconds: int) -> pa.Table:
    ids, values = pa.array(list(seconds)), np.array([value * 1_000_000 for value in seconds.values()])
    return phase_table("web", ids, values)


def stored_day(store: MemoryStore, n: int, table: pa.Table, phases: pa.Table | None) -> None:
    span = Interval(START + n * DAY, START + (n + 1) * DAY)
    lake.write_partition(store, "validated", "web", span, "day", table, 600, {}, phases)


def test_the_newest_phases_are_planned_with():
    store = lake_of()
    assert write_plan(store, CONFIG)[1].phases is None
    for n, (a, b) in enumerate([(7, 8), (60, 0)], start=8):
        stored_day(store, n, telemetry_day(START + n * DAY, ("a", "b")), phases(a=a, b=b))
    plan_id, plan = write_plan(store, CONFIG)
    table = from_parquet(store.get(layout.plan_input(plan.phases.sha256)), "phases")
    assert table.to_pylist() == [{"kind": "web", "entity_id": "a", "phase_us": 60_000_000}]
    assert read_plan(store, plan_id) == plan
    stored_day(store, 9, telemetry_day(START + 9 * DAY, ("a", "b")), None)  # now on the grid: no phase of before counts
    assert write_plan(store, CONFIG)[1].phases is None


def test_a_day_that_only_jitter_reached_is_not_planned_with():
    store = lake_of()
    before = write_plan(store, CONFIG)[1].kinds
    over = telemetry_day(START + 10 * DAY, ("a", "b/c"))
    stored_day(store, 10, over.take(pa.array([0, over.num_rows // 2])), phases(a=0, **{"b/c": 0}))
    assert write_plan(store, CONFIG)[1].kinds == before
