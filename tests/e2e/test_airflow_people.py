"""Where people meet the pipeline, on a real Airflow: a promotion that waits for approval, failures that tell somebody by
mail and webhook, gauges that a real Prometheus scrapes, the alarm of a release that grows old, and OpenLineage."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import PARAMS, Build
from e2e.local_airflow import free_port, module
from e2e.people import Inbox, inboxes, value_in_prometheus

from fleetalign.storage import channel
from fleetalign.storage.channel import Pointer
from fleetalign.storage.connect import open_store

pytestmark = pytest.mark.airflow
HOURS = 24.0
SECONDS = 300.0
APPROVE = "/dags/release_promote/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"


@dataclass(frozen=True)
class Asking:
    """An Airflow that asks before it promotes, and the store of a build that nobody has promoted."""

    api: Any
    store: str
    inbox: Inbox
    lineage: Path
    database: Path
    log: Path

    def start(self, run_id: str, to: str) -> None:
        self.api.trigger("release_promote", run_id, conf={"channel": to, "reason": "asked for", "force": True})

    def question(self, run_id: str) -> dict[str, Any]:
        for _ in module("airflow_api").ticks(SECONDS):
            found = self.api.call("GET", APPROVE.format(run_id=run_id), accept=(404,))
            if "body" in found:
                return found
        raise AssertionError(f"nobody was asked: {self.states(run_id)}")

    def wait_until_the_scheduler_heard(self, run_id: str) -> None:
        """Wait until the scheduler has heard that the process which asked has left; only its log tells.

        An answer before that makes Airflow 3.3.2 fail the task's try and ask again. A person is seldom that quick: the
        question shows while the process still ends.
        """
        heard = re.compile(rf"executor event with state success .*'approve'.*'{run_id}'")
        for _ in module("airflow_api").ticks(SECONDS, every_seconds=0.1):
            if heard.search(self.log.read_text()):
                return
        raise AssertionError(f"the scheduler has not heard that the question of {run_id} was asked")

    def decide(self, run_id: str, act: Callable[[], None]) -> None:
        """``act`` once on the open question and wait until the run has ended."""
        for _ in module("airflow_api").ticks(SECONDS):
            if self.states(run_id)["approve"] == "awaiting_input":
                break
        self.wait_until_the_scheduler_heard(run_id)
        act()
        try:
            self.api.wait_run("release_promote", run_id, SECONDS)
        finally:
            [approve] = [t for t in self.api.task_instances("release_promote", run_id) if t["task_id"] == "approve"]
            assert approve["try_number"] == 1, f"asked more than once: {approve}"

    def answer(self, run_id: str, option: str) -> None:
        def act() -> None:
            self.api.call("PATCH", APPROVE.format(run_id=run_id), json={"chosen_options": [option]})

        self.decide(run_id, act)

    def let_the_time_pass(self, run_id: str) -> None:
        """As if the question had been open for all its hours: only the deadline moves, the scheduler does the rest."""

        def act() -> None:
            with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as database, database:
                database.execute(
                    "UPDATE task_instance SET trigger_timeout = datetime('now', '-1 minute') "
                    "WHERE dag_id = 'release_promote' AND task_id = 'approve' AND run_id = ?",
                    (run_id,),
                )

        self.decide(run_id, act)

    def states(self, run_id: str) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in self.api.task_instances("release_promote", run_id)}

    def points_to(self, name: str) -> Pointer | None:
        return channel.read(open_store(self.store), name)


@pytest.fixture(scope="module")
def asking(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    home = tmp_path_factory.mktemp("asking")
    shutil.copytree(build.store, home / "store")
    shutil.rmtree(home / "store" / "channels", ignore_errors=True)
    params = home / "params.yaml"
    params.write_text(
        f"{PARAMS}"
        f"airflow: {{approval_hours: {HOURS}, notify: {{email: [oncall@example.org], http_conn_id: chat}}}}\n"
        "release: {expires_after_hours: 2.0}\n"
    )
    with inboxes(home) as inbox, pytest.MonkeyPatch.context() as patch:
        for name, value in inbox.environment.items():
            patch.setenv(name, value)
        events = {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
        patch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(events))
        patch.setenv("AIRFLOW__LOGGING__NAMESPACE_LEVELS", "airflow.jobs=INFO")
        airflow = module("standalone").Standalone(home / "airflow", f"file://{home / 'store'}", params, free_port())
        airflow.start()
        try:
            airflow.wait_healthy()
            api = airflow.api()
            api.wait_for_dags({"release_promote", "fleet_health"})
            yield Asking(
                api, airflow.store, inbox, home / "lineage.jsonl", home / "airflow" / "airflow.db", airflow.log
            )
        finally:
            airflow.stop()


def test_an_approval_moves_the_channel_in_the_name_of_who_approved(asking: Asking, build: Build) -> None:
    asking.start("approved", "champion")
    asked = asking.question("approved")
    assert asked["subject"] == f"Promote {build.release_id} to champion?"
    assert "| gate | verdict | value | limit | why |" in asked["body"]
    assert "| figure | detector [95 %] | random | shifted | untrained |" in asked["body"]
    assert asking.points_to("champion") is None
    asking.answer("approved", "Approve")
    assert asking.states("approved")["promote"] == "success"
    pointer = asking.points_to("champion")
    assert (pointer.release_id, pointer.by, pointer.why) == (build.release_id, "admin", "asked for")


def test_nobody_is_asked_when_nothing_would_move(asking: Asking) -> None:
    asking.start("again", "champion")
    asking.api.wait_run("release_promote", "again", SECONDS)
    states = asking.states("again")
    assert (states["verdict"], states["approve"], states["promote"]) == ("success", "skipped", "skipped")


def test_rejected_or_without_an_answer_in_time_the_channel_stays(asking: Asking) -> None:
    asking.start("rejected", "challenger")
    asking.question("rejected")
    asking.answer("rejected", "Reject")
    asking.start("silent", "challenger")
    asking.question("silent")
    asking.let_the_time_pass("silent")
    for run_id in ("rejected", "silent"):
        assert asking.states(run_id)["approve"] == "success"
        assert asking.states(run_id)["promote"] == "skipped"
    assert asking.points_to("challenger") is None


def test_gauges_reach_prometheus_and_a_release_about_to_expire_is_an_alarm_by_mail_and_webhook(
    asking: Asking, build: Build
) -> None:
    asking.api.trigger("fleet_health", "looked")
    asking.api.wait_run("fleet_health", "looked", SECONDS)
    states = {task["task_id"]: task["state"] for task in asking.api.task_instances("fleet_health", "looked")}
    assert states == {"measure": "success", "freshness": "failed"}, "the release expires in two hours"

    left = value_in_prometheus(asking.inbox, "airflow_fleetalign_champion_expires_in_seconds")
    assert 0 < left <= 2 * 3600
    assert value_in_prometheus(asking.inbox, "airflow_fleetalign_champion_coverage_share") <= 1
    assert value_in_prometheus(asking.inbox, "airflow_fleetalign_champion_gate_margin_golden_parity") > 0
    assert value_in_prometheus(asking.inbox, 'sum({__name__=~"airflow_task_duration.*"})') > 0

    reason = f"champion {build.release_id} expires in "
    [mail] = asking.inbox.mails
    assert mail["To"] == "oncall@example.org"
    subject = " ".join(mail["Subject"].split())
    assert subject.startswith("no ") and reason in subject and "(fleet_health.freshness, run looked)" in subject
    [post] = asking.inbox.posts
    assert reason in post["reason"] and post["text"].startswith(post["reason"])
    assert (post["dag_id"], post["task_id"], post["run_id"]) == ("fleet_health", "freshness", "looked")
    assert "/dags/fleet_health/runs/looked/tasks/freshness" in post["log_url"]


def test_openlineage_hears_which_version_of_what_was_made_of_what(asking: Asking, build: Build) -> None:
    events = [json.loads(line) for line in asking.lineage.read_text().splitlines()]
    told = [e for e in events if e["job"]["name"] == "release_promote.release" and e.get("outputs")]
    assert told, {event["job"]["name"] for event in events}
    [made] = told[0]["outputs"]
    assert (made["namespace"], made["name"]) == ("file", asking.store.removeprefix("file://") + "/releases")
    assert made["facets"]["version"]["datasetVersion"] == build.release_id
    assert {source["name"].rpartition("/")[2] for source in told[0]["inputs"]} == {"aligners", "models"}
    assert not any("sql" in facet for event in events for facet in event["job"].get("facets", {}))
