"""Measures what Airflow takes for an empty task instance, on three local Airflows in turn.

Run by ``fleetalign bench airflow``, which shows it. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from airflow_api import Api, StandaloneError, ticks
from airflow_home import AirflowHome, Say
from backends import PostgreSQL
from sessions import Sessions
from stack import Stack
from standalone import Standalone

SLOTS = 2
"""Tasks at a time, in every Airflow."""
WARM_UP = 4
RUN_SECONDS = 300.0
IDLE_SECONDS = 10.0
DAG = """
from airflow.sdk import Param, dag, task


@dag(schedule=None, catchup=False, max_active_tasks=64, params={"tasks": Param(1, type="integer")})
def nothing():
    @task
    def numbers(params=None):
        return list(range(params["tasks"]))

    @task
    def mapped(number):
        return None

    mapped.expand(number=numbers())


nothing()
"""


class OnPostgreSQL(Standalone):
    """``airflow standalone``, and so the LocalExecutor, on PostgreSQL."""

    @property
    def database(self) -> PostgreSQL:
        return PostgreSQL(self.home, self.port + 3, self.secret())

    @property
    def database_sessions(self) -> Sessions:
        return Sessions(self.home / "database.json")

    def settings(self) -> dict[str, str]:
        return super().settings() | {"DATABASE__SQL_ALCHEMY_CONN": self.database.url}

    def start(self, say: Say = lambda _: None) -> None:
        self.secret()
        self.database.start(self.database_sessions, self.home / "postgresql.log", dict(os.environ))
        super().start(say)

    def processes(self) -> list[Any]:
        return [*super().processes(), *self.database_sessions.processes()]

    def stop(self) -> int:
        return super().stop() + self.database_sessions.end()


LOCAL, CELERY = {"parallelism": SLOTS}, {"parallelism": 4 * SLOTS, "slots": SLOTS}
DEFAULT = {"heartbeat_seconds": 5}
SIDES: dict[str, tuple[type[AirflowHome], dict[str, Any]]] = {
    "SQLite + LocalExecutor": (Standalone, LOCAL),
    "PostgreSQL + LocalExecutor": (OnPostgreSQL, LOCAL),
    "PostgreSQL + Celery": (Stack, CELERY),
    "PostgreSQL + LocalExecutor, heartbeat 5 s": (OnPostgreSQL, LOCAL | DEFAULT),
    "PostgreSQL + Celery, heartbeat 5 s": (Stack, CELERY | DEFAULT),
}
"""Kind of Airflow and its settings."""


def cpu_seconds_of(processes: Iterable[psutil.Process]) -> float:
    """Sum the CPU seconds of processes and of the children that they waited for, such as tasks."""
    total = 0.0
    for process in processes:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:  # it ended meanwhile; its parent counts it
            continue
    return total


def measure(airflow: AirflowHome, tasks: int, runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure wall and CPU seconds of ``tasks`` mapped no-ops, ``runs`` times after a warm-up."""
    began = time.monotonic()
    airflow.start()
    airflow.wait_healthy()
    boot_seconds = time.monotonic() - began
    api = airflow.api()
    api.wait_for_dags({"nothing"})
    _run(api, "warm-up", WARM_UP)
    before = cpu_seconds_of(airflow.processes())
    time.sleep(IDLE_SECONDS)
    idle = (cpu_seconds_of(airflow.processes()) - before) / IDLE_SECONDS
    measured = []
    for number in range(runs):
        say(f"run {number + 1}")
        before, began = cpu_seconds_of(airflow.processes()), time.monotonic()
        instances = _run(api, f"run-{number}", tasks)
        measured.append(_figures(instances, cpu_seconds_of(airflow.processes()) - before, time.monotonic() - began))
    return {"boot_seconds": boot_seconds, "idle_cpu_share": idle, "runs": measured}


def _run(api: Api, run_id: str, tasks: int) -> list[dict[str, Any]]:
    """Run the DAG and return its task instances."""
    api.trigger("nothing", run_id, conf={"tasks": tasks})
    for _ in ticks(RUN_SECONDS):
        state = api.call("GET", f"/dags/nothing/dagRuns/{run_id}")["state"]
        if state == "success":
            return [t for t in api.task_instances("nothing", run_id) if t["task_id"] == "mapped"]
        if state == "failed":
            raise StandaloneError(f"run {run_id} of the no-op DAG failed")
    raise StandaloneError(f"{tasks} no-op tasks did not end in {RUN_SECONDS:.0f} s")


def _figures(instances: list[dict[str, Any]], cpu: float, wall: float) -> dict[str, Any]:
    def times(field: str) -> list[float]:
        return [datetime.fromisoformat(t[field]).timestamp() for t in instances]

    queued, started, ended = times("queued_when"), times("start_date"), times("end_date")
    return {
        "tasks": len(instances),
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "wall_per_task": (max(ended) - min(queued)) / len(instances),
        "cpu_per_task": cpu / (len(instances) + 1),
        "queued_median": statistics.median(s - q for q, s in zip(queued, started, strict=True)),
        "running_median": statistics.median(e - s for s, e in zip(started, ended, strict=True)),
    }


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fleetalign-airflow-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # PostgreSQL may run as another user
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--port", type=int, default=8180)
    parser.add_argument("--side", action="append", choices=list(SIDES), help="only these")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that ending this program ends its servers
    found = {}
    with scratch() as folder:
        (folder / "dags").mkdir()
        (folder / "dags" / "nothing.py").write_text(DAG)
        (folder / "params.yaml").touch()
        for number, side in enumerate(options.side or SIDES):
            kind, given = SIDES[side]
            print(f"{side} ...", file=sys.stderr, flush=True)
            airflow = kind(
                folder / str(number), f"file://{folder}/store", folder / "params.yaml", options.port,
                dags=folder / "dags", **given,
            )  # fmt: skip
            try:
                found[side] = measure(
                    airflow, options.tasks, options.runs, lambda line: print(line, file=sys.stderr, flush=True)
                )
            except StandaloneError as error:
                print(f"{side}: {error}", file=sys.stderr)
                return 1
            finally:
                airflow.stop()
            print(json.dumps(found[side]), file=sys.stderr, flush=True)
    print(json.dumps({"slots": SLOTS, "sides": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
