"""``make stack``: tasks go to their queue and nowhere else, and a kill -9 in the middle of a step changes no release.

One stack for the file. Every chain on it must end in the release that ``fleetalign run`` makes of the same telemetry.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from debian import libraries, program
from e2e.conftest import Build, fleetalign
from e2e.local_airflow import free_port, module

pytestmark = pytest.mark.airflow
CHAIN_SECONDS = 300.0
STAYS_QUEUED_SECONDS = 8.0
DAYS = 4
KINDS = 2
PARAMS = """
model: {{window_steps: 32}}
training: {{epochs: 1, max_windows_per_epoch: 600, max_validation_windows: 100, device: auto}}
align: {{entities_per_shard: 2, grid: {{tail_probability_count: 10}}}}
gates: {{bootstrap_samples: 100, min_coverage: 0.5}}
validation: {{data_docs: false}}
source: {{type: files, path: {folder}/telemetry, feedback_path: {folder}/feedback.parquet}}
airflow: {{gpu_queue: gpu, min_new_partitions: {days}, retry_delay_seconds: 1,
  crons: {{ingest: "0 0 1 1 *", pretrain: "0 1 1 1 *", align: "0 2 1 1 *",
    drift: "0 3 1 1 *", gc: "0 4 1 1 *", feedback: "0 5 1 1 *", health: "0 6 1 1 *"}}}}
"""
SERVERS = {"servers": ("scheduler", "api-server"), "workers": ("worker-gpu", "worker")}
"""Who is killed while it pre-trains, and while it aligns: each step has a worker of its own."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The fleet, its parameters and the release that the command line makes of it."""
    folder = tmp_path_factory.mktemp("stack")
    fleetalign("simulate", "--out", folder, "--entities", 6, "--days", DAYS, "--seed", 3)
    (folder / "params.yaml").write_text(PARAMS.format(folder=folder, days=DAYS))
    draft = Build(folder, folder / "store", "", "")
    done = fleetalign(*draft.run_arguments, "--store", draft.store)
    return dataclasses.replace(draft, release_id=done.stdout.split()[-1], stdout=done.stdout)


@pytest.fixture(scope="module")
def chain(expected: Build) -> Iterator[Any]:
    redis = program("redis-server", "redis-server", ("redis-tools", "libjemalloc2", "liblzf1"))
    # Not pytest's folder: as root, PostgreSQL runs as somebody else, who must be able to enter.
    home = Path(tempfile.mkdtemp(prefix="fleetalign-stack-"))
    home.chmod(0o755)
    stack = module("stack").Stack(home / "airflow", f"file://{home}/store", expected.params, free_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(redis.parent), prepend=os.pathsep)
        patch.setenv("LD_LIBRARY_PATH", libraries(redis), prepend=os.pathsep)
        try:
            yield module("chain").Chain(stack, module("demo").bring_up(stack, lambda _: None))
        finally:
            stack.stop()
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def first(chain: Any) -> dict[str, Any]:
    """The first chain, whose pre-training had to wait for its worker; what it was seen as meanwhile."""
    chain.stack.sessions.end("worker-gpu")
    for day in range(2, 2 + DAYS):
        chain.api.trigger("telemetry_ingest", f"day__{day}", f"2026-03-0{day}")
    where = ("shared_pretrain", "pretrain", "queued")
    chain.wait("pretrain is queued", lambda: chain.task(*where), CHAIN_SECONDS)
    time.sleep(STAYS_QUEUED_SECONDS)
    waiting = chain.task(*where)
    chain.put_back()
    return {"waiting": waiting, "release": chain.wait_for_release(1)}


def taken(log: Path) -> set[str]:
    """Ids of the tasks that a worker says it executed."""
    return set(re.findall(r"Executing workload.*?task_id='(\w+)'", log.read_text()))


def test_without_its_worker_the_pre_training_waits(first: dict[str, Any]) -> None:
    assert first["waiting"]["queue"] == "gpu"
    assert not first["waiting"]["hostname"]


def test_the_pre_training_ran_on_the_gpu_worker_and_nothing_else_did(chain: Any, first: dict[str, Any]) -> None:
    assert taken(chain.stack.log("worker-gpu")) == {"pretrain"}
    others = taken(chain.stack.log("worker"))
    assert {"ingest", "validate", "plan", "snapshot", "align_shard", "align_reduce", "release", "promote"} <= others
    assert "pretrain" not in others
    queues = {t["task_id"]: t["queue"] for t in chain.api.task_instances()}
    assert {name for name, queue in queues.items() if queue == "gpu"} == {"pretrain"}


def test_the_release_is_the_one_of_the_command_line(first: dict[str, Any], expected: Build) -> None:
    assert first["release"] == expected.release_id


@pytest.fixture(scope="module", params=list(SERVERS))
def killed(request: pytest.FixtureRequest, chain: Any, first: dict[str, Any]) -> dict[str, Any]:
    """A chain on the same telemetry from nothing, with one server killed in two of its steps."""
    chain.forget()
    done = chain.promotions()
    in_pretrain, in_align = SERVERS[request.param]
    chain.api.trigger("shared_pretrain", f"killed__{request.param}")
    seen: dict[str, Any] = {}
    for step, (dag_id, task_id, server, (result, complete)) in {
        "pretrain": ("shared_pretrain", "pretrain", in_pretrain, ("models", KINDS)),
        "align": ("entity_align", "align_shard", in_align, ("aligners", 1)),
    }.items():
        chain.wait(f"{task_id} runs", lambda d=dag_id, t=task_id: chain.task(d, t, "running"), CHAIN_SECONDS)
        seen[step] = len(list((chain.store / result).glob("*"))) == complete
        chain.kill(server)
        assert not chain.stack.healthy()
        chain.put_back()
    return seen | {"release": chain.wait_for_release(done + 1)}


@pytest.mark.parametrize("step", ["pretrain", "align"])
def test_a_kill_changes_no_release(killed: dict[str, Any], expected: Build, step: str) -> None:
    assert not killed[step], "the step was over before the kill"
    assert killed["release"] == expected.release_id
