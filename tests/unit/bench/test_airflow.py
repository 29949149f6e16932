"""The Airflow benchmark starts a program and shows what it prints. Seconds here are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.airflow import task_cost
from fleetalign.errors import FleetalignError, UsageError


def one_run(wall: float) -> dict[str, float]:
    return {
        "tasks": 10, "wall_seconds": 10 * wall, "cpu_seconds": 4.0, "wall_per_task": wall, "cpu_per_task": 0.4,
        "queued_median": 0.7, "running_median": 0.2,
    }  # fmt: skip


MEASURED = {
    "slots": 2,
    "sides": {
        "SQLite + LocalExecutor": {"boot_seconds": 20.0, "idle_cpu_share": 0.1, "runs": [one_run(0.5), one_run(0.7)]},
        "PostgreSQL + Celery": {"boot_seconds": 25.0, "idle_cpu_share": 0.2, "runs": [one_run(0.9), one_run(1.1)]},
    },
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Says something, then what was measured; how it was called is left beside it."""
    path = tmp_path / "overhead.py"
    path.write_text(
        "import json, pathlib, sys\n"
        "pathlib.Path(__file__).with_suffix('.called').write_text(json.dumps(sys.argv[1:]))\n"
        f"print('a server says hello')\nprint({json.dumps(MEASURED)!r})\n"
    )
    return path


def test_what_the_program_prints_is_shown(program: Path, tmp_path: Path) -> None:
    result = task_cost.run(tmp_path, True, program=program)
    called = json.loads(program.with_suffix(".called").read_text())
    assert called == ["--tasks", str(task_cost.TASKS[True]), "--runs", str(task_cost.RUNS[True])]
    text = task_cost.tables(json.loads(json.dumps(result)))
    assert "| SQLite + LocalExecutor | 0.60 (0.50–0.70) | 0.40 (0.40–0.40) | 0.70" in text
    assert "celery" in text and "A quick run" in text
    (picture,) = task_cost.plots(result, tmp_path)
    assert picture.stat().st_size > 1000


def test_a_failed_program_fails_the_benchmark(tmp_path: Path) -> None:
    program = tmp_path / "overhead.py"
    program.write_text("raise SystemExit(1)")
    with pytest.raises(FleetalignError, match="did not run"):
        task_cost.run(tmp_path, True, program=program)


def test_an_installed_package_has_no_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in the repository"):
        task_cost.run(tmp_path, True, program=tmp_path / "overhead.py")
