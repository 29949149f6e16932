"""The days after a build: one as usual, one with a metric shifted everywhere, one with strangers and silence."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from e2e.conftest import Build, fleetalign

from fleetalign import steps
from fleetalign.config import Config, load
from fleetalign.config.run import DriftConfig
from fleetalign.contracts.tables import from_parquet
from fleetalign.interval import Interval
from fleetalign.model.normalizer import lookup
from fleetalign.release.comparison import comparison_gates
from fleetalign.simulate.simulation import Simulation
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store
from fleetalign.watch.reports import rate_evidence

AFTER = datetime(2026, 3, 7, tzinfo=UTC)
USUAL, SHIFTED, CHANGED = "2026-03-07", "2026-03-08", "2026-03-09"
METRIC = "memory_mb"
SHIFT = 2.0
"""In scales of each service."""


def scales(build: Build, entity_ids: list[str]) -> np.ndarray:
    """The scale of ``METRIC`` that the release holds of each service, float64 [entity]."""
    store = open_store(str(build.store))
    key = read_manifest(store, build.release_id).normalizer
    return lookup(from_parquet(store.get(key), key), "service", entity_ids, [METRIC])[1][:, 0]


def later(table: pa.Table, days: int) -> pa.Table:
    moved = pc.add(table["timestamp"], pa.scalar(timedelta(days=days), pa.duration("us")))
    return table.set_column(table.schema.get_field_index("timestamp"), "timestamp", moved)


@dataclass(frozen=True)
class Fleet:
    build: Build
    uri: str
    renamed: list[str]
    gone: list[str]

    @property
    def store(self) -> Store:
        return open_store(self.uri)

    @property
    def config(self) -> Config:
        return dataclasses.replace(load(self.build.params), drift=DriftConfig(pretrain_when_drifted=True))

    def check(self, day: str, code: int, *arguments: object) -> str:
        named = ["--release", self.build.release_id, "--params", self.build.params, "--store", self.uri]
        return fleetalign("drift", "--day", day, *named, *arguments, check=code).stdout

    def report(self, day: str) -> dict:
        return self.store.get_json(layout.drift(self.build.release_id, day))

    def findings(self, day: str) -> set[tuple[str, str, str | None]]:
        return {(m["kind"], m["name"], m["metric"]) for m in self.report(day)["measures"] if m["drifted"]}


@pytest.fixture(scope="module")
def fleet(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    folder = tmp_path_factory.mktemp("drift")
    shutil.copytree(build.store, folder / "store")
    uri = str(folder / "store")
    day = Simulation(3, datetime(2026, 3, 2, tzinfo=UTC), 6, 10).telemetry(Interval(AFTER, AFTER + timedelta(days=1)))
    services = sorted(set(day["service"]["entity_id"].to_pylist()))
    renamed, gone = services[:2], services[2:4]
    shifted = {kind: later(table, 1) for kind, table in day.items()}
    shift = pa.array(SHIFT * scales(build, services)).take(
        pc.index_in(shifted["service"]["entity_id"], pa.array(services))
    )
    column = shifted["service"].schema.get_field_index(METRIC)
    shifted["service"] = shifted["service"].set_column(column, METRIC, pc.add(shifted["service"][METRIC], shift))
    changed = {kind: later(table, 2) for kind, table in day.items()}
    ids = changed["service"]["entity_id"]
    fresh = pc.if_else(pc.is_in(ids, pa.array(renamed)), pc.binary_join_element_wise("new", ids, "-"), ids)
    changed["service"] = (
        changed["service"].set_column(1, "entity_id", fresh).filter(pc.invert(pc.is_in(ids, pa.array(gone))))
    )
    (folder / "telemetry").mkdir()
    for kind in day:
        table = pa.concat_tables([day[kind], shifted[kind], changed[kind]])
        pq.write_table(table, folder / "telemetry" / f"{kind}.parquet")
    named = ["--params", build.params, "--store", uri]
    fleetalign("ingest", "--telemetry", folder / "telemetry", *named)
    fleetalign("validate", "--from", USUAL, "--to", "2026-03-10", *named)
    return Fleet(build, uri, renamed, gone)


def test_a_day_as_usual_has_not_drifted_and_a_rerun_gives_the_same_bytes(fleet: Fleet, tmp_path: Path):
    page = tmp_path / "drift.html"
    assert f"{USUAL} against release {fleet.build.release_id}: no drift" in fleet.check(USUAL, 0, "--out", page)
    keys = [layout.drift(fleet.build.release_id, USUAL, f"report.{kind}") for kind in ("html", "json")]
    before = [fleet.store.get(key) for key in keys]
    assert page.read_bytes() == before[0]
    fleet.check(USUAL, 0)
    assert [fleet.store.get(key) for key in keys] == before
    report = fleet.report(USUAL)
    assert report["kinds"]["service"]["control_days"] == ["2026-03-04", "2026-03-05", "2026-03-06"]
    assert all(len(m["control"]) == 3 for m in report["measures"] if m["name"] == "shifted_share")
    gate = {"name", "value", "limit", "verdict", "why", "pages", "when_aligned"}
    assert gate <= set(report["alarm_rate"])
    assert report["alarm_rate"]["entity_days"] > 8


def test_a_metric_that_is_shifted_everywhere_is_named_with_its_worst_entities(fleet: Fleet):
    said = fleet.check(SHIFTED, 1)
    assert ("service", "shifted_share", METRIC) in fleet.findings(SHIFTED)
    assert not [f for f in fleet.findings(SHIFTED) if f[1] == "shifted_share" and f[2] != METRIC]
    assert f"service shifted_share {METRIC}: 1, limit 0.25" in said
    (measure,) = (m for m in fleet.report(SHIFTED)["measures"] if (m["name"], m["metric"]) == ("shifted_share", METRIC))
    assert max(measure["control"]) < 0.25 < measure["value"]
    assert 1 <= len(measure["worst"]) <= 5
    assert all(w["value"] > 1 for w in measure["worst"])


def test_who_came_and_who_went_silent_is_named(fleet: Fleet):
    said = fleet.check(CHANGED, 1)
    assert {("service", "new_share", None), ("service", "silent_share", None)} <= fleet.findings(CHANGED)
    assert ("database", "silent_share", None) not in fleet.findings(CHANGED)
    assert f"worst: {', '.join(f'new-{entity}' for entity in fleet.renamed)}" in said
    assert f"worst: {', '.join(sorted([*fleet.renamed, *fleet.gone]))}" in said


def test_a_day_without_telemetry_and_no_day_at_all_are_refused(fleet: Fleet):
    named = ["--release", fleet.build.release_id, "--store", fleet.uri]
    assert (
        "no validated telemetry from 2027-01-01" in fleetalign("drift", "--day", "2027-01-01", *named, check=3).stderr
    )
    assert "--day is '2026-03-07T05:00'" in fleetalign("drift", "--day", "2026-03-07T05:00", *named, check=2).stderr


def test_drift_makes_a_pretrain_due_and_is_the_gates_evidence(fleet: Fleet, tmp_path: Path):
    shutil.copytree(fleet.uri, tmp_path / "store")
    uri, config, store = str(tmp_path / "store"), fleet.config, open_store(str(tmp_path / "store"))
    for info in list(store.list(layout.DRIFT)):
        store.delete(info.key)
    steps.promote(config, uri, fleet.build.release_id, channel="champion", by="ana", why="test", force=True)
    assert steps.pretrain_due(config, uri) is None, "three days are new, and nobody has looked at them"
    told = steps.drift(config, uri)
    assert (told["day"], told["drifted"]) == (CHANGED, True), "the newest whole day"
    assert json.dumps(told) == json.dumps(steps.drift(config, uri))
    due = steps.pretrain_due(config, uri)
    assert f"release {fleet.build.release_id} drifted on {CHANGED}: " in due["why"]
    assert "new_share" in due["why"] or "silent_share" in due["why"]
    off = dataclasses.replace(config, drift=DriftConfig())
    assert steps.pretrain_due(off, uri) is None, "only where it is configured"

    steps.plan(config, uri)
    assert steps.pretrain_due(config, uri) == due, "a plan is no training: the same state starts nothing twice"
    gates = {g.name: g for g in comparison_gates(store, config, *[fleet.build.release_id] * 2, rate_evidence)}
    rate = store.get_json(layout.drift(fleet.build.release_id, CHANGED))["alarm_rate"]["value"]
    assert f"its drift check of {CHANGED} counted {rate:.3g}" in gates["pages_vs_champion"].why
