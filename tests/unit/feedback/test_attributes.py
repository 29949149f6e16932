"""Attributes of entities: read with telemetry or from files, and named by statements and mutes instead of entities."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.config import Config
from fleetalign.contracts.attributes import Attributes
from fleetalign.contracts.feedback import Statements, unique
from fleetalign.contracts.tables import ATTRIBUTES, FEEDBACK, MUTES, to_parquet
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback import listing, statements
from fleetalign.feedback.calendars import import_calendar
from fleetalign.feedback.files import read_feedback_file
from fleetalign.feedback.mutes import MuteRequest, mute
from fleetalign.ingest.attributes import import_attribute_file
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.run import ingest_files
from fleetalign.interval import Interval
from fleetalign.storage.attributes import read_attributes, resolved_feedback, resolved_mutes
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.statements import list_mutes, read_feedback

DAY = datetime(2026, 3, 2, tzinfo=UTC)
NOW = DAY + timedelta(days=3)


def table(*rows: tuple[Any, ...]) -> pa.Table:
    names = ATTRIBUTES.schema.names
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=ATTRIBUTES.schema)


def csv(folder: Path, *lines: str) -> str:
    path = folder / "file.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def labelled(fleet: MemoryStore, tmp_path: Path) -> MemoryStore:
    """The fleet whose entities a and twin are in eu, b/c in us."""
    import_attribute_file(
        fleet, csv(tmp_path, "kind,entity_id,dc", "web,a,eu", "web,twin,eu", "db,twin,eu", "web,b/c,us"), "", NOW
    )
    return fleet


def test_a_value_holds_until_the_next_and_an_empty_one_ends_it() -> None:
    said = Attributes(
        table(("web", "a", "dc", "us", DAY), ("web", "a", "dc", "", NOW), ("web", "a", "team", "x", None))
    )
    assert said.of("web", "a", DAY - timedelta(days=9)) == {"dc": "us", "team": "x"}, "the first one holds before"
    assert said.of("web", "a", NOW - timedelta(seconds=1)) == {"dc": "us", "team": "x"}
    assert said.of("web", "a", NOW) == said.of("web", "a") == {"team": "x"}
    assert said.entities(("dc", "us"), DAY) == [("web", "a")]
    assert said.entities(("dc", "us")) == said.entities(("dc", "")) == []


days = st.integers(0, 6).map(lambda day: DAY + timedelta(days=day))


@given(
    st.lists(st.tuples(days, st.sampled_from(["eu", "us", ""])), min_size=1, max_size=8, unique_by=lambda x: x[0]), days
)
def test_the_order_of_days_and_repeated_values_change_nothing(said: list[tuple[datetime, str]], at: datetime) -> None:
    rows = [("web", "a", "dc", value, start) for start, value in said]
    one, other = Attributes(table(*rows)), Attributes(table(*reversed(rows)))
    earlier = [value for start, value in sorted(said) if start <= at] or [min(said)[1]]
    assert one.of("web", "a", at) == other.of("web", "a", at) == ({"dc": earlier[-1]} if earlier[-1] else {})


LINES = [
    "time,host,team,cpu",
    *(f"2026-03-0{day}T0{hour}:00:00Z,{host},{team},1" for day, hour, host, team in [
        (2, 0, "a", "red"), (2, 1, "a", "blue"), (3, 0, "a", ""), (3, 1, "a", "green"), (2, 0, "b=1", " red "), (2, 1, "b=1", ""),
    ]),
]  # fmt: skip
MAPPING = Mapping(entity_column="host", time_column="time", attribute_columns=("team",), kind="web")


def test_columns_of_telemetry_become_attributes_and_no_metric(tmp_path: Path) -> None:
    store = MemoryStore()
    result = ingest_files(store, Config(), csv(tmp_path, *LINES), MAPPING, None)
    assert [p.metrics for p in result.partitions] == [("cpu",), ("cpu",)]
    said = read_attributes(store)
    assert said.of("web", "a", DAY) == {"team": "blue"}, "of several values of a partition the last"
    assert said.of("web", "a") == {"team": "green"}
    assert said.of("web", "b=1") == {"team": "red"}
    assert read_attributes(store, newest=1).of("web", "b=1") == {}
    assert read_attributes(store, ["db"]).everyone() == []


def test_attributes_change_no_partition_and_ingesting_again_no_byte(tmp_path: Path) -> None:
    with_them, without = MemoryStore(), MemoryStore()
    path = csv(tmp_path, *LINES)
    ingest_files(with_them, Config(), path, MAPPING, None)
    before = {info.key: with_them.get(info.key) for info in with_them.list("")}
    ingest_files(with_them, Config(), path, MAPPING, None)
    assert {info.key: with_them.get(info.key) for info in with_them.list("")} == before
    mapping = Mapping(entity_column="host", time_column="time", ignore=("team",), kind="web")
    ingest_files(without, Config(), path, mapping, None)
    raw = {key: data for key, data in before.items() if not key.startswith("attributes/")}
    assert {info.key: without.get(info.key) for info in without.list("")} == raw


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="attribute_columns: 'squad' is not a column; it has"):
        mapping = Mapping(entity_column="host", time_column="time", attribute_columns=("squad",))
        ingest_files(MemoryStore(), Config(), csv(tmp_path, *LINES), mapping, None)


def test_a_file_wins_over_telemetry(tmp_path: Path) -> None:
    store = MemoryStore()
    ingest_files(store, Config(), csv(tmp_path, *LINES), MAPPING, None)
    done = import_attribute_file(
        store, csv(tmp_path, "entity_id,key,value", "a,team,ops", "ghost,team,ops"), "web", NOW
    )
    assert done == {"attributes": 2, "entities": 2, "notes": ["1 of 2 entities are unknown, such as web/ghost"]}
    assert read_attributes(store).of("web", "a", DAY) == {"team": "ops"}
    assert read_attributes(store).of("web", "b=1") == {"team": "red"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["host,team", "a,x"], "column 'entity_id' is missing; it has host, team"),
        (["entity_id,from", "a,2026-03-02T00:00:00Z"], "no column of an attribute beside 'entity_id'"),
        (["entity_id,team", ",x"], "file.csv row 1: column 'entity_id' is ''"),
        (["entity_id,key,value", "a,,x"], "file.csv row 1: column 'key' is empty"),
        (
            ["entity_id,team,from", "a,x,2026-03-02T00:00:00Z", "a,y,2026-03-99T00:00:00Z"],
            "file.csv row 2: column 'from' is",
        ),
        (["entity_id,team", "ghost,x"], r"no row names an entity of the stored telemetry \(first: web/ghost\)"),
    ],
)
def test_a_bad_file_of_attributes_is_refused_whole(
    fleet: MemoryStore, tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        import_attribute_file(fleet, csv(tmp_path, *lines), "web", NOW)
    assert read_attributes(fleet).everyone() == []


FORM = {"attribute": "dc=eu", "start": "2026-03-03T01:00:00Z", "end": "2026-03-03T02:00:00Z", "verdict": "anomaly"}


def spoken_of(store: MemoryStore) -> Iterator[tuple[str, str]]:
    found = resolved_feedback(store)
    for kind, entity_id in [("web", "a"), ("web", "twin"), ("db", "twin"), ("web", "b/c")]:
        if Statements(unique(found), kind).speaks_of(entity_id):
            yield kind, entity_id


def test_an_incident_of_a_data_centre_is_one_of_each_of_its_entities(labelled: MemoryStore) -> None:
    said = statements.add(labelled, FORM, merge_steps=3, by="ana", now=NOW)
    assert (said["entity"], said["new"], said["warnings"]) == ("db: dc=eu, web: dc=eu", 2, [])
    assert list(spoken_of(labelled)) == [("web", "a"), ("web", "twin"), ("db", "twin")]
    assert read_feedback(labelled)["entity_id"].null_count == 2
    assert resolved_feedback(labelled).schema.names == FEEDBACK.schema.names[:-2], "as before attributes"
    web = next(row for row in read_feedback(labelled).to_pylist() if row["kind"] == "web")
    statements.retract(labelled, web["feedback_id"], by="ben", why="a drill", now=NOW)
    assert list(spoken_of(labelled)) == [("db", "twin")]
    with pytest.raises(BadInput, match="no entity has the attribute dc=asia; dc is eu, us"):
        statements.add(labelled, {**FORM, "attribute": "dc=asia"}, merge_steps=3, by="ana", now=NOW)
    with pytest.raises(UsageError, match="name an entity with its start and end, an attribute"):
        statements.add(labelled, {**FORM, "entity": "a"}, merge_steps=3, by="ana", now=NOW)


def test_a_statement_of_an_entity_contradicts_one_of_its_data_centre(labelled: MemoryStore) -> None:
    statements.add(labelled, {**FORM, "kind": "web"}, merge_steps=3, by="ana", now=NOW)
    form = {name: FORM[name] for name in ("start", "end")} | {"entity": "a", "verdict": "normal"}
    said = statements.add(labelled, form, merge_steps=3, by="ben", now=NOW + timedelta(seconds=1))
    assert "1 pairs of statements contradict each other" in said["warnings"][0]
    times = np.datetime64("2026-03-03T01", "us") + np.arange(1) * np.timedelta64(3600, "s")
    held = Statements(unique(resolved_feedback(labelled)), "web")
    assert (held.labels("a", times)[0], held.labels("twin", times)[0]) == (0, 1)


def test_files_of_statements_may_name_attributes(labelled: MemoryStore, tmp_path: Path) -> None:
    times = "2026-03-03T01:00:00Z,2026-03-03T02:00:00Z,anomaly"
    head = "entity_id,attribute_key,attribute_value,start,end,verdict"
    path = csv(tmp_path, head, f",dc,eu,{times}", f"b/c,,,{times}", f",dc,asia,{times}")
    done = statements.import_files(labelled, read_feedback_file(path, "web"), path, NOW)
    assert (done.new, len(done.warnings)) == (3, 1)
    assert "1 of 3 statements name unknown entities, such as web: dc=asia" in done.warnings[0]
    assert list(spoken_of(labelled)) == [("web", "a"), ("web", "twin"), ("web", "b/c")]
    for row in (f"a,dc,eu,{times}", f",dc,,{times}"):
        with pytest.raises(BadInput, match="row 1: name an entity_id, or an attribute_key with its attribute_value"):
            read_feedback_file(csv(tmp_path, head, row), "web")


def test_a_mute_of_an_attribute_mutes_each_of_its_entities(labelled: MemoryStore) -> None:
    what = {"entity": None, "kind": None, "metric": None, "start": DAY, "end": NOW, "by": "ana", "why": "move"}
    assert len(mute(labelled, MuteRequest(**what, attribute="dc=eu"))) == 2
    held = resolved_mutes(labelled)
    assert sorted(zip(held["kind"].to_pylist(), held["entity_id"].to_pylist(), strict=True)) == [
        ("db", "twin"), ("web", "a"), ("web", "twin"),
    ]  # fmt: skip
    assert held.schema.names == MUTES.schema.names[:-2]
    with pytest.raises(UsageError, match="'dc' is no attribute; write KEY=VALUE"):
        mute(labelled, MuteRequest(**what, attribute="dc"))


def test_statements_without_attributes_freeze_as_before(fleet: MemoryStore) -> None:
    form = {"entity": "a", "start": FORM["start"], "end": FORM["end"], "verdict": "normal"}
    statements.add(fleet, form, merge_steps=3, by="ana", now=NOW)
    stored = read_feedback(fleet).drop_columns(["attribute_key", "attribute_value"])
    assert to_parquet(resolved_feedback(fleet)) == to_parquet(stored)


MARCH = (datetime(2026, 3, 23, tzinfo=UTC), datetime(2026, 4, 6, tzinfo=UTC))


def windows(store: MemoryStore) -> list[tuple[str, str]]:
    return [(f"{m['from']:%m-%dT%H:%M}", f"{m['until']:%m-%dT%H:%M}") for m in list_mutes(store) if m["kind"] == "web"]


def test_a_weekly_pattern_follows_the_local_clock(labelled: MemoryStore, tmp_path: Path) -> None:
    lines = [
        "attribute_key,attribute_value,days,start,end,time_zone,why",
        "dc,us,sat-sun,22:00,06:00,Europe/Berlin,backup",
    ]
    path = csv(tmp_path, *lines)
    done = import_calendar(labelled, path, MARCH, zone="", by="ana")
    assert done == {"rows": 1, "mutes": 5, "new": 5}
    # Summer time begins in the night to the 29th.
    assert sorted(windows(labelled)) == [
        ("03-23T00:00", "03-23T05:00"), ("03-28T21:00", "03-29T04:00"), ("03-29T20:00", "03-30T04:00"),
        ("04-04T20:00", "04-05T04:00"), ("04-05T20:00", "04-06T00:00"),
    ]  # fmt: skip
    assert import_calendar(labelled, path, MARCH, zone="", by="ana")["new"] == 0, "imported again it changes nothing"
    assert set(resolved_mutes(labelled)["entity_id"].to_pylist()) == {"b/c"}


def test_a_holiday_is_a_local_day_of_every_kind(fleet: MemoryStore, tmp_path: Path) -> None:
    done = import_calendar(
        fleet, csv(tmp_path, "date,why", "2026-12-25,christmas"), (None, None), zone="Asia/Tokyo", by="ana"
    )
    assert done == {"rows": 1, "mutes": 2, "new": 2}
    assert windows(fleet) == [("12-24T15:00", "12-25T15:00")]
    assert {(m["entity_id"], m["metric"]) for m in list_mutes(fleet)} == {("*", "*")}


def test_a_downtime_of_one_entity_and_metric(fleet: MemoryStore, tmp_path: Path) -> None:
    line = "web,a,cpu,2026-03-02 01:00,2026-03-02T05:00:00+02:00"
    import_calendar(fleet, csv(tmp_path, "kind,entity_id,metric,from,until", line), (None, None), zone="UTC", by="ana")
    (row,) = list_mutes(fleet)
    assert (row["entity_id"], row["metric"], windows(fleet)) == ("a", "cpu", [("03-02T01:00", "03-02T03:00")])


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("from,until", "2026-03-02,2026-03-03", "row 1: column 'from' has no zone; name one in time_zone"),
        ("from,until", "2026-03-02T00:00Z,", "row 1: column 'until' is empty"),
        ("from,until", "2026-03-02T00:00Z,2026-03-01T00:00Z", "row 1: column 'until' .* is not after 'from'"),
        ("from,until,time_zone", "2026-03-02,2026-03-03,Mars", "row 1: .*time_zone 'Mars' is unknown"),
        ("date,days,time_zone", "2026-03-02,mon,UTC", "row 1: give one of from and until, date, or days"),
        ("days,start,end,time_zone", "someday,1:00,2:00,UTC", "row 1: column 'days' is 'someday'"),
        ("days,start,end,time_zone", "mon,25:00,26:00,UTC", "row 1: column 'start' is '25:00'"),
        ("days,start,end", "mon,01:00,02:00", "row 1: column 'time_zone' is empty"),
        ("date,time_zone,entity_id", "2026-03-02,UTC,ghost", "row 1: .*no telemetry of an entity 'ghost'"),
        ("date,time_zone,kind", "2026-03-02,UTC,app", "row 1: .*no telemetry of kind 'app'"),
        ("date,time_zone,metric", "2026-03-02,UTC,heat", "row 1: column 'metric': kind db has no metric 'heat'"),
        ("date,time_zone,attribute_key,attribute_value", "2026-03-02,UTC,dc,eu", "row 1: .*no entity has the attribute dc=eu"),
        ("day,until", "2026-03-02,2026-03-03", "unknown column 'day'; a calendar has kind, entity_id"),
        ("days,start,end,time_zone,until", "mon-sun,01:00,02:00,UTC,2126-01-01", "row 1: more than 10000 windows"),
    ],
)  # fmt: skip
def test_a_calendar_that_cannot_be_used_stores_nothing(
    fleet: MemoryStore, tmp_path: Path, head: str, line: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        import_calendar(fleet, csv(tmp_path, head, line), MARCH if "days" in head else (None, None), zone="", by="ana")
    assert list_mutes(fleet) == []


def test_an_interval_in_which_it_was_said_is_its_partition(tmp_path: Path) -> None:
    store = MemoryStore()
    ingest_files(store, Config(), csv(tmp_path, *LINES), MAPPING, Interval(DAY, DAY + timedelta(days=1)))
    assert read_attributes(store).of("web", "a", NOW) == {"team": "blue"}
    assert read_attributes(store, until=DAY).everyone() == []


def test_the_file_imported_last_counts_whatever_its_content(fleet: MemoryStore, tmp_path: Path) -> None:
    for minute, team in enumerate(("red", "blue", "red", "green", "blue")):
        import_attribute_file(
            fleet, csv(tmp_path, "entity_id,team", f"a,{team}"), "web", NOW + timedelta(minutes=minute)
        )
        assert read_attributes(fleet).of("web", "a") == {"team": team}
    dated = csv(tmp_path, "entity_id,team,from", "a,old,2026-03-01T00:00:00Z", "a,new,2026-03-03T00:00:00Z")
    import_attribute_file(fleet, dated, "web", NOW + timedelta(hours=1))
    held = read_attributes(fleet)
    assert (held.of("web", "a", DAY), held.of("web", "a")) == ({"team": "old"}, {"team": "new"})
    import_attribute_file(fleet, csv(tmp_path, "entity_id,team", "a,last"), "web", NOW + timedelta(hours=2))
    assert read_attributes(fleet).of("web", "a") == {"team": "last"}, "a value without a time replaces all"


def test_replacing_a_partition_replaces_its_attributes(tmp_path: Path) -> None:
    store, path = MemoryStore(), csv(tmp_path, *LINES)
    ingest_files(store, Config(), path, MAPPING, None)
    without = Mapping(entity_column="host", time_column="time", ignore=("team",), kind="web")
    ingest_files(store, Config(), path, without, None)
    assert read_attributes(store).of("web", "a") == {"team": "green"}, "another file of the day keeps them"
    ingest_files(store, Config(), path, without, None, stored="replace")
    assert read_attributes(store).everyone() == []


def test_statements_of_attributes_that_nothing_has_are_refused_whole(labelled: MemoryStore, tmp_path: Path) -> None:
    head, times = "attribute_key,attribute_value,start,end,verdict", "2026-03-03T01:00:00Z,2026-03-03T02:00:00Z,anomaly"
    path = csv(tmp_path, head, f"dc,asia,{times}", f"team,eu,{times}")
    with pytest.raises(BadInput, match="or an attribute that one has then"):
        statements.import_files(labelled, read_feedback_file(path, "web"), path, NOW)
    assert read_feedback(labelled).num_rows == 0


def test_the_statements_about_an_entity_are_listed_with_those_of_its_attributes(labelled: MemoryStore) -> None:
    statements.add(labelled, {**FORM, "kind": "web"}, merge_steps=3, by="ana", now=NOW)
    assert len(listing.statements(labelled, "web/a")) == len(listing.statements(labelled)) == 1
    assert listing.statements(labelled, "web/b/c") == []


def test_a_mute_of_an_attribute_may_be_of_one_kind(labelled: MemoryStore) -> None:
    what = {"metric": None, "start": DAY, "end": NOW, "by": "ana", "why": "move"}
    mute(labelled, MuteRequest(**what, entity=None, kind="web", attribute="dc=eu"))
    assert resolved_mutes(labelled)["kind"].unique().to_pylist() == ["web"]
    for whom in ({"entity": None, "kind": None}, {"entity": "a", "kind": "web"}):
        with pytest.raises(UsageError, match="a mute is about an --entity, or about the entities of"):
            mute(labelled, MuteRequest(**what, **whom))
