"""Both images built for real, without a daemon: on a base that resembles Airflow's own, then asked what they can do."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import skip_or_fail
from e2e.local_airflow import module
from uv import find_uv_bin

pytestmark = pytest.mark.images
STEP_SECONDS = 600
# As Airflow's images are: pip runs as a user without rights outside its home, in an environment that is on PATH. What makes
# the base is not what is tested, so uv does, which takes a fifth of pip's time.
BASE = """
FROM scratch
ADD debian.tar /
RUN useradd --uid 50000 --gid 0 --create-home airflow
ENV PATH=/home/airflow/.local/bin:/usr/bin:/bin
COPY constraints.txt uv /
USER airflow
RUN --mount=type=bind,source=uv.env,target=/uv.env set -a && . /uv.env && export UV_NO_CACHE=1 \\
    && /uv venv --quiet --seed --python python3.11 /home/airflow/.local \\
    && /uv pip install --quiet --python /home/airflow/.local --constraint /constraints.txt apache-airflow
"""
ABOUT = """
import importlib.util, json, os
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
found = {"errors": bag.import_errors, "dags": sorted(bag.dags), "torch": importlib.util.find_spec("torch") is not None}
print(json.dumps(found | {"user": os.getuid(), "folder": sorted(os.listdir("/opt/fleetalign"))}))
"""


@dataclass(frozen=True)
class Buildah:
    """Images in a storage of their own; every build reads packages from where the tests' own pip would."""

    folder: Path
    pip: tuple[str, ...]

    def __call__(self, *arguments: object) -> str:
        """Raises AssertionError with the end of what the command wrote."""
        storage = ["--root", self.folder / "storage", "--runroot", self.folder / "run"]
        command = list(map(str, ["buildah", *storage, *arguments]))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STEP_SECONDS)
        assert done.returncode == 0, f"{command[5:]}: {(done.stdout + done.stderr)[-3000:]}"
        return done.stdout

    def build(self, image: str, dockerfile: Path, context: Path, *options: str) -> str:
        self("bud", "--isolation", "chroot", *self.pip, *options, "--tag", image, "--file", dockerfile, context)
        return image

    def run(self, image: str, *command: str) -> str:
        container = self("from", "--pull-never", image).strip()
        try:
            return self("run", "--isolation", "chroot", container, "--", *command)
        finally:
            self("rm", container)


def pip_settings() -> dict[str, list[str]]:
    """What the pip of this environment is configured to use."""
    environment = module("environment")
    venv, environment.VENV = environment.VENV, Path(sys.prefix)
    settings = environment.pip_settings()
    environment.VENV = venv
    return settings


def pip_options(folder: Path) -> tuple[str, ...]:
    """Options of ``buildah bud`` that give its pip the configuration of ours, with what of it lies on this disk."""
    settings = pip_settings()
    lines = (f"{option} = {' '.join(values)}" for option, values in settings.items())
    configuration = folder / "pip.conf"
    configuration.write_text("\n".join(["[global]", "timeout = 120", *lines, "[install]", "no-compile = yes", ""]))
    volumes = [f"{configuration}:/etc/pip.conf:ro"]
    for option, values in settings.items():
        for place in (Path(value.removeprefix("file://")) for value in values):
            if place.exists():
                place = place.parent if option.endswith("index-url") else place  # an index's pages point beside it
                volumes.append(f"{place}:{place}:ro")
    return tuple(f"--volume={volume}" for volume in dict.fromkeys(volumes))


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    missing = [name for name in ("buildah", "mmdebstrap") if not shutil.which(name)]
    if missing or os.geteuid():
        skip_or_fail(f"images are built by root, with Debian's buildah and mmdebstrap (missing: {missing})")
    with tempfile.TemporaryDirectory(prefix="fleetalign-images-", ignore_cleanup_errors=True) as name:
        found = Buildah(Path(name), pip_options(Path(name)))
        yield found
        found("rm", "--all")
        found("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def airflow(buildah: Buildah, repository: Path) -> str:
    context = buildah.folder / "base"
    context.mkdir()
    shutil.copy(repository / "requirements.lock.txt", context / "constraints.txt")
    shutil.copy(find_uv_bin(), context / "uv")
    environment = module("environment")
    settings = environment.uv_environment(pip_settings()).items()
    lines = [f"{name}={shlex.quote(value)}" for name, value in settings if name.startswith(("UV_", "SSL_CERT_FILE"))]
    (context / "uv.env").write_text("\n".join([*lines, ""]))
    (context / "Dockerfile").write_text(BASE)
    options = ["--include=python3.11-venv,git,ca-certificates", "--dpkgopt=force-unsafe-io"]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *options, "bookworm", str(context / "debian.tar")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STEP_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    base = buildah.build("base", context / "Dockerfile", context)
    shutil.rmtree(context)
    return buildah.build(
        "airflow", repository / "infra" / "images" / "airflow.Dockerfile", repository, f"--build-arg=BASE={base}"
    )


@pytest.fixture(scope="module")
def trainer(buildah: Buildah, airflow: str, repository: Path) -> str:
    return buildah.build(
        "trainer", repository / "infra" / "images" / "trainer.Dockerfile", repository, f"--build-arg=BASE={airflow}"
    )


def about(buildah: Buildah, image: str) -> dict[str, Any]:
    return json.loads(buildah.run(image, "python", "-c", ABOUT).splitlines()[-1])


@pytest.mark.parametrize(("image", "torch"), [("airflow", False), ("trainer", True)])
def test_every_dag_imports_and_torch_is_in_the_trainer_alone(
    image: str, torch: bool, buildah: Buildah, repository: Path, request: pytest.FixtureRequest
) -> None:
    found = about(buildah, request.getfixturevalue(image))
    assert found["errors"] == {}
    assert found["dags"] == sorted(json.loads((repository / "tests" / "dags" / "structure.json").read_text()))
    assert (found["torch"], found["user"]) == (torch, 50000)
    copied = {"LICENSE", "README.md", "dags", "expectations", "infra", "pyproject.toml", "requirements.lock.txt"}
    assert set(found["folder"]) == copied | {"tasks"}


def test_the_trainers_requirements_agree_and_it_can_train(buildah: Buildah, trainer: str) -> None:
    said = buildah.run(
        trainer, "sh", "-euc",
        "pip check; fleetalign pretrain --help; python -c 'import torch; print(torch.ones(2, 2).sum().item())'",
    )  # fmt: skip
    assert "No broken requirements found" in said
    assert "usage: fleetalign pretrain" in said
    assert said.splitlines()[-1] == "4.0"
