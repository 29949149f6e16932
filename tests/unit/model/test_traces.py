"""Traces on disk: used by the next process, and by none whose code or exporter differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetalign.model import traces

pytest.importorskip("torch")  # the exporter's version is part of a name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(traces.TRACES_VARIABLE, str(tmp_path / "traces"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toy_package").mkdir()
    (tmp_path / "toy_package" / "__init__.py").write_text("")
    (tmp_path / "toy_package" / "layer.py").write_text("SIZE = 1\n")
    (tmp_path / "toy_module.py").write_text("")
    return tmp_path


def trace(folder: Path, structure: str = "s") -> int:
    """Ask for a trace as a new process would; return how many were made."""
    made: list[bytes] = []
    traces.forget()
    traces._name.cache_clear()
    traces._source.cache_clear()
    found = traces.traced(structure, ["toy_package", "toy_module"], lambda: made.append(b"graph") or b"graph")
    assert found == b"graph"
    return len(made)


def test_the_next_process_finds_it_unless_anything_of_it_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [trace(folder), trace(folder), trace(folder, "other"), trace(folder)] == [1, 0, 1, 0]
    (folder / "toy_package" / "layer.py").write_text("SIZE = 2\n")
    assert [trace(folder), trace(folder)] == [1, 0]
    (folder / "toy_module.py").write_text("x = 1\n")
    assert [trace(folder), trace(folder)] == [1, 0]
    version = traces.importlib.metadata.version
    monkeypatch.setattr(traces.importlib.metadata, "version", lambda name: version(name) + "+" * (name == "torch"))
    assert trace(folder) == 1
    assert {path.suffix for path in (folder / "traces").iterdir()} == {".onnx"}, "no half of a file is left"


def test_without_a_folder_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(traces.TRACES_VARIABLE)
    assert [trace(folder), trace(folder)] == [1, 1]
    assert not (folder / "traces").exists()
