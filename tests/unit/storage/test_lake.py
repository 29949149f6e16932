"""Partitions: what readers see, what a shard has to fetch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.contracts.tables import TIME
from fleetalign.errors import Corrupt
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.panel import read_panel

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = Interval(START, START + timedelta(days=1))


class CountingStore(MemoryStore):
    """Counts the bytes of Parquet that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched = 0

    def get_versioned(self, key: str):
        found = super().get_versioned(key)
        self.fetched += len(found.data) if key.endswith(".parquet") else 0
        return found


def telemetry(entities: int, steps: int = 24) -> pa.Table:
    times = [START + timedelta(hours=i) for i in range(steps)]
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "kind": ["web"] * entities * steps,
            "entity_id": [f"e{i:04d}" for i in range(entities) for _ in range(steps)],
            "timestamp": pa.array(times * entities, TIME),
            "cpu": rng.normal(size=entities * steps),
        }
    )


def write(store: MemoryStore, table: pa.Table) -> lake.Partition:
    return lake.write_partition(store, "validated", "web", DAY, "day", table, 3600, {})


def test_parts_name_their_entities_and_a_shard_fetches_only_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lake, "ROWS_PER_PART", 240)
    store = CountingStore()
    partition = write(store, telemetry(100))
    assert len(partition.files) == 10
    assert partition.files[0]["first_entity"] == "e0000"
    assert partition.files[0]["last_entity"] == "e0009"
    total = sum(f["bytes"] for f in partition.files)
    store.fetched = 0
    ids = [f"e{i:04d}" for i in range(15, 25)]
    panel = read_panel(store, [partition], "web", ids, ["cpu"], DAY, 3600)
    assert not np.isnan(panel.values).any()
    assert store.fetched < total / 4
    whole = read_panel(
        store, [partition], "web", lake.entity_ids(store, [partition], "web").to_pylist(), ["cpu"], DAY, 3600
    )
    np.testing.assert_array_equal(whole.values[15:25], panel.values)


def test_rewriting_with_equal_rows_changes_nothing_and_other_rows_leave_the_old_parts_readable():
    store = MemoryStore()
    first = write(store, telemetry(3))
    before = {i.key: store.get(i.key) for i in store.list("")}
    assert write(store, telemetry(3)) == first
    assert {i.key: store.get(i.key) for i in store.list("")} == before
    second = write(store, telemetry(2))
    assert second.digest != first.digest
    assert lake.get_partition(store, "validated", "web", DAY, "day") == second
    assert lake.read_partition(store, first).num_rows == 72
    planned = lake.Partition.from_plan_entry(first.as_plan_entry())
    assert lake.read_partition(store, planned).num_rows == 72


def test_a_part_that_was_altered_is_refused():
    store = MemoryStore()
    partition = write(store, telemetry(2))
    key = partition.prefix + partition.files[0]["name"]
    store.put(key, store.get(key) + b" ")
    with pytest.raises(Corrupt, match="was altered"):
        lake.read_partition(store, partition)


def test_parts_without_a_listing_are_invisible():
    store = MemoryStore()
    partition = write(store, telemetry(2))
    store.delete(partition.prefix + "_partition.json")
    assert lake.list_partitions(store, "validated") == []
    assert lake.get_partition(store, "validated", "web", DAY, "day") is None
