"""On each supported Python the wheel installs from the lock, and the unit tests that need no more than it pass.

The Python that runs this has run the unit tests already, with everything installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.local_airflow import module

VERSIONS = [f"{major}.{minor}" for major, minor in module("environment").SUPPORTED]
TEST_PACKAGES = ("hypothesis", "moto[server]", "pytest")
# What these three test is not in the wheel, or is a program of DVC's.
OTHERS = [f"--ignore=tests/unit/{folder}" for folder in ("bench", "infra", "versioning")]
LEAST_PASSED = 900


def interpreter(version: str) -> Path | None:
    """Return a working interpreter of this version, from PATH or from pyenv's folder."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))):
        # pyenv's shims are on PATH for versions too that are not chosen, and fail.
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return Path(found)
    return None


def test_the_oldest_version_is_here_and_under_ci_another() -> None:
    found = [version for version in VERSIONS if interpreter(version)]
    print("found:", *found)
    assert VERSIONS[0] in found
    assert len(found) > 1 or os.environ.get("CI") != "true"


@pytest.mark.parametrize("version", VERSIONS)
def test_it_installs_and_its_unit_tests_pass(version: str, wheel: Path, repository: Path, tmp_path: Path) -> None:
    base = interpreter(version)
    if base is None:
        pytest.skip(f"Python {version} is neither on PATH nor in pyenv")
    python = tmp_path / "venv" / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
        "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis"),
        "PYTHONPATH": str(Path(__file__).parent),  # absent_packages
        "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", ""),
    }

    def run(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=repository, env=environment, capture_output=True, text=True, timeout=900,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    uv = (sys.executable, "-m", "uv")
    lock = ("--constraint", repository / "requirements.lock.txt")
    run(*uv, "venv", "--quiet", "--python", base, tmp_path / "venv")
    run(*uv, "pip", "install", "--quiet", "--python", python, *lock, f"{wheel}[build]", *TEST_PACKAGES)
    assert run(python, "-m", "fleetalign.cli", "--version").startswith("fleetalign ")
    if version == ".".join(map(str, sys.version_info[:2])):
        return
    # Properties are tried on the oldest version at length, and on the newest once more.
    properties = () if version == VERSIONS[-1] else ("-m", "not hypothesis")
    command = (python, "-m", "pytest", "-q", "-p", "absent_packages", "-p", "no:cacheprovider", *properties, *OTHERS)
    said = run(*command, "tests/unit")
    assert int(re.search(r"(\d+) passed", said)[1]) >= LEAST_PASSED, said[-2000:]
