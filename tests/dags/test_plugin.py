"""The plugin in Airflow's own API server: who may see what, what a browser may do with it, and where links lead."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from fleetalign import steps
from fleetalign.contracts.receipts import ReleaseReceipt
from fleetalign.errors import GateRefused, PartitionHeld, StoreError
from fleetalign.interval import Interval
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.store import Store
from fleetalign.testing.releases import toy_release

BASE = "/fleetalign"
RUN = "dag_id=release_promote&run_id=none"
DAY = Interval.parse("2026-03-02", "2026-03-03")
EVIL = b"<script>alert(1)</script>"
URI = "memory://pages"


@pytest.fixture(scope="module")
def store() -> Store:
    """A promoted release with a report, provenance, a plan, a validation and its Data Docs."""
    MemoryStore._named.pop("pages", None)
    made = open_store(URI)
    release_id = toy_release(made)
    channels.move(made, "champion", release_id, "ops", "test", 48.0, datetime.now(UTC))
    made.put(layout.release(release_id, "report.html"), EVIL)
    made.put(
        layout.receipt("0" * 16, "release"),
        json.dumps(ReleaseReceipt.of("0" * 16, read_manifest(made, release_id)).as_document()).encode(),
    )
    result = layout.validation_result("web", DAY, "day")
    counts = {"raw_rows": 1, "kept": 1, "inserted": 0, "quarantined_rows": {}, "quarantined_cells": {}}
    document = {"kind": "web", **DAY.as_json(), "verdict": "held", "counts": counts, "findings": []}
    made.put(result, json.dumps(document).encode())
    made.put(layout.data_docs_of(result) + "telemetry/run/page.html", EVIL)
    return made


@pytest.fixture(scope="module")
def server(database: None) -> Any:
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


@pytest.fixture(scope="module")
def pages(server: Any) -> Any:
    """The app of the plugin, as Airflow has mounted it."""
    return next(route.app for route in server.routes if getattr(route, "path", "") == BASE)


@pytest.fixture
def ask(server: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """``ask(who, path)``: the answer to somebody who has logged in (None: nobody)."""
    monkeypatch.setenv("FLEETALIGN_STORE", URI)
    client = TestClient(server, follow_redirects=False, raise_server_exceptions=False)
    tokens: dict[str, str] = {}

    def get(who: str | None, path: str, method: str = "GET", accept: str = "text/html", **more: Any) -> Any:
        headers = {"accept": accept}
        if who is not None:
            if who not in tokens:
                answer = client.post("/auth/token", json={"username": who, "password": who})
                tokens[who] = answer.json()["access_token"]
            headers["authorization"] = f"Bearer {tokens[who]}"
        client.cookies.clear()
        return client.request(method, BASE + path, headers=headers, **more)

    yield get


def release_of(store: Store) -> str:
    return channels.read(store, "champion").release_id


def example(path: str, store: Store) -> str:
    """An address of each route that has an answer."""
    release_id = release_of(store)
    filled = {
        "/release/{release_id}": f"/release/{release_id}",
        "/plan/{plan_id}": f"/plan/{'0' * 16}",
        "/run": f"/run?{RUN}",
        "/entity": f"/entity?release={release_id}&kind=service&entity=nobody",
        "/validations": "/validations?key=2026-03-02",
        "/validation/{partition:path}": "/validation/kind=web/date=2026-03-02",
        "/store/{key:path}": f"/store/{layout.release(release_id, 'report.html')}",
        "/assets/{name}": "/assets/page.css",
    }
    return filled.get(path, path)


def test_no_route_is_public(pages: Any, ask: Any, store: Store) -> None:
    assert all(isinstance(route, APIRoute) for route in pages.routes), "only these inherit the app's dependency"
    paths = [route.path for route in pages.routes]
    assert "/fleet" in paths and len(paths) > 8
    for path in paths:
        address = example(path, store)
        assert "{" not in address, f"give {path} an example"
        nobody = ask(None, address)
        assert (nobody.status_code, nobody.headers["location"].split("?")[0]) == (302, "/auth/login"), path
        assert ask(None, address, accept="*/*").status_code == 401, path
        assert ask(None, address, method="POST").status_code in (401, 405), path


@pytest.mark.parametrize("who", ["viewer", "user"])
def test_who_may_read_the_dag_sees_every_page_and_can_do_nothing(pages: Any, ask: Any, store: Store, who: str) -> None:
    for route in pages.routes:
        address = example(route.path, store)
        found = ask(who, address)
        assert found.status_code in ({303} if route.path == "/plan/{plan_id}" else {404} if route.path == "/entity" else {200}), (
            route.path, found.text
        )  # fmt: skip
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert ask(who, address, method=method).status_code == 405, (method, route.path)


def test_who_may_not_read_the_dag_sees_nothing(pages: Any, ask: Any, store: Store, monkeypatch: Any) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    asked = []

    def nobody(**question: Any) -> bool:
        asked.append((question["method"], question["details"].id))
        return False

    monkeypatch.setattr(get_auth_manager(), "is_authorized_dag", nobody)
    for route in pages.routes:
        assert ask("admin", example(route.path, store)).status_code == 403, route.path
    assert set(asked) == {("GET", "release_promote")}


def test_a_rollback_is_offered_to_who_may_start_it(ask: Any) -> None:
    for who, offered in (("viewer", False), ("user", True), ("admin", True)):
        assert ("/dags/release_rollback" in ask(who, "/fleet").text) is offered, who


def test_stored_pages_run_nothing(ask: Any, store: Store) -> None:
    report = ask("viewer", f"/store/{layout.release(release_of(store), 'report.html')}")
    assert report.content == EVIL
    policy = report.headers["content-security-policy"]
    assert "sandbox" in policy and "default-src 'none'" in policy
    assert "allow-scripts" not in policy and "script-src" not in policy
    own = ask("viewer", "/fleet").headers
    assert "script-src 'self'" in own["content-security-policy"] and "unsafe" not in own["content-security-policy"]
    for headers in (report.headers, own):
        assert headers["x-content-type-options"] == "nosniff"
        assert "no-store" in headers["cache-control"]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/store/channels/champion.json",
        "/store/releases/",
        "/store/",
        "/store/..%2f..%2fetc%2fpasswd",
        "/store/releases/%2e%2e/plans/0000000000000000/release.json",
        "/store/%2fetc%2fpasswd",
        "/store/releases/0000000000000000/report.html",
        "/validation/..%2f..%2fplans",
        "/assets/..%2ffleet_page.py",
        "/assets/base.html.j2",
        "/nothing",
        "/docs",
        "/openapi.json",
    ],
)
def test_everything_else_is_not_there(ask: Any, path: str) -> None:
    found = ask("admin", path)
    assert found.status_code == 404
    assert "<script>alert" not in found.text


@pytest.mark.parametrize("path", ["/release/x", "/plan/x", "/fleet?page=0", "/fleet?order=x", "/fleet?channel=../x",
                                  "/validations?key=yesterday", "/entity?release=x&kind=a&entity=b"])  # fmt: skip
def test_a_wrong_question_is_one_sentence(ask: Any, path: str) -> None:
    found = ask("viewer", path, accept="*/*")
    assert found.status_code in (400, 404, 422)
    assert found.json()["detail"]
    assert "Traceback" not in found.text


def test_a_store_that_is_away_is_503_with_the_reason(ask: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise StoreError("s3://fleet/channels: connection refused; check AWS_ENDPOINT_URL, network and credentials")

    for name in ("get_versioned", "list", "exists"):
        monkeypatch.setattr(MemoryStore, name, away)
    for path in ("/fleet", f"/store/{layout.release('0' * 16, 'report.html')}", f"/release/{'0' * 16}"):
        found = ask("viewer", path)
        assert found.status_code == 503, path
        assert "connection refused; check" in found.text
    monkeypatch.delenv("FLEETALIGN_STORE")
    found = ask("viewer", "/fleet")
    assert (found.status_code, "set FLEETALIGN_STORE" in found.text) == (503, True)


def test_every_object_of_a_bucket_comes_as_from_a_folder(
    ask: Any, store: Store, moto_s3: Any, monkeypatch: Any
) -> None:
    bucket = open_store(f"{moto_s3.uri}/here")
    for info in store.list(""):
        bucket.put(info.key, store.get(info.key))
    release_id = release_of(store)
    paths = [
        f"/release/{release_id}",
        f"/store/{layout.release(release_id, 'report.html')}",
        "/validations?key=2026-03-02",
    ]
    here = [ask("viewer", path).content for path in paths]
    monkeypatch.setenv("FLEETALIGN_STORE", bucket.uri)
    assert [ask("viewer", path).content for path in paths] == here
    assert release_id in ask("viewer", "/fleet").text


def test_airflow_shows_the_page_and_the_tab(ask: Any) -> None:
    found = ask("admin", "/../api/v2/plugins").json()["plugins"]
    plugin = next(p for p in found if p["name"] == "fleetalign")
    views = {v["name"]: (v["destination"], v["href"]) for v in plugin["external_views"]}
    assert views == {
        "Fleet": ("nav", "/fleetalign/fleet"),
        "Release": ("dag_run", "/fleetalign/run?dag_id={DAG_ID}&run_id={RUN_ID}"),
    }
    assert "fleetalign_plugin.py" in plugin["source"]


LOAD = """
import json, sys
from airflow import plugins_manager
plugins_manager.get_global_operator_extra_links()
before = sorted(sys.modules)
plugins_manager.get_fastapi_plugins()
print(json.dumps([before, sorted(sys.modules), plugins_manager.get_import_errors()]))
"""


def test_pages_are_loaded_by_the_api_server_alone_and_are_light(database: None) -> None:
    done = subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True, text=True, timeout=120)
    everywhere, served, errors = json.loads(done.stdout.splitlines()[-1])
    assert errors == {}
    assert "fleetalign_pages" in served and "fleetalign_pages" not in everywhere
    assert not {"fleetalign", "pyarrow"} & set(everywhere)
    assert not {"torch", "onnxruntime", "pandas", "matplotlib", "great_expectations", "dvc"} & set(served)


def link(run: Any, title: str) -> str:
    from airflow.plugins_manager import get_global_operator_extra_links

    (found,) = (each for each in get_global_operator_extra_links() if each.name == title)
    (task, *_) = run.get_task_instances()
    return found.get_link(None, ti_key=task.key)


def test_a_run_leads_to_what_it_made_also_when_promotion_was_refused(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise GateRefused("coverage is 0.4")

    monkeypatch.setattr(steps, "latest", lambda *_: "p1")
    monkeypatch.setattr(steps, "release", lambda *_: {"release_id": "1234567890123456"})
    monkeypatch.setattr(steps, "promote", refuse)
    finished = run("release_promote")
    assert finished.state == "failed"
    assert link(finished, "Release report") == "/fleetalign/store/releases/1234567890123456/report.html"
    assert link(finished, "Manifest") == "/fleetalign/store/releases/1234567890123456/manifest.json"
    assert link(finished, "Promotion verdict") == "/fleetalign/release/1234567890123456#verdict"
    assert link(finished, "Data Docs") == link(finished, "Drift report") == ""


def test_a_held_partition_leads_to_its_data_docs(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def hold(*_: Any) -> Any:
        raise PartitionHeld("held")

    monkeypatch.setattr(steps, "validate", hold)
    finished = run("telemetry_validate", "2026-03-02")
    assert finished.state == "failed"
    assert link(finished, "Data Docs") == "/fleetalign/validations?key=2026-03-02"
    assert link(finished, "Release") == ""


def test_a_drift_check_leads_to_its_report(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    key = layout.drift("0" * 16, "2026-03-02", "report.html")
    monkeypatch.setattr(steps, "pretrain_due", lambda *_: None)
    monkeypatch.setattr(steps, "drift", lambda *_: {"release_id": "0" * 16, "report": key})
    assert link(run("drift_check"), "Drift report") == f"/fleetalign/store/{key}"
    monkeypatch.setattr(steps, "drift", lambda *_: None)
    assert link(run("drift_check"), "Drift report") == ""
