"""A docstring begins with one sentence that fits on a short line; ruff holds the rest of its form."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tasks" / "fleetalign"
MOST = 90
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_first_line_of_a_docstring_is_short(path: Path) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)]
    first = [(ast.get_docstring(node) or "").partition("\n")[0] for node in nodes]
    assert not [line for line in first if len(line) > MOST]
