"""What ``airflow pools import`` and ``airflow roles import`` are given: pools by the real command, roles by what FAB knows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parents[2] / "infra" / "airflow"
VIEWER, OPERATOR = "fleetalign_viewer", "fleetalign_operator"
STARTED_BY_HAND = {"operator_feedback", "release_rollback", "telemetry_ingest", "telemetry_validate"}
# apache-airflow-providers-fab, www/security/permissions.py: an import with a name that FAB lacks imports nothing.
ACTIONS = {"can_read", "can_edit", "can_create", "can_delete", "menu_access"}
RESOURCES = {
    "Asset Aliases", "Assets", "Browse", "DAG Code", "DAG Dependencies", "DAG Runs", "DAG Versions", "DAG Warnings",
    "DAGs", "HITL Detail", "Plugins", "Task Instances", "Task Logs", "Website", "XComs",
}  # fmt: skip


def test_airflow_imports_the_pools(database: None) -> None:
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    command = [sys.executable, "-m", "airflow", "pools", "import", str(INFRA / "pools.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with create_session() as session:
        found = {pool.pool: (pool.slots, pool.include_deferred) for pool in Pool.get_pools(session=session)}
    for name, pool in json.loads((INFRA / "pools.json").read_text()).items():
        assert found[name] == (pool["slots"], pool["include_deferred"])


def roles() -> dict[str, dict[str, set[str]]]:
    """Role -> resource -> actions."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for entry in json.loads((INFRA / "roles.json").read_text()):
        assert set(entry) == {"name", "resource", "action"}
        assert entry["resource"] not in found[entry["name"]], entry
        found[entry["name"]][entry["resource"]] = set(entry["action"].split(","))
    return found


def test_roles_name_what_there_is(dags: dict[str, Any]) -> None:
    known = RESOURCES | {f"{kind}:{dag_id}" for kind in ("DAG", "DAG Run") for dag_id in dags}
    assert set(roles()) == {VIEWER, OPERATOR}
    for role in roles().values():
        assert set(role) <= known
        assert set().union(*role.values()) <= ACTIONS


def test_a_viewer_reads_every_dag_and_changes_nothing(dags: dict[str, Any]) -> None:
    viewer = roles()[VIEWER]
    assert {dag_id for dag_id in dags if "can_read" in viewer.get(f"DAG:{dag_id}", ())} == set(dags)
    assert set().union(*viewer.values()) == {"can_read", "menu_access"}


def test_an_operator_starts_what_is_started_by_hand_and_nothing_of_others(dags: dict[str, Any]) -> None:
    operator = roles()[OPERATOR]
    started = {name.removeprefix("DAG Run:") for name, may in operator.items() if "can_create" in may}
    assert started == STARTED_BY_HAND
    # To change a run FAB asks for the DAG too, so `DAG Runs` and `Task Instances` reach these DAGs alone.
    edited = {name.removeprefix("DAG:") for name in operator if name.startswith("DAG:")}
    assert edited == STARTED_BY_HAND | {"release_promote"}  # its approval, and no run
    assert "DAGs" not in operator and "can_create" not in operator["DAG Runs"]
