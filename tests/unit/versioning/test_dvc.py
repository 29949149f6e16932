"""Snapshots outlive the lake, on both stores and both kinds of registry."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.config import RegistryConfig
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import SnapshotReceipt
from fleetalign.errors import ConfigError, Conflict, Corrupt, NotFound, StoreError
from fleetalign.interval import Interval
from fleetalign.storage import lake, layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store
from fleetalign.testing.plans import toy_plan
from fleetalign.versioning import dvc
from fleetalign.versioning.command import Workplace
from fleetalign.versioning.registry import Registry

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
CONFIG = RegistryConfig()


def write_days(store: Store, days: int) -> Plan:
    """A stored plan, ``0001``, over ``days`` validated partitions of one entity, ten samples each."""
    entries = []
    for day in range(days):
        start = FIRST_DAY + timedelta(days=day)
        times = [start + timedelta(minutes=i) for i in range(10)]
        table = pa.table(
            {
                "kind": ["service"] * 10,
                "entity_id": ["a"] * 10,
                "timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
                "load": np.arange(10) + 100.0 * day,
            }
        )
        interval = Interval(start, start + timedelta(days=1))
        partition = lake.write_partition(store, "validated", "service", interval, "day", table, 60, {})
        entries.append(partition.as_plan_entry())
    return stored(store, toy_plan(partitions=tuple(entries)), "0001")


def stored(store: Store, plan: Plan, plan_id: str) -> Plan:
    store.put(layout.plan(plan_id), readable_json(plan.as_document()))
    return plan


def delete_lake(store: Store) -> None:
    for info in list(store.list(layout.telemetry("validated"))):
        store.delete(info.key)


def telemetry_bytes(store: Store) -> dict[str, bytes]:
    keys = [info.key for info in store.list(layout.telemetry("validated"))]
    return {key: store.get(key) for key in keys if key.endswith(".parquet")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def assert_outlives_the_lake(store: Store, out_dir: Path) -> None:
    plan = write_days(store, 2)
    before = telemetry_bytes(store)
    revision = dvc.snapshot(store, plan, "0001", CONFIG).revision
    delete_lake(store)
    assert not telemetry_bytes(store)
    restored = open_store(str(dvc.restore(store, revision, out_dir)))
    assert telemetry_bytes(restored) == before
    # The restored folder is a lake: readers need no other code.
    partitions = lake.list_partitions(restored, "validated")
    assert [p.rows for p in partitions] == [10, 10]
    assert lake.read_partition(restored, partitions[1])["load"].to_pylist() == [100.0 + i for i in range(10)]


def test_same_bytes_after_the_lake_is_gone_file(store: Store, tmp_path: Path) -> None:
    assert_outlives_the_lake(store, tmp_path / "out")


@pytest.mark.usefixtures("moto_s3")
def test_same_bytes_after_the_lake_is_gone_s3(tmp_path: Path) -> None:
    assert_outlives_the_lake(open_store("s3://fleet/lake"), tmp_path / "out")


def test_plain_dvc_get_needs_none_of_our_code(store: Store, tmp_path: Path) -> None:
    plan = write_days(store, 1)
    expected = telemetry_bytes(store)
    revision = dvc.snapshot(store, plan, "0001", CONFIG).revision
    delete_lake(store)
    clone = tmp_path / "clone"
    bundle = Path(store.uri.removeprefix("file://")) / layout.REGISTRY_BUNDLE
    subprocess.run(["git", "clone", "--quiet", str(bundle), str(clone)], check=True)
    command = [sys.executable, "-m", "dvc", "get", "-q", "--rev", revision, str(clone), "telemetry"]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert telemetry_bytes(open_store(str(tmp_path))) == expected


def test_second_snapshot_of_a_plan_changes_nothing(store: Store) -> None:
    plan = write_days(store, 1)
    first = dvc.snapshot(store, plan, "0001", CONFIG)
    bundle = store.get(layout.REGISTRY_BUNDLE)
    delete_lake(store)  # the tag answers: nothing is read again
    assert dvc.snapshot(store, plan, "0001", CONFIG) == first
    assert store.get(layout.REGISTRY_BUNDLE) == bundle


def test_each_plan_keeps_its_own_bytes(store: Store, tmp_path: Path) -> None:
    plan = write_days(store, 2)
    one_day = stored(store, replace(plan, partitions=plan.partitions[:1]), "0002")
    first = dvc.snapshot(store, plan, "0001", CONFIG).revision
    second = dvc.snapshot(store, one_day, "0002", CONFIG).revision
    assert first != second
    assert len(telemetry_bytes(open_store(str(dvc.restore(store, first, tmp_path / "first"))))) == 2
    assert len(telemetry_bytes(open_store(str(dvc.restore(store, "0002", tmp_path / "second"))))) == 1


def test_revision_depends_on_plan_not_on_clock_or_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path / "store"))
    plan = write_days(store, 1)
    first = dvc.snapshot(store, plan, "0001", CONFIG).revision
    store.delete(layout.REGISTRY_BUNDLE)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = somebody\n[commit]\n\tgpgsign = true\n")
    monkeypatch.setenv("HOME", str(home))
    assert dvc.snapshot(store, plan, "0001", CONFIG).revision == first


def test_git_remote_gets_commit_author_date_and_tag(store: Store, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    config = RegistryConfig(git_remote=str(remote), author="bot", email="bot@example.org")
    plan = write_days(store, 2)
    revision = dvc.snapshot(store, plan, "0001", config).revision
    shown = subprocess.run(
        ["git", "-C", str(remote), "log", "-1", "--format=%H %an %ae %aI %cI %s", "plan-0001"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    date = "2026-03-04T00:00:00+00:00"
    assert shown == f"{revision} bot bot@example.org {date} {date} data: plan 0001"
    assert not store.exists(layout.REGISTRY_BUNDLE)
    assert dvc.snapshot(store, plan, "0001", config).revision == revision


def test_loser_of_a_race_adds_its_commit_to_the_winners(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_days(store, 1)
    publish, raced = Registry.publish, []

    def publish_late(self: Registry, plan_id: str) -> None:
        if not raced:
            raced.append(plan_id)
            dvc.snapshot(store, stored(store, plan, "0002"), "0002", CONFIG)
        publish(self, plan_id)

    monkeypatch.setattr(Registry, "publish", publish_late)
    monkeypatch.setattr(dvc, "CONFLICT_DELAY_SECONDS", 0.0)
    revision = dvc.snapshot(store, plan, "0001", CONFIG).revision
    monkeypatch.undo()
    assert raced == ["0001"]
    assert dvc.snapshot(store, plan, "0001", CONFIG).revision == revision
    assert dvc.snapshot(store, plan, "0002", CONFIG).revision != revision


def test_endless_race_ends_with_conflict(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_days(store, 1)

    def lose(self: Registry, plan_id: str) -> None:
        raise Conflict("somebody else")

    monkeypatch.setattr(Registry, "publish", lose)
    monkeypatch.setattr(dvc, "CONFLICT_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(dvc, "PUBLISH_ATTEMPTS", 2)
    with pytest.raises(Conflict, match="lost 2 races"):
        dvc.snapshot(store, plan, "0001", CONFIG)


def test_altered_lake_is_refused_and_publishes_nothing(store: Store) -> None:
    plan = write_days(store, 1)
    entry = plan.partitions[0]
    store.put(entry.prefix + entry.files[0].name, b"other bytes")
    with pytest.raises(Corrupt):
        dvc.snapshot(store, plan, "0001", CONFIG)
    assert not store.exists(layout.REGISTRY_BUNDLE)


def test_disabled_registry_does_nothing(store: Store) -> None:
    plan = write_days(store, 1)
    assert dvc.snapshot(store, plan, "0001", RegistryConfig(enabled=False)) == SnapshotReceipt()
    assert not list(store.list(layout.DVC))


def test_unknown_name_says_where_to_look(store: Store, tmp_path: Path) -> None:
    dvc.snapshot(store, write_days(store, 1), "0001", CONFIG)
    with pytest.raises(NotFound, match="no plan or revision 'beef'"):
        dvc.restore(store, "beef", tmp_path / "out")


def test_memory_store_is_refused() -> None:
    with pytest.raises(ConfigError, match="file:// or s3://"):
        dvc.snapshot(open_store("memory://dvc"), toy_plan(), "0001", CONFIG)


def test_unreachable_git_remote_is_a_store_error(store: Store, tmp_path: Path) -> None:
    config = RegistryConfig(git_remote=str(tmp_path / "nowhere.git"))
    with pytest.raises(StoreError, match="git fetch"):
        dvc.snapshot(store, write_days(store, 1), "0001", config)


def test_missing_git_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    workplace = Workplace(tmp_path)
    workplace.checkout.mkdir()
    with pytest.raises(ConfigError, match="git is not installed"):
        workplace.git("status")
