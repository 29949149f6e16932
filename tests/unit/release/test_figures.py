"""Figures from tables of scores: every entity is judged beside its own control."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fleetalign.config import Config
from fleetalign.contracts.feedback import feedback_id
from fleetalign.contracts.tables import FEEDBACK
from fleetalign.release.figures import judge_scores
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release, toy_telemetry

STEPS, JUMP = 60, 30


def telemetry(entity_id: str) -> pa.Table:
    """Steady telemetry with one jump."""
    rows = toy_telemetry("service", entity_id, STEPS)
    for metric in ("cpu", "errors", "latency"):
        values = [1e3 if i == JUMP else 10.0 for i in range(STEPS)]
        rows = rows.set_column(rows.schema.get_field_index(metric), metric, pa.array(values))
    return rows


def feedback(entities: tuple[str, ...]) -> pa.Table:
    times = telemetry("a")["timestamp"]
    rows = []
    for entity_id in entities:
        for first, last, verdict in ((0, JUMP, "normal"), (JUMP, JUMP + 1, "anomaly")):
            row = {
                "kind": "service", "entity_id": entity_id, "start": times[first].as_py(), "end": times[last].as_py(),
                "verdict": verdict, "source": "test", "note": "", "recorded_at": times[STEPS - 1].as_py(),
            }  # fmt: skip
            rows.append(row | {"feedback_id": feedback_id(row)})
    return FEEDBACK.conform(pa.Table.from_pylist(rows, schema=FEEDBACK.schema))


@pytest.mark.parametrize("silent", ["a", "b"])
def test_the_control_of_an_entity_is_its_own_even_when_another_entity_has_none(silent: str) -> None:
    store = MemoryStore()
    scorer = Scorer.open(store, release=toy_release(store))
    scores = scorer.score(pa.concat_tables([telemetry("a"), telemetry("b")]))
    control = scores.filter(pc.not_equal(scores["entity_id"], silent))
    found = judge_scores(scorer, scores, feedback(("a", "b")), Config(), control)
    assert [counts.hits for counts in found.detector] == [1, 1]
    hits = {counts.entity_id: counts.hits for counts in found.untrained}
    assert hits == {entity: 0 if entity == silent else 1 for entity in ("a", "b")}


def test_without_a_control_there_is_no_side_for_it() -> None:
    store = MemoryStore()
    scorer = Scorer.open(store, release=toy_release(store))
    found = judge_scores(scorer, scorer.score(telemetry("a")), feedback(("a",)), Config())
    assert found.untrained == ()
