"""Verbs that the chain's tests do not touch: step by step, quarantine, tune, gc, the published aligner."""

from __future__ import annotations

import html
import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from e2e.conftest import Build, fleetalign

from fleetalign.cli.results import RESULTS
from fleetalign.contracts.tables import ALIGNER, MUTES
from fleetalign.evaluate.events import pages
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.statements import append_mutes


def documented(command: str, *arguments: object, check: int = 0) -> dict[str, Any]:
    """The JSON document of a command, whose keys are those that docs/cli.md lists."""
    found = json.loads(fleetalign(*command.split(), *arguments, "--output", "json", check=check).stdout)
    assert set(found) == set(RESULTS[command])
    return found


def test_step_by_step_gives_the_release_of_the_run(build: Build, tmp_path: Path):
    arguments = ["--store", tmp_path / "store", "--params", build.params]
    files = ["--telemetry", build.folder / "telemetry", "--feedback", build.folder / "feedback.parquet"]
    documented("ingest", *files, *arguments)
    validated = documented("validate", *arguments)
    assert len(validated["partitions"]) == 10 and validated["held"] == []
    receipt = tmp_path / "plan.json"
    documented("plan", *arguments, "--receipt", receipt)
    plan = ["--plan", f"@{receipt}"]
    for command in ("snapshot", "pretrain"):
        documented(command, *plan, *arguments)
    documented("align-shard", "--all", *plan, *arguments)
    documented("align-reduce", *plan, *arguments)
    released = documented("release build", *plan, *arguments)
    assert released["release_id"] == build.release_id


