"""What explain says about an entity's statements and mutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from fleetalign.contracts.feedback import feedback_id, unique
from fleetalign.contracts.tables import FEEDBACK, MUTES, RETRACTED
from fleetalign.explain.explain import STATEMENTS_SHOWN, mute_lines, statement_lines

START = datetime(2026, 3, 3, 1, tzinfo=UTC)


def row(minute: int, entity: str = "a", **changes: str) -> dict:
    said = {
        "kind": "web", "entity_id": entity, "start": START, "end": START + timedelta(hours=1), "verdict": "normal",
        "source": "ana", "note": "deploy", "recorded_at": START + timedelta(days=1, minutes=minute), **changes,
    }  # fmt: skip
    return said | {"feedback_id": feedback_id(said)}


def said(*rows: dict) -> list[str]:
    return [
        text
        for _, text in statement_lines(unique(pa.Table.from_pylist(list(rows), schema=FEEDBACK.schema)), "web", "a")
    ]


def test_a_statement_is_named_and_a_retracted_one_with_who_took_it_back():
    first, other = row(0), row(1, "b")
    (line,) = said(first, other)
    assert f"{first['feedback_id']} normal from 2026-03-03T01:00:00Z to 2026-03-03T02:00:00Z, by ana: deploy" in line
    taken = row(2, verdict=RETRACTED, source="bo", note="it was real", retracts=first["feedback_id"])
    (line,) = said(first, other, taken)
    assert line.endswith("by ana: deploy, retracted by bo")


def test_only_the_newest_are_shown_and_the_others_counted():
    lines = said(*(row(i, note=str(i)) for i in range(STATEMENTS_SHOWN + 2)))
    assert lines[0].endswith(f": {STATEMENTS_SHOWN + 1}")
    assert "and 2 earlier statements" in lines[-1]
    assert len(lines) == STATEMENTS_SHOWN + 1


def test_mutes_of_the_entity_and_of_all_are_shown():
    muted = [("web", "a", "cpu"), ("web", "*", "disk"), ("web", "b", "cpu"), ("db", "a", "cpu")]
    rows = [dict(zip(("kind", "entity_id", "metric"), m, strict=True), by="ana", why="noisy") for m in muted]
    table = MUTES.conform(pa.Table.from_pylist(rows, schema=MUTES.schema))
    lines = [text for _, text in mute_lines(table, "web", "a")]
    assert [line.split("metric ")[1].split(",")[0] for line in lines] == ["disk", "cpu"]
    assert lines[0].endswith("from the beginning until it is lifted, by ana: noisy")
