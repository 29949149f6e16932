"""A docstring begins with one sentence that fits on a short line; ruff holds the rest of its form."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tasks" / "fleetalign"
MOST = 90
ROOMS = (
    "align",
    "config",
    "contracts",
    "emit",
    "evaluate",
    "explain",
    "plan",
    "release",
    "scoring",
    "storage",
    "testing",
    "versioning",
    "watch",
    "errors.py",
    "interval.py",
    "steps.py",
)
FILES = [
    file for room in ROOMS for file in ([PACKAGE / room] if room.endswith(".py") else (PACKAGE / room).rglob("*.py"))
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_first_line_of_a_docstring_is_short(path: Path) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)]
    first = [(ast.get_docstring(node) or "").partition("\n")[0] for node in nodes]
    assert not [line for line in first if len(line) > MOST]
