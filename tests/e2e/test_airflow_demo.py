"""``make demo`` from nothing, on a real Airflow, and what an operator does to it afterwards.

The tests run in file order on one Airflow: each leaves the store as the next expects it.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from e2e.browser import Person, chromium
from e2e.conftest import fleetalign
from e2e.local_airflow import Demo, champion, digests, free_port, module, release_id

from fleetalign.config import load
from fleetalign.interval import from_partition_key
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.connect import open_store
from fleetalign.watch.drift import check

pytestmark = pytest.mark.airflow
IDLE_SECONDS = 180.0
Done = subprocess.CompletedProcess[str]
TASKS = {
    "telemetry_ingest": ["ingest"],
    "telemetry_validate": ["validate"],
    "pretrain_due": ["start", "due"],  # trained by now, `due` says no and skips `start`
    "shared_pretrain": ["plan", "snapshot", "pretrain"],
    "entity_align": ["plan", "shards", "align_shard", "align_reduce"],
    "release_promote": ["release", "promote"],
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("demo"), free_port())
    yield made
    made.airflow.stop()


@pytest.fixture(scope="module")
def first(demo: Demo) -> Done:
    return demo()


@pytest.fixture(scope="module")
def api(demo: Demo, first: Done) -> Any:
    return demo.airflow.api()


def test_ends_with_a_release_that_another_process_has_used(demo: Demo, first: Done) -> None:
    assert first.returncode == 0, first.stderr
    assert champion(demo).release_id == release_id(first.stdout)
    for said in (
        "another process scored",
        "event_f1",
        "false_pages_per_entity_day",
        "entities have a row",
        demo.airflow.url,
    ):
        assert said in first.stdout
    report = Path(re.search(r"report +(\S+)", first.stdout)[1])
    assert "<html" in report.read_text()[:500].lower()
    assert (demo.home / "scores.parquet").stat().st_size > 0


def test_few_task_instances_all_green_and_nothing_keeps_retraining(api: Any) -> None:
    runs = api.runs()
    assert {run["state"] for run in runs} == {"success"}
    assert len(api.task_instances()) <= 60
    dags = api.call("GET", "/dags", params={"limit": 100})["dags"]
    assert {d["dag_id"] for d in dags if d["is_paused"]} == {*module("demo").CRON_DAGS, "fleet_scoring"}
    assert sum(run["dag_id"] == "shared_pretrain" for run in runs) == 1


def test_events_say_what_was_made(demo: Demo, api: Any, first: Done) -> None:
    assert api.events("release")[0]["extra"]["release_id"] == release_id(first.stdout)
    assert {event["partition_key"] for event in api.events("telemetry_validated")} == set(demo.days)
    assert api.events("aligner_table")[0]["extra"]["aligner_id"]
    assert not api.events("aligner_table")[0]["partition_key"]


def test_shards_have_readable_names(api: Any) -> None:
    mapped = [task for task in api.task_instances("entity_align") if task["task_id"] == "align_shard"]
    assert len(mapped) >= 2
    assert all(re.match(r"\d+: (service|database) ", task["rendered_map_index"]) for task in mapped)


def test_again_is_quick_and_makes_nothing(demo: Demo, api: Any, first: Done) -> None:
    before, runs = digests(demo.store), len(api.runs())
    second = demo()
    assert second.returncode == 0, second.stderr
    assert release_id(second.stdout) == release_id(first.stdout)
    assert digests(demo.store) == before
    assert len(api.runs()) == runs


def test_every_finished_task_runs_again_to_the_same_bytes(demo: Demo, api: Any) -> None:
    before = digests(demo.store)
    for dag_id in TASKS:
        api.pause(dag_id, paused=False)
    newest = {run["dag_id"]: run["dag_run_id"] for run in reversed(api.runs())}
    for dag_id, task_ids in TASKS.items():
        # pretrain_due runs once or more; the one that started the training has a finished `start`.
        run_id = newest[dag_id]
        if dag_id == "pretrain_due":
            started = [t for t in api.task_instances(dag_id) if t["task_id"] == "start" and t["state"] == "success"]
            run_id = started[0]["dag_run_id"]
        for task_id in task_ids:
            api.clear(dag_id, run_id, task_id, 0 if task_id == "align_shard" else None)
            api.wait_idle(IDLE_SECONDS)
            again = [
                task
                for task in api.task_instances(dag_id, run_id)
                if task["task_id"] == task_id and task["map_index"] in (-1, 0)
            ]
            assert [task["try_number"] for task in again] == [2], f"{dag_id}.{task_id}"
            assert again[0]["state"] in ("success", "skipped"), f"{dag_id}.{task_id}"
            assert digests(demo.store) == before, f"{dag_id}.{task_id}"
    assert {run["state"] for run in api.runs()} == {"success"}


def test_training_again_by_force_gives_the_same_bytes(demo: Demo, api: Any) -> None:
    before = digests(demo.store)
    api.trigger("shared_pretrain", "by_hand", conf={"force": True})
    runs = api.wait_idle(IDLE_SECONDS)
    assert {run["state"] for run in runs} == {"success"}
    assert digests(demo.store) == before


def test_the_form_refuses_and_says_why(api: Any) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        api.trigger("release_rollback", "short", conf={"reason": "short"})
    assert refused.value.response.status_code == 400
    assert "reason" in refused.value.response.json()["detail"]


def test_rollback_with_nowhere_to_go_is_red_and_moves_nothing(demo: Demo, api: Any) -> None:
    before = champion(demo)
    api.trigger("release_rollback", "nowhere", conf={"reason": "there is only one release"})
    runs = api.wait_idle(IDLE_SECONDS)
    assert next(run["state"] for run in runs if run["dag_run_id"] == "nowhere") == "failed"
    assert champion(demo) == before


def test_garbage_collection_finds_nothing_to_delete(demo: Demo, api: Any) -> None:
    before = digests(demo.store)
    api.pause("storage_gc", paused=False)
    api.trigger("storage_gc", "by_hand", conf={"dry_run": False, "min_age_hours": 1})
    runs = api.wait_idle(IDLE_SECONDS)
    assert (
        next(run["state"] for run in runs if run["dag_run_id"] == "by_hand" and run["dag_id"] == "storage_gc")
        == "success"
    )
    assert digests(demo.store) == before


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def second(browser: Any, demo: Demo, api: Any, first: Done) -> str:
    """Id of the release that follows an operator's word, promoted and checked for drift as every night."""
    word = ("--entity", "service/search-3", "--from", "2026-03-08T01:00:00Z", "--to", "2026-03-08T03:00:00Z")
    fleetalign("feedback", "add", *word, "--verdict", "normal", "--store", demo.store)
    for dag_id in ("entity_align", "release_promote", "drift_check", "release_rollback"):
        api.pause(dag_id, paused=False)
    for dag_id in ("entity_align", "drift_check"):
        api.trigger(dag_id, "after_the_word")
        api.wait_idle(IDLE_SECONDS)
    moved = champion(demo)
    assert moved.previous == release_id(first.stdout)
    store, config = open_store(str(demo.store)), load(module("demo").PARAMS)
    for day in demo.days[:-1]:  # as many nights as there are days
        check(store, config, Scorer.open(store, "champion"), from_partition_key(day, "day"))
    return moved.release_id


