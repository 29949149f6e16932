from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fleetalign.contracts.manifest import Gate
from fleetalign.contracts.schema import validate
from fleetalign.errors import Conflict, GateRefused, NotFound
from fleetalign.release.promote import assess, promote, rollback
from fleetalign.release.verdict import markdown
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release

NOW = datetime(2026, 3, 9, tzinfo=UTC)
PASS = Gate("pages_vs_champion", 1.0, 3.0, "pass", "1 page")
FAIL = Gate("pages_vs_champion", 4.0, 3.0, "fail", "4 pages")
IDLE = Gate("beats_random", None, 0.0, "not_applicable", "no incident")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def ask(store: MemoryStore, release_id: str, gate: Gate = PASS, **changes):
    settings = {"by": "ops", "why": "test", "comparison_gates": lambda champion: [gate]}
    return promote(store, release_id, "champion", **{**settings, **changes}, expires_after_hours=48.0, now=NOW)


def back(store: MemoryStore, release_id: str | None = None) -> channels.Pointer:
    return rollback(store, "champion", "ops", "it pages too much", release_id, expires_after_hours=48.0, now=NOW)


def test_a_first_release_is_promoted_and_recorded(store: MemoryStore) -> None:
    release_id = toy_release(store, gates=[IDLE])
    asked = []
    found = ask(store, release_id, comparison_gates=lambda champion: asked.append(champion) or [IDLE])
    assert (found.moved, found.champion_id, asked) == (True, None, [None])
    assert channels.read(store, "champion") == found.pointer
    record = store.get_json(layout.promotion(release_id, None))
    validate("promotion", record)
    assert (record["verdict"], record["absolute_gates"], record["comparison_gates"]) == (
        "pass", [IDLE.as_document()], [IDLE.as_document()]
    )  # fmt: skip


def test_promoting_the_champion_again_does_nothing(store: MemoryStore) -> None:
    release_id = toy_release(store)
    ask(store, release_id)
    before = {info.key: store.get(info.key) for info in store.list("")}
    found = ask(store, release_id, gate=FAIL)
    assert not found.moved and "already points" in found.why
    assert {info.key: store.get(info.key) for info in store.list("")} == before


def test_a_release_that_serves_the_same_files_does_nothing(store: MemoryStore) -> None:
    first, same = toy_release(store), toy_release(store, gates=[IDLE])
    assert first != same and read_manifest(store, first).aligner_id == read_manifest(store, same).aligner_id
    ask(store, first)
    found = ask(store, same)
    assert not found.moved and "same files" in found.why and channels.read(store, "champion").release_id == first


@pytest.mark.parametrize(("absolute", "compared"), [(FAIL, PASS), (PASS, FAIL), (FAIL, FAIL)])
def test_a_failed_gate_refuses_says_why_and_is_recorded(store: MemoryStore, absolute: Gate, compared: Gate) -> None:
    champion, candidate = toy_release(store), toy_release(store, threshold=2.0, gates=[absolute])
    ask(store, champion)
    with pytest.raises(GateRefused, match=r"pages_vs_champion is 4\.0, limit 3\.0 \(4 pages\)"):
        ask(store, candidate, gate=compared)
    assert channels.read(store, "champion").release_id == champion
    assert store.get_json(layout.promotion(candidate, champion))["verdict"] == "fail"


def test_force_overrules_gates_and_the_record_stays(store: MemoryStore) -> None:
    champion, candidate = toy_release(store), toy_release(store, threshold=2.0)
    ask(store, champion)
    found = ask(store, candidate, gate=FAIL, force=True)
    assert found.moved and found.why == "forced past pages_vs_champion"
    assert store.get_json(layout.promotion(candidate, champion))["verdict"] == "fail"


def test_force_does_not_overrule_a_broken_release(store: MemoryStore) -> None:
    release_id = toy_release(store)
    store.put(read_manifest(store, release_id).aligner, b"altered")
    with pytest.raises(GateRefused, match="does not verify"):
        ask(store, release_id, force=True)
    assert channels.read(store, "champion") is None


def test_a_champion_that_changed_during_the_comparison_conflicts(store: MemoryStore) -> None:
    first, second, candidate = (toy_release(store, threshold=t) for t in (1.0, 2.0, 3.0))
    ask(store, first)

    def overtaken(champion: str | None) -> list[dict]:
        if champion == first:
            channels.move(store, "champion", second, "somebody", "else", 48.0, NOW)
        return [PASS]

    with pytest.raises(Conflict):
        ask(store, candidate, comparison_gates=overtaken)
    assert channels.read(store, "champion").release_id == second
    assert ask(store, candidate, comparison_gates=overtaken).champion_id == second


def test_rollback_goes_to_the_release_before_or_a_named_one(store: MemoryStore) -> None:
    first, second, third = (toy_release(store, threshold=t) for t in (1.0, 2.0, 3.0))
    for release_id in (first, second, third):
        ask(store, release_id)
    pointer = back(store)
    assert (pointer.release_id, pointer.previous, pointer.sequence) == (second, third, 4)
    assert back(store, first).release_id == first
    assert [p.release_id for p in channels.history(store, "champion")] == [first, second, third, second, first]


def test_rollback_refuses_what_is_not_whole(store: MemoryStore) -> None:
    first, second = toy_release(store), toy_release(store, threshold=2.0)
    with pytest.raises(NotFound, match="no earlier release"):
        back(store)
    ask(store, first)
    with pytest.raises(NotFound, match="no earlier release"):
        back(store)
    ask(store, second)
    store.put(read_manifest(store, first).aligner, b"altered")
    with pytest.raises(GateRefused, match="does not verify"):
        back(store)
    store.delete(layout.release(first, "manifest.json"))
    with pytest.raises(NotFound, match="no such release"):
        back(store)
    assert channels.read(store, "champion").release_id == second


def test_a_release_that_was_rolled_back_from_only_comes_back_by_force(store: MemoryStore) -> None:
    first, second = toy_release(store), toy_release(store, threshold=2.0)
    ask(store, first)
    ask(store, second)
    rollback(store, "champion", "ops", "pages too much", expires_after_hours=1.0)
    found = ask(store, second)
    assert not found.moved and "pages too much" in found.why
    assert channels.read(store, "champion").release_id == first
    assert ask(store, second, force=True).moved
    assert channels.read(store, "champion").release_id == second


def test_an_assessment_moves_nothing_and_its_verdict_shows_gates_and_where_the_channel_points(
    store: MemoryStore,
) -> None:
    champion, candidate = toy_release(store), toy_release(store, threshold=2.0)
    ask(store, champion)
    found = assess(store, candidate, "champion", lambda _: [replace(PASS, why="a | b")])
    assert channels.read(store, "champion").release_id == champion
    text = markdown(found)
    assert (
        f"`{candidate}` to `champion`" in text and f"now points to `{champion}`, since {NOW:%Y-%m-%dT%H:%M:%S}" in text
    )
    assert "| pages_vs_champion | **pass** | 1 | 3 | a \\| b |" in text
    assert "there are no figures of quality" in text


def test_an_assessment_refuses_what_the_promotion_would(store: MemoryStore) -> None:
    found = assess(store, toy_release(store), "champion", lambda _: [FAIL])
    with pytest.raises(GateRefused, match="pages_vs_champion is 4"):
        found.refuse_unless(force=False)
    found.refuse_unless(force=True)
    assert "points nowhere yet" in markdown(found)
