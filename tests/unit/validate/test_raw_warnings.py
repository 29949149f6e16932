"""What validation says about a partition as a whole: metrics that end, and values that were taken for repeats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from fleetalign.interval import Interval
from fleetalign.storage.lake import Partition, read_partition, write_partition
from fleetalign.storage.memory import MemoryStore
from fleetalign.validate.raw_warnings import own_intervals, raw_warnings

FIRST = datetime(2026, 3, 2, tzinfo=UTC)


def stored(store: MemoryStore, day: int, metrics: list[str], repeats: int = 0, kind: str = "web") -> Partition:
    start = FIRST + timedelta(days=day)
    times = pa.array([start + timedelta(hours=h) for h in range(24)], pa.timestamp("us", tz="UTC"))
    columns = {name: [1.5] * 24 for name in metrics}
    table = pa.table({"kind": [kind] * 24, "entity_id": ["a"] * 24, "timestamp": times, **columns})
    counts = {"kept": 24, "quarantined_rows": {}, "quarantined_cells": {"duplicate_cell": repeats} if repeats else {}}
    interval = Interval(start, start + timedelta(days=1))
    return write_partition(store, "raw", kind, interval, "day", table, 3600, counts)


def warnings(store: MemoryStore, raw: Partition) -> list[str]:
    return raw_warnings(store, raw, read_partition(store, raw), "day")


def test_a_metric_that_ends_is_named_on_the_day_after() -> None:
    store = MemoryStore()
    first = stored(store, 0, ["cpu", "latency"])
    second, third = stored(store, 1, ["cpu", "delay"]), stored(store, 2, ["cpu", "delay"])
    assert warnings(store, first) == warnings(store, third) == []
    assert warnings(store, second) == ["metric 'latency' ends: the day before has it, this one has no value"]


def test_of_many_metrics_that_end_twenty_are_named() -> None:
    store = MemoryStore()
    stored(store, 0, [f"m{i:02d}" for i in range(50)])
    said = warnings(store, stored(store, 1, ["cpu"]))
    assert (len(said), said[-1]) == (21, "… and 30 more metrics end")


def test_values_that_are_mostly_repeats_are_counted() -> None:
    store = MemoryStore()
    assert warnings(store, stored(store, 0, ["cpu", "load"], repeats=0)) == []
    (said,) = warnings(store, stored(store, 0, ["cpu", "load"], repeats=144))
    assert said.startswith("75% of the values are repeats (144 of 192) that ingest set aside")


def test_entities_with_an_interval_of_their_own_are_named() -> None:
    def rows(entity: str, seconds: int) -> pa.Table:
        times = pa.array([FIRST + timedelta(seconds=i * seconds) for i in range(40)], pa.timestamp("us", tz="UTC"))
        return pa.table({"entity_id": [entity] * 40, "timestamp": times})

    table = pa.concat_tables([rows("slow", 300), rows("usual", 60), rows("other", 61), rows("fast", 10)])
    slow, fast = own_intervals("web", table, 60)
    assert "1 of 4 entities of kind web report every 300 s, the kind every 60 s (slow)" in slow
    assert "1 of 4 entities of kind web report every 10 s, the kind every 60 s (fast)" in fast
    assert own_intervals("web", pa.concat_tables([rows("a", 60), rows("b", 75)]), 60) == []
