"""Rules that every DAG keeps, and rules about who may import what."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetalign import errors

REPOSITORY = Path(__file__).parents[2]
DAG_FOLDER = REPOSITORY / "dags"
SHARED = sorted(DAG_FOLDER.glob("fleetalign_*.py"))
DAG_FILES = sorted({*DAG_FOLDER.glob("*.py")} - {*SHARED})
DAG_IDS = [path.stem for path in DAG_FILES]
PACKAGE = REPOSITORY / "tasks" / "fleetalign"
POOLS = REPOSITORY / "infra" / "airflow" / "pools.json"

ALLOWED_TAGS = {"fleetalign", "telemetry", "training", "alignment", "release", "manual", "storage", "scoring"}
DOC_PARTS = ("What", "When", "In", "Out", "Rerun", "Paged")
MAX_LINES = 100
PARSE_SECONDS = 3.0
"""Beyond Airflow's own import; CPU time, so that a busy machine does not fail it."""
FORBIDDEN_AT_PARSE = ("torch", "pandas", "great_expectations", "dvc", "optuna", "matplotlib", "onnxruntime", "sklearn")


def test_the_twelve_dags() -> None:
    assert DAG_IDS == [
        "drift_check",
        "entity_align",
        "fleet_health",
        "fleet_scoring",
        "operator_feedback",
        "pretrain_due",
        "release_promote",
        "release_rollback",
        "shared_pretrain",
        "storage_gc",
        "telemetry_ingest",
        "telemetry_validate",
    ]


def test_one_dag_per_file_with_its_name(dags: dict[str, Any]) -> None:
    assert {dag_id: Path(dag.fileloc).stem for dag_id, dag in dags.items()} == {i: i for i in DAG_IDS}


