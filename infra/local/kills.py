"""Kills every server of the stack with SIGKILL in every step of the chain, one at a time.

Run by ``fleetalign bench kills``, which shows it. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from airflow_api import StandaloneError
from chain import CHAIN_SECONDS, Chain
from demo import bring_up
from overhead import scratch
from stack import Stack

from fleetalign.interval import Interval, parse_time, partition_key, split

SERVERS = ("scheduler", "api-server", "worker", "postgresql", "redis")
STEPS = {
    "ingest": "telemetry_ingest",
    "validate": "telemetry_validate",
    "plan": "shared_pretrain",
    "pretrain": "shared_pretrain",
    "align_shard": "entity_align",
    "align_reduce": "entity_align",
    "release": "release_promote",
    "promote": "release_promote",
}
"""Task to DAG, in the order of the chain."""
INGESTED = ("ingest", "validate")
START, DAYS, ENTITIES = "2026-03-02T00:00:00Z", 2, 6
SIMULATE_SECONDS = 120.0
PARAMS = """
model: {{window_steps: 32}}
training: {{epochs: 1, max_windows_per_epoch: 600, max_validation_windows: 100}}
align: {{entities_per_shard: 2, grid: {{tail_probability_count: 10}}}}
gates: {{bootstrap_samples: 100, min_coverage: 0.5}}
registry: {{enabled: false}}
validation: {{data_docs: false}}
source: {{type: files, path: {folder}/telemetry, feedback_path: {folder}/feedback.parquet}}
airflow: {{gpu_queue: gpu, min_new_partitions: 1000, retries: 5, retry_delay_seconds: 1,
  crons: {{ingest: "0 0 1 1 *", pretrain: "0 1 1 1 *", align: "0 2 1 1 *",
    drift: "0 3 1 1 *", gc: "0 4 1 1 *", feedback: "0 5 1 1 *", health: "0 6 1 1 *"}}}}
"""


def simulated(folder: Path) -> Path:
    """Write a small fleet to ``folder`` and return its parameters."""
    command = [sys.executable, "-m", "fleetalign.cli", "simulate", "--out", str(folder), "--seed", "3"]
    subprocess.run(
        [*command, "--entities", str(ENTITIES), "--days", str(DAYS)], check=True, stdout=sys.stderr,
        timeout=SIMULATE_SECONDS,
    )  # fmt: skip
    params = folder / "params.yaml"
    params.write_text(PARAMS.format(folder=folder))
    return params


def days() -> list[str]:
    start = parse_time(START)
    return [partition_key(day, "day") for day in split(Interval(start, start.replace(day=start.day + DAYS)), "day")]


def ingest(chain: Chain, name: str) -> None:
    """Ingest every day again under new run ids: the same rows make the same partitions."""
    for day in days():
        chain.api.trigger("telemetry_ingest", f"{name}__{day}", day)


def validated(chain: Chain, before: int) -> bool:
    return sum(run["state"] == "success" for run in chain.api.runs("telemetry_validate")) >= before + DAYS


def idle(chain: Chain) -> None:
    """Wait until no run is queued or running in 4 successive checks."""
    looks = 0

    def quiet() -> bool:
        nonlocal looks
        busy = any(run["state"] in ("queued", "running") for run in chain.api.runs())
        looks = 0 if busy else looks + 1
        return looks >= 4

    chain.wait("idle", quiet, CHAIN_SECONDS, keep_up=True)


def killed(chain: Chain, server: str, step: str) -> dict[str, Any]:
    """Kill ``server`` while ``step`` runs.

    Returns the seconds until it is back, and whether the step was running at the kill.
    """
    dag_id = STEPS[step]
    name = "worker-gpu" if (server, step) == ("worker", "pretrain") else server
    task = chain.wait(f"{step} runs", lambda: chain.task(dag_id, step, "running"), CHAIN_SECONDS, keep_up=True)
    chain.kill(name)
    began = time.monotonic()
    chain.put_back()
    back = time.monotonic() - began

    # The instance that ran when its server died, whatever became of it since.
    def over() -> dict[str, Any] | None:
        found = chain.api.task_instances(dag_id, task["dag_run_id"])
        mine = next(t for t in found if (t["task_id"], t["map_index"]) == (step, task["map_index"]))
        if mine["state"] == "failed":
            raise StandaloneError(f"{step} failed after {server} was killed")
        return mine if mine["state"] == "success" else None

    done = chain.wait(f"{step} after a kill of {server}", over, CHAIN_SECONDS, keep_up=True)
    return {
        "server": server,
        "step": step,
        "back_seconds": back,
        "step_seconds": time.monotonic() - began,
        "tries": done["try_number"],
    }


def measure(chain: Chain, servers: list[str], steps: list[str], say: Any) -> dict[str, Any]:
    """Run a chain without a kill, then one for every server; all must end in the same release."""
    ingest(chain, "first")
    chain.wait("validated", lambda: validated(chain, 0), CHAIN_SECONDS)
    idle(chain)
    chain.api.trigger("shared_pretrain", "first")
    expected = chain.wait_for_release(1)
    idle(chain)
    cases = []
    for server in servers:
        before = len(chain.api.runs("telemetry_validate"))
        ingest(chain, server)
        for step in (s for s in steps if s in INGESTED):
            cases.append(killed(chain, server, step))
            say(json.dumps(cases[-1]))
        chain.wait("validated", lambda b=before: validated(chain, b), CHAIN_SECONDS, keep_up=True)
        idle(chain)
        chain.forget()
        done = chain.promotions()
        chain.api.trigger("shared_pretrain", f"killed__{server}")
        for step in (s for s in steps if s not in INGESTED):
            cases.append(killed(chain, server, step))
            say(json.dumps(cases[-1]))
        release = chain.wait_for_release(done + 1, keep_up=True)
        if release != expected:
            raise StandaloneError(f"kills of {server} made release {release} instead of {expected}")
        idle(chain)
    return {"entities": ENTITIES, "days": DAYS, "cases": cases}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--step", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--port", type=int, default=8170)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that ending this program ends its servers
    os.environ["OMP_NUM_THREADS"] = "1"

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with scratch() as folder:
        stack = Stack(folder / "airflow", f"file://{folder}/store", simulated(folder), options.port)
        try:
            found = measure(Chain(stack, bring_up(stack, say)), options.server, options.step, say)
        except StandaloneError as error:
            say(f"kills: {error}")
            return 1
        finally:
            stack.stop()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
