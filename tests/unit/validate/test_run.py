from __future__ import annotations

import math
import subprocess
import sys
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from unit.quarantined import read_quarantine

from fleetalign.config import Config, ValidationConfig
from fleetalign.errors import NotFound, PartitionHeld
from fleetalign.interval import Interval
from fleetalign.storage import layout
from fleetalign.storage.lake import get_partition, list_partitions, read_partition, write_partition
from fleetalign.storage.memory import MemoryStore
from fleetalign.validate.run import validate_interval, validate_partition

DAY = Interval.parse("2024-05-01", "2024-05-02")
CONFIG = Config(validation=ValidationConfig(data_docs=False))
STEP = 3600


def ingest(
    store: MemoryStore, rows: list[tuple[str, float, float | None]], kind: str = "web", interval: Interval = DAY
) -> None:
    """A raw partition of (entity, hours after midnight, cpu)."""
    table = pa.table(
        {
            "kind": [kind] * len(rows),
            "entity_id": [r[0] for r in rows],
            "timestamp": pa.array([interval.start + timedelta(hours=r[1]) for r in rows], pa.timestamp("us", tz="UTC")),
            "cpu": pa.array([r[2] for r in rows], pa.float64()),
        }
    )
    write_partition(store, "raw", kind, interval, "day", table, STEP, {})


HEALTHY = [(e, float(h), h % 7 + 0.5) for e in ("a", "b", "c") for h in range(24)]


def objects(store: MemoryStore, *prefixes: str) -> dict[str, bytes]:
    return {i.key: store.get(i.key) for prefix in prefixes for i in store.list(prefix)}


def test_a_healthy_partition_passes_unchanged() -> None:
    store = MemoryStore()
    ingest(store, HEALTHY)
    result = validate_partition(store, CONFIG, "web", DAY)
    assert (result.raw_rows, result.kept, result.inserted, result.warnings) == (72, 72, 0, ())
    raw = get_partition(store, "raw", "web", DAY, "day")
    assert read_partition(store, result.partition).equals(read_partition(store, raw))
    assert store.get_json(result.result_key)["verdict"] == "passed"
    assert result.as_json()["sha256"] == result.partition.digest


def test_cells_rows_and_gaps_are_counted_and_filed() -> None:
    store = MemoryStore()
    rows = [r for r in HEALTHY if r[:2] not in {("a", 5.0), ("a", 6.0)}]
    rows += [("b", 3.5, 9.0), ("c", 24.0, 1.0), ("c", -1.0, 1.0)]
    rows = [(e, h, math.inf if (e, h) == ("c", 2.0) else 1e30 if (e, h) == ("c", 3.0) else v) for e, h, v in rows]
    ingest(store, rows)
    result = validate_partition(store, CONFIG, "web", DAY)
    assert result.quarantined_rows == {"outside_partition": 2}
    assert result.quarantined_cells == {"infinite": 1, "too_large": 1, "conflicting_value": 1}
    assert (result.raw_rows, result.kept, result.merged, result.inserted) == (73, 70, 1, 2)
    assert result.partition.rows == 72
    assert result.partition.document["counts"]["quarantined_rows"] == result.quarantined_rows
    for what, count in (("rows", 2), ("cells", 3)):
        assert read_quarantine(store, what, "web", DAY, "day", "validate").num_rows == count
    table = read_partition(store, result.partition)
    assert table.filter(pc.equal(table["entity_id"], "b"))["cpu"][3].as_py() == 9.0, "the later row of a slot wins"


def test_validating_again_changes_no_byte() -> None:
    store = MemoryStore()
    ingest(store, [*HEALTHY[:-2], ("a", 3.0, math.inf)])
    validate_partition(store, CONFIG, "web", DAY)
    before = objects(store, "telemetry/", "quarantine/", "validation/")
    validate_partition(store, CONFIG, "web", DAY)
    assert objects(store, "telemetry/", "quarantine/", "validation/") == before


