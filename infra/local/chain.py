"""The chain from telemetry to a promoted release on a stack whose servers may be killed meanwhile."""

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
        """Only telemetry and feedback stay."""
        for folder in BUILT:
            shutil.rmtree(self.store / folder, ignore_errors=True)

    def task(self, dag_id: str, task_id: str, state: str) -> dict[str, Any] | None:
        """A task instance that is in ``state``; there is one run of a DAG at a time."""
        found = self.api.task_instances(dag_id)
        return next((t for t in found if (t["task_id"], t["state"]) == (task_id, state)), None)

    def wait(self, what: str, true: Callable[[], Any], seconds: float = STEP_SECONDS, keep_up: bool = False) -> Any:
        """What ``true`` answers, as soon as it is true. Raises StandaloneError naming ``what`` after ``seconds``.

        With ``keep_up`` a server that ended is started again, and an API that does not answer is asked again.
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
        """How many went well. Raises StandaloneError when a run is red."""
        if red := [run["dag_id"] for run in self.api.runs() if run["state"] == "failed"]:
            raise StandaloneError(f"{red[0]} failed")
        return sum(run["state"] == "success" for run in self.api.runs("release_promote"))

    def wait_for_release(self, promotions: int, keep_up: bool = False) -> str:
        """The only release, after so many promotions went well."""
        self.wait("promotion", lambda: self.promotions() >= promotions, CHAIN_SECONDS, keep_up)
        (release,) = (self.store / "releases").iterdir()
        return release.name

    def kill(self, server: str) -> None:
        """As when its machine dies: nobody hears of it. A killed process is there for a moment yet."""
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
        """What ``make stack`` does when it is called again; more than once, as a supervisor would, because who loses the
        database may end a moment later."""
        self.stack.start()
        self.stack.wait_healthy()
