"""One small build and one wheel that several tests look at."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PARAMS = """
model: {window_steps: 32}
training: {epochs: 1, max_windows_per_epoch: 1500, max_validation_windows: 300, checkpoint_every_batches: 4}
align: {entities_per_shard: 5, grid: {tail_probability_count: 20}}
gates: {bootstrap_samples: 200}
validation: {data_docs: false}
"""


@dataclass(frozen=True)
class Build:
    """Inputs of a ``fleetalign run`` and what it left: a store, its release and the printed output."""

    folder: Path
    store: Path
    release_id: str
    stdout: str

    @property
    def params(self) -> Path:
        return self.folder / "params.yaml"

    @property
    def run_arguments(self) -> list[str]:
        return [
            "run", "--telemetry", str(self.folder / "telemetry"), "--feedback", str(self.folder / "feedback.parquet"),
            "--params", str(self.params),
        ]  # fmt: skip


def fleetalign(*arguments: object, check: int | None = 0, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "fleetalign.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)
    if check is not None:
        assert done.returncode == check, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("build")
    fleetalign("simulate", "--out", folder, "--entities", 10, "--days", 5, "--seed", 3)
    (folder / "params.yaml").write_text(PARAMS)
    draft = Build(folder, folder / "store", "", "")
    done = fleetalign(*draft.run_arguments, "--store", draft.store, check=None)
    assert done.returncode in (0, 1), done.stderr
    return dataclasses.replace(draft, release_id=done.stdout.split()[-1], stdout=done.stdout)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The wheel, by way of a source distribution of a copy: an older build's files are not in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    shutil.copytree(repository / "tasks", source / "tasks", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", str(folder), str(source)]
    subprocess.run(command, check=True, timeout=300)
    return next(folder.glob("*.whl"))
