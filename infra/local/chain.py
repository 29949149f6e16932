"""Runs the chain from telemetry to a promoted release on a stack with killed servers."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import tenacity
from airflow_api import Api, StandaloneError
from stack import Stack

CHAIN_SECONDS = 300.0
STEP_SECONDS = 120.0
LOOK_SECONDS = 0.2
RESTARTS = 4
BUILT = ("plans", "models", "aligners", "normalizers", "releases", "promotions", "channels")
"""Folders of the store that a build writes."""


@dataclass(frozen=True)
class Chain:
    """The stack, its API and the store."""

    stack: Stack
    api: Api

    @property
    def store(self) -> Path:
        return Path(self.stack.store.removeprefix("file://"))

    def forget(self) -> None:
        """Delete everything but telemetry and feedback."""
        for folder in BUILT:
            shutil.rmtree(self.store / folder, ignore_errors=True)

    def task(self, dag_id: str, task_id: str, state: str) -> dict[str, Any] | None:
        """Return a task instance in ``state``, if there is one; a DAG has one run at a time."""
        found = self.api.task_instances(dag_id)
        return next((t for t in found if (t["task_id"], t["state"]) == (task_id, state)), None)

    def wait(self, what: str, true: Callable[[], Any], seconds: float = STEP_SECONDS, keep_up: bool = False) -> Any:
        """Wait until ``true`` returns a true value, and return it.

        With ``keep_up`` a server that ended is started again, and an API that does not answer is asked again.

        Raises:
            StandaloneError: It did not within ``seconds``; the message names ``what``.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if keep_up and self.stack.ended():
                self.put_back()
            try:
                if found := true():
                    return found
            except httpx.HTTPError:
                if not keep_up:
                    raise
            time.sleep(LOOK_SECONDS)
        raise StandaloneError(f"{what}: not in {seconds:.0f} s")

    def promotions(self) -> int:
        """Count the promotions that succeeded.

        Raises:
            StandaloneError: A run failed.
        """
        if red := [run["dag_id"] for run in self.api.runs() if run["state"] == "failed"]:
            raise StandaloneError(f"{red[0]} failed")
        return sum(run["state"] == "success" for run in self.api.runs("release_promote"))

    def wait_for_release(self, promotions: int, keep_up: bool = False) -> str:
        """Wait for so many successful promotions and return the only release."""
        self.wait("promotion", lambda: self.promotions() >= promotions, CHAIN_SECONDS, keep_up)
        (release,) = (self.store / "releases").iterdir()
        return release.name

    def kill(self, server: str) -> None:
        """Kill a server as if its machine died, and wait until it is gone."""
        for process in self.stack.sessions.processes(server):
            with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's children leave with their parent
                process.kill()
        self.wait(f"{server} is dead", lambda: not self.stack.sessions.alive(server))

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(StandaloneError),
        stop=tenacity.stop_after_attempt(RESTARTS),
        reraise=True,
    )
    def put_back(self) -> None:
        """Start killed servers again as ``make stack`` does, several times, as a supervisor would.

        A process that loses its database connection may exit a moment later.
        """
        self.stack.start()
        self.stack.wait_healthy()
