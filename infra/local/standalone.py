"""One Airflow (``airflow standalone`` on SQLite) in its own process group, for the demo and for tests.

All processes belong to one group: a signal to the standalone process alone leaves the scheduler and its workers behind.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from airflow_api import BOOT_SECONDS, Api, StandaloneError, ticks

REPOSITORY = Path(__file__).resolve().parents[2]
LOGIN = {"username": "admin", "password": "admin"}
USERS = {"admin": "admin", "viewer": "viewer"}
"""Name to role; each user's password is the name."""
TERM_SECONDS = 20.0
REQUEST_SECONDS = 30.0


@dataclass(slots=True)
class Standalone:
    """An Airflow whose state lives in ``home``; it listens on 127.0.0.1 only."""

    home: Path
    store: str
    params: Path
    port: int = 8080
    parallelism: int = 2
    dags: Path = REPOSITORY / "dags"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.home / "standalone.log"

    @property
    def _group_file(self) -> Path:
        return self.home / "standalone.json"

    def environment(self) -> dict[str, str]:
        """Settings for every Airflow process; the URLs must agree, or tasks cannot report back."""
        secret = self._secret()
        airflow = {
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__PARALLELISM": str(self.parallelism),  # SQLite: one writer at a time
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
            "WORKERS__EXECUTION_API_TIMEOUT": "60",  # two busy cores answer late
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",  # parsing again would take a core from training
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "LOGGING__LOGGING_LEVEL": "WARNING",
            "LOGGING__WORKER_LOG_SERVER_PORT": str(self.port + 1),
            "LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.port + 2),
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
            "FLEETALIGN_STORE": self.store,
            "FLEETALIGN_PARAMS": str(self.params),
            "GX_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
        }

    def _secret(self) -> str:
        path = self.home / "secret"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
        return path.read_text()

    def start(self) -> None:
        """Start it. Raises StandaloneError when one of its three ports is taken."""
        for port in (self.port, self.port + 1, self.port + 2):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    raise StandaloneError(
                        f"port {port} is taken by another program; choose another: make demo PORT={self.port + 100}"
                    ) from None
        environment = self.environment()
        (self.home / "passwords.json").write_text(json.dumps({name: name for name in USERS}))
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started_at = datetime.now(UTC).isoformat()
        self._group_file.write_text(json.dumps({"group": process.pid, "port": self.port, "started_at": started_at}))

    def _state(self) -> dict[str, Any]:
        return json.loads(self._group_file.read_text()) if self._group_file.exists() else {}

    def processes(self) -> list[psutil.Process]:
        """Everything alive in the group that ``start`` made, also in an earlier run of this program."""
        group = self._state().get("group")
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            try:
                if os.getpgid(process.pid) != group or process.info["status"] == psutil.STATUS_ZOMBIE:
                    continue
            except (ProcessLookupError, PermissionError):
                continue
            # After a reboot the number may belong to somebody else.
            if any("airflow" in part for part in process.info["cmdline"] or ()):
                found.append(process)
        return found

    def stop(self) -> int:
        """End the whole group: TERM, ``TERM_SECONDS`` of patience, KILL. Returns how many processes there were."""
        first = len(self.processes())
        for signal_number, patience_seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, 5.0)):
            if self.processes():
                os.killpg(self._state()["group"], signal_number)
            deadline = time.monotonic() + patience_seconds
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.2)
        self._group_file.unlink(missing_ok=True)
        return first

    def healthy(self) -> bool:
        """Scheduler and DAG processor of *this* start are alive; an older heartbeat counts as none."""
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5.0).json()
        except (httpx.HTTPError, ValueError):
            return False
        started_at = datetime.fromisoformat(self._state()["started_at"])
        for part in ("scheduler", "dag_processor"):
            beat = health[part][f"latest_{part}_heartbeat"]
            if health[part]["status"] != "healthy" or not beat or datetime.fromisoformat(beat) < started_at:
                return False
        return True

    def wait_healthy(self, timeout_seconds: float = BOOT_SECONDS) -> None:
        """Raises StandaloneError when it died or is not up in time."""
        for _ in ticks(timeout_seconds):
            if self.healthy():
                return
            if not self.processes():
                raise StandaloneError(f"Airflow ended while it started; its last words are in {self.log}")
        raise StandaloneError(f"Airflow is not up after {timeout_seconds:.0f} s; see {self.log}, then run make down")

    def api(self) -> Api:
        """A client with a fresh token."""
        answer = httpx.post(f"{self.url}/auth/token", json=LOGIN, timeout=REQUEST_SECONDS)
        answer.raise_for_status()
        token = answer.json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return Api(httpx.Client(base_url=f"{self.url}/api/v2", headers=headers, timeout=REQUEST_SECONDS))
