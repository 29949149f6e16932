"""What fires from one run to the next: pages go on, end, fall silent, and a run that is repeated changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from fleetalign.config.run import EmitConfig
from fleetalign.contracts.tables import CONTRIBUTIONS, SCORES
from fleetalign.emit.firing import Alert, Firing, advance, read_firing, write_firing
from fleetalign.errors import Conflict, Corrupt
from fleetalign.storage import layout
from fleetalign.storage.memory import MemoryStore

START = datetime(2026, 3, 9, tzinfo=UTC)
NOW = START + timedelta(days=30)
SETTINGS = EmitConfig(hold_hours=2.0)


def scored(minute: int, samples: str, entity: str = "a") -> pa.Table:
    """One sample a minute from ``minute`` on: ``!`` alarms, ``.`` does not, ``?`` has no metric, ``m`` is in maintenance."""
    rows = [
        {
            "kind": "web",
            "entity_id": entity,
            "timestamp": START + timedelta(minutes=minute + index),
            "score": 1.0 if what in "!." else None,
            "margin": {"!": 1.0, ".": -1.0}.get(what),
            "alarm": what == "!",
            "reason": {"?": "no_metric", "m": "maintenance"}.get(what),
            "contributions": [("cpu", 1.0)] if what == "!" else [],
        }
        for index, what in enumerate(samples)
    ]
    return pa.Table.from_pylist(rows, schema=SCORES.schema.append(CONTRIBUTIONS))


def after(before: Firing, *tables: pa.Table) -> tuple[list[Alert], Firing]:
    return advance(before, pa.concat_tables(tables), {"web": 60}, 3, SETTINGS, NOW)


@pytest.mark.parametrize(
    ("samples", "ended"),
    [("..!!", False), ("!!..", False), ("!!...", True), ("!!??????", False), ("!!.?.", True), ("!!mmm", True)],
    ids=["goes on", "too short a quiet", "quiet", "no metric is no health", "quiet on the clock", "maintenance"],
)
def test_a_page_ends_when_its_entity_was_seen_quiet(samples: str, ended: bool) -> None:
    (alert,), firing = after(Firing(), scored(0, samples))
    assert alert.ended is ended
    assert bool(firing.pages) is not ended


def test_a_page_goes_on_over_runs_under_one_id_and_ends_once() -> None:
    first, firing = after(Firing(), scored(0, "..!!"))
    second, firing = after(firing, scored(4, "!!.."))
    third, firing = after(firing, scored(8, "...."))
    assert [a.incident.incident_id for a in (*first, *second, *third)] == [first[0].incident.incident_id] * 3
    assert [a.ended for a in (*first, *second, *third)] == [False, False, True]
    assert third[0].incident.end == START + timedelta(minutes=6)
    assert after(firing, scored(12, "...."))[0] == []


def test_a_run_that_is_repeated_says_the_same() -> None:
    before = after(Firing(), scored(0, "..!!"))[1]
    once, firing = after(before, scored(4, "!!"))
    twice, again = after(firing, scored(4, "!!"))
    assert (once, firing) == (twice, again)


def test_replicas_join_the_incident_that_fires() -> None:
    first, firing = after(Firing(), scored(0, "!!!!", "b"))
    second, firing = after(firing, scored(4, "!!!!", "b"), scored(4, ".!!!", "a"))
    assert [a.incident.incident_id for a in second] == [first[0].incident.incident_id]
    assert second[0].incident.members == ("b", "a")
    # One of them is well again: the incident goes on, and keeps its id although its first page has ended.
    third, firing = after(firing, scored(8, "....", "b"), scored(8, "!!!!", "a"))
    assert [(a.incident.incident_id, a.ended) for a in third] == [(first[0].incident.incident_id, False)]


def test_an_entity_that_nobody_hears_of_fires_until_the_hold_is_over() -> None:
    _, firing = after(Firing(), scored(0, "!!!!", "gone"))
    alerts, firing = after(firing, scored(60, "...", "b"))
    assert [a.ended for a in alerts] == [False]
    alerts, firing = after(firing, scored(180, "...", "b"))
    assert [a.ended for a in alerts] == [True]
    assert not firing.pages


def test_old_telemetry_that_is_scored_late_does_not_fire() -> None:
    _, firing = after(Firing(), scored(1000, "....", "b"))
    alerts, firing = after(firing, scored(0, "!!!!"))
    assert [a.ended for a in alerts] == [True]
    assert not firing.pages


def test_a_clock_that_runs_ahead_ends_nobody_elses_pages() -> None:
    _, firing = after(Firing(), scored(60 * 24 * 700, "....", "ahead"), scored(60 * 24 * 30 - 8, "!!!!"))
    alerts, firing = after(firing, scored(60 * 24 * 30 - 4, "!!!!"))
    assert [a.ended for a in alerts] == [False]


def test_a_kind_that_the_release_forgot_fires_until_the_hold_is_over() -> None:
    _, firing = after(Firing(), scored(0, "!!!!"))
    known = {"database": 60}
    alerts, firing = advance(firing, scored(0, "").slice(0, 0), known, 3, SETTINGS, NOW)
    assert [a.ended for a in alerts] == [False]
    other = pa.Table.from_pylist(
        [{**row, "kind": "database"} for row in scored(180, "...").to_pylist()], schema=scored(0, ".").schema
    )
    assert [a.ended for a in advance(firing, other, known, 3, SETTINGS, NOW)[0]] == [True]


def test_it_survives_the_store_and_two_runs_at_once_are_refused() -> None:
    store = MemoryStore()
    assert read_firing(store, "champion") == Firing()
    _, firing = after(Firing(), scored(0, "..!!"))
    write_firing(store, "champion", firing)
    kept = read_firing(store, "champion")
    assert (kept.pages, kept.newest) == (firing.pages, firing.newest)
    write_firing(store, "champion", kept)
    with pytest.raises(Conflict):
        write_firing(store, "champion", kept)


@pytest.mark.parametrize("data", [b"no json", b"[]", b'{"schema_version": "2.0"}', b'{"schema_version": "1.0"}'])
def test_an_object_that_is_none_of_ours_is_named(data: bytes) -> None:
    store = MemoryStore()
    store.put(layout.firing("champion"), data)
    with pytest.raises(Corrupt, match=r"emit/champion/firing\.json"):
        read_firing(store, "champion")
