"""Imports point downwards, and only dags/ and the UI plugins know Airflow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "tasks" / "fleetalign"
BASE = {"errors", "interval", "settings", "settings_build", "config", "contracts", "storage"}
MIDDLE = {"ingest", "validate", "model", "align", "evaluate", "release", "emit", "versioning", "simulate"}
TOP = {"steps", "cli", "bench"}
SIDEWAYS = {
    ("align", "evaluate"),  # thresholds are chosen by the measures that judge them
    ("align", "model"),  # scores come from the exported graph's runtime
    ("ingest", "simulate"),  # the simulator is a source
    ("release", "align"),  # a release bundles and judges what a plan aligned
    ("release", "evaluate"),  # gates and figures
    ("emit", "release"),  # what is sent is what the scorer says
}
"""Imports between packages of the middle that are wanted."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every absolute module name that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "fleetalign" and len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    targets = {part_of(name) for name in imported(path)} - {None, here}
    if here in BASE:
        assert not targets & (MIDDLE | TOP)
    elif here in MIDDLE:
        assert not targets & TOP
        assert {(here, target) for target in targets & MIDDLE} <= SIDEWAYS


def test_every_part_of_the_package_has_a_level() -> None:
    parts = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - BASE - MIDDLE - TOP <= {"__init__", "__main__", "__pycache__", "testing", "progress", "py.typed"}


def test_only_dags_and_plugins_import_airflow() -> None:
    allowed = (REPOSITORY / "dags", REPOSITORY / "infra" / "airflow" / "plugins")
    files = [*MODULES, *(REPOSITORY / "infra").rglob("*.py")]
    guilty = [
        str(path.relative_to(REPOSITORY))
        for path in files
        if not any(path.is_relative_to(folder) for folder in allowed)
        and any(name.split(".")[0] == "airflow" for name in imported(path))
    ]
    assert not guilty
