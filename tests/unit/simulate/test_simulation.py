from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fleetalign.contracts.feedback import feedback_id
from fleetalign.contracts.tables import FEEDBACK, TELEMETRY
from fleetalign.errors import UsageError
from fleetalign.interval import Interval
from fleetalign.simulate.faults import FAULTS, MARGIN
from fleetalign.simulate.random import Stream, smooth_noise
from fleetalign.simulate.signals import healthy, weekend
from fleetalign.simulate.simulation import Simulation

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(7, START, 7, 24)


@pytest.fixture(scope="module")
def telemetry(simulation: Simulation) -> dict[str, pa.Table]:
    return simulation.telemetry(simulation.interval)


def of_entity(table: pa.Table, entity_id: str) -> pa.Table:
    return table.filter(pc.equal(table["entity_id"], entity_id))


def test_tables_follow_their_contracts(simulation: Simulation, telemetry: dict[str, pa.Table]) -> None:
    assert set(telemetry) == {"database", "service"}
    for table in telemetry.values():
        assert table.equals(TELEMETRY.conform(table))
    feedback = simulation.feedback()
    assert feedback.schema == FEEDBACK.schema
    assert [feedback_id(row) for row in feedback.to_pylist()] == feedback["feedback_id"].to_pylist()


def test_a_day_does_not_depend_on_what_else_is_asked_for(
    simulation: Simulation, telemetry: dict[str, pa.Table]
) -> None:
    hours = Interval(START + timedelta(days=5, hours=3), START + timedelta(days=6, hours=1))
    alone = Simulation(7, START, 7, 24).telemetry(hours)
    for kind, whole in telemetry.items():
        inside = pc.and_(
            pc.greater_equal(whole["timestamp"], pa.scalar(hours.start)),
            pc.less(whole["timestamp"], pa.scalar(hours.end)),
        )
        assert alone[kind].equals(whole.filter(inside).combine_chunks())


def test_another_seed_is_another_fleet(telemetry: dict[str, pa.Table]) -> None:
    other = Simulation(8, START, 7, 24)
    assert not other.telemetry(other.interval)["service"].equals(telemetry["service"])


def test_nothing_outside_its_days(simulation: Simulation) -> None:
    before = Interval(START - timedelta(days=2), START)
    after = Interval(simulation.interval.end, simulation.interval.end + timedelta(days=1))
    assert all(t.num_rows == 0 for i in (before, after) for t in simulation.telemetry(i).values())


def test_noise_is_continuous_over_midnight() -> None:
    days = [smooth_noise(1, Stream.ENTITY_NOISE, (0,), day, 288, 24) for day in range(40)]
    over_midnight = np.array([b[0] - a[-1] for a, b in pairwise(days)])
    within = np.concatenate([np.diff(d) for d in days])
    assert over_midnight.std() < 2 * within.std()
    assert np.concatenate(days).std() == pytest.approx(1, abs=0.15)


def test_weekend_is_continuous_over_the_week() -> None:
    edge = weekend(np.array([0.0, 60.0, 144.0, 167.999]))
    assert edge[0] == pytest.approx(edge[3], abs=1e-3)
    assert edge[1] < 0.01 < 0.99 < edge[2]


def test_daily_and_weekly_rhythm_and_coupling(simulation: Simulation) -> None:
    entity = simulation.fleet[-3]
    days = [healthy(7, entity, START, day) for day in range(7)]
    column = entity.kind.metrics.index("requests_per_s")
    load = np.array([d[:, column] for d in days])
    assert np.corrcoef(load[0], load[1])[0, 1] > 0.8
    assert load[5:].mean() < 0.95 * load[:4].mean()
    cpu = np.concatenate([d[:, entity.kind.metrics.index("cpu_percent")] for d in days])
    assert np.corrcoef(load.ravel(), cpu)[0, 1] > 0.9


def test_replicas_are_near_copies_and_strangers_are_not(simulation: Simulation) -> None:
    first, replica, stranger = (e for e in simulation.fleet if e.entity_id in ("checkout-0", "checkout-1", "search-0"))
    column = first.kind.metrics.index("requests_per_s")
    series = [
        np.diff(np.concatenate([healthy(7, e, START, d)[:, column] for d in range(2)])[::12])
        for e in (first, replica, stranger)
    ]
    assert np.corrcoef(series[0], series[1])[0, 1] > np.corrcoef(series[0], series[2])[0, 1] + 0.1


