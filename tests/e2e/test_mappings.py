"""The mappings of infra/mappings on a real Prometheus: Debian's exporter, and recorded series of published names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from e2e.prometheus_server import START, prometheus, wait_for_scrapes

from fleetalign import steps
from fleetalign.config import Config, SourceConfig
from fleetalign.ingest.prometheus.queries import load_prometheus_mapping
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.connect import open_store

MAPPINGS = Path(__file__).parents[2] / "infra" / "mappings"
MINUTES = 30
SEEN = Interval.parse("2026-03-02T00:10", "2026-03-02T00:30")
POD = 'namespace="shop",pod="cart-1"'
GAUGES = {
    'kube_deployment_spec_replicas{namespace="shop",deployment="cart"}': 3,
    'kube_deployment_status_replicas_available{namespace="shop",deployment="cart"}': 2,
    'kube_deployment_status_replicas_unavailable{namespace="shop",deployment="cart"}': 1,
    'kube_statefulset_replicas{namespace="shop",statefulset="db"}': 2,
    'kube_statefulset_status_replicas_ready{namespace="shop",statefulset="db"}': 2,
    'kube_daemonset_status_desired_number_scheduled{namespace="kube",daemonset="agent"}': 5,
    'kube_daemonset_status_number_unavailable{namespace="kube",daemonset="agent"}': 1,
    'kube_node_status_condition{node="n1",condition="Ready",status="true"}': 1,
    'kube_node_status_condition{node="n1",condition="Ready",status="false"}': 0,
    f'kube_pod_info{{{POD},node="n1",host_ip="10.0.0.1"}}': 1,
    f'container_memory_working_set_bytes{{{POD},container="app",id="/a"}}': 1000,
    f'container_memory_working_set_bytes{{{POD},container="side",id="/b"}}': 500,
    f'container_memory_working_set_bytes{{{POD},container="",id="/"}}': 1500,
}
COUNTERS = {  # increase per second
    f'kube_pod_container_status_restarts_total{{{POD},container="app"}}': 0.01,
    f'container_cpu_usage_seconds_total{{{POD},container="app",cpu="total"}}': 0.5,
    f'container_cpu_usage_seconds_total{{{POD},container="",cpu="total"}}': 0.5,
    f'container_cpu_cfs_periods_total{{{POD},container="app"}}': 10,
    f'container_cpu_cfs_throttled_periods_total{{{POD},container="app"}}': 2.5,
    f'container_network_receive_bytes_total{{{POD},interface="eth0"}}': 100,
    f'container_network_transmit_bytes_total{{{POD},interface="eth0"}}': 200,
    f'container_fs_writes_bytes_total{{{POD},container="app",device="/dev/sda"}}': 300,
    'http_requests_total{job="cart",code="200"}': 9,
    'http_requests_total{job="cart",code="503"}': 1,
    'http_requests_total{job="quiet",code="200"}': 4,
    'http_requests_total{job="other",status="200"}': 3,
    'http_requests_total{job="other",status="500"}': 1,
    'http_request_duration_seconds_bucket{job="cart",le="0.1"}': 5,
    'http_request_duration_seconds_bucket{job="cart",le="1.0"}': 10,
    'http_request_duration_seconds_bucket{job="cart",le="+Inf"}': 10,
}
EXPECTED = {
    "kube-state-metrics": {
        ("deployment", "shop/cart"): {"replicas_wanted": 3, "replicas_available": 2, "replicas_unavailable": 1},
        ("statefulset", "shop/db"): {"replicas_wanted": 2, "replicas_ready": 2},
        ("daemonset", "kube/agent"): {"pods_wanted": 5, "pods_unavailable": 1},
        ("kube_node", "n1"): {"ready": 1, "pods": 1, "container_restarts_per_second": 0.01},
    },
    "cadvisor": {
        ("pod", "shop/cart-1"): {
            "cpu_cores": 0.5, "cpu_throttled_share": 0.25, "memory_working_set_bytes": 1500,
            "network_received_bytes_per_second": 100, "network_sent_bytes_per_second": 200,
            "disk_written_bytes_per_second": 300,
        },
    },
    "red": {
        ("service", "cart"): {
            "requests_per_second": 10, "error_share": 0.1, "duration_median_seconds": 0.1,
            "duration_99_percent_seconds": 0.982,
        },
        ("service", "quiet"): {"requests_per_second": 4, "error_share": 0},
        ("service", "other"): {"requests_per_second": 4, "error_share": 0.25},
    },
}  # fmt: skip


def recorded() -> Iterator[str]:
    typed: dict[str, list[str]] = {}
    for series, value in GAUGES.items():
        for i in range(MINUTES):
            typed.setdefault(series.split("{")[0], []).append(f"{series} {value} {START + 60 * i}\n")
    for series, rate in COUNTERS.items():
        for i in range(MINUTES):
            typed.setdefault(series.split("{")[0], []).append(f"{series} {rate * 60 * i} {START + 60 * i}\n")
    for name, lines in typed.items():
        yield f"# TYPE {name.removesuffix('_total') if name.endswith('_total') else name} {'counter' if name.endswith('_total') else 'unknown'}\n"
        yield from lines
    yield "# EOF\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus"), recorded()) as url:
        yield url


def ingested(server: str, folder: Path, mapping: Path, interval: Interval) -> dict[tuple[str, str], list[dict]]:
    store = str(folder / "store")
    source = SourceConfig(type="prometheus", prometheus_url=server, mapping_path=str(mapping))
    steps.ingest(Config(source=source), store, interval)
    found: dict[tuple[str, str], list[dict]] = {}
    for partition in lake.list_partitions(open_store(store), "raw"):
        for row in lake.read_partition(open_store(store), partition).to_pylist():
            found.setdefault((row.pop("kind"), row.pop("entity_id")), []).append(row)
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_series_become_the_metrics_of_the_mapping(server: str, tmp_path: Path, name: str) -> None:
    found = ingested(server, tmp_path, MAPPINGS / f"{name}.yaml", SEEN)
    assert found.keys() == EXPECTED[name].keys()
    for entity, values in EXPECTED[name].items():
        assert len(found[entity]) == 20
        for row in found[entity]:
            measured = {metric: value for metric, value in row.items() if metric != "timestamp" and value is not None}
            assert measured == pytest.approx(values, rel=1e-6), entity


def test_a_real_node_exporter_gives_every_metric_of_its_mapping(server: str, tmp_path: Path) -> None:
    mapping = tmp_path / "node_exporter.yaml"
    mapping.write_text((MAPPINGS / "node_exporter.yaml").read_text().replace("step_seconds: 60", "step_seconds: 1"))
    wait_for_scrapes(server, 11, 12)
    end = datetime.now(UTC)
    found = ingested(server, tmp_path, mapping, Interval(end - timedelta(seconds=5), end))
    [(entity, rows)] = found.items()
    assert entity[0] == "host" and entity[1].startswith("127.0.0.1:")
    wanted = {series.metric for series in load_prometheus_mapping(str(mapping)).series}
    print(rows[-1])
    assert wanted == {name for name, value in rows[-1].items() if value is not None} - {"timestamp"}
    assert all(0 <= rows[-1][name] <= 1.05 for name in wanted if name.endswith("_share"))
    assert rows[-1]["load1"] >= 0 and rows[-1]["processes_running"] >= 1


def test_every_mapping_is_tried() -> None:
    assert {path.stem for path in MAPPINGS.glob("*.yaml")} == {*EXPECTED, "node_exporter"}
