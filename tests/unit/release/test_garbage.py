from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.tables import TELEMETRY
from fleetalign.interval import Interval
from fleetalign.release.garbage import collect
from fleetalign.release.verify import verify
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.lake import Partition, read_partition, write_partition
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release, toy_telemetry

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=30)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def identifier(text: str) -> str:
    return sha256(text.encode())[:16]


def keys(store: MemoryStore) -> set[str]:
    return {info.key for info in store.list("")}


def collected(store: MemoryStore, **changes) -> list[str]:
    return collect(store, **{"dry_run": False, "min_age_hours": 24.0, "now": LATER, **changes})


def add_plan(store: MemoryStore, name: str, document: dict, receipts: dict[str, dict] | None = None) -> str:
    plan_id = identifier(name)
    store.put(layout.plan(plan_id), readable_json(document))
    store.put(layout.shard(plan_id, 0), b"shard")
    store.put(layout.checkpoint(plan_id, "service"), b"checkpoint")
    for step, receipt in (receipts or {}).items():
        store.put(layout.receipt(plan_id, step), readable_json(receipt))
    return plan_id


def test_what_a_channel_or_its_history_reaches_stays(store: MemoryStore) -> None:
    first, second = toy_release(store), toy_release(store, threshold=2.0)
    for release_id in (first, second):
        channels.move(store, "champion", release_id, "ops", "test", 1.0, NOW)
    before = keys(store)
    assert collected(store) == []
    assert keys(store) == before
    assert verify(store, first) == verify(store, second) == []


def test_every_release_stays_also_one_that_no_channel_ever_pointed_to(store: MemoryStore) -> None:
    kept, waiting = toy_release(store), toy_release(store, threshold=2.0)
    channels.move(store, "champion", kept, "ops", "test", 1.0, NOW)
    assert collected(store) == []
    assert verify(store, waiting) == []


def test_a_dry_run_says_the_same_and_deletes_nothing(store: MemoryStore) -> None:
    toy_release(store)
    orphan = layout.model("0123456789abcdef", "model.onnx")
    store.put(orphan, b"nobody knows me")
    before = keys(store)
    planned = collect(store, min_age_hours=24.0, now=LATER)
    assert keys(store) == before and planned == [orphan]
    assert collected(store) == planned
    assert keys(store) == before - {orphan}


def test_drift_reports_go_with_their_release(store: MemoryStore) -> None:
    kept, gone = (layout.drift(release, "2026-03-09") for release in (toy_release(store), "0123456789abcdef"))
    for key in (kept, gone):
        store.put(key, b"{}")
    assert collected(store) == [gone]
    assert kept in keys(store)


def test_young_objects_stay(store: MemoryStore) -> None:
    toy_release(store)
    add_plan(store, "work in progress", {"kinds": {}})
    assert collected(store, now=datetime.now(UTC), min_age_hours=1.0) == []


def test_an_old_plan_goes_with_its_work_but_the_newest_receipts_stay(store: MemoryStore) -> None:
    old_model, new_model = (layout.model(identifier(name), "model.onnx") for name in ("old model", "new model"))
    reused = layout.normalizer(identifier("reused"))
    for key in (old_model, new_model, reused):
        store.put(key, b"bytes")
    seen = layout.plan_input(sha256(b"feedback"))
    store.put(seen, b"feedback")
    old = add_plan(store, "old", {"kinds": {}}, {"pretrain": {"models": {"service": identifier("old model")}}})
    new = add_plan(
        store,
        "new",
        {"feedback": {"sha256": sha256(b"feedback")}, "reuse": {"normalizer_id": identifier("reused")}},
        {"pretrain": {"models": {"service": identifier("new model")}}},
    )
    gone = collected(store)
    assert set(gone) == {
        old_model,
        layout.plan(old),
        layout.receipt(old, "pretrain"),
        layout.shard(old, 0),
        layout.checkpoint(old, "service"),
    }
    assert gone[0] == layout.plan(old)
    assert {seen, reused, new_model, layout.plan(new), layout.shard(new, 0)} <= keys(store)


def test_a_kept_releases_plan_and_the_plan_that_one_reuses_stay(store: MemoryStore) -> None:
    base = add_plan(store, "base", {"kinds": {}})
    plan_id = add_plan(store, "plan", {"reuse": {"plan_id": base, "normalizer_id": identifier("n")}})
    release_id = toy_release(store)
    store.put(layout.release(release_id, "provenance.json"), readable_json({"plan_id": plan_id}))
    channels.move(store, "champion", release_id, "ops", "test", 1.0, NOW)
    forgotten = add_plan(store, "forgotten", {"kinds": {}})
    gone = collected(store)
    assert gone and all(forgotten in key for key in gone)


def test_replaced_parts_go_unless_a_plan_still_reads_them(store: MemoryStore) -> None:
    day = Interval(datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC))

    def write(seed: int, layer: str = "validated") -> Partition:
        rows = toy_telemetry("service", "a", 100, seed=seed)
        return write_partition(store, layer, "service", day, "day", rows, 60, {})

    def part(partition: Partition) -> str:
        return partition.prefix + partition.files[0]["name"]

    planned, forgotten, current = write(1), write(2), write(3)
    raw = write(4, "raw")
    plan_id = add_plan(
        store, "plan", {"partitions": [planned.as_plan_entry().as_document()]}, {"plan": {"plan_id": "x"}}
    )
    assert collected(store) == [part(forgotten)]
    assert read_partition(store, current).num_rows == read_partition(store, raw).num_rows == 100
    assert read_partition(store, Partition.from_plan_entry(planned.as_plan_entry())).schema.equals(
        TELEMETRY.conform(toy_telemetry("service", "a", 1)).schema
    )
    assert store.exists(layout.plan(plan_id))


def test_statements_quarantine_and_registry_are_never_touched(store: MemoryStore) -> None:
    safe = [
        layout.feedback_part("2026-03-09", sha256(b"f")[:32]),
        layout.mutes_part(sha256(b"m")[:32]),
        layout.quarantined_object(sha256(b"q")),
        layout.REGISTRY_BUNDLE,
        "validation/kind=service/date=2026-03-09/result.json",
        layout.promotion(identifier("r"), None),
    ]
    for key in safe:
        store.put(key, b"{}")
    assert collected(store) == []
    assert keys(store) == set(safe)
