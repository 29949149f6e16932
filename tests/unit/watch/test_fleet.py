"""What the Fleet page finds in a store, and how little of it is read."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.manifest import Gate
from fleetalign.contracts.tables import ATTRIBUTES, FLEET_ROW_GROUP_ROWS
from fleetalign.errors import Corrupt, NotFound, UsageError
from fleetalign.interval import Interval
from fleetalign.storage import channel as channels
from fleetalign.storage import lake, layout
from fleetalign.storage.attributes import import_attributes
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release, toy_telemetry
from fleetalign.watch.entity_list import PAGE_ROWS, EntityPages, Query
from fleetalign.watch.fleet import CHECKED_DAYS, fleet_view, read_release, release_of_plan, validations

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
MANY = [f"e{i:05d}" for i in range(10_000)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def move(store: MemoryStore, release_id: str, hours_ago: float, name: str = "champion") -> None:
    channels.move(store, name, release_id, "ops", "test", 48.0, NOW - timedelta(hours=hours_ago))


def check(store: MemoryStore, release_id: str, day: str, pages: float, drifted: bool = False) -> None:
    rate = {"pages": pages, "entity_days": 10.0, "limit": 2.0, "verdict": "fail" if pages > 20 else "pass"}
    report = {"release_id": release_id, "day": day, "drifted": drifted, "alarm_rate": rate}
    store.put(layout.drift(release_id, day), readable_json(report))
    store.put(layout.drift(release_id, day, "report.html"), b"<p>")


def test_nothing_promoted_is_no_error(store: MemoryStore) -> None:
    view = fleet_view(store, "champion", NOW)
    assert (view.chosen, view.release, list(view.channels)) == (None, None, [])
    with pytest.raises(UsageError):
        fleet_view(store, "../x", NOW)


def test_since_when_is_the_first_move_to_it_and_not_a_renewal(store: MemoryStore) -> None:
    old, new = toy_release(store), toy_release(store, threshold=2.0)
    for release_id, hours in ((new, 90), (old, 80), (new, 60), (new, 50)):
        move(store, release_id, hours)
    move(store, old, 1, "challenger")
    view = fleet_view(store, "champion", NOW)
    assert [c.pointer.channel for c in view.channels] == ["champion", "challenger"]
    assert view.chosen.since == NOW - timedelta(hours=60)
    assert view.chosen.expired
    assert not view.channels[1].expired
    assert (view.release.release_id, view.chosen.pointer.previous) == (new, old)


def test_an_altered_release_is_not_shown(store: MemoryStore) -> None:
    release_id = toy_release(store)
    move(store, release_id, 1)
    store.put(layout.release(release_id, "manifest.json"), b"{}")
    with pytest.raises(Corrupt):
        fleet_view(store, "champion", NOW)


def test_pages_are_those_of_the_release_that_served_the_day_later(store: MemoryStore) -> None:
    old, new, other = toy_release(store), toy_release(store, threshold=2.0), toy_release(store, threshold=3.0)
    move(store, old, 90)
    move(store, new, 10)
    for day in range(1, CHECKED_DAYS + 1):
        check(store, old, f"2026-02-{day:02d}" if day < 29 else f"2026-03-{day - 28:02d}", day)
    check(store, old, "2026-03-10", 5)
    check(store, new, "2026-03-10", 21, drifted=True)
    check(store, new, "2026-03-11", 1)
    check(store, other, "2026-03-12", 99)
    view = fleet_view(store, "champion", NOW)
    assert len(view.days) == CHECKED_DAYS
    assert [(d.day, d.release_id, d.pages, d.budget, d.over_budget) for d in view.days[-3:]] == [
        ("2026-03-02", old, 30, 20.0, True),
        ("2026-03-10", new, 21, 20.0, True),
        ("2026-03-11", new, 1, 20.0, False),
    ]
    assert view.check == view.days[-1]


def test_freshness_is_that_of_the_newest_partition_and_looks_no_further_back(store: MemoryStore) -> None:
    move(store, toy_release(store), 1)
    for day in ("2026-03-08", "2026-03-09"):
        interval = Interval.parse(day, day + "T23:59:59.999999Z")
        span = Interval(interval.start, interval.start + timedelta(days=1))
        lake.write_partition(
            store, "validated", "service", span, "day", toy_telemetry("service", "a", 5).slice(0, 0), 60, {}
        )
    listed, real = [], store.list
    store.list = lambda prefix: listed.append(prefix) or real(prefix)
    (fresh,) = fleet_view(store, "champion", NOW).freshness
    assert fresh.validated_until == datetime(2026, 3, 10, tzinfo=UTC)
    assert fresh.late
    assert [p for p in listed if p.startswith(layout.telemetry("validated"))] == [
        layout.telemetry_month("validated", "service", NOW)
    ]
    (fresh,) = fleet_view(store, "champion", datetime(2026, 5, 1, tzinfo=UTC)).freshness
    assert fresh.validated_until == datetime(2026, 3, 10, tzinfo=UTC), "months without telemetry are passed over"


class Reads(Counter):
    """Row groups that are read, and rows that become Python objects."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        group, at = FleetTable.group, FleetTable.at

        def counted(table: FleetTable, number: int, kind: str | None = None) -> pa.Table:
            self["groups"] += 1
            return group(table, number, kind)

        def rows(table: FleetTable, positions: Any) -> pa.Table:
            self["rows"] += len(positions)
            return at(table, positions)

        monkeypatch.setattr(FleetTable, "group", counted)
        monkeypatch.setattr(FleetTable, "at", rows)


