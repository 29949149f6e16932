"""Every example runs from a checkout and does what its README promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.alertmanager_server import alertmanager, firing
from e2e.prometheus_server import START, free_port, prometheus, running, wait_ready

from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import channel
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store
from fleetalign.testing.releases import toy_release, toy_telemetry

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
MINUTES = 3 * 1440 + 600
"""Three days of history and ten hours of the day that is scored."""
FAULT = 3 * 1440 + 540
FAULTY = ("web-1", "web-2")


def run(example: str, folder: Path, **variables: str) -> str:
    """The output of an example's ``run.sh``, with the interpreter of the tests first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [EXAMPLES / example / "run.sh", folder],
        env={**os.environ, **variables, "PATH": path},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_described_and_tested():
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    tests = Path(__file__).read_text()
    started = (REPOSITORY / "docs" / "getting-started.md").read_text()
    for name in folders:
        assert (EXAMPLES / name / "README.md").exists()
        assert f'"{name}"' in tests
        assert f"`examples/{name}/`" in started


def test_csv_files_become_pages_of_the_faulty_host(tmp_path: Path):
    output = run("csv_to_pages", tmp_path)
    assert "channel champion: every gate passed" in output
    pages = re.findall(r"^(\S+)/(\S+)  until (\S+)$", output, flags=re.MULTILINE)
    assert ("web/web-3", "2026-03-07T10:00:00Z") in [(entity, start) for entity, start, _ in pages]
    assert len(pages) <= 6, "one fault and a few false pages in six entity-days"


def test_a_detector_of_ones_own_is_released_and_scores_without_its_package(tmp_path: Path):
    detector = (EXAMPLES / "own_detector" / "fleet_mean_z.py").read_text()
    assert f"```python\n{detector}```" in (REPOSITORY / "docs" / "detectors.md").read_text()
    run("own_detector", tmp_path)
    assert "mean_z" not in entry_point_names()
    (manifest,) = (tmp_path / "store" / "releases").glob("*/manifest.json")
    kinds = json.loads(manifest.read_text())["kinds"]
    assert {kind["network"] for kind in kinds.values()} == {"mean_z"}
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert scores["score"].null_count < scores.num_rows / 10


def entry_point_names() -> set[str]:
    return {point.name for point in entry_points(group="fleetalign.detectors")}


def history() -> Iterator[str]:
    """OpenMetrics of five instances, every minute; two of them fail together at the end."""
    generator = np.random.default_rng(3)
    phase = 2 * np.pi * np.arange(MINUTES) / 1440
    values: dict[str, dict[str, np.ndarray]] = {"load": {}, "latency_seconds": {}, "errors_total": {}}
    for i in range(5):
        instance = f"web-{i}"
        load = 5 - 2 * np.cos(phase) + generator.normal(0, 0.2, MINUTES)
        latency = 0.1 + 0.01 * load + generator.normal(0, 0.003, MINUTES)
        errors = np.abs(generator.normal(3, 1, MINUTES))
        if instance in FAULTY:
            latency[FAULT:] *= 4
            errors[FAULT:] += 300
        values["load"][instance], values["latency_seconds"][instance] = load, latency
        values["errors_total"][instance] = np.cumsum(errors)
    for name, series in values.items():
        yield f"# TYPE {name.removesuffix('_total')} {'counter' if name.endswith('_total') else 'gauge'}\n"
        for instance, samples in series.items():
            for i, value in enumerate(samples):
                yield f'{name}{{instance="{instance}"}} {value:.5f} {START + 60 * i}\n'
    yield "# EOF\n"


def test_a_fault_in_prometheus_is_one_alert_in_alertmanager(tmp_path: Path):
    times = {"FROM": "2026-03-02", "TODAY": "2026-03-05", "NOW": "2026-03-05T10:00:00Z"}
    with prometheus(tmp_path, history()) as source, alertmanager(tmp_path) as target:
        run("prometheus_to_alertmanager", tmp_path / "out", PROMETHEUS=source, ALERTMANAGER=target, **times)
        alerts = [alert for alert in firing(target) if alert["startsAt"] >= "2026-03-05T08:55"]
    assert [alert["annotations"]["members"] for alert in alerts] == [", ".join(FAULTY)]
    assert alerts[0]["labels"]["alertname"] == "FleetalignIncident"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(f"file://{tmp_path}/store")
    promote(store, threshold=1.0)
    return store


def promote(store: Store, threshold: float) -> str:
    release_id = toy_release(store, threshold=threshold)
    channel.move(store, "champion", release_id, "test", "test", 48.0, datetime.now(UTC))
    return release_id


def post(url: str, telemetry: pa.Table | str) -> list[dict]:
    text = telemetry if isinstance(telemetry, str) else "".join(map(line, telemetry.to_pylist()))
    with urllib.request.urlopen(f"{url}/telemetry", data=text.encode(), timeout=30) as answer:
        return [json.loads(row) for row in answer.read().splitlines()]


def line(sample: dict) -> str:
    return json.dumps({**sample, "timestamp": sample["timestamp"].isoformat()}) + "\n"


def test_the_service_scores_as_in_bulk_and_follows_the_channel(store: Store):
    telemetry = toy_telemetry("service", "a", 60)
    first, port = Scorer.open(store), free_port()
    url = f"http://127.0.0.1:{port}"
    service = EXAMPLES / "consumer_service" / "service.py"
    with running(sys.executable, service, "--store", store.uri, "--port", str(port), "--poll-seconds", "0") as process:
        wait_ready(f"{url}/health", process)
        scores = [
            row for start, end in ((0, 7), (7, 30), (30, 40)) for row in post(url, telemetry.slice(start, end - start))
        ]
        second = Scorer.open(store, release=promote(store, threshold=3.0))
        scores += post(url, telemetry.slice(40))
        with urllib.request.urlopen(f"{url}/health", timeout=30) as answer:
            assert json.load(answer) == {"release_id": second.release_id, "sequence": 2, "expired": False}
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(url, '{"kind": "service"}\n')
        assert process.poll() is None
    bulk = first.score(telemetry).to_pylist()[:40] + second.score(telemetry).to_pylist()[40:]
    assert [row["alarm"] for row in scores] == [row["alarm"] for row in bulk]
    assert [row["reason"] for row in scores] == [row["reason"] for row in bulk]
    margins = [(row["margin"], expected["margin"]) for row, expected in zip(scores, bulk, strict=True)]
    assert [found is None for found, _ in margins] == [expected is None for _, expected in margins]
    np.testing.assert_allclose(*zip(*[pair for pair in margins if None not in pair], strict=True), rtol=1e-5, atol=1e-5)
