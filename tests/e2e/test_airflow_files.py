"""Real labelled telemetry through Airflow: a fleet that was on-boarded with its history and now comes in day by day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import fleetalign
from e2e.labelled_inputs import days, write_inputs
from e2e.local_airflow import free_port, module

from fleetalign.config import load
from fleetalign.storage import channel
from fleetalign.storage.connect import open_store

pytestmark = pytest.mark.airflow
DAYS_THROUGH_AIRFLOW = 4
CHAIN_SECONDS = 400.0
WINDOW_STEPS = 40
OVERRIDES = """
source: {{type: files, kind: appserver, path: {telemetry}, feedback_path: {feedback}}}
model: {{window_steps: {window_steps}}}
training: {{epochs: 1, max_windows_per_epoch: 4000, max_validation_windows: 1000}}
validation: {{data_docs: false}}
gates: {{bootstrap_samples: 200}}
airflow: {{min_new_partitions: {partitions},
  crons: {{ingest: "0 0 1 1 *", pretrain: "0 1 1 1 *", align: "0 2 1 1 *",
    gc: "0 3 1 1 *"}}}}
"""


@pytest.fixture(scope="module")
def store(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store after history (command line) and the last days (Airflow) went in."""
    home = tmp_path_factory.mktemp("appservers")
    inputs = write_inputs(shared_data / "appservers.parquet", home / "inputs", "appserver", WINDOW_STEPS)
    keys = [day.strftime("%Y-%m-%d") for day in days(inputs)]
    inputs.params.write_text(
        inputs.params.read_text()
        + OVERRIDES.format(
            telemetry=inputs.telemetry, feedback=inputs.feedback, window_steps=WINDOW_STEPS, partitions=len(keys)
        )
    )
    store, history = home / "store", keys[-DAYS_THROUGH_AIRFLOW]
    where = ("--store", store, "--params", inputs.params, "--from", keys[0], "--to", history)
    fleetalign("ingest", "--telemetry", inputs.telemetry, "--kind", "appserver", *where)
    fleetalign("validate", *where)
    demo = module("demo")
    airflow = module("standalone").Standalone(home / "airflow", f"file://{store}", inputs.params, free_port())
    try:
        api = demo.bring_up(airflow, lambda _: None)
        for key in keys[-DAYS_THROUGH_AIRFLOW:]:
            api.trigger("telemetry_ingest", f"day__{key}", key)
        wait_for_promotion(api)
        yield store
    finally:
        airflow.stop()


def wait_for_promotion(api: Any) -> None:
    """Until ``release_promote`` is over. Its gates may say no to the published method; nothing else may fail."""

    def watch(runs: list[dict[str, Any]]) -> None:
        red = {run["dag_id"] for run in runs if run["state"] == "failed"} - {"release_promote"}
        assert not red

    for _ in range(5):
        runs = api.wait_idle(CHAIN_SECONDS, watch)
        if any(run["dag_id"] == "release_promote" for run in runs):
            return
    raise AssertionError("nothing runs any more and there is no release")


@pytest.fixture(scope="module")
def manifest(store: Path) -> dict[str, Any]:
    (path,) = store.glob("releases/*/manifest.json")
    return json.loads(path.read_text())


def test_judged_on_what_nothing_was_fitted_on(manifest: dict[str, Any]) -> None:
    ranges = manifest["ranges"]["appserver"]
    assert ranges["train"]["end"] < ranges["calibrate"]["start"] < ranges["calibrate"]["end"] < ranges["judge"]["start"]
    assert manifest["evaluation"]["protocol"] == "judge_range"
    assert manifest["evaluation"]["entities"] == 6
    assert manifest["evaluation"]["incidents"] > 10


def test_every_figure_stands_beside_its_controls(manifest: dict[str, Any]) -> None:
    figures = {figure["name"]: figure for figure in manifest["evaluation"]["figures"]}
    for name in ("event_f1", "false_pages_per_entity_day", "point_adjusted_f1"):
        for side in ("detector", "random", "shifted"):
            estimate = figures[name][side]
            assert estimate["low"] <= estimate["value"] <= estimate["high"], f"{name} {side}"


def test_feedback_of_the_first_part_reached_the_aligner(manifest: dict[str, Any], store: Path) -> None:
    import pyarrow.parquet as pq

    (path,) = store.glob("aligners/*/aligner.parquet")
    table = pq.read_table(path)
    assert manifest["coverage"]["entities"] == 6
    assert sum(table["incidents"].to_pylist()) > 0


def test_the_channel_does_what_the_gates_say(manifest: dict[str, Any], store: Path) -> None:
    refused = [gate["name"] for gate in manifest["gates"] if gate["verdict"] == "fail"]
    pointer = channel.read(open_store(str(store)), load().release.channel)
    assert (pointer is None) == bool(refused)
    if pointer is not None:
        assert pointer.release_id == manifest["release_id"]
