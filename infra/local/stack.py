"""A production-like Airflow on one machine: PostgreSQL, Redis, the CeleryExecutor.

Each server is a plain process with a log of its own in ``home``. ``start`` starts what is missing, so it also puts back a
server that was killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from airflow_api import StandaloneError
from airflow_home import AirflowHome, Say, last_line
from backends import PostgreSQL, Redis

MIGRATE_SECONDS = 180.0
GPU_QUEUE = "gpu"
PRELOADED = ("airflow.dag_processing.dagbag",)
"""What every task process would import anew (0.12 s of CPU); the worker imports it once and its children inherit it."""


def worker(queue: str, concurrency: int) -> list[str]:
    """Return the command of a Celery worker ``queue@host``.

    Logs are read from the folder that all servers share, so no worker serves them.
    """
    return [
        "celery", "worker", "--queues", queue, "--celery-hostname", f"{queue}@%h",
        "--concurrency", str(concurrency), "--skip-serve-logs",
    ]  # fmt: skip


@dataclass
class Stack(AirflowHome):
    """The API server listens on ``port``, PostgreSQL on the next, Redis on the one after."""

    parallelism: int = 8
    slots: int = 2
    """Tasks that the CPU worker runs at a time."""

    @property
    def servers(self) -> dict[str, list[str]]:
        """Name to ``airflow`` command."""
        return {
            "api-server": ["api-server"],
            "scheduler": ["scheduler"],
            "dag-processor": ["dag-processor"],
            "triggerer": ["triggerer", "--skip-serve-logs"],
            "worker": worker("default", self.slots),
            "worker-gpu": worker(GPU_QUEUE, 1),
        }

    @property
    def backends(self) -> dict[str, PostgreSQL | Redis]:
        return {
            "postgresql": PostgreSQL(self.home, self.port + 1, self.secret()),
            "redis": Redis(self.home, self.port + 2, self.secret()),
        }

    def log(self, server: str) -> Path:
        return self.home / f"{server}.log"

    def settings(self) -> dict[str, str]:
        backends = self.backends
        celery = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "DATABASE__SQL_ALCHEMY_CONN": backends["postgresql"].url,
            "CELERY__BROKER_URL": backends["redis"].url,
            "CELERY__EXTRA_CELERY_CONFIG": json.dumps({"imports": PRELOADED}),
        }
        # No one reports the death of a worker. A running task is detected by its missing heartbeats and tried again;
        # a message that a worker took and did not start comes back to the queue after visibility_timeout. A task that
        # runs for longer than that is delivered twice: the second worker sees that it runs, and drops it.
        dead_worker = {
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "120",
        }
        # A new scheduler adopts what the dead one had queued once that one counts as dead. What the dead one had marked
        # as queued and not yet sent has no message, and is sent after task_queued_timeout.
        dead_scheduler = {
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
            "SCHEDULER__TASK_QUEUED_TIMEOUT": "180",
            "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "15",
        }
        # A worker asks on for about a minute and notices within 3 s that a server answers again; before that, three
        # heartbeats without an answer must not end a task.
        dead_api_server = {
            "WORKERS__EXECUTION_API_RETRIES": "20",
            "WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "3",
        }
        return super().settings() | celery | dead_worker | dead_scheduler | dead_api_server

    def start(self, say: Say = lambda _: None) -> None:
        """Start every server that does not run.

        Raises:
            StandaloneError: A program is missing, a port is taken, or a server does not start.
        """
        backends, names = self.backends, [*self.backends, *self.servers]
        missing = [name for name in names if not self.sessions.alive(name)]
        if missing and len(missing) < len(names):
            say(f"starting what is missing: {', '.join(missing)}")
        ports = {"api-server": self.port} | {name: backend.port for name, backend in backends.items()}
        # A killed server may have left a task behind.
        if dead := [name for name in missing if name in self.sessions.names()]:
            self.sessions.end(*dead)
        self.prepare(tuple(port for name, port in ports.items() if name in missing), "make stack")
        environment = self.environment()
        for name, backend in backends.items():
            if name in missing:
                backend.start(self.sessions, self.log(name), environment)
        if not set(self.servers) - set(missing):
            self._migrate(environment)
        # A worker logs which tasks it took: on one host that is the only record of which worker ran what.
        talkative = environment | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"}
        for name, command in self.servers.items():
            if name in missing:
                airflow = [sys.executable, "-m", "airflow", *command]
                mine = talkative if name.startswith("worker") else environment
                self.sessions.start(name, airflow, self.log(name), environment=mine, folder=self.home)

    def stop(self) -> int:
        """End every server, those that others need last, and return how many processes there were."""
        ended = self.sessions.end(*self.servers)
        return ended + self.sessions.end()

    def healthy(self) -> bool:
        if self.ended() or not self.sessions.names():
            return False
        return self.beats({"scheduler": "scheduler", "dag_processor": "dag-processor", "triggerer": "triggerer"})

    def ended(self) -> tuple[str, Path] | None:
        names = [*self.backends, *self.servers]
        return next(((name, self.log(name)) for name in names if not self.sessions.alive(name)), None)

    def _migrate(self, environment: dict[str, str]) -> None:
        log = self.log("migrate")
        with open(log, "ab") as words:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=environment, cwd=self.home, stdout=words, stderr=subprocess.STDOUT, check=False,
                timeout=MIGRATE_SECONDS,
            )  # fmt: skip
        if done.returncode:
            raise StandaloneError(f"the database was not migrated: {last_line(log)} (all of it: {log})")
