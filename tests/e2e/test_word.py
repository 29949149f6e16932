"""Tuesday an entity pages falsely, Wednesday somebody says so: the page is gone, and comes back with the retraction."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from e2e.conftest import Build, fleetalign

from fleetalign import steps
from fleetalign.config import load
from fleetalign.contracts.pages import Page
from fleetalign.feedback.alarm_pages import pages_of, read_pages
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import aligner_table, read_manifest
from fleetalign.storage.statements import read_feedback, read_mutes


class Fleet:
    """A copy of the build's store, and what happens to it between two mornings."""

    def __init__(self, build: Build, folder: Path) -> None:
        shutil.copytree(build.store, folder / "store")
        self.uri, self.config = str(folder / "store"), load(build.params)
        self.store = open_store(self.uri)
        files = sorted((build.folder / "telemetry").iterdir())
        self.telemetry = pa.concat_tables([pq.read_table(f) for f in files], promote_options="default")

    def say(self, *arguments: object) -> dict:
        return json.loads(fleetalign(*arguments, "--store", self.uri).stdout)

    def align(self) -> str:
        """Align the newest model anew to what was said; the new release."""
        plan_id = steps.plan(self.config, self.uri, reuse_model=True)["plan_id"]
        for shard in steps.shards(self.config, self.uri, plan_id):
            steps.align_shard(self.config, self.uri, plan_id, shard["index"])
        steps.align_reduce(self.config, self.uri, plan_id)
        return steps.release(self.config, self.uri, plan_id)["release_id"]

    def scores(self, release_id: str) -> pa.Table:
        return Scorer.open(self.store, release=release_id).score(self.telemetry)

    def pages(self, release_id: str, page: Page) -> list[Page]:
        """Pages of the entity of ``page`` that overlap it."""
        found = pages_of(self.scores(release_id), self.config.align.merge_steps, "scores")
        same = [p for p in found if (p.kind, p.entity_id) == (page.kind, page.entity_id)]
        return [p for p in same if p.start < page.end and page.start < p.end]

    def threshold(self, release_id: str, page: Page) -> float:
        rows = aligner_table(self.store, read_manifest(self.store, release_id)).to_pylist()
        return next(r["threshold"] for r in rows if (r["kind"], r["entity_id"]) == (page.kind, page.entity_id))

    def explain(self, release_id: str, page: Page) -> str:
        name = f"{page.kind}/{page.entity_id}"
        return fleetalign("explain", "--release", release_id, "--entity", name, "--store", self.uri).stdout


def _wrong_page(fleet: Fleet, pages: list[Page]) -> Page:
    """A page that an earlier statement calls an incident, and that the operator knows better about."""
    said = [r for r in read_feedback(fleet.store).to_pylist() if r["verdict"] == "anomaly"]
    for page in pages:
        for row in said:
            same = (row["kind"], row["entity_id"]) == (page.kind, page.entity_id)
            if same and row["start"] < page.end and page.start < row["end"]:
                return page
    raise AssertionError("no page of the build touches an incident: the fixture changed")


def test_a_false_page_goes_with_the_word_and_comes_back_with_its_retraction(build: Build, tmp_path: Path):
    fleet, out = Fleet(build, tmp_path), tmp_path / "scores.parquet"
    telemetry = ["--telemetry", build.folder / "telemetry", "--release", build.release_id]
    fleetalign("score", *telemetry, "--out", out, "--store", fleet.uri)
    listed = fleetalign("feedback", "pages", "--scores", out).stdout
    page = _wrong_page(fleet, read_pages(str(out), fleet.config.align.merge_steps))
    assert f"{page.page_id}  until" in listed

    form = ["--page", page.page_id, "--scores", out, "--verdict", "false_alarm", "--by", "ana", "--note", "deploy"]
    told = fleetalign("feedback", "add", *form, "--store", fleet.uri)
    said = json.loads(told.stdout)
    assert "contradict each other, the later recorded wins" in told.stderr
    wednesday = fleet.align()
    assert fleet.threshold(wednesday, page) > fleet.threshold(build.release_id, page)
    assert fleet.pages(wednesday, page) == []
    assert f"statement   {said['feedback_id']} normal" in fleet.explain(wednesday, page)
    assert "by ana: deploy" in fleet.explain(wednesday, page)

    fleet.say("feedback", "retract", said["feedback_id"], "--why", "it was real", "--by", "bo")
    thursday = fleet.align()
    assert thursday == build.release_id, "as if it had never been said, to the byte"
    assert fleet.pages(thursday, page) == [page]
    listed = fleetalign("feedback", "list", "--entity", f"{page.kind}/{page.entity_id}", "--store", fleet.uri).stdout
    assert f"retracts {said['feedback_id']}  bo: it was real" in listed


def test_a_mute_reaches_the_scorer_until_it_is_lifted(build: Build, tmp_path: Path):
    fleet = Fleet(build, tmp_path)
    entity = fleet.telemetry["entity_id"][0].as_py()
    kind = fleet.telemetry["kind"][0].as_py()
    window = ["--from", "2026-03-06T00:00:00Z", "--until", "2026-03-06T12:00:00Z"]
    said = fleet.say("mute", "add", "--entity", f"{kind}/{entity}", *window, "--why", "migration", "--by", "ana")
    assert f"{said['mute_id']}  {kind}/{entity}  maintenance" in fleetalign("mute", "list", "--store", fleet.uri).stdout
    release_id = fleet.align()
    rows = [
        r for r in fleet.scores(release_id).to_pylist() if r["entity_id"] == entity and r["reason"] == "maintenance"
    ]
    assert rows
    assert {r["timestamp"].date() for r in rows} == {datetime(2026, 3, 6).date()}
    page = Page(kind, entity, rows[0]["timestamp"], rows[-1]["timestamp"], 0.0, ())
    assert "muted       maintenance, from 2026-03-06T00:00:00Z" in fleet.explain(release_id, page)
    fleet.say("mute", "lift", said["mute_id"], "--at", "2026-03-06T00:00:00Z", "--why", "cancelled", "--by", "bo")
    assert read_mutes(fleet.store).num_rows == 0
    assert "lifted at 2026-03-06T00:00:00Z by bo: cancelled" in fleetalign("mute", "list", "--store", fleet.uri).stdout


def test_the_inbox_and_a_file_from_the_command_line(build: Build, tmp_path: Path):
    fleet = Fleet(build, tmp_path)
    kind, entity = (fleet.telemetry[name][0].as_py() for name in ("kind", "entity_id"))
    row = {"kind": kind, "entity_id": entity, "start": "2026-03-06T01:00:00Z", "end": "2026-03-06T02:00:00Z"}
    line = json.dumps({**row, "verdict": "normal", "source": "tickets"}) + "\n"
    inbox = Path(fleet.uri) / "inbox" / "feedback"
    inbox.mkdir(parents=True)
    (inbox / "one.jsonl").write_text(line)
    assert fleet.say("feedback", "collect")["new"] == 1
    (tmp_path / "file.jsonl").write_text(line)
    again = fleet.say("feedback", "import", tmp_path / "file.jsonl")
    assert (again["new"], again["known_already"]) == (0, 1)
    (inbox / "bad.csv").write_text("entity_id\nx\n")
    refused = fleetalign("feedback", "collect", "--store", fleet.uri, check=3)
    assert "column 'start' is missing" in refused.stderr
    half = ["--entity", entity, "--verdict", "normal", "--store", fleet.uri]
    assert "with its start and end" in fleetalign("feedback", "add", *half, check=2).stderr
