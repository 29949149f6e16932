"""The main job from the outside: the command line, two kinds of store, kills, consumers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.conftest import Build, fleetalign

from fleetalign import steps
from fleetalign.config import load
from fleetalign.contracts.graph import Graph, expose
from fleetalign.detectors.margins import EntitySeries
from fleetalign.detectors.registry import detector
from fleetalign.plan.document import partitions_of, read_plan
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import lake, layout
from fleetalign.storage.connect import open_store


def hashes(store: Path) -> dict[str, bytes]:
    """Every immutable object of a file store."""
    folders = ("telemetry", "quarantine", "feedback", "models", "normalizers", "aligners", "plans", "releases")
    files = [p for f in folders for p in (store / f).rglob("*") if p.is_file() and p.name != "provenance.json"]
    return {str(p.relative_to(store)): p.read_bytes() for p in files}


def test_run_ends_with_the_release_and_everything_is_there(build: Build):
    assert build.stdout.splitlines()[-1] == f"release {build.release_id}"
    folder = build.store / "releases" / build.release_id
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "provenance.json", "report.html"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["kinds"]) == {"service", "database"}
    for figure in manifest["evaluation"]["figures"]:
        assert {"random", "shifted"} <= set(figure)
    assert "random score" in build.stdout
    fleetalign("verify", "--store", build.store, "--release", build.release_id)


def test_a_second_run_changes_no_byte(build: Build):
    before = hashes(build.store)
    done = fleetalign(*build.run_arguments, "--store", build.store, check=None)
    assert done.stdout.split()[-1] == build.release_id
    assert hashes(build.store) == before


def test_every_step_forced_again_gives_the_same_bytes(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    before = hashes(store)
    config, uri = load(build.params), str(store)
    plan_id = steps.latest(config, uri, "release")
    # Without their receipts and results the steps must make everything anew.
    for path in [
        *(store / "plans" / plan_id).rglob("*.*"),
        *(store / "models").rglob("*.onnx"),
        *(store / "aligners").rglob("*.parquet"),
        *(store / "releases").rglob("report.html"),
    ]:
        if path.name != "snapshot.json":
            path.unlink()
    assert steps.plan(config, uri)["plan_id"] == plan_id
    steps.pretrain(config, uri, plan_id, force=True)
    for shard in steps.shards(config, uri, plan_id):
        steps.align_shard(config, uri, plan_id, shard["index"])
    steps.align_reduce(config, uri, plan_id)
    assert steps.release(config, uri, plan_id)["release_id"] == build.release_id
    assert hashes(store) == before


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
from fleetalign import steps
from fleetalign.config import load
config, uri, plan_id = load(sys.argv[1]), *sys.argv[2:]
assert steps.plan(config, uri)["plan_id"] == plan_id
for shard in steps.shards(config, uri, plan_id):
    steps.align_shard(config, uri, plan_id, shard["index"])
steps.align_reduce(config, uri, plan_id)
print(steps.release(config, uri, plan_id)["release_id"])
"""


def test_everything_but_training_runs_without_torch(build: Build, tmp_path: Path):
    """What the image without torch relies on."""
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    plan_id = steps.latest(load(build.params), str(store), "release")
    made = [p for p in (store / "plans" / plan_id).rglob("*.*") if p.name not in ("snapshot.json", "pretrain.json")]
    for path in [*made, *(store / "aligners").rglob("*.parquet"), *(store / "releases").rglob("report.html")]:
        path.unlink()
    command = [sys.executable, "-c", WITHOUT_TORCH, str(build.params), str(store), plan_id]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == build.release_id


