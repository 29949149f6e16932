"""Imports point downwards and never in a circle, and only dags/ and the UI plugins know Airflow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from fleetalign import steps

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "tasks" / "fleetalign"
FLOORS = (
    {"errors", "interval", "progress", "config", "contracts"},
    {"storage"},
    {"plan", "scoring", "evaluate", "simulate", "detectors", "spans"},
    {"validate"},
    {"model", "ingest"},
    {"align", "feedback", "emit", "versioning"},
    {"explain"},
    {"release"},
    {"watch"},
    {"steps"},
    {"pipeline"},
    {"cli"},
)
"""Rooms of the package, lowest floor first: a room imports rooms of lower floors; those of the ground floor each other."""
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
OUTSIDE = {"__init__", "testing"}
"""On no floor: the package itself, and helpers for tests, which may import anything but steps and cli."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """The dotted name of a file of the package."""
    return ".".join(("fleetalign", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


NAMES = {module_of(path): path for path in MODULES}


def imported(path: Path) -> Iterator[str]:
    """Yield every absolute name that a file imports, also inside functions and for type checkers."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports; of ``a.b.symbol`` that is ``a.b``."""
    return {name if name in NAMES else name.rpartition(".")[0] for name in imported(path)} & NAMES.keys()


def room_of(name: str) -> str:
    return (*name.split("."), "__init__")[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    here = room_of(module_of(path))
    rooms = {room_of(name) for name in modules_imported(path)} - {here, "__init__"}
    if here in FLOOR_OF:
        below = set().union(*FLOORS[: max(FLOOR_OF[here], 1)])
        assert rooms - below == set()
    elif here == "testing":
        assert not rooms & {"steps", "cli"}


def test_every_room_has_a_floor() -> None:
    assert {room_of(name) for name in NAMES} == FLOOR_OF.keys() | OUTSIDE


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: modules_imported(path) - {name} for name, path in NAMES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" <- ".join(circle.args[1]))


def test_scoring_stands_on_contracts_and_storage_alone() -> None:
    rooms = {
        room_of(name) for path in MODULES if path.is_relative_to(PACKAGE / "scoring") for name in modules_imported(path)
    }
    assert rooms <= {"scoring", "contracts", "storage", "errors", "interval"}


def test_steps_exports_every_public_function() -> None:
    public = {
        node.name
        for node in ast.parse((PACKAGE / "steps.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    assert set(steps.__all__) == public


def test_the_alignment_describes_the_modules_that_it_has() -> None:
    named = set(re.findall(r"``(\w+)``", ast.get_docstring(ast.parse((PACKAGE / "align" / "__init__.py").read_text()))))
    assert named <= {path.stem for path in (PACKAGE / "align").iterdir()}


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
