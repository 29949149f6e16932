"""The scorer installs alone: a wheel, an empty environment, no torch and no Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.conftest import Build

MEASURE = "import time; t = time.process_time(); import fleetalign.scoring.scorer; print(time.process_time() - t)"
IMPORT_SECONDS = 1.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The Python of a fresh environment that holds the built wheel and its base requirements only."""
    folder = tmp_path_factory.mktemp("alone")
    environment = {**os.environ, "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    python = folder / "venv" / "bin" / "python"

    def run(*command: object) -> None:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    uv = [sys.executable, "-m", "uv"]
    run(*uv, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    run(*uv, "pip", "install", "--quiet", "--python", python, wheel)
    return python


def _python(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(python), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETALIGN_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd="/", env=environment)


def test_nothing_heavy_comes_along(alone: Path):
    listed = _python(alone, "-c", "import importlib.metadata as m; print(*(d.name for d in m.distributions()))").stdout
    assert {"fleetalign", "numpy", "pyarrow", "onnxruntime", "boto3"} <= set(listed.split())
    assert not {"torch", "apache-airflow", "pandas", "dvc", "great-expectations"} & set(listed.split())


def test_the_scorer_imports_in_under_a_second(alone: Path):
    seconds = min(float(_python(alone, "-c", MEASURE).stdout) for _ in range(3))
    assert seconds < IMPORT_SECONDS


def test_it_scores_a_release(alone: Path, build: Build, tmp_path: Path):
    telemetry = next(iter(sorted((build.folder / "telemetry").iterdir())))
    done = _python(
        alone, "-m", "fleetalign.cli", "score", "--store", build.store, "--release", build.release_id,
        "--telemetry", telemetry, "--out", tmp_path / "scores.parquet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores.parquet").stat().st_size > 0
    verified = _python(alone, "-m", "fleetalign.cli", "verify", "--store", build.store, "--release", build.release_id)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_suites_travel_in_the_wheel(alone: Path):
    code = "from importlib import resources as r; print(*(f.name for f in r.files('fleetalign.validate').joinpath('suites').iterdir()))"
    assert "telemetry.json" in _python(alone, "-c", code).stdout
