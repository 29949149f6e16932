"""The scorer on the oldest onnxruntime and numpy that pyproject.toml allows: a release verifies, scores and agrees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from e2e.conftest import Build, fleetalign
from e2e.test_python_versions import VERSIONS, interpreter

OLDEST = ("onnxruntime==1.17.3", "numpy==1.26.4", "pyarrow==24.0.0")
TEST_PACKAGES = ("hypothesis", "moto[server]", "onnx", "pytest")
TESTED = [f"tests/unit/{folder}" for folder in ("contracts", "emit", "scoring")]
LEAST_PASSED = 150


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The Python of a fresh environment with the wheel and the oldest of what it computes with."""
    folder = tmp_path_factory.mktemp("oldest")
    environment = {**os.environ, "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    found = folder / "venv" / "bin" / "python"
    uv = (sys.executable, "-m", "uv")
    for command in (
        (*uv, "venv", "--quiet", "--python", interpreter(VERSIONS[0]), folder / "venv"),
        (*uv, "pip", "install", "--quiet", "--python", found, wheel, *OLDEST, *TEST_PACKAGES),
    ):
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=environment, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return found


def _run(python: Path, *arguments: object, cwd: Path = Path("/"), **more: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETALIGN_", "PYTEST_"))}
    clean.pop("PYTHONPATH", None)
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, cwd=cwd, env={**clean, **more}
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_the_bounds_of_the_wheel_are_these_versions(repository: Path) -> None:
    bounds = dict(re.findall(r'"(numpy|onnxruntime|pyarrow)>=([\d.]+)"', (repository / "pyproject.toml").read_text()))
    assert bounds == {"numpy": "1.26", "onnxruntime": "1.17.3", "pyarrow": "24"}
    assert all(version.split("==")[1].startswith(bounds[version.split("==")[0]]) for version in OLDEST)


def test_a_release_verifies_and_gives_the_scores_of_the_newest_runtime(
    python: Path, build: Build, tmp_path: Path
) -> None:
    versions = _run(python, "-c", "import numpy, onnxruntime; print(onnxruntime.__version__, numpy.__version__)")
    assert versions.split() == ["1.17.3", "1.26.4"]
    release = ("--store", build.store, "--release", build.release_id)
    _run(python, "-m", "fleetalign.cli", "release", "verify", *release)
    telemetry = min((build.folder / "telemetry").iterdir())
    score = ("score", *release, "--telemetry", telemetry, "--out")
    _run(python, "-m", "fleetalign.cli", *score, tmp_path / "oldest.parquet")
    fleetalign(*score, tmp_path / "newest.parquet")
    oldest, newest = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("oldest", "newest"))
    assert oldest.num_rows == newest.num_rows > 0
    assert oldest["alarm"].equals(newest["alarm"]) and oldest["reason"].equals(newest["reason"])
    pairs = zip(oldest["score"].to_pylist(), newest["score"].to_pylist(), strict=True)
    scored = [pair for pair in pairs if pair != (None, None)]
    assert scored and all(one == pytest.approx(other, rel=1e-5, abs=1e-7) for one, other in scored)


def test_the_unit_tests_of_the_scorer_pass(python: Path, repository: Path) -> None:
    options = ("-m", "pytest", "-q", "-p", "absent_packages", "-p", "no:cacheprovider")
    printed = _run(python, *options, *TESTED, cwd=repository, PYTHONPATH=str(Path(__file__).parent))
    passed = re.search(r"(\d+) passed", printed)
    assert passed and int(passed[1]) >= LEAST_PASSED, printed[-2000:]
