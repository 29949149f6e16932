"""The ingest DAG over a real Prometheus: the same step as the command line, and what was asked on the asset event."""

from __future__ import annotations

from pathlib import Path

import pytest
from dags.test_runs import Run, events
from e2e.prometheus_server import prometheus

from fleetalign.storage import lake
from fleetalign.storage.connect import open_store

MAPPING = 'step_seconds: 60\nseries: [{query: cpu, kind: web, entity: "{host}", metric: cpu, type: gauge}]'


def test_a_day_comes_from_prometheus(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "series.yaml").write_text(MAPPING)
    (tmp_path / "params.yaml").write_text(f"source: {{type: prometheus, mapping_path: {tmp_path / 'series.yaml'}}}")
    monkeypatch.setenv("FLEETALIGN_PARAMS", str(tmp_path / "params.yaml"))
    monkeypatch.setenv("FLEETALIGN_STORE", str(tmp_path / "store"))
    with prometheus(tmp_path) as url:
        monkeypatch.setenv("FLEETALIGN_PROMETHEUS_URL", url)
        assert run("telemetry_ingest", "2026-03-02").state == "success"
    [partition] = lake.list_partitions(open_store(str(tmp_path / "store")), "raw", "web")
    assert partition.metrics == ("cpu",)
    [asked] = events("telemetry_raw")[-1].extra["asked"]
    assert (asked["url"], asked["queries"]) == (url, [{"query": "cpu", "type": "gauge", "series": 2}])
