"""The protocol of a source: what it reads, what it refuses, what it asks, and sources of other packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from fleetalign.config import Config, SourceConfig
from fleetalign.errors import BadInput, ConfigError
from fleetalign.ingest.run import ingest_readings
from fleetalign.ingest.source import BUILT_IN, Reading, Refused, open_source
from fleetalign.interval import Interval
from fleetalign.storage import layout
from fleetalign.storage.lake import list_partitions, read_partition
from fleetalign.storage.memory import MemoryStore

DAY = Interval.parse("2024-05-01", "2024-05-02")
NEXT = Interval.parse("2024-05-02", "2024-05-03")


def telemetry(interval: Interval = DAY, entities: tuple[str, ...] = ("a",), **columns: list[float]) -> pa.Table:
    columns = columns or {"cpu": [0.0, 1.0, 2.0]}
    rows = len(next(iter(columns.values())))
    times = [interval.start + timedelta(hours=i) for i in range(rows)]
    return pa.concat_tables(
        pa.table(
            {
                "kind": ["web"] * rows,
                "entity_id": [entity] * rows,
                "timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
                **columns,
            }
        )
        for entity in entities
    )


def ingest(store: MemoryStore, *readings: Reading, config: Config | None = None):
    return ingest_readings(store, config or Config(), "lab", readings, Interval(DAY.start, NEXT.end))


def test_each_reading_becomes_partitions_with_the_record_of_its_queries() -> None:
    store = MemoryStore()
    readings = [
        Reading(interval=DAY, origin="lab", objects=[telemetry()], queries={"query": "first"}),
        Reading(interval=NEXT, origin="lab", objects=[], queries={"query": "second"}),
    ]
    result = ingest(store, *readings)
    (partition,) = list_partitions(store, "raw")
    assert result.queries == ({"query": "first"}, {"query": "second"}), "also of a range that has nothing"
    assert store.get_json(partition.prefix + layout.SOURCE_FILE) == {
        "query": "first",
        "partition_sha256": partition.digest,
    }


def test_a_refused_object_is_quarantined_and_the_others_are_ingested() -> None:
    store = MemoryStore()
    objects = [Refused("b.bin", b"no", "b.bin: not readable"), telemetry()]
    with pytest.raises(BadInput, match=r"lab: 1 of 2 files not readable .* First: b\.bin: not readable"):
        ingest(store, Reading(interval=DAY, origin="lab", objects=objects))
    assert [p.rows for p in list_partitions(store, "raw")] == [3]
    content, reason = sorted(info.key for info in store.list("quarantine/objects/"))
    assert store.get(content) == b"no"
    assert store.get_json(reason)["origin"] == "b.bin"


def test_nothing_is_written_when_every_object_is_refused() -> None:
    store = MemoryStore()
    with pytest.raises(BadInput, match="1 of 1 files not readable"):
        ingest(store, Reading(interval=DAY, origin="lab", objects=[Refused("b", b"", "b: empty")]))
    assert not list_partitions(store, "raw")


def test_a_source_without_readings_has_no_usable_telemetry() -> None:
    with pytest.raises(BadInput, match=r"lab: no usable telemetry in 2024-05-01T00:00:00Z to 2024-05-03"):
        ingest(MemoryStore())


def test_rows_of_all_tables_are_numbered_in_one_sequence() -> None:
    bad = telemetry(entities=("",))
    result = ingest(MemoryStore(), Reading(interval=DAY, origin="lab", objects=[telemetry(), bad]))
    assert result.first_quarantined.startswith("lab row 4")
    assert (result.kept, result.quarantined_rows) == (3, {"missing_entity": 3})


@pytest.mark.parametrize(("configured", "step"), [({}, 600), ({"web": 1800}, 1800)])
def test_the_step_that_a_source_knows_holds_unless_a_setting_names_another(
    configured: dict[str, int], step: int
) -> None:
    store = MemoryStore()
    reading = Reading(interval=DAY, origin="lab", objects=[telemetry()], steps={"web": 600})
    ingest(store, reading, config=Config(steps=configured))
    assert [p.step_seconds for p in list_partitions(store, "raw")] == [step]


def test_only_a_reading_that_replaces_may_lose_entities() -> None:
    store = MemoryStore()
    ingest(store, Reading(interval=DAY, origin="lab", objects=[telemetry(entities=("a", "b"))]))
    with pytest.raises(BadInput, match="holds 1 entities such as 'b' that these files lack"):
        ingest(store, Reading(interval=DAY, origin="lab", objects=[telemetry()], stored="keep"))
    ingest(store, Reading(interval=DAY, origin="lab", objects=[telemetry()]))
    (partition,) = list_partitions(store, "raw")
    assert set(read_partition(store, partition)["entity_id"].to_pylist()) == {"a"}


def test_a_table_outside_the_contract_is_refused_by_column() -> None:
    table = telemetry().append_column("note", pa.array(["x", "y", "z"]))
    with pytest.raises(BadInput, match="column 'note' is not double"):
        ingest(MemoryStore(), Reading(interval=DAY, origin="lab", objects=[table]))


def test_an_unknown_type_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"source\.type is 'kafka'; must be one of simulator, files, spans, prometheus"
    ):
        open_source(Config(source=SourceConfig(type="kafka")))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_source_opens_by_its_name(name: str, tmp_path: Path) -> None:
    if name == "prometheus":
        with pytest.raises(ConfigError, match="mapping_path is empty"):
            open_source(Config(source=SourceConfig(type=name)))
        return
    source = open_source(Config(source=SourceConfig(type=name, path=str(tmp_path / "t.csv"))))
    assert source.name == ("simulator" if name == "simulator" else str(tmp_path / "t.csv"))


# --- a source of another package -----------------------------------------------------------------------------------

GATEWAY = """
from datetime import timedelta

