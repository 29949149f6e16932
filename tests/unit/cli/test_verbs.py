"""Commands hold no logic: they read options, call one function of the package and print."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fleetalign import cli

FOLDER = Path(cli.__file__).parent
VERBS = sorted((FOLDER / "verbs").glob("*.py"))
LOGIC = (ast.For, ast.While, ast.Try, ast.ClassDef)
LIBRARIES = {"numpy", "pyarrow", "onnxruntime", "torch", "jinja2", "matplotlib"}


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.stem)
def test_a_verb_has_no_loop_no_handler_and_no_library(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    assert not [type(node).__name__ for node in nodes if isinstance(node, LOGIC)]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not LIBRARIES & {name.split(".")[0] for name in imported}


def test_one_place_catches_every_error() -> None:
    broad = [
        path.name
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
    ]
    assert broad == ["__init__.py"]
