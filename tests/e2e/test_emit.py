"""Scores and alarms leave: Debian's Alertmanager takes, keeps and ends the incidents of ``fleetalign score``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import alertmanager_server
from e2e.alertmanager_server import firing
from e2e.conftest import fleetalign
from e2e.prometheus_server import free_port

from fleetalign import steps
from fleetalign.config import Config
from fleetalign.config.run import EmitConfig
from fleetalign.contracts.tables import SCORES
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval
from fleetalign.storage import channel, lake, layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store
from fleetalign.testing.releases import toy_release, toy_telemetry

STEPS = 60
DAY = Interval.parse("2026-03-09", "2026-03-10")


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    with alertmanager_server.alertmanager(tmp_path) as url:
        yield url


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "store"))
    release_id = toy_release(store, kinds={"service": ("a", "b", "c")}, threshold=5.0)
    channel.move(store, "champion", release_id, "test", "test", 48.0, datetime.now(UTC))
    return store


def telemetry(path: Path, faulty: tuple[str, ...], until: int = STEPS) -> Path:
    """An hour of three entities up to step ``until``; every metric of ``faulty`` ones stands far out from step 40 to 49."""
    tables = []
    for index, entity in enumerate("abc"):
        table = toy_telemetry("service", entity, STEPS, seed=index).slice(0, until)
        for number, name in enumerate(table.schema.names):
            if entity in faulty and pa.types.is_float64(table.schema.field(name).type):
                values = table[name].to_numpy().copy()
                values[40:50] += 1000.0 * 3.0 ** np.arange(len(values[40:50]))
                table = table.set_column(number, name, pa.array(values))
        tables.append(table)
    pq.write_table(pa.concat_tables(tables), path)
    return path


def test_an_incident_fires_once_is_renewed_and_ends(alertmanager: str, store: Store, tmp_path: Path) -> None:
    emit = ["--store", store.uri, "--emit", f"alertmanager={alertmanager}"]
    ongoing = telemetry(tmp_path / "ongoing.parquet", ("a", "b"), until=48)
    fleetalign("score", *emit, "--telemetry", ongoing)
    (alert,) = firing(alertmanager)
    assert alert["labels"]["alertname"] == "FleetalignIncident"
    assert (alert["labels"]["kind"], alert["labels"]["entity_id"]) == ("service", "a")
    assert alert["annotations"]["members"] == "a, b"
    assert alert["annotations"]["release"] == channel.read(store, "champion").release_id
    assert "%" in alert["annotations"]["metrics"]
    assert float(alert["annotations"]["margin"]) > 0
    assert alert["startsAt"].startswith("2026-03-09T00:40")
    assert datetime.fromisoformat(alert["endsAt"]) > datetime.now(UTC) + timedelta(hours=20)

    fleetalign("score", *emit, "--telemetry", ongoing)
    assert [a["fingerprint"] for a in firing(alertmanager)] == [alert["fingerprint"]]

    fleetalign("score", *emit, "--telemetry", telemetry(tmp_path / "over.parquet", ("a", "b")))
    assert firing(alertmanager) == []
    assert store.get_json(layout.firing("champion"))["pages"] == []


def test_a_server_that_is_down_is_tried_a_few_times_and_the_run_repeats_harmlessly(
    alertmanager: str, store: Store, tmp_path: Path
) -> None:
    ongoing = telemetry(tmp_path / "ongoing.parquet", ("a",), until=48)
    score = ["score", "--store", store.uri, "--telemetry", ongoing, "--emit"]
    down = fleetalign(*score, f"alertmanager=http://127.0.0.1:{free_port()}", check=4)
    assert "4 tries" in down.stderr
    history, error = down.stderr.splitlines()
    assert "scores look back" in history and "4 tries" in error
    assert not store.exists(layout.firing("champion"))
    fleetalign(*score, f"alertmanager={alertmanager}")
    assert len(firing(alertmanager)) == 1


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str], list[int]]]:
    """A server that answers with the statuses given to it (the last one for ever): its URL, paths asked for, statuses."""
    paths, statuses = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()
            self.wfile.write(b'"because"')

        def log_message(self, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths, statuses
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answers", "exit_code", "tries"),
    [([503, 200], 0, 2), ([503], 4, 4), ([400], 2, 1), ([302], 2, 1)],
    ids=["later", "never", "refused", "elsewhere"],
)
def test_answers_decide_about_another_try(
    refusing: tuple[str, list[str], list[int]],
    store: Store,
    tmp_path: Path,
    answers: list[int],
    exit_code: int,
    tries: int,
) -> None:
    url, paths, statuses = refusing
    statuses += answers
    ongoing = telemetry(tmp_path / "ongoing.parquet", ("a",), until=48)
    emit = ["--emit", f"alertmanager={url}/"]
    done = fleetalign("score", "--store", store.uri, "--telemetry", ongoing, *emit, check=exit_code)
    assert paths == ["/api/v2/alerts"] * tries
    assert url in done.stderr or exit_code == 0
    assert store.exists(layout.firing("champion")) is (exit_code == 0)


def test_files_and_the_summary(store: Store, tmp_path: Path) -> None:
    files = ["--emit", f"openmetrics={tmp_path}/fleet.prom", "--emit", f"parquet={tmp_path}/", "--out", tmp_path / "s"]
    done = fleetalign(
        "score", "--store", store.uri, "--telemetry", telemetry(tmp_path / "t.parquet", ("b", "c")), *files
    )
    assert "2 pages in 1 incidents" in done.stdout
    assert pq.read_schema(tmp_path / "s").names == SCORES.schema.names
    assert (tmp_path / "s").read_bytes() == (tmp_path / "2026-03-09T000000Z.parquet").read_bytes()
    assert (tmp_path / "fleet.prom").read_text().endswith("# EOF\n")
    assert "--emit" in fleetalign("score", "--store", store.uri, "--telemetry", tmp_path, check=2).stderr


def test_the_scheduled_step_scores_what_the_store_holds(store: Store, tmp_path: Path) -> None:
    config = Config()
    with pytest.raises(ConfigError, match=r"emit\.targets"):
        steps.score(config, store.uri, DAY)
    config = dataclasses.replace(config, emit=EmitConfig(targets=(f"parquet={tmp_path}/scores.parquet",)))
    with pytest.raises(BadInput, match="no validated telemetry"):
        steps.score(config, store.uri, DAY)
    table = pq.read_table(telemetry(tmp_path / "t.parquet", ("a",)))
    lake.write_partition(store, "validated", "service", DAY, "day", table, 60, {})
    result = steps.score(config, store.uri, DAY)
    assert (result["samples"], result["incidents"]) == (3 * STEPS, 1)
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == 3 * STEPS


def test_a_dead_entity_fires_as_silent_until_it_is_heard(alertmanager: str, store: Store, tmp_path: Path) -> None:
    path = telemetry(tmp_path / "all.parquet", ())
    rows = pq.read_table(path).to_pylist()
    dies = datetime(2026, 3, 9, 0, 30, tzinfo=UTC)
    alive = [row for row in rows if row["entity_id"] != "c" or row["timestamp"] < dies]
    dead = tmp_path / "dead.parquet"
    pq.write_table(pa.Table.from_pylist(alive, schema=pq.read_table(path).schema), dead)
    emit = ["--store", store.uri, "--emit", f"alertmanager={alertmanager}", "--emit", f"openmetrics={tmp_path}/om"]
    done = fleetalign("score", *emit, "--telemetry", dead)
    history, *silent = done.stderr.splitlines(keepends=True)
    assert "scores look back" in history
    assert "".join(silent) == (
        "fleetalign: warning: kind 'service': 1 of 3 entities silent: c since 2026-03-09T00:30:00Z\n"
    )
    (alert,) = firing(alertmanager)
    assert alert["labels"].items() >= {"alertname": "FleetalignSilent", "entity_id": "c", "reason": "silent"}.items()
    assert 'fleetalign_silent{kind="service",entity_id="c",reason="silent"} 1.0' in (tmp_path / "om").read_text()
    fleetalign("score", *emit, "--telemetry", path)
    assert firing(alertmanager) == []
    assert "fleetalign_silent{" not in (tmp_path / "om").read_text()