import pyarrow as pa

from fleetalign.ingest.source import Reading


class Gateway:
    def __init__(self, config):
        self.name = f"gateway {config.source.path}"

    def read(self, interval, progress=None):
        times = [interval.start + timedelta(minutes=10 * i) for i in range(144)]
        table = pa.table({
            "kind": ["meter"] * 144,
            "entity_id": ["m-1"] * 144,
            "timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
            "watts": [float(i) for i in range(144)],
        })
        yield Reading(interval=interval, origin=self.name, objects=[table], queries={"path": "/meters"})
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment where a package with a source is installed."""
    site = tmp_path / "site"
    (site / "gateway-1.0.dist-info").mkdir(parents=True)
    (site / "gateway.py").write_text(GATEWAY)
    (site / "gateway-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: gateway\nVersion: 1.0\n")
    (site / "gateway-1.0.dist-info" / "entry_points.txt").write_text(
        "[fleetalign.sources]\ngateway = gateway:Gateway\n"
    )
    paths = [str(site), *(path for path in sys.path if path)]
    yield {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FLEETALIGN_STORE": f"file://{tmp_path}/store"}


def fleetalign(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fleetalign.cli", "ingest", "--from", "2024-05-01", "--to", "2024-05-02"]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)


def test_a_source_of_another_package_is_ingested_by_name(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("source: {type: gateway, path: hall-3}")
    done = fleetalign(environment, "--params", str(tmp_path / "params.yaml"))
    assert done.returncode == 0, done.stderr
    from fleetalign.storage.connect import open_store

    (partition,) = list_partitions(open_store(environment["FLEETALIGN_STORE"]), "raw")
    assert (partition.kind, partition.rows, partition.metrics, partition.step_seconds) == (
        "meter",
        144,
        ("watts",),
        600,
    )
    assert '"path": "/meters"' in done.stdout


def test_an_unknown_source_is_refused_with_the_installed_ones(environment: dict[str, str]) -> None:
    done = fleetalign(environment, "--source", "kafka")
    assert done.returncode == 2
    assert "must be one of simulator, files, spans, prometheus, gateway" in done.stderr
