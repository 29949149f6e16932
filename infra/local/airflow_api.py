"""The calls of Airflow's REST API that drive a local Airflow; all waits are bounded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import tenacity

BOOT_SECONDS = 180.0
ATTEMPTS = 6


def _busy(error: BaseException) -> bool:
    """Return whether asking again may help.

    SQLite allows one writer at a time, and Airflow answers 500 meanwhile.
    """
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error
    return isinstance(error, httpx.TransportError)


class StandaloneError(Exception):
    """A local Airflow cannot go on; the message is one line with the remedy."""


def ticks(timeout_seconds: float, every_seconds: float = 1.0) -> Iterator[None]:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(every_seconds)


@dataclass(slots=True)
class Api:
    """A client of Airflow's REST API, version 2.

    Every call is safe to repeat and is repeated when the server is busy or away. A call raises httpx.HTTPStatusError for an
    unexpected refusal and httpx.TransportError if no server answers.
    """

    client: httpx.Client

    def call(self, method: str, path: str, json: Any = None, params: Any = None, accept: tuple[int, ...] = ()) -> Any:
        answer = self._answer(method, path, accept, json=json, params=params)
        return answer.json() if answer.content else {}

    @tenacity.retry(
        retry=tenacity.retry_if_exception(_busy),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.5, max=8),
        reraise=True,
    )
    def _answer(self, method: str, path: str, accept: tuple[int, ...], **content: Any) -> httpx.Response:
        answer = self.client.request(method, path, **content)
        if answer.status_code not in accept:
            answer.raise_for_status()
        return answer

    def wait_for_dags(self, dag_ids: set[str], timeout_seconds: float = BOOT_SECONDS) -> None:
        """Wait until all DAGs are loaded without an import error.

        A broken file would leave its runs queued without a message.
        """
        for _ in ticks(timeout_seconds):
            errors = self.call("GET", "/importErrors")["import_errors"]
            if errors:
                last_line = errors[0]["stack_trace"].strip().splitlines()[-1]
                raise StandaloneError(f"{errors[0]['filename']} does not import: {last_line}")
            if dag_ids <= {dag["dag_id"] for dag in self.call("GET", "/dags", params={"limit": 100})["dags"]}:
                return
        raise StandaloneError(f"not all DAGs are known after {timeout_seconds:.0f} s; see the DAG processor's log")

    def make_pools(self, path: Path) -> None:
        """Create the pools of an ``airflow pools import`` file.

        A task whose pool is missing is never scheduled.
        """
        for name, pool in json.loads(path.read_text()).items():
            self.call("POST", "/pools", json={"name": name, **pool}, accept=(409,))

    def trigger(self, dag_id: str, run_id: str, partition_key: str | None = None, conf: Any = None) -> bool:
        """Start a run; return False if there already is one with this id."""
        body: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        if partition_key:
            body["partition_key"] = partition_key
        return self._answer("POST", f"/dags/{dag_id}/dagRuns", (409,), json=body).status_code != 409

    def runs(self, dag_id: str = "~") -> list[dict[str, Any]]:
        """List the newest 100 runs of one DAG or of all, by the time of their creation.

        The ``run_after`` of a backfill's run is that of its partition.
        """
        return self.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100, "order_by": "-id"})["dag_runs"]

    def task_instances(self, dag_id: str = "~", run_id: str = "~") -> list[dict[str, Any]]:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return self.call("GET", path, params={"limit": 200})["task_instances"]

    def error_lines(self, task: dict[str, Any]) -> list[str]:
        """List the errors that the last try of a task instance logged, the exception's message last."""
        path = "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}".format(**task)
        content = self.call("GET", path, params={"map_index": task["map_index"], "full_content": True})["content"]
        lines = []
        for entry in content:
            if entry.get("level") in ("error", "critical"):
                errors = entry.get("error_detail") or []
                lines += [f"{error['exc_type']}: {error['exc_value']}" for error in errors] or [entry["event"]]
        return lines

    def events(self, asset: str) -> list[dict[str, Any]]:
        """List the events of one asset, newest first."""
        params = {"name_pattern": asset, "limit": 100, "order_by": "-timestamp"}
        return self.call("GET", "/assets/events", params=params)["asset_events"]

    def pause(self, dag_id: str, paused: bool = True) -> None:
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": paused}, params={"update_mask": "is_paused"})

    def clear(self, dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> None:
        """Clear one finished task, and only it, so that it runs again."""
        task: Any = task_id if map_index is None else [task_id, map_index]
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task], "include_downstream": False,
                "only_failed": False, "reset_dag_runs": True}  # fmt: skip
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def wait_run(self, dag_id: str, run_id: str, timeout_seconds: float) -> str:
        """Wait until one run has ended and return its state.

        Raises:
            StandaloneError: It has not ended in time.
        """
        for _ in ticks(timeout_seconds):
            state = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            if state not in ("queued", "running"):
                return str(state)
        raise StandaloneError(f"{dag_id}, run {run_id}: still {state} after {timeout_seconds:.0f} s")

    def wait_idle(
        self, timeout_seconds: float, watch: Callable[[list[dict[str, Any]]], None] | None = None
    ) -> list[dict[str, Any]]:
        """Wait until no run is queued or running in 4 successive checks, and return all runs.

        Between two DAGs there is a gap of 1-2 s. Scheduled runs are not waited for: the caller did not cause them and they
        can start at any time. ``watch`` gets the runs of every check and may raise to stop the wait.
        """
        quiet = 0
        for _ in ticks(timeout_seconds, every_seconds=0.7):
            runs = self.runs()
            if watch:
                watch(runs)
            caused = (run for run in runs if run["run_type"] != "scheduled")
            quiet = 0 if any(run["state"] in ("queued", "running") for run in caused) else quiet + 1
            if quiet == 4:
                return runs
        raise StandaloneError(f"still running after {timeout_seconds:.0f} s; look at the UI, or make down and again")
