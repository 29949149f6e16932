"""An Airflow of its own for DAG tests: a fresh home, migrated once, and the project's DAGs as it sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
DAGS = REPOSITORY / "dags"

# Airflow reads these when it is imported, so a fixture would come too late.
_home = tempfile.TemporaryDirectory(prefix="fleetalign-airflow-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(DAGS)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "infra" / "airflow" / "plugins")
USERS = ("viewer", "user", "op", "admin")
"""Each has the role of its name, and its name as password."""
os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = ",".join(f"{name}:{name}" for name in USERS)
_passwords = Path(_home.name) / "passwords.json"
_passwords.write_text(json.dumps({name: name for name in USERS}))
os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(_passwords)
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "secret of these tests " * 4
_params = Path(_home.name) / "params.yaml"
_params.write_text("airflow: {retry_delay_seconds: 0.1}\n")
os.environ["FLEETALIGN_PARAMS"] = str(_params)


def load(path: Path) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(path))
    assert not bag.import_errors
    return bag.dags


@pytest.fixture(scope="session")
def dags() -> dict[str, Any]:
    """Every DAG by id."""
    return load(DAGS)


@pytest.fixture(scope="session")
def database() -> None:
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, check=True, capture_output=True, timeout=180)


@pytest.fixture
def run(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """``run(dag_id, partition_key=None, conf=None)`` runs one DAG in this process and returns its run.

    ``dag.test()`` knows no key, so the run is created with one here. Each call deletes the DAG's run before it, and
    writes the run's conf into the DAG's own params, so each gets a DAG that is freshly loaded.
    """
    import airflow.models.dagrun as dagruns

    create_run = dagruns.get_or_create_dagrun

    def run_dag(dag_id: str, partition_key: str | None = None, conf: dict[str, Any] | None = None) -> Any:
        def with_key(**arguments: Any) -> Any:
            dag = arguments["dag"]
            create = dag.create_dagrun
            date = dag.timetable.resolve_partition_date(partition_key) if partition_key else None
            dag.create_dagrun = lambda **k: create(**k, partition_key=partition_key, partition_date=date)
            return create_run(**arguments)

        monkeypatch.setattr(dagruns, "get_or_create_dagrun", with_key)
        return load(DAGS / f"{dag_id}.py")[dag_id].test(logical_date=None, run_conf=conf)

    monkeypatch.setenv("FLEETALIGN_STORE", "memory://dags")
    yield run_dag
