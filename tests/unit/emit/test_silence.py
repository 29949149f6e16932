"""Silent and frozen entities: found while others go on, grouped, renewed from run to run, and ended when heard again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.config.run import EmitConfig
from fleetalign.contracts.tables import MUTES, TIME
from fleetalign.emit.alertmanager import as_json
from fleetalign.emit.firing import Firing, read_firing, write_firing
from fleetalign.emit.silence import Silences, find_silences
from fleetalign.emit.silence_alerts import advance_silences
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import METRICS, toy_release

STEP = 300
DAY = 86_400 // STEP
START = datetime(2026, 3, 9, tzinfo=UTC)
HOSTS = tuple(f"h{i:02d}" for i in range(12))
SETTINGS = EmitConfig()


def at(sample: float) -> datetime:
    return START + timedelta(seconds=STEP * sample)


def scorer(mutes: pa.Table | None = None, **kinds: Iterable[str]) -> Scorer:
    store = MemoryStore()
    known = {kind: list(ids) for kind, ids in (kinds or {"web": HOSTS}).items()}
    return Scorer.open(store, release=toy_release(store, kinds=known, step_seconds=STEP, mutes=mutes))


def fleet(samples: int = 3 * DAY, kind: str = "web", hosts: Iterable[str] = HOSTS, seed: int = 1) -> pa.Table:
    """Every host sends every metric at every sample."""
    hosts = list(hosts)
    random = np.random.default_rng(seed)
    seconds = int(START.timestamp()) + STEP * np.tile(np.arange(samples), len(hosts))
    columns = {name: pa.array(random.normal(10, 1, samples * len(hosts))) for name in METRICS}
    times = pa.array(seconds * 1_000_000).cast(pa.timestamp("us")).cast(TIME)
    return pa.table(
        {"kind": [kind] * len(seconds), "entity_id": np.repeat(hosts, samples), "timestamp": times, **columns}
    )


def without(table: pa.Table, host: str | None, first: int, stop: int = 10**6) -> pa.Table:
    ids, times = table["entity_id"].to_pylist(), table["timestamp"].to_pylist()
    keep = [not (host in (None, one) and at(first) <= time < at(stop)) for one, time in zip(ids, times, strict=True)]
    return table.filter(pa.array(keep))


def frozen(table: pa.Table, host: str, first: int, stop: int, names: Iterable[str] = METRICS) -> pa.Table:
    ids, times = np.array(table["entity_id"].to_pylist()), table["timestamp"].to_pylist()
    rows = np.flatnonzero((ids == host) & [at(first) <= time < at(stop) for time in times])
    for name in names:
        values = table[name].to_numpy().copy()
        values[rows] = values[rows[0]]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table


def described(silences: Silences) -> list[tuple[str, str, datetime, datetime | None]]:
    return [(s.entity_id, s.reason, s.start, None if s.lasts else s.end) for s in silences.found]


def found(table: pa.Table, steps: int = 12, **more) -> list[tuple[str, str, datetime, datetime | None]]:
    return described(find_silences(scorer(), table, {"*": steps}, **more))


def test_a_whole_fleet_gives_nothing() -> None:
    assert found(fleet()) == []
    assert found(fleet(5)) == [], "too few samples to tell"


@pytest.mark.parametrize(("missing", "expected"), [(11, []), (12, [("h09", "silent", at(3 * DAY - 12), None)])])
def test_an_entity_that_dies_is_found_after_n_samples(missing: int, expected: list) -> None:
    assert found(without(fleet(), "h09", 3 * DAY - missing)) == expected


@pytest.mark.parametrize(("missing", "expected"), [(11, []), (12, [("h09", "silent", at(700), at(712))])])
def test_an_entity_that_was_silent_and_came_back_is_found(missing: int, expected: list) -> None:
    table = without(fleet(), "h09", 700, 700 + missing)
    assert found(table) == expected
    assert found(table, start=at(720)) == []


def test_rows_without_any_value_are_silence() -> None:
    table = fleet()
    dead = np.array(table["entity_id"].to_pylist()) == "h09"
    dead &= np.array([time >= at(700) for time in table["timestamp"].to_pylist()])
    for name in METRICS:
        values = np.where(dead, np.nan, table[name].to_numpy())
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    assert found(table) == [("h09", "silent", at(700), None)]


def test_an_entity_that_is_off_every_night_is_no_event() -> None:
    table = fleet(4 * DAY)
    for day in range(4):
        table = without(table, "h06", day * DAY, day * DAY + 72)
    assert found(table) == []
    assert found(table.filter([time < at(3 * DAY + 60) for time in table["timestamp"].to_pylist()])) == []


def test_an_entity_with_a_step_of_its_own_counts_its_own_samples() -> None:
    table = fleet()
    seconds = np.array([time.timestamp() for time in table["timestamp"].to_pylist()])
    hourly = (np.array(table["entity_id"].to_pylist()) != "h07") | (seconds % 3600 == 0)
    assert found(table.filter(pa.array(hourly))) == []


def test_a_clock_that_runs_ahead_silences_no_other() -> None:
    table = fleet()
    ahead = table.slice(0, 1).set_column(2, "timestamp", pa.array([at(90 * DAY)], TIME))
    assert found(pa.concat_tables([table, ahead])) == []


def test_an_entity_of_the_release_that_is_not_in_the_telemetry_is_named() -> None:
    assert found(fleet(DAY, hosts=HOSTS[:-1])) == [("h11", "silent", START, None)]
    assert found(fleet(DAY, hosts=HOSTS[:3])) == [], "the telemetry of a few entities"


def test_a_whole_kind_is_one_event() -> None:
    both = scorer(web=HOSTS, db=["d1", "d2"])
    table = pa.concat_tables([without(fleet(DAY), None, 200), fleet(DAY, "db", ["d1", "d2"])])
    assert described(find_silences(both, table, {"*": 12})) == [("*", "silent", at(200), None)]
    closed = {"start": START, "until": at(DAY)}
    alone = fleet(DAY, "db", ["d1", "d2"])
    assert described(find_silences(both, alone, {"*": 12}, **closed)) == [("*", "silent", START, None)]
    assert described(find_silences(both, alone, {"*": 12}, **closed, unread=["web"])) == []
    assert described(find_silences(both, alone, {"*": 12})) == [], "a file of one kind"
    assert found(without(fleet(), None, 400, 440)) == [("*", "silent", at(400), at(440))]


def test_a_frozen_exporter_is_found_and_an_idle_one_is_not() -> None:
    assert found(frozen(fleet(), "h11", 700, 748)) == [("h11", "frozen", at(700), at(748))]
    assert found(frozen(fleet(), "h11", 840, 864)) == [("h11", "frozen", at(840), None)]
    assert found(frozen(fleet(), "h11", 700, 748, METRICS[:-1])) == []
    idle = fleet()
    for day in range(3):
        idle = frozen(idle, "h11", day * DAY + 40, day * DAY + 80)
    assert found(idle) == []
    zeros = fleet()
    for name in METRICS:
        values = zeros[name].to_numpy().copy()
        values[700:748] = 0.0
        zeros = zeros.set_column(zeros.schema.get_field_index(name), name, pa.array(values))
    assert found(zeros) == []


def test_maintenance_is_no_silence() -> None:
    row = {"kind": "web", "entity_id": "h09", "metric": "*", "from": at(690), "until": at(790), "by": "x", "why": "y"}
    muted = scorer(pa.Table.from_pylist([row], schema=MUTES.schema))
    silences = find_silences(muted, without(fleet(), "h09", 700, 800), {"*": 12})
    assert described(silences) == [] and ("web", "h09") in silences.excused
    late = find_silences(muted, without(fleet(), "h09", 700, 810), {"*": 12})
    assert described(late) == [("h09", "silent", at(700), at(810))]


def test_short_lived_entities_are_one_line_and_no_alert() -> None:
    table = pa.concat_tables([without(fleet(hosts=[h], seed=i), h, 300 + 30 * i) for i, h in enumerate(HOSTS[:-1])])
    silences = find_silences(scorer(), pa.concat_tables([table, fleet(hosts=HOSTS[-1:])]), {"*": 12})
    assert described(silences) == []
    assert list(silences.lines()) == [
        "kind 'web': 11 entities ended at different times; if they are short-lived, set emit.silent_steps: {web: 0}"
    ]
    assert find_silences(scorer(), table, {"*": 12, "web": 0}).off == {"web"}


def test_the_lines_name_who_since_when() -> None:
    table = frozen(without(fleet(), "h09", 700), "h11", 700, 748)
    assert list(find_silences(scorer(), table, {"*": 12}).lines()) == [
        "kind 'web': 1 of 12 entities silent: h09 since 2026-03-11T10:20:00Z",
        "kind 'web': 1 of 12 entities repeated the same values of all metrics: "
        "h11 from 2026-03-11T10:20:00Z to 2026-03-11T14:20:00Z",
    ]


def run(before: Firing, table: pa.Table, newest: datetime | None = None, release: Scorer | None = None):
    silences = find_silences(release or scorer(), table, {"*": 12})
    alerts, pages = advance_silences(before.silences, silences, newest, SETTINGS)
    return alerts, Firing(silences=pages)


def test_a_rack_is_one_alert_and_lasts_until_it_is_heard() -> None:
    table = fleet()
    for host in HOSTS[:4]:
        table = without(table, host, 800)
    (alert,), firing = run(Firing(), table)
    document = as_json(alert, "r" * 16, at(10_000))
    assert document["labels"] == {
        "alertname": "FleetalignSilent", "kind": "web", "entity_id": "h00", "reason": "silent",
        "incident": alert.incident.incident_id,
    }  # fmt: skip
    assert document["annotations"]["members"] == "h00, h01, h02, h03"
    assert document["annotations"]["summary"] == "web: 4 entities, h00 first: no telemetry since 2026-03-11T18:40:00Z"
    store = MemoryStore()
    write_firing(store, "champion", firing)
    assert read_firing(store, "champion").silences == firing.silences
    # A later run whose telemetry no longer reaches back to their last samples renews the same alert.
    later = fleet(4 * DAY).filter([time >= at(3 * DAY) for time in fleet(4 * DAY)["timestamp"].to_pylist()])
    (again,), firing = run(firing, later.filter(pa.array([h not in HOSTS[:4] for h in later["entity_id"].to_pylist()])))
    assert (again.incident.incident_id, again.ended) == (alert.incident.incident_id, False)
    (over,), firing = run(firing, later)
    assert (over.incident.incident_id, over.ended) == (alert.incident.incident_id, True)
    assert firing.silences == () and run(firing, later)[0] == []


def test_a_frozen_entity_goes_on_while_no_value_changes() -> None:
    (alert,), firing = run(Firing(), frozen(fleet(), "h11", 800, 864))
    still = frozen(fleet(DAY), "h11", 0, DAY)
    moved = still.set_column(
        2, "timestamp", pa.array([t + timedelta(days=3) for t in still["timestamp"].to_pylist()], TIME)
    )
    (again,), firing = run(firing, moved)
    assert (again.incident.incident_id, again.ended, again.silence) == (alert.incident.incident_id, False, "frozen")


def test_a_repeated_run_says_the_same_and_old_telemetry_does_not_fire() -> None:
    table = without(fleet(), "h09", 800)
    once, firing = run(Firing(), table)
    assert run(firing, table) == (once, firing)
    assert [alert.ended for alert in run(Firing(), table, newest=at(30 * DAY))[0]] == [True]
    turned_off = advance_silences(firing.silences, find_silences(scorer(), table, {"web": 0}), None, SETTINGS)
    assert [alert.ended for alert in turned_off[0]] == [True] and turned_off[1] == ()