def test_values_stay_possible(telemetry: dict[str, pa.Table]) -> None:
    for kind, metric, most in (
        ("service", "cpu_percent", 100),
        ("service", "error_rate", 1),
        ("database", "cache_hit_ratio", 1),
    ):
        assert pc.max(telemetry[kind][metric]).as_py() <= most
    for table in telemetry.values():
        for metric in table.schema.names[3:]:
            assert pc.min(table[metric]).as_py() >= 0


def test_missing_metrics_lost_samples_and_outages(simulation: Simulation, telemetry: dict[str, pa.Table]) -> None:
    without = [e for e in simulation.fleet if e.absent_metrics]
    assert 0 < len(without) < 24
    for entity in without:
        table = of_entity(telemetry[entity.kind.name], entity.entity_id)
        for metric in entity.kind.metrics:
            share = table[metric].null_count / table.num_rows
            assert share == 1 if metric in entity.absent_metrics else share < 0.02
    steps = Counter()
    for table in telemetry.values():
        times = table["timestamp"].to_numpy()
        same = np.diff(np.unique(table["entity_id"].to_pylist(), return_inverse=True)[1]) == 0
        steps.update((np.diff(times)[same] // np.timedelta64(300, "s")).tolist())
    assert any(s > 3 for s in steps), "no outage"


@pytest.mark.parametrize("days", [1, 7, 14])
def test_two_services_arrive_late(days: int) -> None:
    simulation = Simulation(7, START, days, 24)
    table = simulation.telemetry(simulation.interval)["service"]
    more, fewer = (of_entity(table, e.entity_id).num_rows for e in simulation.fleet[-2:])
    assert 100 < fewer < 200 < more


@pytest.mark.parametrize("seed", [0, 7, 123])
def test_incidents_and_their_rate(seed: int) -> None:
    simulation = Simulation(seed, START, 7, 24)
    late = [f for f in simulation.faults if f.start >= simulation.on_call_from]
    early = [f for f in simulation.faults if f.start < simulation.on_call_from]
    assert 15 <= len(late) <= 25
    assert 0 < len(early) < len(late)
    assert all(f.end <= simulation.on_call_from for f in early)
    assert {f.kind.name for f in simulation.faults} == {k.name for k in FAULTS}
    for fault in simulation.faults:
        assert fault.entity.born + MARGIN <= fault.end < simulation.interval.end
        assert len(fault.metrics) >= 2 and set(fault.metrics) <= set(fault.entity.present_metrics)
        assert (fault.start - START).total_seconds() % fault.entity.kind.step_seconds == 0
    for a in simulation.faults:
        for b in simulation.faults:
            assert a is b or a.entity is not b.entity or a.end + MARGIN <= b.start or b.end + MARGIN <= a.start


def test_a_fault_changes_its_metrics_inside_its_interval_only(
    simulation: Simulation, telemetry: dict[str, pa.Table]
) -> None:
    for fault in simulation.faults[:6]:
        entity = fault.entity
        table = of_entity(telemetry[entity.kind.name], entity.entity_id)
        step = entity.kind.step_seconds
        times = table["timestamp"].to_pylist()
        changed = set()
        others = [f for f in simulation.faults if f.entity is entity]
        for day in range(7):
            clean = healthy(7, entity, START, day)
            for row, t in enumerate(times):
                offset = (t - START - timedelta(days=day)).total_seconds() / step
                if 0 <= offset < len(clean):
                    for column, metric in enumerate(entity.kind.metrics):
                        value = table[metric][row].as_py()
                        if value is not None and value != clean[int(offset), column]:
                            assert any(f.start <= t < f.end and metric in f.metrics for f in others)
                            if fault.start <= t < fault.end:
                                changed.add(metric)
        assert changed == set(fault.metrics), fault.kind.name


def test_truth_lists_every_fault(simulation: Simulation) -> None:
    truth = simulation.truth()
    assert truth.num_rows == len(simulation.faults)
    assert truth["start"].to_pylist() == sorted(truth["start"].to_pylist())


def test_operators_are_late_imprecise_and_sometimes_wrong() -> None:
    reported = missed = called_normal = quiet_normal = 0
    for seed in range(12):
        simulation = Simulation(seed, START, 7, 24)
        feedback = simulation.feedback().to_pylist()
        end = simulation.interval.end
        for row in feedback:
            assert simulation.on_call_from <= row["start"] < row["end"] <= row["recorded_at"] < end
            delay = row["recorded_at"] - row["end"]
            assert delay <= timedelta(hours=10)
            assert delay >= timedelta(hours=1) or row["recorded_at"] == end - timedelta(minutes=1)
        for fault in simulation.faults:
            if fault.start < simulation.on_call_from:
                continue
            about = [
                r
                for r in feedback
                if not r["note"].startswith("daily review")
                and r["entity_id"] == fault.entity.entity_id
                and r["start"] < fault.end
                and fault.start < r["end"]
            ]
            missed += not about
            reported += bool(about)
            called_normal += any(r["verdict"] == "normal" for r in about)
        quiet_normal += sum(r["verdict"] == "normal" for r in feedback)
    assert 0.08 < missed / (missed + reported) < 0.25
    assert 0 < called_normal < 0.15 * reported
    assert quiet_normal > called_normal


def test_reviewed_entities_have_a_verdict_on_all_of_the_on_call_time() -> None:
    reviewed = entities = 0
    for seed in range(4):
        simulation = Simulation(seed, START, 7, 24)
        feedback = simulation.feedback().to_pylist()
        last_minute = simulation.interval.end - timedelta(minutes=1)
        for entity in simulation.fleet:
            mine = [r for r in feedback if (r["kind"], r["entity_id"]) == (entity.kind.name, entity.entity_id)]
            reviews = [r for r in mine if r["note"].startswith("daily review")]
            entities += 1
            reviewed += bool(reviews)
            if not reviews:
                continue
            covered_until = max(simulation.on_call_from, entity.born)
            for row in sorted(mine, key=lambda r: r["start"]):
                assert row["start"] <= covered_until, "a silence that the review left out"
                covered_until = max(covered_until, row["end"])
            assert covered_until >= last_minute
            for review in reviews:
                assert review["verdict"] == "normal"
                assert review["end"] - review["start"] <= timedelta(days=1)
                others = [r for r in mine if r is not review]
                assert not any(r["start"] < review["end"] and review["start"] < r["end"] for r in others)
    assert 0.45 < reviewed / entities < 0.75


def test_write_makes_files_that_read_back(simulation: Simulation, tmp_path) -> None:
    paths = simulation.write(tmp_path / "fleet")
    assert [p.relative_to(tmp_path / "fleet").as_posix() for p in paths] == [
        "telemetry/database.parquet",
        "telemetry/service.parquet",
        "feedback.parquet",
        "truth.parquet",
    ]
    assert pq.read_table(paths[2]).equals(simulation.feedback())


def test_write_refuses_a_folder_it_cannot_make(simulation: Simulation, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        simulation.write(tmp_path / "file")


def test_a_week_of_24_entities_takes_seconds() -> None:
    started = time.process_time()
    simulation = Simulation(1, START, 7, 24)
    simulation.telemetry(simulation.interval), simulation.feedback(), simulation.truth()
    assert time.process_time() - started < 4


@pytest.mark.parametrize("entities", [2, 5, 100])
def test_any_fleet_size(entities: int) -> None:
    simulation = Simulation(3, START, 1, entities)
    tables = simulation.telemetry(simulation.interval)
    assert sum(pc.count_distinct(t["entity_id"]).as_py() for t in tables.values()) == entities
    assert len({(e.kind.name, e.entity_id) for e in simulation.fleet}) == entities


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, START, 7, 24),
        (1, START, 0, 24),
        (1, START, 7, 1),
        (1, START + timedelta(hours=1), 7, 24),
        (1, datetime(2026, 3, 2), 7, 24),
    ],
)
def test_impossible_arguments_are_refused(arguments: tuple) -> None:
    with pytest.raises(UsageError, match="simulator: "):
        Simulation(*arguments)