@pytest.mark.parametrize("path", [*DAG_FILES, *SHARED], ids=lambda path: path.stem)
def test_a_dag_file_is_a_page(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_docs_say_everything(dags: dict[str, Any], dag_id: str) -> None:
    missing = [part for part in DOC_PARTS if f"**{part}**" not in (dags[dag_id].doc_md or "")]
    assert not missing


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_owner_tags_runs_and_catchup(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    assert dag.owner == "fleetalign"
    assert "fleetalign" in dag.tags
    assert dag.tags <= ALLOWED_TAGS
    assert dag.catchup is False
    # A start date in the past starts a run on first unpause; without one only ticks to come count.
    assert dag.start_date is None


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_schedule_and_run_limit_are_written_down(path: Path) -> None:
    decorators = [
        decorator
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "dag"
    ]
    assert len(decorators) == 1
    assert {"schedule", "catchup", "max_active_runs"} <= {keyword.arg for keyword in decorators[0].keywords}


def test_single_runs_where_the_store_is_the_queue(dags: dict[str, Any]) -> None:
    wide = {dag_id for dag_id, dag in dags.items() if dag.max_active_runs > 1}
    assert wide == {"telemetry_ingest", "telemetry_validate"}


MOMENTS = [datetime(2026, 11, 30, hour, minute, tzinfo=UTC) for hour in range(24) for minute in (0, 1, 7, 59)]
"""A Monday, on which every cron ticks but the weekly garbage collection's: all hours, at the tick and after it."""


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_no_dag_starts_between_two_ticks_when_it_is_unpaused(
    dags: dict[str, Any], dag_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables import trigger
    from airflow.timetables.base import TimeRestriction

    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dags[dag_id])).timetable
    for moment in [*MOMENTS, datetime(2026, 11, 29, 6, 30, tzinfo=UTC), datetime(2026, 1, 20, tzinfo=UTC)]:
        monkeypatch.setattr(trigger, "utcnow", lambda now=moment: now)
        first = timetable.next_dagrun_info_v2(
            last_dagrun_info=None, restriction=TimeRestriction(earliest=None, latest=None, catchup=False)
        )
        assert first is None or first.run_after >= moment, f"{moment:%A %H:%M}: {first.run_after}"


def test_only_the_example_is_off_by_default(dags: dict[str, Any]) -> None:
    assert {dag_id for dag_id, dag in dags.items() if dag.is_paused_upon_creation} == {"fleet_scoring"}


def test_pools_exist(dags: dict[str, Any]) -> None:
    used = {task.pool for dag in dags.values() for task in dag.tasks} - {"default_pool"}
    known = json.loads(POOLS.read_text())
    assert used == set(known)
    assert known["dvc"]["slots"] == 1


def test_params_have_a_schema_a_description_and_a_valid_default(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags.items():
        for name in dag.params:
            where = f"{dag_id}.{name}"
            definition = dag.params.get_param(name)
            assert definition.schema.get("type"), where
            assert definition.description, where
            if where != "release_rollback.reason":  # nobody else can say why
                definition.resolve()
    assert set(dags["release_rollback"].params) == {"release", "channel", "reason"}
    assert dags["storage_gc"].params["dry_run"] is True


def _leaves(root: type[errors.FleetalignError]) -> list[type[errors.FleetalignError]]:
    return [root] + [leaf for child in root.__subclasses__() for leaf in _leaves(child)]


@pytest.mark.parametrize("error", _leaves(errors.FleetalignError), ids=lambda error: error.__name__)
def test_retry_only_where_a_retry_helps(dags: dict[str, Any], error: type[errors.FleetalignError]) -> None:
    for dag in dags.values():
        for task in dag.tasks:
            decision = task.retry_policy.evaluate(error("x"), 1, task.retries)
            assert decision.action.value == ("retry" if error.retry_helps else "fail"), task.task_id


def test_a_bug_is_not_retried_but_a_killed_worker_is(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        for task in dag.tasks:
            assert task.retry_policy.evaluate(KeyError("x"), 1, 2).action.value == "fail"
            assert task.retries == 2


def test_only_last_tasks_have_outlets_and_none_is_mapped(dags: dict[str, Any]) -> None:
    outlets = {
        asset.name: (dag_id, task.task_id, task.is_mapped)
        for dag_id, dag in dags.items()
        for task in dag.tasks
        for asset in task.outlets
    }
    assert outlets == {
        "telemetry_raw": ("telemetry_ingest", "ingest", False),
        "telemetry_validated": ("telemetry_validate", "validate", False),
        "shared_model": ("shared_pretrain", "pretrain", False),
        "aligner_table": ("entity_align", "align_reduce", False),
        "release": ("release_promote", "release", False),
    }


PARSE = """
import importlib.util, json, sys, time
import airflow.sdk, airflow.providers.standard.operators.trigger_dagrun
started = time.process_time()
spec = importlib.util.spec_from_file_location("parsed", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps({"seconds": time.process_time() - started, "modules": sorted({m.split(".")[0] for m in sys.modules})}))
"""


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_parsing_is_quick_and_loads_nothing_heavy(path: Path) -> None:
    command = [sys.executable, "-c", PARSE, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert not set(FORBIDDEN_AT_PARSE) & set(parsed["modules"])
    assert parsed["seconds"] < PARSE_SECONDS


BAG = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps([sorted(bag.dags), {k: v[-300:] for k, v in bag.import_errors.items()}]))
"""


@pytest.mark.parametrize("bundle", [REPOSITORY, DAG_FOLDER], ids=["repository", "dags"])
def test_either_folder_can_be_the_bundle(bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BAG, str(bundle)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180, cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1]) == [DAG_IDS, {}]


def test_somebody_is_asked_before_a_promotion_only_where_that_is_set(tmp_path: Path) -> None:
    for hours, chain in ((0.0, "release>promote"), (24.0, "release>verdict>approve>promote")):
        params = tmp_path / f"{hours}.yaml"
        params.write_text(f"airflow: {{approval_hours: {hours}}}\n")
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from release_promote import release_promote; d = release_promote();"
            "print('>'.join(t.task_id for t in d.topological_sort()));"
            "a = d.task_dict.get('approve'); print(a and (a.response_timeout.total_seconds(), a.defaults))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(DAG_FOLDER)],
            env={**os.environ, "FLEETALIGN_PARAMS": str(params)}, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        lines = done.stdout.strip().splitlines()[-2:]
        assert lines == [chain, "(86400.0, ['Reject'])" if hours else "None"]