def test_a_run_prints_one_document_of_the_same_release(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    done = fleetalign(*build.run_arguments, "--store", store, "--no-promote", "--output", "json", "--quiet")
    found = json.loads(done.stdout)
    assert set(found) == set(RESULTS["run"])
    assert (found["release_id"], found["promotion"], found["refused"]) == (build.release_id, None, None)
    assert done.stderr == ""
    release = ["--store", store, "--release", build.release_id]
    assert documented("release show", *release)["manifest"]["release_id"] == build.release_id
    explained = json.loads(fleetalign("explain", *release, "--output", "json").stdout)
    assert set(explained) < set(RESULTS["explain"]) and explained["gates"] == found["release"]["gates"]


def test_bad_rows_beside_good_ones_are_quarantined_and_the_build_goes_on(tmp_path: Path):
    rows = ["host,ts,cpu,memory"]
    for entity in ("a", "b"):
        for step in range(24 * 12 * 3):
            at = datetime(2026, 3, 2, tzinfo=UTC).timestamp() + 300 * step
            rows.append(f"{entity},{datetime.fromtimestamp(at, UTC).isoformat()},{step % 7},{step % 5}")
    rows[5] = rows[5].rsplit(",", 1)[0] + ",oops"
    rows += ["a,2199-01-01T00:00:00Z,1,1", ",2026-03-02T00:00:00Z,1,1"]
    file = tmp_path / "metrics.csv"
    file.write_text("\n".join(rows) + "\n")
    store = tmp_path / "store"
    told = fleetalign("ingest", "--telemetry", file, "--kind", "web", "--store", store, check=3)
    assert "set aside: 1 missing_entity, 1 time_out_of_range, 1 not_a_number (cells); first: metrics.csv" in told.stderr
    done = json.loads(told.stdout)
    assert sum(done["quarantined_rows"].values()) == 2
    assert done["quarantined_cells"] == {"not_a_number": 1}
    assert done["rows"]["read"] == done["rows"]["kept"] + 2
    assert list((store / "quarantine" / "cells").rglob("*.parquet"))


def test_feedback_about_nobody_is_refused_and_outputs_are_checked_first(build: Build, tmp_path: Path):
    feedback = tmp_path / "feedback.csv"
    feedback.write_text("entity_id,start,end,verdict\nghost,2026-03-05T00:00:00Z,2026-03-05T01:00:00Z,anomaly\n")
    arguments = ["--store", tmp_path / "store", "--telemetry", build.folder / "telemetry" / "service.parquet"]
    refused = fleetalign("run", *arguments, "--feedback", feedback, "--params", build.params, check=3)
    assert "default/ghost" in refused.stderr
    assert not list((tmp_path / "store").glob("feedback/**/*.parquet"))
    scored = ["--store", build.store, "--release", build.release_id, "--telemetry", build.folder / "telemetry"]
    assert "cannot be written" in fleetalign("score", *scored, "--out", "/nowhere/at/all", check=2).stderr
    unknown = fleetalign("score", *scored[:4], "--telemetry", feedback, "--out", tmp_path / "x", check=None)
    assert unknown.returncode in (2, 3)


def test_the_published_aligner_and_a_cold_start(build: Build, tmp_path: Path):
    params = tmp_path / "params.yaml"
    text = (
        build.params.read_text()
        .replace("align: {", "align: {method: published_tpe, ")
        .replace("grid: {", "grid: {tpe_trials: 5, ")
    )
    params.write_text(text.replace("model: {", "model: {network: sharead, "))
    store = tmp_path / "store"
    shutil.copytree(build.store / "telemetry", store / "telemetry")
    shutil.copytree(build.store / "feedback", store / "feedback")
    arguments = ["--store", store, "--params", params]
    fleetalign("plan", *arguments)
    fleetalign("pretrain", *arguments)
    first = documented("align", *arguments)
    again = json.loads(fleetalign("align", *arguments).stdout)
    assert first == again
    key = layout.aligner(first["aligner_id"])
    rows = ALIGNER.conform(pq.read_table(pa.BufferReader((store / key).read_bytes()))).to_pylist()
    assert {r["reason"] for r in rows if r["state"] in ("aligned", "shared")} == {"published_tpe"}
    silent = tmp_path / "silent"
    shutil.copytree(build.store / "telemetry", silent / "telemetry")
    arguments = ["--store", silent, "--params", build.params]
    fleetalign("plan", *arguments)
    fleetalign("pretrain", *arguments)
    cold = json.loads(fleetalign("align", *arguments).stdout)
    assert cold["prior_weight"] is None
    assert cold["shared"]["condition"] == 0, "views has no condition"
    assert cold["shared"]["candidate"] == [1.0, 1.0, 0.5, 0.5, 0.3], "nobody has said anything: the default"
    assert cold["pages_per_entity_day"] <= 0.3
    released = json.loads(fleetalign("release", *arguments).stdout)
    assert released["evaluation"] is None
    verdicts = {g["name"]: g["verdict"] for g in released["gates"]}
    assert verdicts["beats_random"] == verdicts["beats_shifted"] == "not_applicable"


def test_a_day_later_the_model_is_reused_and_its_aligners_are_new(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    arguments = ["--store", store, "--params", build.params]
    same = json.loads(fleetalign("plan", "--reuse-model", *arguments).stdout)
    assert same["new"] is False
    files = ["simulate", "--out", tmp_path / "later", "--entities", 10, "--days", 6, "--seed", 3]
    fleetalign(*files)
    fleetalign("ingest", "--telemetry", tmp_path / "later" / "telemetry", "--from", "2026-03-07", *arguments)
    fleetalign("validate", *arguments, "--from", "2026-03-07")
    later = json.loads(fleetalign("plan", "--reuse-model", *arguments).stdout)
    assert later["new"] is True
    plan = ["--plan", later["plan_id"], *arguments]
    trained = json.loads(fleetalign("pretrain", *plan).stdout)
    manifest = json.loads((store / layout.release(build.release_id, "manifest.json")).read_text())
    assert set(trained["models"].values()) == {k["model_id"] for k in manifest["kinds"].values()}
    fleetalign("align", *plan)
    released = json.loads(fleetalign("release", *plan).stdout)
    assert released["release_id"] != build.release_id
    told = fleetalign("promote", released["release_id"], *arguments, "--force", "--why", "newer feedback")
    assert json.loads(told.stdout)["moved"] is True
    again = json.loads(fleetalign("plan", "--reuse-model", *arguments).stdout)
    assert again["plan_id"] == later["plan_id"]


def test_a_backtest_counts_the_pages_that_a_consumer_would_get(build: Build, tmp_path: Path):
    span = ["--from", "2026-03-05", "--to", "2026-03-07"]
    arguments = ["--store", build.store, "--release", build.release_id]
    told = fleetalign("backtest", *arguments, "--budget", 0, *span, "--out", tmp_path / "b", "--params", build.params)
    found = json.loads((tmp_path / "b" / "backtest.json").read_text())
    scored = tmp_path / "scores.parquet"
    fleetalign("score", *arguments, "--telemetry", build.folder / "telemetry", *span, "--out", scored)
    counted: dict[str, int] = {}
    for key, rows in grouped(pq.read_table(scored).sort_by("timestamp")).items():
        if number := len(pages(rows["alarm"].fill_null(False).to_numpy(zero_copy_only=False), 3)):
            counted[key] = number
    assert found["sides"][0]["by_entity"] == counted
    assert sum(counted.values()) > 0, "nothing paged: the comparison would show nothing"
    assert found["sides"][1]["pages"] == 0, "a budget of nothing"
    assert found["pages_of_first_only"] == sum(counted.values())
    assert f"{build.release_id}, at most 0" in told.stdout
    assert (tmp_path / "b" / "backtest.svg").read_text().startswith("<svg")
    never = ["--budget", 0, "--from", "2031-01-01", "--to", "2031-01-02"]
    nothing = fleetalign("backtest", *arguments, *never, check=3)
    assert "no validated telemetry" in nothing.stderr


def test_explain_tells_a_page_its_metrics_and_its_likes(build: Build, tmp_path: Path):
    arguments = ["--store", build.store, "--release", build.release_id]
    scored = tmp_path / "scores.parquet"
    fleetalign("score", *arguments, "--telemetry", build.folder / "telemetry", "--out", scored)
    rows = pq.read_table(scored).sort_by("timestamp").to_pylist()
    calm = {(r["kind"], r["entity_id"]): r for r in rows if r["margin"] is not None and r["margin"] < 0}
    newest = [r for r in rows if r["alarm"] and (r["kind"], r["entity_id"]) in calm][-1]
    entity = f"{newest['kind']}/{newest['entity_id']}"
    told = fleetalign("explain", *arguments, "--entity", entity, "--at", newest["timestamp"].isoformat()).stdout
    explained = json.loads(fleetalign("explain", *arguments, "--entity", entity, "--output", "json").stdout)
    assert set(explained) < set(RESULTS["explain"]) and explained["entity"] == entity
    assert "alarm when  score > " in told, "views has no condition"
    assert "over its threshold at" in told
    shares = [int(line.split("%")[0]) for line in told.splitlines() if "% " in line and "usually" in line]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 101
    then = calm[newest["kind"], newest["entity_id"]]["timestamp"].isoformat()
    quiet = fleetalign("explain", *arguments, "--entity", entity, "--at", then).stdout
    assert "no page: margin -" in quiet
    gone = fleetalign("explain", *arguments, "--entity", entity, "--at", "2031-01-01", check=3)
    assert "no validated telemetry of this entity at 2031-01-01" in gone.stderr
    assert "--at needs --entity" in fleetalign("explain", *arguments, "--at", "2031-01-01", check=2).stderr


def test_the_report_explains_entities_in_the_words_of_the_verb(build: Build):
    report = html.unescape((build.store / "releases" / build.release_id / "report.html").read_text())
    assert len(report) < 500_000
    section = report[report.index("Entities explained") :].split("<h2>")[0]
    told = dict(re.findall(r"<h3><code>(.+?)</code></h3>(.+?)</table>", section, re.DOTALL))
    assert 1 <= len(told) <= 3, "those that page most; nothing moved, there was no alignment before"
    for entity, lines in told.items():
        said = [(label.strip(), text) for label, text in re.findall(r"<th>(.*?)</th><td>(.*?)</td>", lines)]
        page = next(text for label, text in said if label == "page")
        at = page.partition(" to ")[0].replace(" ", "T") + "Z"
        printed = fleetalign(
            "explain", "--store", build.store, "--release", build.release_id, "--entity", entity, "--at", at
        ).stdout
        assert said == [(line[2:14].strip(), line[14:]) for line in printed.splitlines()[1:]]


def grouped(table: pa.Table) -> dict[str, pa.Table]:
    keys = sorted({(r["kind"], r["entity_id"]) for r in table.select(["kind", "entity_id"]).to_pylist()})
    return {
        f"{kind}/{entity}": table.filter((pc.field("kind") == kind) & (pc.field("entity_id") == entity))
        for kind, entity in keys
    }


def test_tune_searches_on_train_only_and_leaves_a_study_and_a_plot(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    out = tmp_path / "tuning"
    documented("tune", "--kind", "database", "--trials", 2, "--out", out, "--store", store, "--params", build.params)
    names = {p.name for p in out.iterdir()}
    assert any(n.endswith(".png") for n in names)
    assert any(n.endswith((".yaml", ".yml")) for n in names)


def test_gc_lists_by_default_and_never_touches_what_a_channel_reaches(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    arguments = ["--store", store]
    fleetalign("promote", build.release_id, *arguments, "--force", "--why", "keep this one")
    orphan = store / "models" / "0123456789abcdef" / "model.onnx"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"nobody knows me")
    listed = json.loads(fleetalign("gc", *arguments, "--min-age-hours", 0).stdout)
    assert listed["dry_run"] is True
    assert any("0123456789abcdef" in key for key in listed["keys"])
    assert orphan.exists()
    fleetalign("gc", *arguments, "--delete", "--min-age-hours", 0)
    assert not orphan.exists()
    fleetalign("verify", *arguments)


def test_a_maintenance_window_reaches_the_scorer_through_a_release(build: Build, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(build.store, store)
    arguments = ["--store", store, "--params", build.params]
    fleetalign("promote", build.release_id, *arguments, "--force", "--why", "before the maintenance")
    entity = pq.read_table(build.folder / "telemetry" / "service.parquet")["entity_id"][0].as_py()
    window = (datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 3, 6, 12, tzinfo=UTC))
    mute = {"kind": "service", "entity_id": entity, "metric": "*", "by": "ops", "why": "migration"}
    mute |= {"from": window[0], "until": window[1]}
    append_mutes(open_store(str(store)), pa.Table.from_pylist([mute], schema=MUTES.schema))
    plan_id = json.loads(fleetalign("plan", "--reuse-model", *arguments).stdout)["plan_id"]
    fleetalign("align", "--plan", plan_id, *arguments)

    def observed(plan: str) -> int:
        shards = [pq.read_table(p) for p in sorted((store / "plans" / plan / "shards").iterdir())]
        rows = pa.concat_tables(shards).to_pylist()
        return next(r["observed_steps"] for r in rows if r["entity_id"] == entity)

    before = json.loads((store / layout.release(build.release_id, "provenance.json")).read_text())["plan_id"]
    assert observed(before) - observed(plan_id) > 100
    released = json.loads(fleetalign("release", "--plan", plan_id, *arguments).stdout)["release_id"]
    promoted = json.loads(fleetalign("promote", released, *arguments, "--force", "--why", "with maintenance").stdout)
    assert promoted["moved"] is True
    out = tmp_path / "scores.parquet"
    fleetalign("score", *arguments, "--telemetry", build.folder / "telemetry", "--out", out)
    scores = pq.read_table(out).to_pylist()
    inside = [r for r in scores if r["entity_id"] == entity and window[0] <= r["timestamp"] < window[1]]
    assert {r["reason"] for r in inside} == {"maintenance"}
    assert not any(r["alarm"] for r in inside)
    assert sum(r["reason"] == "maintenance" for r in scores) == len(inside)
