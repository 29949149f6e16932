"""Runs measurements in other processes: programs of the repository, and the steps of a module.

The package starts no Airflow itself; and a step's peak memory is its own only in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.machine import machine
from fleetalign.errors import FleetalignError, UsageError

FOLDER = Path(__file__).parents[1] / "infra" / "local"
STEP_SECONDS = 3_600
LIBRARIES = ("apache-airflow", "apache-airflow-providers-celery", "celery")


def measured(
    bench: str, program: Path, arguments: Sequence[object], quick: bool, timeout_seconds: float
) -> dict[str, Any]:
    """Run a program and return the JSON document that it printed last, with machine and time.

    Its other output goes to stderr.

    Raises:
        UsageError: This is not a checkout of the repository.
        FleetalignError: The program failed.
    """
    if not program.exists():
        raise UsageError(f"bench {bench} starts {program.name}, which is in the repository and not in the package")
    started = time.perf_counter()
    command = [sys.executable, str(program), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=timeout_seconds)
    if done.returncode:
        raise FleetalignError(f"bench {bench}: an Airflow did not run; its output is above")
    versions = {name: metadata.version(name) for name in LIBRARIES}
    around = {"machine": machine(), "versions": versions, "quick": quick, "seconds": time.perf_counter() - started}
    return json.loads(done.stdout.splitlines()[-1]) | around


def in_fresh_processes(module: ModuleType, step: str, workers: int, *arguments: object) -> dict[str, Any]:
    """``python -m module STEP WORKER ARGUMENTS`` for every worker at once, one thread each; each prints a JSON line last.

    Wall seconds of the slowest worker, CPU seconds of all, peak bytes of the largest, and every worker's result. Raises
    subprocess.CalledProcessError when one failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = []
    for worker in range(workers):
        command = [sys.executable, "-m", module.__name__, step, str(worker), *map(str, arguments)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    try:
        printed = [process.communicate(timeout=STEP_SECONDS)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for process in running:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    found = [json.loads(lines.splitlines()[-1]) for lines in printed]
    return {
        "wall_seconds": max(f["wall_seconds"] for f in found),
        "cpu_seconds": sum(f["cpu_seconds"] for f in found),
        "peak_bytes": max(f["peak_bytes"] for f in found),
        "results": [f["result"] for f in found],
    }


def introduced(result: dict[str, Any]) -> str:
    """Where, with what and in how long ``result`` was measured."""
    machine_, versions = result["machine"], result["versions"]
    return (
        f"Measured in {result['seconds']:.0f} s on {machine_['processor']} ({machine_['cores']} cores), "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
