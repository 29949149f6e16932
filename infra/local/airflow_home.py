"""A local Airflow on 127.0.0.1: a folder with its state, settings, users, and a client."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
import psutil
from airflow_api import BOOT_SECONDS, Api, StandaloneError, ticks
from sessions import Sessions

REPOSITORY = Path(__file__).resolve().parents[2]
POOLS = REPOSITORY / "infra" / "airflow" / "pools.json"
LOGIN = {"username": "admin", "password": "admin"}
USERS = {"admin": "admin", "viewer": "viewer"}
"""Name to role; each user's password is the name."""
REQUEST_SECONDS = 30.0

Say = Callable[[str], None]


@dataclass
class AirflowHome:
    """An Airflow whose state lives in ``home``; it takes ``port`` and the two after it."""

    home: Path
    store: str
    params: Path
    port: int = 8080
    parallelism: int = 2
    dags: Path = REPOSITORY / "dags"
    heartbeat_seconds: int = 1
    """How often a running task beats. A task's supervisor often looks a moment too early whether the task has ended, and
    then not again before this is over: Airflow's default of 5 s keeps the slot taken for 5 s."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sessions(self) -> Sessions:
        return Sessions(self.home / "servers.json")

    def settings(self) -> dict[str, str]:
        """Return the settings ``SECTION__KEY`` of every Airflow process.

        The URLs must agree, or tasks cannot report back.
        """
        secret = self.secret()
        return {
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__PARALLELISM": str(self.parallelism),
            "CORE__PLUGINS_FOLDER": str(REPOSITORY / "infra" / "airflow" / "plugins"),
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.port),
            "API__BASE_URL": self.url,
            "API__WORKERS": "1",
            "API__SECRET_KEY": secret,
            "API_AUTH__JWT_SECRET": secret,
            "WORKERS__MIN_HEARTBEAT_INTERVAL": str(self.heartbeat_seconds),
            "WORKERS__EXECUTION_API_TIMEOUT": "60",  # two busy cores answer late
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",  # parsing again would take a core from training
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "LOGGING__LOGGING_LEVEL": "WARNING",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def environment(self) -> dict[str, str]:
        """Return this process's environment with the variables that Airflow and the steps need."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": value for name, value in self.settings().items()},
            "FLEETALIGN_STORE": self.store,
            "FLEETALIGN_PARAMS": str(self.params),
            "GX_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
        }

    def secret(self) -> str:
        path = self.home / "secret"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
        return path.read_text()

    def prepare(self, ports: tuple[int, ...], command: str) -> None:
        """Create the folder and its users.

        Raises:
            StandaloneError: A port is taken; the message names ``command``.
        """
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    raise StandaloneError(
                        f"port {port} is taken by another program; choose another: {command} PORT={self.port + 100}"
                    ) from None
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "passwords.json").write_text(json.dumps({name: name for name in USERS}))

    def processes(self) -> list[psutil.Process]:
        """List the running processes of ``start``, also of an earlier run of this program."""
        return self.sessions.processes()

    def stop(self) -> int:
        """End all processes and return how many there were."""
        return self.sessions.end()

    def beats(self, parts: dict[str, str]) -> bool:
        """Return whether each part of Airflow has sent a heartbeat since this start of its server.

        ``parts`` maps each part to its server.
        """
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5.0).json()
        except (httpx.HTTPError, ValueError):
            return False
        for part, server in parts.items():
            beat = health[part][f"latest_{part}_heartbeat"]
            if health[part]["status"] != "healthy" or not beat:
                return False
            if datetime.fromisoformat(beat) < self.sessions.started_at(server):
                return False
        return True

    def healthy(self) -> bool:
        raise NotImplementedError

    def ended(self) -> tuple[str, Path] | None:
        """Return a server that has ended, and its log; None if all run."""
        raise NotImplementedError

    def wait_healthy(self, timeout_seconds: float = BOOT_SECONDS) -> None:
        """Wait until Airflow is up and has its pools, without which tasks would wait for ever.

        Raises:
            StandaloneError: A server died, or Airflow is not up in time.
        """
        for _ in ticks(timeout_seconds):
            if self.healthy():
                self.api().make_pools(POOLS)
                return
            if ended := self.ended():
                name, log = ended
                raise StandaloneError(f"{name} ended while it started: {last_line(log)} (all of it: {log})")
        raise StandaloneError(f"Airflow is not up after {timeout_seconds:.0f} s; see {self.home}, then run make down")

    def api(self) -> Api:
        """Create a client with a new token."""
        answer = httpx.post(f"{self.url}/auth/token", json=LOGIN, timeout=REQUEST_SECONDS)
        answer.raise_for_status()
        token = answer.json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return Api(httpx.Client(base_url=f"{self.url}/api/v2", headers=headers, timeout=REQUEST_SECONDS))


def last_line(log: Path) -> str:
    """Return the last line of a program's log, or a text for an empty log."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].strip() if lines else "its log is empty"
