"""``airflow standalone`` on SQLite, for the demo and for tests."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow_home import AirflowHome, Say

NAME = "standalone"


class Standalone(AirflowHome):
    """One command that starts every part of Airflow.

    SQLite allows one writer, so ``parallelism`` is 2 to 4.
    """

    @property
    def log(self) -> Path:
        return self.home / f"{NAME}.log"

    def settings(self) -> dict[str, str]:
        logs = {
            "LOGGING__WORKER_LOG_SERVER_PORT": str(self.port + 1),
            "LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.port + 2),
        }
        return super().settings() | logs

    def start(self, say: Say = lambda _: None) -> None:
        """Start it, after ending the rest of an earlier one.

        Raises:
            StandaloneError: A port is taken.
        """
        if self.sessions.processes():
            ended = self.sessions.end()
            say(f"an earlier run does not answer at {self.url}: ended its {ended} processes, starting again")
        self.prepare((self.port, self.port + 1, self.port + 2), "make demo")
        command = [sys.executable, "-m", "airflow", "standalone"]
        self.sessions.start(NAME, command, self.log, environment=self.environment(), folder=self.home)

    def healthy(self) -> bool:
        return bool(self.sessions.processes()) and self.beats({"scheduler": NAME, "dag_processor": NAME})

    def ended(self) -> tuple[str, Path] | None:
        return None if self.sessions.processes() else ("Airflow", self.log)
