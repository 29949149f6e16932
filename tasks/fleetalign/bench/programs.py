"""Runs a measuring program of the repository in a process of its own: the package starts no Airflow itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fleetalign.bench.machine import machine
from fleetalign.errors import FleetalignError, UsageError

FOLDER = Path(__file__).parents[3] / "infra" / "local"
LIBRARIES = ("apache-airflow", "apache-airflow-providers-celery", "celery")


def measured(
    bench: str, program: Path, arguments: Sequence[object], quick: bool, timeout_seconds: float
) -> dict[str, Any]:
    """The JSON document that ``program`` printed last, with where, with what and in how long it was measured.

    Its other words go to stderr. Raises UsageError outside a checkout of the repository, FleetalignError when it failed.
    """
    if not program.exists():
        raise UsageError(f"bench {bench} starts {program.name}, which is in the repository and not in the package")
    started = time.perf_counter()
    command = [sys.executable, str(program), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=timeout_seconds)
    if done.returncode:
        raise FleetalignError(f"bench {bench}: an Airflow did not run; its words are above")
    versions = {name: metadata.version(name) for name in LIBRARIES}
    around = {"machine": machine(), "versions": versions, "quick": quick, "seconds": time.perf_counter() - started}
    return json.loads(done.stdout.splitlines()[-1]) | around


def introduced(result: dict[str, Any]) -> str:
    """Where, with what and in how long ``result`` was measured."""
    machine_, versions = result["machine"], result["versions"]
    return (
        f"Measured in {result['seconds']:.0f} s on {machine_['processor']} ({machine_['cores']} cores), "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
