"""The images: linted, built on a base that is given, and torch only where something trains."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IMAGES = sorted((ROOT / "infra" / "images").glob("*.Dockerfile"))


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), "--no-color", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_the_base_is_given_and_everything_copied_exists(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[:2] == ["ARG BASE", "FROM ${BASE}"]
    for line in lines:
        if line.startswith("COPY "):
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line


def test_torch_is_in_the_trainer_alone() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    with_torch = {name for name, needs in extras.items() if any(re.match(r"torch\b", need) for need in needs)}
    assert with_torch == {"train"}
    for path in IMAGES:
        installed = re.search(r"\[([a-z,]+)\]'", path.read_text())[1].split(",")
        assert ("train" in installed) == (path.name == "trainer.Dockerfile")
