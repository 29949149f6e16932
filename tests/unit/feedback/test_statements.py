"""What operators say: attributed, append-only, taken back by a later statement, refused when it makes no sense."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetalign.contracts.feedback import Statements, in_force
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback import statements
from fleetalign.feedback.files import read_feedback_file
from fleetalign.storage.file import FileStore
from fleetalign.storage.inventory import EntityInventory
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.statements import append_feedback, read_feedback

NOW = datetime(2026, 3, 4, 9, tzinfo=UTC)
FORM = {
    "entity": "a",
    "start": "2026-03-03T01:00:00Z",
    "end": "2026-03-03T02:00:00Z",
    "verdict": "false_alarm",
    "note": "deploy",
}
HEADER = "kind,entity_id,start,end,verdict"


def say(store: Any, now: datetime = NOW, by: str = "ana", **changes: str) -> dict[str, Any]:
    return statements.add(store, {**FORM, **changes}, merge_steps=3, by=by, now=now)


def labels(store: Any, entity: str = "a", kind: str = "web") -> str:
    times = np.datetime64("2026-03-03", "us") + np.arange(4) * np.timedelta64(3600, "s")
    found = Statements(read_feedback(store), kind).labels(entity, times)
    return "".join({1: "A", 0: ".", -1: "?"}[int(code)] for code in found)


def test_a_statement_is_stored_with_who_said_it_and_when(fleet: MemoryStore) -> None:
    said = say(fleet)
    (row,) = read_feedback(fleet).to_pylist()
    assert said["feedback_id"] == row["feedback_id"]
    assert (said["new"], said["warnings"], said["entity"]) == (1, [], "web/a")
    assert (row["verdict"], row["source"], row["note"], row["recorded_at"]) == ("normal", "ana", "deploy", NOW)
    assert labels(fleet) == "?.??"


@pytest.mark.parametrize(
    ("name", "kind", "entity"),
    [
        ("a", "web", "a"),
        ("web/a", "web", "a"),
        ("b/c", "web", "b/c"),
        ("web/b/c", "web", "b/c"),
        ("db/twin", "db", "twin"),
    ],
)
def test_an_entity_is_named_with_or_without_its_kind(fleet: MemoryStore, name: str, kind: str, entity: str) -> None:
    assert EntityInventory(fleet).resolve(name) == (kind, entity)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"entity": "ghost"}, BadInput, r"no telemetry of an entity 'ghost'.*db, web"),
        ({"entity": "twin"}, UsageError, r"names 2 entities; write KIND/ID"),
        ({"start": "2026-03-03T03:00:00Z"}, UsageError, "ends before it starts"),
        ({"end": "2026-03-05"}, BadInput, r"web/a: 1 of 1 statements lie in the future .*2026-03-05T00:00:00Z"),
        ({"start": "noon"}, UsageError, "'noon' is not a time"),
        ({"verdict": "maybe"}, UsageError, "'maybe'; must be one of anomaly, normal, false_alarm"),
        ({"end": ""}, UsageError, "with its start and end"),
        ({"page": "web/a/x"}, UsageError, "and nothing else"),
        ({"entitty": "a"}, UsageError, "unknown field entitty; the form has"),
    ],
)
def test_nonsense_is_refused_with_a_sentence_and_stores_nothing(
    fleet: MemoryStore, changes: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        say(fleet, **changes)
    assert read_feedback(fleet).num_rows == 0


def test_who_contradicts_is_told_so_and_wins(fleet: MemoryStore) -> None:
    first = say(fleet, verdict="anomaly")
    assert say(fleet, NOW + timedelta(hours=1), end="2026-03-03T03:00:00Z", verdict="anomaly")["warnings"] == []
    second = say(fleet, NOW + timedelta(hours=2))
    (warning,) = second["warnings"]
    assert "contradict each other, the later recorded wins" in warning
    assert first["feedback_id"] in warning
    assert labels(fleet) == "?.A?"


def test_a_retraction_brings_back_what_was_said_before_it(fleet: MemoryStore) -> None:
    say(fleet, verdict="anomaly", by="ana")
    second = say(fleet, NOW + timedelta(minutes=1), by="bo")
    later = NOW + timedelta(minutes=2)
    taken = statements.retract(fleet, second["feedback_id"][:8], by="cy", why="wrong entity", now=later)
    assert labels(fleet) == "?A??"
    assert taken["retracts"] == second["feedback_id"]
    rows = read_feedback(fleet).to_pylist()
    assert [r["source"] for r in rows] == ["ana", "bo", "cy"], "nothing that was said is gone"
    assert in_force(read_feedback(fleet)).num_rows == 1
    assert labels_as_of(fleet, NOW + timedelta(minutes=1)) == "?.??", "the retraction does not exist yet"


def labels_as_of(store: MemoryStore, as_of: datetime) -> str:
    seen = MemoryStore()
    append_feedback(seen, read_feedback(store, as_of))
    return labels(seen)


def test_a_retraction_needs_one_standing_statement(fleet: MemoryStore) -> None:
    said = say(fleet)["feedback_id"]
    with pytest.raises(BadInput, match="no statement has the id 'nothing'"):
        statements.retract(fleet, "nothing", by="bo", why="x", now=NOW)
    say(fleet, NOW + timedelta(minutes=1))
    with pytest.raises(BadInput, match="2 statements have an id that starts with ''"):
        statements.retract(fleet, "", by="bo", why="x", now=NOW)
    retraction = statements.retract(fleet, said, by="bo", why="x", now=NOW)
    with pytest.raises(BadInput, match="taken back already by bo"):
        statements.retract(fleet, said, by="cy", why="x", now=NOW)
    with pytest.raises(BadInput, match="is a retraction"):
        statements.retract(fleet, retraction["feedback_id"], by="cy", why="x", now=NOW)


def test_what_is_said_again_after_a_retraction_holds(fleet: MemoryStore) -> None:
    statements.retract(fleet, say(fleet)["feedback_id"], by="bo", why="x", now=NOW)
    assert labels(fleet) == "????"
    say(fleet, NOW + timedelta(minutes=1))
    assert labels(fleet) == "?.??"


def test_people_who_speak_at_once_lose_nothing(fleet: MemoryStore, tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    for info in fleet.list(""):
        store.put(info.key, fleet.get(info.key))
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda i: say(store, by=f"person {i}")["feedback_id"], range(24)))
    assert sorted(said) == sorted(read_feedback(store)["feedback_id"].to_pylist())
    assert len(set(said)) == 24


def imported(store: MemoryStore, path: Path) -> statements.Imported:
    return statements.import_statements(
        store, read_feedback_file(str(path), "web"), path.name, NOW, EntityInventory(store)
    )


def test_a_file_imported_twice_adds_nothing_the_second_time_and_says_so(fleet: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    row = "web,a,2026-03-03T01:00:00Z,2026-03-03T02:00:00Z"
    path.write_text(f"{HEADER}\n{row},anomaly\nweb,twin{row[5:]},normal\n")
    assert imported(fleet, path).as_json() | {"warnings": 0} == {
        "statements": 2, "new": 2, "known_already": 0, "warnings": 0
    }  # fmt: skip
    keys = [info.key for info in fleet.list("")]
    assert imported(fleet, path).as_json()["known_already"] == 2
    assert [info.key for info in fleet.list("")] == keys


def test_strangers_in_a_file_are_named_and_a_file_of_strangers_is_refused(fleet: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    row = "2026-03-03T01:00:00Z,2026-03-03T02:00:00Z,anomaly"
    path.write_text(f"{HEADER}\nweb,ghost,{row}\n")
    with pytest.raises(BadInput, match=r"f\.csv: no statement names an entity of the stored telemetry.*web/ghost"):
        imported(fleet, path)
    path.write_text(f"{HEADER}\nweb,ghost,{row}\nweb,a,{row}\n")
    (warning,) = imported(fleet, path).warnings
    assert "1 of 2 statements name unknown entities, such as web/ghost" in warning


def test_a_file_that_contradicts_itself_is_told_so(fleet: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    row = "web,a,2026-03-03T01:00:00Z,2026-03-03T02:00:00Z"
    path.write_text(f"{HEADER}\n{row},anomaly\n{row},normal\n")
    (warning,) = imported(fleet, path).warnings
    assert "1 pairs of statements contradict each other" in warning