def test_a_critical_finding_holds_the_partition_loudly() -> None:
    store = MemoryStore()
    ingest(store, [(e, h, None if e in "ab" else v) for e, h, v in HEALTHY])
    with pytest.raises(PartitionHeld) as caught:
        validate_partition(store, CONFIG, "web", DAY)
    message = str(caught.value)
    for part in ("web 2024-05-01", "missing_share", "2 of 3", "worst a (1)", "broken export", "result.json"):
        assert part in message
    assert "\n" not in message
    assert caught.value.exit_code == 3
    assert not list_partitions(store, "validated")
    assert store.get_json(layout.validation_result("web", DAY, "day"))["verdict"] == "held"


def test_a_partition_of_which_nothing_is_left_is_held() -> None:
    store = MemoryStore()
    ingest(store, [("a", 25.0, 1.0), ("a", 26.0, 2.0)])
    with pytest.raises(PartitionHeld, match="expect_table_row_count_to_be_between"):
        validate_partition(store, CONFIG, "web", DAY)
    assert read_quarantine(store, "rows", "web", DAY, "day").num_rows == 2


def test_a_held_partition_leaves_the_earlier_one() -> None:
    store = MemoryStore()
    ingest(store, HEALTHY)
    good = validate_partition(store, CONFIG, "web", DAY).partition
    ingest(store, [(e, h, None) for e, h, _ in HEALTHY])
    with pytest.raises(PartitionHeld):
        validate_partition(store, CONFIG, "web", DAY)
    assert list_partitions(store, "validated") == [good]


def test_warnings_are_reported_and_pass() -> None:
    store = MemoryStore()
    ingest(store, [r for r in HEALTHY if not 6 <= r[1] < 16])
    (warning,) = [w for w in validate_partition(store, CONFIG, "web", DAY).warnings if "longest_gap_share" in w]
    assert "3 of 3" in warning


def test_every_kind_of_the_interval_is_validated_before_one_is_held() -> None:
    store = MemoryStore()
    ingest(store, [(e, h, None) for e, h, _ in HEALTHY], kind="db")
    ingest(store, HEALTHY, kind="web")
    with pytest.raises(PartitionHeld, match=r"^db 2024-05-01"):
        validate_interval(store, CONFIG, DAY)
    assert [p.kind for p in list_partitions(store, "validated")] == ["web"]


def test_an_interval_takes_the_partitions_that_overlap_it() -> None:
    store = MemoryStore()
    following = Interval(DAY.end, DAY.end + timedelta(days=1))
    for interval in (DAY, following):
        ingest(store, HEALTHY, interval=interval)
    assert [r.interval for r in validate_interval(store, CONFIG, DAY)] == [DAY]
    both = Interval(DAY.start + timedelta(hours=5), following.start + timedelta(hours=1))
    assert [r.interval for r in validate_interval(store, CONFIG, both)] == [DAY, following]


def test_nothing_to_validate_is_said() -> None:
    with pytest.raises(NotFound, match="no raw partition of kind web for 2024-05-01"):
        validate_partition(MemoryStore(), CONFIG, "web", DAY)
    with pytest.raises(NotFound, match="no raw partition from 2024-05-01"):
        validate_interval(MemoryStore(), CONFIG, DAY)


def test_data_docs_lie_beside_the_results_and_open_at_index_html() -> None:
    store = MemoryStore()
    ingest(store, HEALTHY)
    for _ in range(2):
        validate_partition(store, Config(), "web", DAY)
    pages = list(objects(store, layout.DATA_DOCS))
    assert "validation/data_docs/kind=web/date=2024-05-01/index.html" in pages
    assert len([p for p in pages if "/validations/" in p]) == 2, "one page per suite, also after a second run"
    assert sum(len(b) for b in objects(store, layout.DATA_DOCS).values()) < 500_000


def test_importing_the_package_loads_no_heavy_library() -> None:
    modules = "fleetalign.ingest.run, fleetalign.validate.run, fleetalign.simulate.simulation"
    heavy = ("great_expectations", "pandas", "torch", "yaml")
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
