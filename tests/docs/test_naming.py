"""docs/naming.md defines the terms, and hand-written documents keep to it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NAMING = DOCS / "naming.md"
RENDERED = {DOCS / name for name in ("benchmarks.md", "cli.md", "settings.md")}
"""Written by code; the tests of that code hold their wording."""
WRITTEN = sorted({ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")} - RENDERED - {NAMING})
WRITTEN += sorted((ROOT / "examples").rglob("*.md"))

TERMS = """entity; kind; fleet; metric; sample; sampling interval; sampling grid, slot; series; partition; interval; range; window;
panel; quarantine; detector; `views`; network; model; score; threshold (Q); condition (C); margin; alarm; page; incident;
emitted incident; alert; normalizer; aligner; operator; feedback; statement; mute; step; plan; build; shard; receipt; alignment
candidate; alignment grid; model candidate; release; release candidate; channel; champion; measure; control; baseline; gate;
drift; threshold drift; screen; report; document"""

VAGUE = re.compile(
    r"\b(nobody|somebody|anybody|everybody|whoever|somewhere|beside|bears?|spoke|speaks?|said|told|doubts?)\b"
    r"|\bno finding\b|\bsays no\b|\bwith a sentence\b|\boperators' words?\b",
    re.IGNORECASE,
)
OTHER_PAGES = re.compile(
    r"\b(this|fleet|html|web|docs?|man|drift|gauge) pages?\b|\bpages? (says|describes|lists)\b", re.IGNORECASE
)


def prose(path: Path) -> str:
    """The text of a document without code blocks and inline code; of a DAG, its document in the UI."""
    text = path.read_text()
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("term", [term.strip().replace("\n", " ") for term in TERMS.split(";")])
def test_naming_defines(term: str):
    assert f"\n| {term} |" in NAMING.read_text()


def test_naming_defines_no_term_twice():
    terms = re.findall(r"^\| ([^|]+) \|", NAMING.read_text().split("## Rules for code")[0], flags=re.MULTILINE)
    defined = [term for term in terms if term not in ("term", "---")]
    assert len(defined) == len(set(defined))


@pytest.mark.parametrize(
    "path", [*WRITTEN, *sorted((ROOT / "dags").glob("*.py"))], ids=lambda p: str(p.relative_to(ROOT))
)
def test_documents_are_plain(path: Path):
    text = prose(path)
    assert not [found.group(0) for found in VAGUE.finditer(text)], "docs/naming.md says what to write instead"
    assert not [found.group(0) for found in OTHER_PAGES.finditer(text)], "a page is a run of alarms"