@pytest.fixture(scope="module")
def admin(browser: Any, demo: Demo, second: str, tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person.log_in(browser, demo.airflow.url, "admin", tmp_path_factory.mktemp("pictures"))


def test_a_browser_goes_from_the_assets_over_a_green_run_to_the_report(admin: Person, api: Any, second: str) -> None:
    page = admin.go("/assets")
    page.get_by_role("link", name="release", exact=True).first.click()
    page.get_by_test_id("react-flow-container").or_(page.locator(".react-flow")).first.wait_for()
    page.get_by_text("release_promote").first.wait_for()
    event = api.events("release")[0]
    assert event["extra"]["release_id"] == second
    assert event["extra"]["manifest_sha256"] and event["extra"]["data_version"]
    page = admin.go(f"/dags/release_promote/runs/{quote(event['source_run_id'])}")
    page.get_by_text("Success", exact=True).first.wait_for()
    page.locator("a[href*='/runs/'][href$='/tasks/promote']").first.click()
    page.locator("a[href$='/tasks/promote/details']").click()
    page.get_by_role("link", name="Release report", exact=True).click()
    page.get_by_role("heading", name=f"Release {second}").wait_for()
    page.get_by_role("heading", name="How good it is").evaluate("heading => heading.scrollIntoView()")
    admin.picture("report.png")


def test_a_browser_shows_the_fleet(admin: Person, first: Done) -> None:
    fleet = admin.fleet()
    fleet.get_by_role("link", name=release_id(first.stdout)).first.wait_for()
    assert "moved" in fleet.locator("#entities").inner_text()
    admin.picture("fleet.png", height=855)
    fleet.locator("#entities tbody a").first.click()
    fleet.get_by_text("alarm when").wait_for()


def test_a_browser_backfills_two_days(admin: Person, demo: Demo, api: Any) -> None:
    before, known, days = digests(demo.store), {run["dag_run_id"] for run in api.runs()}, demo.days[:2]
    form = admin.backfill_form("telemetry_ingest", *days)
    form.get_by_text("No runs matching selected criteria.").wait_for()  # both days have a run
    form.locator("label", has_text="All Runs").click()
    form.get_by_text("2 runs will be triggered.").wait_for()
    form.get_by_role("button", name="Run Backfill").press("Enter")
    form.wait_for(state="hidden")
    made = [run for run in api.wait_idle(IDLE_SECONDS) if run["dag_run_id"] not in known]
    assert {run["state"] for run in made} == {"success"}
    assert {run["partition_key"] for run in made if run["run_type"] == "backfill"} == set(days)
    assert {run["partition_key"] for run in made if run["dag_id"] == "telemetry_validate"} >= set(days)
    assert "shared_pretrain" not in {run["dag_id"] for run in made}
    assert digests(demo.store) == before
    row = admin.go("/dags/telemetry_ingest/backfills").get_by_role("row", name="All Runs")
    assert all(day in row.inner_text() for day in days)


def test_a_viewer_looks_and_cannot_act(browser: Any, demo: Demo, second: str, tmp_path: Path) -> None:
    viewer = Person.log_in(browser, demo.airflow.url, "viewer", tmp_path)
    before = champion(demo)
    fleet = viewer.fleet()
    fleet.get_by_role("link", name=second).first.wait_for()
    assert fleet.get_by_role("link", name="Roll back").count() == 0
    viewer.trigger("release_rollback", reason="only looking around").get_by_text("Forbidden").first.wait_for()
    api_says = viewer.page.request.post(f"{demo.airflow.url}/fleetalign/fleet")
    assert api_says.status == 405
    denied = viewer.backfill_form("telemetry_ingest", *demo.days[:2])
    denied.get_by_text("User does not have permission to create backfills").wait_for()
    assert champion(demo) == before


def test_a_browser_rolls_back_by_form_with_a_reason(admin: Person, demo: Demo, api: Any, first: Done) -> None:
    admin.fleet().get_by_role("link", name="Roll back").click()
    admin.page.wait_for_url("**/dags/release_rollback")
    admin.trigger("release_rollback", reason="short").get_by_text("too short").first.wait_for()
    admin.trigger("release_rollback", reason="it pages too much tonight")
    admin.page.get_by_role("dialog").wait_for(state="hidden")
    api.wait_idle(IDLE_SECONDS)
    moved = champion(demo)
    assert (moved.release_id, moved.by, moved.why) == (release_id(first.stdout), "admin", "it pages too much tonight")
    admin.fleet().get_by_text("it pages too much tonight").wait_for()


def test_a_browser_shows_every_dag(admin: Person) -> None:
    page = admin.go("/dags?limit=50")
    page.get_by_label("Show table view").click()
    page.locator("tbody tr").nth(11).wait_for()
    admin.picture("airflow.png", height=1000)


def test_a_half_dead_run_is_cleared_away_and_the_release_stays(demo: Demo, first: Done) -> None:
    # The red rollback above is no part of the chain, so the demo does not mind it.
    server = json.loads((demo.home / "airflow" / "servers.json").read_text())["standalone"]["session"]
    for process in demo.airflow.processes():
        if process.pid == server or "api" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
    again = demo()
    assert "does not answer" in again.stdout
    assert release_id(again.stdout) == release_id(first.stdout)


def test_down_ends_every_process(demo: Demo) -> None:
    done = demo("--down")
    assert done.returncode == 0
    assert re.search(r"ended [1-9]\d* processes", done.stdout)
    assert not demo.airflow.processes()


def test_a_taken_port_is_one_line_and_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = Demo(tmp_path, taken.getsockname()[1])()
    assert refused.returncode == 1
    assert re.fullmatch(
        r"demo: port \d+ is taken by another program; choose another: make demo PORT=\d+\n", refused.stderr
    )
