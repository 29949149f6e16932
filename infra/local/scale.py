"""Measures plan, align and release of growing fleets on the stack and without Airflow.

Run by ``fleetalign bench scale``, which shows it. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from airflow_api import Api, StandaloneError, ticks
from bench.speed.programs import in_fresh_processes
from demo import bring_up
from overhead import cpu_seconds_of, scratch
from stack import Stack

from bench.airflow import scale_steps

CHAIN_SECONDS = 1_800.0
LOOK_SECONDS = 5.0
"""Between two looks at memory, and at the runs: looking takes CPU from what is looked at."""
PARAMS = """
model: {window_steps: 16}
training: {epochs: 1, max_windows_per_epoch: 4000, max_validation_windows: 1000}
gates: {bootstrap_samples: 200}
registry: {enabled: false}
validation: {data_docs: false}
storage: {memory_mb: 64}
airflow: {gpu_queue: gpu,
  crons: {ingest: "0 0 1 1 *", pretrain: "0 1 1 1 *", align: "0 2 1 1 *",
    drift: "0 3 1 1 *", gc: "0 4 1 1 *", feedback: "0 5 1 1 *", health: "0 6 1 1 *"}}
"""
CHAIN = ("entity_align", "release_promote")


@dataclass
class Watch:
    """Watches the CPU and peak memory of every server of a stack; tasks count with their worker."""

    stack: Stack
    peak_bytes: dict[str, int] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.before = self._cpu()
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.done.set()
            thread.join()

    def cpu_seconds(self) -> dict[str, float]:
        """Since the watch began."""
        return {name: seconds - self.before[name] for name, seconds in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_seconds_of(self.stack.sessions.processes(name)) for name in self.stack.sessions.names()}

    def _look(self) -> None:
        while not self.done.wait(LOOK_SECONDS):
            for name in self.stack.sessions.names():
                held = sum(map(_proportional_bytes, self.stack.sessions.processes(name)))
                self.peak_bytes[name] = max(held, self.peak_bytes.get(name, 0))


def _proportional_bytes(process: psutil.Process) -> int:
    """Measure resident memory; pages that several processes share count once."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:  # it ended meanwhile
        return 0


def on_the_stack(stack: Stack) -> dict[str, Any]:
    """Run one alignment and its promotion, from the trigger to the end of the second run."""
    api = bring_up(stack, lambda _: None)
    # Every server loads its libraries when it is first asked for something.
    api.trigger("storage_gc", "warm-up", conf={"dry_run": True})
    api.wait_idle(CHAIN_SECONDS)
    watch = Watch(stack)
    with watch.watching():
        api.trigger("entity_align", "measured")
        runs = _wait(api)
        cpu = watch.cpu_seconds()
    tasks = [t for dag_id in CHAIN for t in _tasks(api, runs[dag_id])]
    return {
        "wall_seconds": max(_time(t["end_date"]) for t in tasks) - _time(runs["entity_align"]["queued_at"]),
        "tasks": len(tasks),
        "cpu_seconds": cpu,
        "peak_bytes": watch.peak_bytes,
    }


def _wait(api: Api) -> dict[str, dict[str, Any]]:
    """Wait until both DAGs of the chain succeeded and return the run of each."""
    found: dict[str, dict[str, Any]] = {}
    for _ in ticks(CHAIN_SECONDS, LOOK_SECONDS):
        runs = api.runs()
        if bad := [run["dag_id"] for run in runs if run["state"] == "failed"]:
            raise StandaloneError(f"{bad[0]} failed on the stack")
        found = {run["dag_id"]: run for run in runs if run["dag_id"] in CHAIN}
        if all(found.get(dag_id, {}).get("state") == "success" for dag_id in CHAIN):
            return found
    raise StandaloneError(f"no promotion in {CHAIN_SECONDS:.0f} s")


def _tasks(api: Api, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [t for t in api.task_instances(run["dag_id"], run["dag_run_id"]) if t["state"] == "success"]


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def measure(folder: Path, entities: int, port: int, say: Any) -> dict[str, Any]:
    """Measure one fleet both ways, each on its own store with the same content."""
    params = folder / "params.yaml"
    params.write_text(PARAMS)
    prepared, plain = folder / "store", folder / "plain"
    say(f"{entities:,} entities: telemetry and a model")
    in_fresh_processes(scale_steps, "prepare", 1, f"file://{prepared}", params, entities)
    shutil.copytree(prepared, plain)
    steps = {}
    for step, workers in (("plan", 1), ("align", scale_steps.WORKERS), ("reduce", 1), ("release", 1)):
        say(f"{entities:,} entities: {step} without Airflow")
        steps[step] = in_fresh_processes(scale_steps, step, workers, f"file://{plain}", params, entities)
    shutil.rmtree(plain)
    say(f"{entities:,} entities: on the stack")
    stack = Stack(folder / "airflow", f"file://{prepared}", params, port, slots=scale_steps.WORKERS)
    try:
        found = on_the_stack(stack)
    finally:
        stack.stop()
    if not (prepared / "releases" / steps["release"]["results"][0]).is_dir():
        raise StandaloneError("the release on the stack is not the one that the same steps make without Airflow")
    return {"entities": entities, "shards": steps["align"]["results"][0], "without": steps, "stack": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, nargs="+", required=True)
    parser.add_argument("--port", type=int, default=8190)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that ending this program ends its servers
    os.environ["OMP_NUM_THREADS"] = "1"
    found = []

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    for entities in options.entities:
        with scratch() as folder:
            try:
                found.append(measure(folder, entities, options.port, say))
            except (StandaloneError, subprocess.CalledProcessError) as error:
                say(f"{entities:,} entities: {error}")
                return 1
        say(json.dumps(found[-1]))
    print(json.dumps({"slots": scale_steps.WORKERS, "fleets": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
