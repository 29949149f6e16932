"""Telemetry from a real Prometheus of Debian's package, over the step, the command line and its limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from e2e.prometheus_server import GAP, NUM_MANY, RESET, START, prometheus, wait_for_scrapes

from fleetalign import steps
from fleetalign.config import Config, SourceConfig
from fleetalign.errors import BadInput
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.connect import open_store
from fleetalign.storage.file import FileStore

DAY = Interval.parse("2026-03-02", "2026-03-03")
WEB = """
step_seconds: 60
series:
  - {query: cpu, kind: web, entity: "{host}", metric: cpu, type: gauge}
  - {query: requests_total, kind: web, entity: "{host}", metric: requests_per_second, type: counter}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


def configured(server: str, folder: Path, mapping: str) -> Config:
    path = folder / "series.yaml"
    path.write_text(mapping)
    return Config(source=SourceConfig(type="prometheus", prometheus_url=server, mapping_path=str(path)))


def stored(store: str, kind: str) -> list[dict]:
    [partition] = lake.list_partitions(open_store(store), "raw", kind)
    return lake.read_partition(open_store(store), partition).to_pylist()


def minute(row: dict) -> int:
    return int(row["timestamp"].timestamp() - START) // 60


def test_gauges_come_as_scraped_counters_as_rates_and_gaps_as_nothing(server: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    steps.ingest(configured(server, tmp_path, WEB), store, DAY)
    rows = {host: [r for r in stored(store, "web") if r["entity_id"] == host] for host in ("web-1", "web-2")}
    assert [(minute(r), r["cpu"]) for r in rows["web-1"]] == [(i, float(i)) for i in range(1440)]
    present = {minute(r) for r in rows["web-2"]}
    # The server repeats a last sample for its look-back of five minutes when no scrape told it that the series ended.
    assert set(range(1440)) - present == set(range(GAP.start + 5, GAP.stop))
    rates = {minute(r): r["requests_per_second"] for r in rows["web-1"] if r["requests_per_second"] is not None}
    near_reset = set(range(RESET, RESET + 5))
    assert set(range(2, 1440)) <= set(rates)
    assert all(rates[i] == pytest.approx(2.0) for i in range(5, 1440) if i not in near_reset)
    assert all(1.0 < rates[i] <= 2.0 for i in near_reset)


def test_what_was_asked_is_recorded_and_asking_again_changes_no_byte(server: str, tmp_path: Path) -> None:
    config, store = configured(server, tmp_path, WEB), str(tmp_path / "store")
    result = steps.ingest(config, store, DAY)
    [asked] = result["asked"]
    assert asked["url"] == server
    assert asked["queries"] == [
        {"query": "cpu", "type": "gauge", "series": 2},
        {"query": "rate(requests_total[240s])", "type": "counter", "series": 2},
    ]
    assert (asked["start"], asked["end"], asked["step_seconds"]) == ("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z", 60)
    assert asked["server_version"][0].isdigit() and asked["warnings"] == []
    [partition] = lake.list_partitions(open_store(store), "raw")
    beside = json.loads((Path(store) / partition.prefix / "_source.json").read_text())
    assert beside == {**asked, "partition_sha256": partition.digest}
    before = {p: p.read_bytes() for p in Path(store).rglob("*") if p.is_file()}
    assert steps.ingest(config, store, DAY) == result
    assert {p: p.read_bytes() for p in Path(store).rglob("*") if p.is_file()} == before


def test_a_day_of_more_points_than_one_answer_holds(server: str, tmp_path: Path) -> None:
    mapping = 'step_seconds: 5\nseries: [{query: cpu, kind: web, entity: "{host}", metric: cpu, type: gauge}]'
    store, told = str(tmp_path / "store"), []
    steps.ingest(configured(server, tmp_path, mapping), store, DAY, progress=lambda *given: told.append(given))
    rows = [r for r in stored(store, "web") if r["entity_id"] == "web-1"]
    assert [r["cpu"] for r in rows] == [i // 12 for i in range(17_280)]
    assert told == [(11_000, 17_280, "read telemetry"), (17_280, 17_280, "read telemetry")]


def test_two_series_of_one_name_are_refused_and_named(server: str, tmp_path: Path) -> None:
    mapping = WEB.replace("{host}", "all")
    with pytest.raises(BadInput, match=r'web / all / cpu at 2026-03-02T00:00:00Z .*host="web-1".*host="web-2"'):
        steps.ingest(configured(server, tmp_path, mapping), str(tmp_path / "store"), DAY)
    assert not list((tmp_path).glob("store/telemetry"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("cpu{", r"query 'cpu\{': HTTP 400: .*parse error"),
        ("no_such_metric", "no query found a series from 2026-03-02"),
        ("cpu{host='web-1'} or vector(1)", "no label 'host'"),
    ],
)
def test_a_query_that_cannot_be_used_is_named(server: str, tmp_path: Path, query: str, message: str) -> None:
    mapping = f'step_seconds: 60\nseries: [{{query: "{query}", kind: web, entity: "{{host}}", metric: m, type: gauge}}]'
    with pytest.raises(BadInput, match=message):
        steps.ingest(configured(server, tmp_path, mapping), str(tmp_path / "store"), DAY)


def test_a_part_of_a_stored_day_does_not_replace_it(server: str, tmp_path: Path) -> None:
    config, store = configured(server, tmp_path, WEB), str(tmp_path / "store")
    steps.ingest(config, store, DAY)
    with pytest.raises(BadInput, match=r"the stored partition holds \d+ samples such as .* that these files lack"):
        steps.ingest(config, store, Interval.parse("2026-03-02T06:00", "2026-03-02T07:00"))
    assert len(stored(store, "web")) > 2000


def test_what_a_real_exporter_says_now(server: str, tmp_path: Path) -> None:
    mapping = """
step_seconds: 1
series:
  - {query: node_load1, kind: node, entity: "{job}", metric: load1, type: gauge}
  - {query: 'node_cpu_seconds_total{cpu="0"}', kind: node, entity: "{job}", metric: "cpu_{mode}", type: counter}
"""
    wait_for_scrapes(server, 11, 12)
    end = datetime.now(UTC)
    store = FileStore(tmp_path / "store")
    config = configured(server, tmp_path, mapping)
    result = steps.ingest(config, store.uri, Interval(end - timedelta(seconds=8), end))
    rows = [r for kind in lake.list_partitions(store, "raw") for r in lake.read_partition(store, kind).to_pylist()]
    assert {r["entity_id"] for r in rows} == {"node"} and len(rows) >= 4
    modes = [name for name in rows[-1] if name.startswith("cpu_")]
    assert len(modes) >= 7 and rows[-1]["load1"] >= 0
    assert 0.3 < sum(rows[-1][name] for name in modes) < 3  # one CPU second a second, as well as a busy machine scrapes
    assert result["asked"][-1]["queries"][1]["series"] == len(modes)


def test_five_hundred_series_of_a_day_on_the_command_line_stay_below_500_mb(server: str, tmp_path: Path) -> None:
    mapping = tmp_path / "many.yaml"
    mapping.write_text(
        'step_seconds: 15\nseries: [{query: many, kind: pod, entity: "{pod}", metric: "{name}", type: gauge}]'
    )
    store = tmp_path / "store"
    arguments = ["ingest", "--source", "prometheus", "--prometheus", server, "--map", str(mapping)]
    arguments += ["--from", "2026-03-02", "--to", "2026-03-03", "--store", str(store)]
    # Not ru_maxrss: through exec it keeps the peak of the process that started this one.
    code = (
        "import sys; from pathlib import Path; from fleetalign.cli import main; code = main(sys.argv[1:])\n"
        "[peak] = [line.split()[1] for line in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in line]\n"
        "print(peak); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    peak_mb = int(done.stdout.splitlines()[-1]) / 1024
    print(f"peak {peak_mb:.0f} MB")
    assert peak_mb < 500
    assert "read telemetry: 5760 in " in done.stderr
    rows = stored(str(store), "pod")
    assert len(rows) == 5760 * NUM_MANY // 5
    assert np.isfinite([r[f"m{m}"] for r in rows[:5000] for m in range(5)]).all()