def test_the_number_of_shards_does_not_change_the_release(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    params = tmp_path / "params.yaml"
    params.write_text(build.params.read_text().replace("entities_per_shard: 5", "entities_per_shard: 1"))
    config, uri = load(params), str(store)
    plan_id = steps.plan(config, uri)["plan_id"]
    assert len(steps.shards(config, uri, plan_id)) == 10
    steps.pretrain(config, uri, plan_id)
    for shard in steps.shards(config, uri, plan_id):
        steps.align_shard(config, uri, plan_id, shard["index"])
    before = set((store / "aligners").iterdir())
    steps.align_reduce(config, uri, plan_id)
    assert set((store / "aligners").iterdir()) == before
    assert steps.release(config, uri, plan_id)["release_id"] == build.release_id


def test_s3_gives_the_release_of_the_file_store(build: Build, moto_s3):
    done = fleetalign(
        *build.run_arguments, "--store", f"{moto_s3.uri}/deep/prefix", check=None, env=moto_s3.environment
    )
    assert done.stdout.split()[-1] == build.release_id, done.stderr
    fleetalign(
        "verify", "--store", f"{moto_s3.uri}/deep/prefix", "--release", build.release_id, env=moto_s3.environment
    )


def test_a_training_killed_in_the_middle_resumes_to_the_same_release(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    for folder in ("telemetry", "feedback"):
        shutil.copytree(build.store / folder, store / folder)
    arguments = ["--store", str(store), "--params", str(build.params)]
    plan_id = json.loads(fleetalign("plan", *arguments).stdout)["plan_id"]
    checkpoints = store / "plans" / plan_id / "checkpoints"
    process = subprocess.Popen([sys.executable, "-m", "fleetalign.cli", "pretrain", *arguments, "--plan", plan_id])
    deadline = time.monotonic() + 120
    while not (checkpoints.is_dir() and any(checkpoints.iterdir())):
        assert process.poll() is None, "the training ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (store / layout.receipt(plan_id, "pretrain")).exists()
    fleetalign("pretrain", *arguments, "--plan", plan_id)
    for verb in ("align", "release"):
        fleetalign(verb, *arguments, "--plan", plan_id)
    released = json.loads((store / layout.receipt(plan_id, "release")).read_text())
    assert released["release_id"] == build.release_id


def test_the_scorer_agrees_with_the_build_on_a_whole_day(build: Build):
    store = open_store(str(build.store))
    scorer = Scorer.open(store, release=build.release_id)
    assert scorer.verify() <= 1e-5
    plan = read_plan(store, steps.latest(load(build.params), str(build.store), "release"))
    partitions = partitions_of(plan, "service")
    history = pa.concat_tables([lake.read_partition(store, p) for p in partitions], promote_options="default")
    scores = scorer.score(history, start=partitions[-1].interval.start)
    entry, config = scorer.manifest.kinds["service"], load(build.params)
    card = store.get_json(layout.model(entry.model_id, "card.json"))
    chosen = detector(card["network"])
    grid = chosen.grid(config.align, card["window_steps"])
    signal = chosen.margins(Graph(expose(store.get(entry.model))), card["seasonal_lags_steps"], grid)
    receipt = store.get_json(layout.receipt(steps.latest(config, str(build.store), "release"), "align_reduce"))
    candidate = grid.candidates.index(tuple(receipt["shared"]["candidate"]))
    rows = {r["entity_id"]: r for r in _rows(store, scorer.manifest.aligner) if r["kind"] == "service"}
    normalizer = _rows(store, scorer.manifest.normalizer)
    checked = 0
    for entity_id in sorted(set(history["entity_id"].to_pylist()))[:4]:
        mine = history.filter(pa.compute.equal(history["entity_id"], entity_id)).sort_by("timestamp")
        norm = {r["metric"]: r for r in normalizer if r["kind"] == "service" and r["entity_id"] == entity_id}
        if len(norm) < len(entry.metrics):
            continue
        slots = mine["timestamp"].cast(pa.int64()).to_numpy() // (entry.step_seconds * 1_000_000)
        slots -= slots[0]
        values = np.full((slots[-1] + 1, len(entry.metrics)), np.nan)
        values[slots] = np.stack([mine[m].to_numpy(zero_copy_only=False) for m in entry.metrics], axis=1)
        columns = (["location"], ["scale"], entry.statistics_columns)
        numbers = [np.array([[norm[m][c] for c in names] for m in entry.metrics]) for names in columns]
        series = EntitySeries(values, np.ones(values.shape), 0, numbers[0][:, 0], numbers[1][:, 0], numbers[2])
        theirs = scores.filter(pa.compute.equal(scores["entity_id"], entity_id)).sort_by("timestamp")
        built = signal.margins(series, len(values) - 150, len(values))[candidate]
        for back in range(1, 150, 7):
            last = slots[len(slots) - back]
            row = theirs.slice(theirs.num_rows - back, 1).to_pylist()[0]
            if row["score"] is None or last < len(values) - 150:
                assert row["reason"] in (None, "no_metric")
                continue
            score = built[last - (len(values) - 150)]
            np.testing.assert_allclose(row["score"], score, rtol=1e-5)
            expected = score - np.float32(rows[entity_id]["threshold"])
            np.testing.assert_allclose(row["margin"], expected, rtol=1e-4, atol=1e-5)
            assert row["alarm"] == (row["margin"] > 0)
            checked += 1
    assert checked >= 20


def _rows(store, key: str) -> list[dict]:
    return pq.read_table(pa.BufferReader(store.get(key))).to_pylist()


def test_score_and_evaluate_from_the_command_line(build: Build, tmp_path: Path):
    arguments = ["--store", build.store, "--release", build.release_id, "--telemetry", build.folder / "telemetry"]
    done = fleetalign("score", *arguments, "--out", tmp_path / "scores.parquet")
    scores = pq.read_table(tmp_path / "scores.parquet")
    rows = sum(pq.read_metadata(f).num_rows for f in (build.folder / "telemetry").iterdir())
    assert scores.num_rows == rows
    assert f"release {build.release_id}" in done.stdout
    fitted = fleetalign("evaluate", *arguments, "--feedback", build.folder / "feedback.parquet", check=3)
    assert "was not fitted on" in fitted.stderr
    fleetalign("simulate", "--out", tmp_path, "--entities", 10, "--days", 8, "--seed", 3)
    arguments[-1] = tmp_path / "telemetry"
    judged = fleetalign("evaluate", *arguments, "--feedback", tmp_path / "feedback.parquet")
    assert "random score" in judged.stdout
    assert "event_f1" in judged.stdout


def test_explain_says_why(build: Build):
    arguments = ["--store", build.store, "--release", build.release_id]
    assert "beats_random" in fleetalign("explain", *arguments).stdout
    entity = pq.read_table(next(iter((build.store / "aligners").rglob("*.parquet"))))["entity_id"][2].as_py()
    told = fleetalign("explain", *arguments, "--entity", entity).stdout
    assert "alarm when" in told
    assert "tail" in told
    assert "beats_random" in fleetalign("explain", "--store", build.store).stdout
    assert "points nowhere" in fleetalign("explain", "--store", build.store, "--channel", "other", check=4).stderr
    refused = fleetalign("explain", *arguments, "--entity", "nobody", check=4)
    assert "no row in this release" in refused.stderr


def test_promotion_rollback_and_history(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    shutil.rmtree(store / "channels", ignore_errors=True)
    first = build.release_id
    arguments = ["--store", store, "--params", build.params]
    fleetalign("promote", first, *arguments, "--force", "--why", "the first one")
    params = tmp_path / "params.yaml"
    params.write_text(build.params.read_text().replace("window_steps: 32", "window_steps: 24"))
    second = fleetalign(*build.run_arguments[:-1], params, "--store", store, "--no-promote").stdout.split()[-1]
    assert second != first
    fleetalign("promote", second, "--store", store, "--params", params, "--force", "--why", "the second one")
    assert list((store / "promotions").glob(f"{second}-vs-{first}.json"))
    fleetalign("rollback", *arguments, "--why", "the second one pages too much")
    listed = fleetalign("releases", *arguments).stdout
    assert f"{first}" in listed.splitlines()[-1]
    assert "pages too much" in listed
    pointer = json.loads((store / "channels" / "champion.json").read_text())
    assert (pointer["release_id"], pointer["previous"], pointer["sequence"]) == (first, second, 3)
    fleetalign("rollback", *arguments, check=2)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["run", "--telemetry", "nowhere.csv"], 2, "nowhere.csv"),
        (["plan", "--store", "{empty}"], 3, "run ingest and validate first"),
        (["score", "--store", "{empty}", "--telemetry", "x", "--out", "y"], 4, "points nowhere"),
        (["plan", "--store", "gopher://x"], 2, "unknown scheme"),
        (["plan", "--store", "{empty}", "--params", "{missing}"], 2, "missing.yaml"),
        (["nonsense"], 2, "invalid choice"),
        (["align-shard", "--store", "{empty}"], 2, "--shard"),
    ],
)
def test_errors_are_one_line_with_the_right_exit_code(tmp_path: Path, arguments: list[str], code: int, expected: str):
    places = {"empty": str(tmp_path / "empty"), "missing": str(tmp_path / "missing.yaml")}
    given = [a.format(**places) for a in arguments]
    if given[0] == "run":
        given += ["--store", places["empty"]]
    done = fleetalign(*given, check=code)
    assert len(done.stderr.strip().splitlines()) == 1
    assert expected in done.stderr
