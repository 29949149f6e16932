"""``dvc repro`` runs the same steps as everybody else and gives the same release."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from e2e.conftest import Build, fleetalign

from fleetalign import steps
from fleetalign.config import load
from fleetalign.config.run import Config

REPOSITORY = Path(__file__).parents[2]


def test_stages_are_the_build_steps_and_their_verbs() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert tuple(stages) == steps.BUILD_STEPS
    for name, stage in stages.items():
        assert stage["cmd"].split()[1] == name.replace("_", "-")
        assert [*stage["outs"][0]] == [f"out/{name}.json"]


def test_params_yaml_holds_every_default() -> None:
    path = REPOSITORY / "params.yaml"
    assert load(path) == Config()
    document = yaml.safe_load(path.read_text())
    for section in Config.__dataclass_fields__:
        settings = getattr(Config(), section)
        if hasattr(settings, "__dataclass_fields__"):
            assert set(document[section]) == set(settings.__dataclass_fields__), section


@pytest.fixture(scope="module")
def project(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's dvc.yaml over the inputs of the shared build, in a store of its own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(REPOSITORY / "dvc.yaml", folder)
    shutil.copy(build.params, folder / "params.yaml")
    store = folder / yaml.safe_load((folder / "dvc.yaml").read_text())["vars"][0]["store"]
    where = ("--store", store, "--params", build.params)
    telemetry = ("--telemetry", build.folder / "telemetry", "--feedback", build.folder / "feedback.parquet")
    fleetalign("ingest", *telemetry, *where)
    fleetalign("validate", *where)
    (folder / "out").mkdir()
    dvc(folder, "init", "--no-scm", "--quiet")
    return folder


def dvc(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_repro_gives_the_release_of_fleetalign_run(project: Path, build: Build) -> None:
    dvc(project, "repro")
    assert json.loads((project / "out" / "release.json").read_text())["release_id"] == build.release_id


def test_second_repro_runs_nothing_after_the_plan(project: Path) -> None:
    said = dvc(project, "repro")
    assert "Running stage 'plan'" in said
    for name in steps.BUILD_STEPS[1:]:
        assert f"Stage '{name}' didn't change, skipping" in said
