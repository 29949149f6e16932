"""The docs are true: they name everything there is, their links lead somewhere, their commands run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.detection.report import headline
from fleetalign import errors
from fleetalign.cli.parser import COMMANDS
from fleetalign.contracts.tables import SCORE_REASONS, STATES, TABLES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def text(name: str) -> str:
    return (DOCS / name).read_text()


def test_the_command_line_page_is_the_rendered_one():
    command = [sys.executable, str(DOCS / "render_cli.py")]
    rendered = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert text("cli.md") == rendered, "the command line changed: run `make docs`"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented_with_its_example(name: str):
    section = text("cli.md").split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert f"fleetalign {COMMANDS[name].example}\n" in section


def test_the_settings_page_is_the_rendered_one():
    command = [sys.executable, str(DOCS / "render_settings.py")]
    rendered = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert text("settings.md") == rendered, "settings changed: run `make docs`"


def test_every_setting_has_a_meaning():
    assert not [line for line in text("settings.md").splitlines() if line.endswith("|  |")]


def _dags() -> dict[str, list[str]]:
    """DAG id -> names of its params, read from the source."""
    found = {}
    for path in sorted((ROOT / "dags").glob("*.py")):
        source = path.read_text()
        if "Param(" in source or re.search(r"@dag|with DAG", source):
            names = [
                key.value
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Dict)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
                and isinstance(value, ast.Call)
                and getattr(value.func, "id", "") == "Param"
            ]
            found[path.stem] = names
    return found


def test_every_dag_and_its_params_are_documented():
    page = text("operate.md")
    dags = {name: params for name, params in _dags().items() if name != "fleetalign_airflow"}
    assert len(dags) == 12
    for name, params in dags.items():
        assert f"`{name}`" in page, name
        for param in params:
            assert f"`{param}`" in page, f"{name}: {param}"


def test_every_manifest_field_gate_state_reason_and_table_is_documented():
    page = text("consume.md")
    schemas = ROOT / "tasks" / "fleetalign" / "contracts" / "schemas"
    manifest = json.loads((schemas / "manifest.schema.json").read_text())
    kind = manifest["properties"]["kinds"]["additionalProperties"]["properties"]
    pointer = json.loads((schemas / "pointer.schema.json").read_text())
    names = [*manifest["properties"], *kind, *pointer["properties"], *STATES, *SCORE_REASONS, *TABLES]
    gates = (ROOT / "tasks" / "fleetalign" / "evaluate" / "gates.py").read_text()
    found = set(re.findall(r'name = "(\w+)"|ate\("(\w+)"', gates))
    names += [*("".join(pair) for pair in found), "beats_random", "beats_shifted"]
    assert len(found) >= 6
    missing = [name for name in names if f"`{name}`" not in page and f"`{name}:" not in page]
    assert not missing


def test_every_exit_code_is_documented():
    codes = {
        e.exit_code for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.FleetalignError)
    }
    page = text("cli.md")
    for code in codes | {0}:
        assert re.search(rf"^\| {code} \| \w", page, re.MULTILINE), code


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def _blocks(name: str) -> str:
    found = re.search(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, name
    return found.group(1)


def test_the_readmes_commands_run(tmp_path: Path):
    # The environment is the one the tests run in; everything else is taken as it stands.
    shell = _blocks("own data").replace(". .venv/bin/activate", "true")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in (["bash", "-euo", "pipefail", "-c", shell], [sys.executable, "-c", _blocks("consume")]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "alarms in" in done.stdout
    assert (tmp_path / "scores.parquet").exists()


def test_getting_started_has_the_readmes_commands():
    assert _blocks("own data") in text("getting-started.md")


def test_the_readmes_figures_are_the_measured_ones():
    measured = json.loads((DOCS / "benchmarks" / "detection.json").read_text())
    page = (ROOT / "README.md").read_text()
    assert headline(measured) in page
    rows = [row for row in measured["sets"]["services"]["decisions"] if row["method"] == "random"]
    assert max(row["measures"]["point_adjusted_f1"]["value"] for row in rows) > 0.9
    assert "a random score reaches more than .9 of it on `services`" in page


def test_nothing_speaks_of_the_workplace():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    allowed = ("tests/", ".ci/")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.suffix in (".png", ".parquet") or name.startswith(allowed) or not path.is_file():
            continue
        content = path.read_text()
        for word in ("../" + "shared", "/work" + "/", "pypi" + ".org"):
            assert word not in content, f"{name}: {word}"