def test_a_page_of_ten_thousand_entities_reads_the_rows_of_one_page(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(MANY) > FLEET_ROW_GROUP_ROWS
    old, new = (toy_release(store, kinds={"service": MANY}, threshold=t) for t in (1.0, 2.0))
    pages = EntityPages(store)
    pages.page(new, old, Query())
    reads, fetched = Reads(monkeypatch), []
    monkeypatch.setattr(store, "get_versioned", lambda key: fetched.append(key))
    found = pages.page(new, old, Query())
    assert (found.total, found.pages, found.moved, found.new, found.gone) == (10_000, 200, 10_000, 0, 0)
    assert [row["entity_id"] for row in found.rows] == MANY[:PAGE_ROWS]
    assert (found.rows[1]["threshold"], found.rows[1]["before"], found.rows[1]["factor"]) == (3.0, 2.0, 1.5)
    assert reads == {"rows": PAGE_ROWS, "groups": 1}
    reads.clear()
    found = pages.page(new, old, Query(order="name", text="e0777", page=9))
    assert (found.page, [row["entity_id"] for row in found.rows]) == (1, MANY[7770:7780])
    assert reads == {"rows": 10, "groups": 2}, "one to find them, one to read them"
    assert not fetched, "what does not change is not fetched twice"


def test_entities_are_narrowed_down(store: MemoryStore) -> None:
    kinds = {"db": ("a", "b/1"), "web": ("a", "c")}
    old = toy_release(store, kinds={"db": ("a",), "old": ("x",)})
    new, pages = toy_release(store, kinds=kinds), EntityPages(store)

    def names(**query: Any) -> list[tuple[str, str]]:
        rows = pages.page(new, old, Query(order="name", **query)).rows
        return [(row["kind"], row["entity_id"]) for row in rows]

    assert names() == [("db", "a"), ("db", "b/1"), ("web", "a"), ("web", "c")], "no default row"
    assert names(kind="web") == [("web", "a"), ("web", "c")]
    assert names(text="a") == [("db", "a"), ("web", "a")]
    assert names(text="db/b") == [("db", "b/1")]
    assert names(state="shared", kind="db") == [("db", "a"), ("db", "b/1")]
    rows = [("db", "b/1", "dc", "eu", None), ("web", "a", "dc", "eu", None), ("web", "c", "dc", "a=b", None)]
    columns = map(list, zip(*rows, strict=True))
    import_attributes(store, pa.table(list(columns), schema=ATTRIBUTES.schema), datetime(2026, 3, 1, tzinfo=UTC))
    assert names(attribute="dc=eu") == [("db", "b/1"), ("web", "a")]
    assert names(attribute="dc=a=b") == [("web", "c")]
    assert names(attribute="dc=eu", kind="db") == [("db", "b/1")]
    assert names(attribute="dc=asia") == names(attribute="nonsense") == []
    found = pages.page(new, old, Query(order="name"))
    assert ([row["attributes"] for row in found.rows], found.attributes) == (
        [{}, {"dc": "eu"}, {"dc": "eu"}, {"dc": "a=b"}], ["dc=a=b", "dc=eu"],
    )  # fmt: skip
    assert names(state="aligned") == names(kind="nobody") == names(text="zz") == names(state="nonsense") == []
    page = pages.page(new, old, Query(page=99))
    assert (page.page, page.pages, page.new, page.gone) == (1, 1, 3, 2)
    assert (pages.page(new, None, Query()).compared, pages.page(new, None, Query()).new) == (False, 0)


def test_a_release_before_that_is_gone_is_as_none(store: MemoryStore) -> None:
    release_id = toy_release(store)
    page = EntityPages(store).page(release_id, "0" * 16, Query())
    assert (page.compared, page.total, page.new) == (False, 2, 0)
    with pytest.raises(NotFound):
        EntityPages(store).page("0" * 16, None, Query())


def test_gates_are_its_own_and_of_the_comparison_that_counts(store: MemoryStore) -> None:
    gates = [Gate(name, 1.0, 0.0, "pass", "w") for name in ("own", "a", "b")]
    release_id = toy_release(store, gates=gates[:1])
    for champion_id, gate in ((None, gates[1]), ("0" * 16, gates[2])):
        document = {"champion_id": champion_id, "verdict": "pass", "comparison_gates": [gate.as_document()]}
        store.put(layout.promotion(release_id, champion_id), readable_json(document))
    release = read_release(store, release_id)
    found = {c: [gate.name for gate in release.gates(c)] for c in (None, "0" * 16, "1" * 16)}
    assert found == {None: ["own", "a"], "0" * 16: ["own", "b"], "1" * 16: ["own"]}


def test_release_of_a_plan_and_validations_of_a_key(store: MemoryStore) -> None:
    with pytest.raises(NotFound, match="has no release yet"):
        release_of_plan(store, "p1")
    day, hour = Interval.parse("2026-03-02", "2026-03-03"), Interval.parse("2026-03-02T05:00Z", "2026-03-02T06:00Z")
    for kind in ("db", "web"):
        store.put(layout.validation_result(kind, day, "day"), b"{}")
        store.put(layout.validation_result(kind, hour, "hour"), b"{}")
        store.put(layout.data_docs_of(layout.validation_result(kind, day, "day")) + "result.json", b"")
    assert validations(store, "2026-03-02") == [layout.validation_result(k, day, "day") for k in ("db", "web")]
    assert validations(store, "2026-03-02T05") == [layout.validation_result(k, hour, "hour") for k in ("db", "web")]
    with pytest.raises(UsageError):
        validations(store, "../etc")
