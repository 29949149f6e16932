"""Mutes: checked when they are said, lifted by a later statement, as the scorer will see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback.mutes import MuteRequest, lift, mute
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.statements import list_mutes, read_mutes

START, END = datetime(2026, 3, 3, tzinfo=UTC), datetime(2026, 3, 3, 6, tzinfo=UTC)


def said(store: MemoryStore, **changes: Any) -> str:
    what = {"entity": "a", "kind": None, "metric": "cpu", "start": None, "end": None, "by": "ana", "why": "noisy"}
    (name,) = mute(store, MuteRequest(**(what | changes)))
    return name


def holds(store: MemoryStore) -> list[tuple[Any, ...]]:
    return [(r["kind"], r["entity_id"], r["metric"], r["from"], r["until"]) for r in read_mutes(store).to_pylist()]


def test_a_metric_of_one_entity_or_of_all_and_a_maintenance_window(fleet: MemoryStore) -> None:
    said(fleet)
    said(fleet, entity=None, kind="db", start=START)
    said(fleet, metric=None, start=START, end=END)
    assert sorted(holds(fleet), key=str) == sorted(
        [("web", "a", "cpu", None, None), ("db", "*", "cpu", START, None), ("web", "a", "*", START, END)], key=str
    )


def test_the_same_mute_twice_is_one(fleet: MemoryStore) -> None:
    assert said(fleet) == said(fleet)
    assert len(list_mutes(fleet)) == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"entity": "ghost"}, BadInput, "no telemetry of an entity 'ghost'"),
        ({"entity": None, "kind": "app"}, BadInput, "no telemetry of kind 'app'; there is db, web"),
        ({"metric": "cpus"}, BadInput, "kind web has no metric 'cpus'; it has cpu"),
        ({"metric": None, "start": START}, UsageError, "a maintenance window needs --from and --until"),
        ({"start": END, "end": START}, UsageError, "ends at 2026-03-03T00:00:00Z, not after its start"),
    ],
)
def test_nonsense_is_refused_and_stores_nothing(
    fleet: MemoryStore, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        said(fleet, **changes)
    assert list_mutes(fleet) == []


def test_a_lift_ends_a_mute_and_the_first_end_counts(fleet: MemoryStore) -> None:
    name = said(fleet, start=START)
    assert lift(fleet, name[:6], at=datetime(2026, 3, 9, tzinfo=UTC), by="bo", why="fixed") == name
    assert holds(fleet)[0][-1] == datetime(2026, 3, 9, tzinfo=UTC)
    lift(fleet, name, at=END, by="cy", why="fixed earlier")
    assert holds(fleet)[0][-1] == END
    with pytest.raises(BadInput, match="has ended already, at 2026-03-03T06:00:00Z"):
        lift(fleet, name, at=END, by="cy", why="again")
    (row,) = list_mutes(fleet)
    assert [x["by"] for x in row["lifts"]] == ["cy", "bo"], "nothing that was said is gone"


def test_a_mute_lifted_before_its_start_never_was(fleet: MemoryStore) -> None:
    lift(fleet, said(fleet, start=START), at=START, by="bo", why="a mistake")
    assert holds(fleet) == []
    assert len(list_mutes(fleet)) == 1


def test_a_lift_needs_one_mute(fleet: MemoryStore) -> None:
    with pytest.raises(BadInput, match="no mute has the id 'x'"):
        lift(fleet, "x", at=END, by="bo", why="x")
