"""Whether a release may be promoted, and which gates stand in the way."""

from __future__ import annotations

from typing import Any

from fleetalign.contracts.hashing import readable_json
from fleetalign.explain.explanation import EntityExplanation, explain_release
from fleetalign.storage import layout
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release


def gate(name: str, verdict: str) -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "value": 0.5, "limit": 0.9, "why": "measured"}


def test_gates_that_refuse_are_named_once_whoever_asked() -> None:
    store = MemoryStore()
    release_id = toy_release(store, gates=[gate("coverage", "fail"), gate("quality", "pass")])
    record = {
        "release_id": release_id, "champion_id": "f" * 16, "verdict": "fail", "absolute_gates": [],
        "comparison_gates": [gate("coverage", "fail"), gate("pages", "fail")],
    }  # fmt: skip
    store.put(layout.promotion(release_id, "f" * 16), readable_json(record))
    found = explain_release(store, release_id)
    assert found.failed_gates == ["coverage", "pages"]
    assert found.as_json()["promotions"] == [record]
    lines = found.text().splitlines()
    assert lines[0] == f"release {release_id}"
    assert f"compared with {'f' * 16}: fail" in lines
    assert lines[-1].startswith("not promoted because of: coverage, pages.")


def test_a_release_whose_gates_allow_it_has_not_been_asked_for() -> None:
    store = MemoryStore()
    found = explain_release(store, toy_release(store))
    assert (found.failed_gates, found.promotions) == ([], ())
    assert found.text().endswith("no promotion was requested yet; all its own gates pass")


def test_lines_of_an_entity_are_aligned() -> None:
    found = EntityExplanation("r1", "web/a", (("state", "shared"), ("said", "f1 normal")))
    assert found.text() == "web/a in release r1\n  state       shared\n  said        f1 normal"
    assert found.as_json()["lines"] == [{"label": "state", "text": "shared"}, {"label": "said", "text": "f1 normal"}]
