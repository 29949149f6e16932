"""The inbox: each object once, bad ones set aside whole with the reason, nothing lost by a kill."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetalign.contracts.hashing import sha256
from fleetalign.errors import StoreError
from fleetalign.feedback import inbox
from fleetalign.storage import layout
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.statements import read_feedback

NOW = datetime(2026, 3, 4, 9, tzinfo=UTC)
LINE = {"entity_id": "a", "start": "2026-03-03T01:00:00Z", "end": "2026-03-03T02:00:00Z", "verdict": "anomaly"}
ALERT = {
    "status": "resolved",
    "labels": {"alertname": "EntityPage", "kind": "db", "instance": "twin"},
    "annotations": {"resolution": "false_alarm", "resolved_by": "ana", "summary": "nightly backup"},
    "startsAt": "2026-03-03T01:00:00.123456789Z",
    "endsAt": "2026-03-03T03:00:00.000+01:00",
}


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def payload(*alerts: dict[str, Any]) -> bytes:
    return json.dumps({"version": "4", "status": "resolved", "receiver": "fleetalign", "alerts": alerts}).encode()


def drop(store: MemoryStore, name: str, data: bytes) -> str:
    store.put(layout.FEEDBACK_INBOX + name, data)
    return layout.FEEDBACK_INBOX + name


def collect(store: MemoryStore) -> dict[str, Any]:
    return inbox.collect(store, "web", NOW).as_json()


def test_three_formats_are_read_once_and_stay_where_they_are(fleet: MemoryStore) -> None:
    drop(fleet, "ticket.jsonl", lines(LINE | {"source": "tickets", "ticket": 7}, LINE | {"entity_id": "twin"}))
    drop(fleet, "deep/er/page.json", payload(ALERT))
    drop(fleet, "sheet.csv", b"entity_id,start,end,verdict\nb/c,2026-03-03T01:00:00Z,2026-03-03T02:00:00Z,normal\n")
    first = collect(fleet)
    assert (first["objects"], first["statements"], first["new"], first["quarantined"]) == (3, 4, 4, {})
    said = {(r["kind"], r["entity_id"]): (r["verdict"], r["source"]) for r in read_feedback(fleet).to_pylist()}
    assert said == {
        ("web", "a"): ("anomaly", "tickets"),
        ("web", "twin"): ("anomaly", "file"),
        ("web", "b/c"): ("normal", "file"),
        ("db", "twin"): ("normal", "ana"),
    }
    assert len(list(fleet.list(layout.FEEDBACK_INBOX))) == 3
    assert collect(fleet)["objects"] == 0


def test_the_same_words_under_another_name_add_nothing(fleet: MemoryStore) -> None:
    drop(fleet, "one.jsonl", lines(LINE))
    collect(fleet)
    drop(fleet, "two.jsonl", lines(LINE))
    again = collect(fleet)
    assert (again["objects"], again["statements"], again["new"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.jsonl", lines(LINE) + b"{oops\n", r"inbox/feedback/x.jsonl: line 2 is not JSON"),
        ("x.jsonl", b"7\n", "line 1 is not a JSON object"),
        ("x.jsonl", lines(LINE | {"note": "\ud800"}), "line 1 is not JSON"),
        ("x.jsonl", b"[" * 5000 + b"\n", "line 1 is not JSON"),
        ("x.jsonl", lines(LINE, LINE | {"end": LINE["start"]}), "row 2: column 'end'"),
        ("x.jsonl", lines(LINE | {"verdict": None}), "column 'verdict' is ''"),
        ("x.jsonl", lines({"entity_id": "a"}), "column 'start' is missing"),
        ("x.jsonl", lines(LINE | {"end": "2027-01-01T00:00:00Z"}), "lie in the future"),
        ("x.jsonl", lines(LINE | {"entity_id": "ghost"}), "no statement names an entity"),
        ("x.jsonl", lines(LINE | {"start": "2026-03-03T01:00:00"}), "no time with a zone"),
        ("x.csv", b"\xff\xfe\x00", "x.csv"),
        ("x.json", b"[]", "not a webhook payload of Alertmanager"),
        ("x.json", b"[" * 5000, "not a webhook payload of Alertmanager"),
        ("x.json", payload({**ALERT, "labels": {"host": "\ud800"}}), "not a webhook payload of Alertmanager"),
        ("x.json", payload({**ALERT, "annotations": {"resolution": "dunno"}}), "alert 1: resolution is 'dunno'"),
        ("x.json", payload({**ALERT, "labels": {"alertname": "x"}}), "alert 1: no label names the entity"),
    ],
)
def test_a_bad_object_is_set_aside_whole_with_the_reason(
    fleet: MemoryStore, name: str, data: bytes, reason: str
) -> None:
    key = drop(fleet, name, data)
    drop(fleet, "good.jsonl", lines(LINE))
    found = collect(fleet)
    assert reason in found["quarantined"][key]
    assert found["new"] == 1, "the others are imported"
    kept = layout.quarantined_object(sha256(data))
    assert fleet.get(kept) == data
    assert reason in fleet.get_json(f"{kept}.reason.json")["reason"]
    assert not fleet.exists(key)
    assert collect(fleet)["objects"] == 0


def test_alerts_that_say_nothing_are_no_statements(fleet: MemoryStore) -> None:
    firing = {**ALERT, "status": "firing", "endsAt": "0001-01-01T00:00:00Z"}
    drop(fleet, "page.json", payload(firing, {**ALERT, "annotations": {}}))
    found = collect(fleet)
    assert (found["objects"], found["statements"], found["quarantined"]) == (1, 0, {})


def test_what_is_still_being_written_is_left_alone(fleet: MemoryStore) -> None:
    drop(fleet, "page.json.tmp", b"{")
    assert collect(fleet)["objects"] == 0


def test_one_call_is_bounded_and_the_next_goes_on(fleet: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        drop(fleet, f"{i}.jsonl", lines(LINE | {"note": str(i)}))
    monkeypatch.setattr(inbox, "MAX_OBJECTS", 2)
    assert (collect(fleet)["left_for_the_next_run"], collect(fleet)["objects"]) == (1, 1)
    monkeypatch.setattr(inbox, "MAX_BYTES", 10)
    for i in range(2):
        drop(fleet, f"big {i}.jsonl", lines(LINE | {"note": f"big {i}"}))
    assert collect(fleet)["left_for_the_next_run"] == 1
    monkeypatch.setattr(inbox, "MAX_OBJECT_BYTES", 10)
    assert "at most 10" in next(iter(collect(fleet)["quarantined"].values()))


class Dying(MemoryStore):
    """Loses its network when it is to write a receipt."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if key.startswith(layout.INBOX_RECEIPTS):
            raise StoreError("no network")
        return super().put_if_absent(key, data)


def test_a_kill_before_the_receipt_loses_and_doubles_nothing(fleet: MemoryStore) -> None:
    drop(fleet, "one.jsonl", lines(LINE))
    drop(fleet, "bad.jsonl", b"oops\n")
    fleet.__class__ = Dying
    with pytest.raises(StoreError):
        collect(fleet)
    fleet.__class__ = MemoryStore
    again = collect(fleet)
    assert again["objects"] == 2
    assert read_feedback(fleet).num_rows == 1
