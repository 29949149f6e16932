"""What a backtest counts, and what a budget leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.config import Config
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.receipts import ReleaseReceipt
from fleetalign.contracts.tables import ATTRIBUTES
from fleetalign.errors import UsageError
from fleetalign.evaluate.events import pages
from fleetalign.explain.plots import backtest_plot
from fleetalign.interval import Interval
from fleetalign.release.backtest import backtest, changes, document, overlap, raise_for, sent, text
from fleetalign.release.replay import Trace
from fleetalign.storage import layout
from fleetalign.storage.attributes import import_attributes
from fleetalign.storage.lake import write_partition
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.plans import toy_plan
from fleetalign.testing.releases import toy_release, toy_telemetry

MERGE = 3
START = np.datetime64("2026-03-02T22:00", "us")
margins = st.lists(
    st.floats(-3, 3, width=32).map(lambda x: round(x, 1)) | st.just(np.nan), min_size=2, max_size=80
).map(lambda rows: np.array(rows, dtype=np.float32))


def trace(entity_id: str, margin: np.ndarray, step_seconds: int = 3600) -> Trace:
    times = START + np.arange(len(margin)) * np.timedelta64(step_seconds, "s")
    return Trace("web", entity_id, times, margin, margin, np.full(len(margin), -1, dtype=np.int8), step_seconds)


def alarms(*at: int, length: int = 48) -> np.ndarray:
    margin = np.full(length, -1.0, dtype=np.float32)
    margin[list(at)] = 1.0
    return margin


@given(margin=margins, allowed=st.integers(0, 6))
def test_a_raised_threshold_keeps_the_budget_and_an_idle_one_stays(margin, allowed):
    raised = raise_for(margin, allowed, MERGE)
    assert len(pages(margin > raised, MERGE)) <= allowed
    assert raised >= 0
    if len(pages(margin > 0, MERGE)) <= allowed:
        assert raised == 0


@given(margin=margins)
def test_more_budget_never_raises_more(margin):
    heights = [raise_for(margin, allowed, MERGE) for allowed in range(6)]
    assert heights == sorted(heights, reverse=True)


def test_pages_days_and_hours_are_those_of_the_margins():
    found = sent("one", [trace("a", alarms(3, 4, 30)), trace("b", alarms())], MERGE)
    assert found.count == 2 and found.entity_days == 4.0 and found.per_entity_day == 0.5
    assert found.by_entity() == {("web", "a"): 2}
    assert set(found.pages) == {("web", "a"), ("web", "b")}
    assert np.flatnonzero(found.by_hour()).tolist() == [1, 4]
    assert found.by_day() == {"2026-03-03": 1, "2026-03-04": 1}
    assert found.pages["web", "a"][0].tolist() == [
        (START + np.timedelta64(3, "h")).item(),
        (START + np.timedelta64(5, "h")).item(),
    ]


def test_silence_is_no_scored_time():
    margin = alarms(3)
    margin[24:] = np.nan
    assert sent("one", [trace("a", margin)], MERGE).per_entity_day == 1.0
    assert sent("one", [trace("a", np.full(5, np.nan, dtype=np.float32))], MERGE).per_entity_day is None


def test_two_sides_side_by_side():
    left = sent("left", [trace("a", alarms(3, 30)), trace("b", alarms(10))], MERGE)
    right = sent("right", [trace("a", alarms(3)), trace("b", alarms()), trace("c", alarms(1, 40))], MERGE)
    assert overlap(left, right) == (1, 2, 2)
    assert overlap(right, left) == (1, 2, 2)
    found = document(left, right, Interval.parse("2026-03-02T22:00Z", "2026-03-04T22:00Z"))
    assert changes(found) == [("web/c", 0, 2), ("web/a", 2, 1), ("web/b", 1, 0)]
    shown = text(found)
    assert "sent by both 1, by the first alone 2, by the second alone 2" in shown
    assert "web/c: 0 -> 2" in shown and "2 of 2" in shown and "2 of 3" in shown
    picture = backtest_plot(found["sides"], changes(found))
    assert picture.startswith("<svg") and picture == backtest_plot(found["sides"], changes(found))


@pytest.mark.parametrize("budget", [0.0, 0.5, 1.0])
def test_a_budget_holds_for_every_entity(budget):
    random = np.random.default_rng(3)
    traces = [trace(f"e{i}", random.normal(0, 1, 24 * 20).astype(np.float32)) for i in range(5)]
    free, held = sent("free", traces, MERGE), sent("held", traces, MERGE, budget)
    assert free.per_entity_day > 1
    assert all(n <= budget * 20 for n in held.by_entity().values())
    assert budget == 0 or held.count > 0


def test_the_newest_release_is_not_compared_with_itself():
    store = MemoryStore()
    release_id = toy_release(store)
    day = Interval.parse("2026-03-07", "2026-03-08")
    partition = write_partition(store, "validated", "service", day, "day", toy_telemetry("service", "a", 0), 60, {})
    plan = toy_plan(partitions=(partition.as_plan_entry(),))
    store.put(layout.plan("p1"), readable_json(plan.as_document()))
    store.put(
        layout.receipt("p1", "release"),
        readable_json(ReleaseReceipt.of("p1", read_manifest(store, release_id)).as_document()),
    )
    span = Interval.parse("2026-03-02", "2026-03-04")
    with pytest.raises(UsageError, match=f"{release_id} is the newest release .* --against"):
        backtest(store, Config(), span, channel="champion", release_id=release_id)
    with pytest.raises(UsageError, match="there is no release yet"):
        store.delete(layout.receipt("p1", "release"))
        backtest(store, Config(), span, channel="champion", release_id=release_id)


def test_what_does_not_fit_the_release_is_said(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    release_id = toy_release(store)
    day = Interval.parse("2026-03-09", "2026-03-10")
    rows = toy_telemetry("service", "c", 100).drop_columns(["errors"]).rename_columns({"latency": "delay"})
    write_partition(store, "validated", "service", day, "day", rows, 60, {})
    write_partition(store, "validated", "toaster", day, "day", toy_telemetry("toaster", "a", 50), 60, {})
    found = backtest(store, Config(), day, channel="champion", release_id=release_id, budget=1.0)
    assert found["notes"] == [
        f"release {release_id}: kind service: metrics errors, latency of the release are in no row; the rows have delay",
        f"release {release_id}: 1 of 1 entities of service are unknown to the release, such as c: they are scored with the "
        "numbers of the whole fleet",
        f"release {release_id}: kind toaster is not in the release (service): its 50 rows get no score",
    ]
    assert [record.message for record in caplog.records] == found["notes"]


def test_entities_are_chosen_and_grouped_by_an_attribute() -> None:
    store = MemoryStore()
    release_id = toy_release(store)
    day = Interval.parse("2026-03-09", "2026-03-10")
    rows = pa.concat_tables(toy_telemetry("service", entity_id, 300, seed=at) for at, entity_id in enumerate("abc"))
    write_partition(store, "validated", "service", day, "day", rows, 60, {})
    named = [("service", entity_id, "team", team, None) for entity_id, team in (("a", "x"), ("b", "x"), ("c", "y"))]
    columns = [list(column) for column in zip(*named, strict=True)]
    import_attributes(store, pa.table(columns, schema=ATTRIBUTES.schema), datetime(2026, 3, 1, tzinfo=UTC))

    def counted(**options: Any) -> dict[str, Any]:
        return backtest(store, Config(), day, channel="champion", release_id=release_id, budget=1.0, **options)

    whole, mine = counted(group_by="team"), counted(where="team=x")
    assert [(g["value"], g["entities"]) for g in sorted(whole["groups"], key=lambda g: g["value"])] == [
        ("x", 2),
        ("y", 1),
    ]
    for at, side in enumerate(whole["sides"]):
        assert side["pages"] == sum(g["pages"][at] for g in whole["groups"])
        by_entity = {name: n for name, n in side["by_entity"].items() if name != "service/c"}
        assert mine["sides"][at]["by_entity"] == by_entity
    assert whole["sides"][0]["pages"] > mine["sides"][0]["pages"] > 0
    assert (mine["sides"][0]["entities"], mine["groups"]) == (2, [])
    assert "team=x" in text(whole)
    with pytest.raises(UsageError, match="no entity has the attribute team=z; there is x, y"):
        counted(where="team=z")
    with pytest.raises(UsageError, match="no entity has an attribute 'squad'; there is team"):
        counted(group_by="squad")
