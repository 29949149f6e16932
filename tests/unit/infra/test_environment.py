"""``make env``: what is handed on to uv, what is said about the download, and when nothing is done."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[3] / "infra" / "local" / "environment.py"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with an empty project in ``tmp_path``."""
    spec = importlib.util.spec_from_file_location("environment", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "requirements.lock.txt").write_text("tomli==2.0.1\ntorch==2.13.0\ntqdm==4.67.1\n")
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "LOCK", tmp_path / "requirements.lock.txt")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "made-from.sha256")
    for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_")) or name == "SSL_CERT_FILE"]:
        monkeypatch.delenv(variable)
    return module


def answer(monkeypatch: pytest.MonkeyPatch, pip_config: str) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=pip_config)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)


def test_pip_settings_reach_uv(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(
        monkeypatch,
        "global.find-links='/a https://b/c'\nglobal.cert='/ca.pem'\nglobal.extra-index-url='https://x/simple'\n"
        "global.timeout='9'\n",
    )
    found = environment.uv_environment(environment.pip_settings())
    assert found["UV_FIND_LINKS"] == "/a,https://b/c"
    assert found["UV_INDEX"] == "https://x/simple"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found["SSL_CERT_FILE"] == "/ca.pem"


def test_environment_beats_file(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, ":env:.find-links='/new'\nglobal.find-links='/old'\n")
    assert environment.pip_settings()["find-links"] == ["/new"]


def test_several_lines_of_find_links(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "global.find-links='\\n/a\\n/b'\n")
    assert environment.pip_settings()["find-links"] == ["/a", "/b"]


def test_uvs_own_settings_win(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", "/mine")
    assert environment.uv_environment({"find-links": ["/pips"]})["UV_FIND_LINKS"] == "/mine"


def test_without_pip_settings_uv_is_left_alone(environment: ModuleType) -> None:
    added = set(environment.uv_environment({})) - set(os.environ)
    assert added == {"UV_HTTP_TIMEOUT"}


def test_size_of_a_wheel_that_is_here(environment: ModuleType, tmp_path: Path) -> None:
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    (tmp_path / f"torch-2.13.0+cpu-{tag}-{tag}-manylinux_2_28_x86_64.whl").write_bytes(b"x" * 3_000_000)
    assert environment.torch_download([str(tmp_path)]) == f"torch 2.13.0: 3 MB, already here in {tmp_path}"


def test_size_from_the_default_index_names_the_smaller_build(environment: ModuleType) -> None:
    line = environment.torch_download([])
    assert "CUDA" in line
    assert "PIP_FIND_LINKS=" in line


def test_a_wheel_of_another_python_is_not_named(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"x")
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    assert "already here" not in environment.torch_download([str(tmp_path)])


@pytest.fixture
def made(environment: ModuleType, tmp_path: Path) -> ModuleType:
    """The program beside an environment that this Python made from the lock."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}").touch()
    environment.STAMP.write_text(environment.digest())
    return environment


def test_nothing_is_made_at_first(environment: ModuleType) -> None:
    assert not environment.up_to_date()


def test_nothing_is_done_while_the_lock_is_the_same(made: ModuleType) -> None:
    assert made.up_to_date()
    made.LOCK.write_text("torch==2.13.1\n")
    assert not made.up_to_date()


def test_another_python_makes_it_anew(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12 if sys.version_info[1] != 12 else 13, 0, "final", 0))
    assert not made.up_to_date()


@pytest.mark.parametrize("tool", ["git", "make"])
def test_missing_tool_is_one_line(environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda name: None if name == tool else f"/usr/bin/{name}")
    with pytest.raises(environment.Stop, match=f"^{tool} is missing; .*apt-get install {tool}$"):
        environment.check_prerequisites()


@pytest.mark.parametrize("minor", [10, 14])
def test_other_python_is_one_line(environment: ModuleType, monkeypatch: pytest.MonkeyPatch, minor: int) -> None:
    monkeypatch.setattr(sys, "version_info", (3, minor, 1, "final", 0))
    with pytest.raises(environment.Stop, match=rf"^this is python3\.{minor}; .* needs Python 3\.11, 3\.12 or 3\.13"):
        environment.check_prerequisites()


def test_missing_venv_is_one_line(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1, "final", 0))
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(environment.Stop, match=r"apt-get install python3\.12-venv$"):
        environment.check_prerequisites()


def test_supported_versions_are_named_alike(environment: ModuleType, repository: Path) -> None:
    versions = [".".join(map(str, version)) for version in environment.SUPPORTED]
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    classifiers = [f"Programming Language :: Python :: {version}" for version in versions]
    listed = [line for line in project["classifiers"] if re.search(r":: \d\.\d+$", line)]
    assert listed == classifiers
    assert project["requires-python"] == f">={versions[0]},<3.{environment.SUPPORTED[-1][1] + 1}"
    assert f"for version in {' '.join(versions)};" in (repository / "Makefile").read_text()
