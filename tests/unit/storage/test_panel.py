from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.errors import Corrupt
from fleetalign.interval import Interval
from fleetalign.storage.lake import list_partitions, read_parts, write_partition
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.panel import empty_panel, fill, read_panel
from fleetalign.testing.releases import METRICS, toy_telemetry

STEPS = 144
DAY = Interval.parse("2026-03-09", "2026-03-10")


def panel(entities: tuple[str, ...] = ("a", "b"), interval: Interval = DAY, **changes):
    return empty_panel("service", entities, METRICS, interval, 600, **changes)


def rows(entity: str = "a", steps: int = STEPS) -> pa.Table:
    return toy_telemetry("service", entity, steps, step_seconds=600)


def test_values_land_on_their_entity_and_time() -> None:
    found, table = panel(), rows("b").slice(10, 5)
    fill(found, table)
    assert np.isnan(found.values[0]).all() and np.isfinite(found.values[1]).sum() == 5 * len(METRICS)
    for index, metric in enumerate(METRICS):
        assert found.values[1, 10:15, index].tolist() == table[metric].to_pylist()
    assert (found.first[1], found.last[1]) == (10, 14)
    assert found.first[0] > found.last[0], "an entity without rows has none"


def test_rows_of_strangers_and_of_other_times_are_left_out() -> None:
    found = panel(("a",), Interval(DAY.start + timedelta(hours=1), DAY.start + timedelta(hours=2)))
    fill(found, pa.concat_tables([rows("a"), rows("stranger")]))
    assert found.values.shape == (1, 6, 3) and np.isfinite(found.values).all()
    assert (found.first[0], found.last[0]) == (0, 5)


@pytest.mark.parametrize(("offset_seconds", "index"), [(-5, 0), (0, 0), (1, 1), (600, 1), (601, 2), (10**9, STEPS)])
def test_index_of_is_the_first_sample_at_or_after(offset_seconds: int, index: int) -> None:
    assert panel().index_of(DAY.start + timedelta(seconds=offset_seconds)) == index


def test_a_large_panel_lives_on_disk_and_holds_the_same(tmp_path) -> None:
    small, large = panel(), panel(memory_mb=0, scratch_dir=str(tmp_path))
    for one in (small, large):
        fill(one, rows("a"))
    assert isinstance(large.values, np.memmap) and not isinstance(small.values, np.memmap)
    np.testing.assert_array_equal(small.values, large.values)
    assert list(tmp_path.iterdir()) == [], "the scratch file has no name that could be left behind"


def test_read_panel_equals_filling_it_by_hand() -> None:
    store, table = MemoryStore(), pa.concat_tables([rows("a"), rows("b"), rows("c")])
    partition = write_partition(store, "validated", "service", DAY, "day", table, 600, {})
    found = read_panel(store, [partition], "service", ["a", "c"], METRICS, DAY, 600)
    expected = panel(("a", "c"))
    fill(expected, table)
    np.testing.assert_array_equal(found.values, expected.values)


def test_rewriting_a_partition_hides_the_old_parts_and_equal_content_changes_nothing() -> None:
    store = MemoryStore()
    write_partition(store, "validated", "service", DAY, "day", rows("a"), 600, {})
    before = {info.key: info.modified_at for info in store.list("")}
    write_partition(store, "validated", "service", DAY, "day", rows("a"), 600, {})
    assert {info.key: info.modified_at for info in store.list("")} == before
    write_partition(store, "validated", "service", DAY, "day", rows("b"), 600, {})
    (listed,) = list_partitions(store, "validated")
    assert {e for part in read_parts(store, listed) for e in part["entity_id"].to_pylist()} == {"b"}
    assert len(list(store.list(""))) == 3


def test_an_altered_part_is_corrupt_not_data() -> None:
    store = MemoryStore()
    partition = write_partition(store, "validated", "service", DAY, "day", rows("a"), 600, {})
    store.put(partition.prefix + partition.files[0]["name"], b"altered")
    with pytest.raises(Corrupt, match="sha256"):
        list(read_parts(store, partition))
