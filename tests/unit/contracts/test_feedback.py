from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.feedback import Statements, feedback_id, intervals, unique
from fleetalign.contracts.tables import FEEDBACK

START = datetime(2026, 3, 9, tzinfo=UTC)
TIMES = np.datetime64("2026-03-09", "us") + np.arange(20) * np.timedelta64(60, "s")


def minute(index: float) -> datetime:
    return START + timedelta(minutes=index)


def statement(start: float, end: float, verdict: str = "anomaly", recorded: float = 100, **changes) -> dict:
    row = {
        "kind": "service",
        "entity_id": "a",
        "start": minute(start),
        "end": minute(end),
        "verdict": verdict,
        "source": "ops",
        "note": "",
        "recorded_at": minute(recorded),
        **changes,
    }
    return {**row, "feedback_id": feedback_id(row)}


def labels(*rows: dict, as_of: datetime | None = None) -> str:
    table = unique(pa.Table.from_pylist(list(rows), schema=FEEDBACK.schema), as_of)
    codes = {1: "A", 0: ".", -1: "?"}
    return "".join(codes[int(code)] for code in Statements(table, "service").labels("a", TIMES))


def test_time_nobody_spoke_about_is_unlabelled_and_intervals_are_half_open() -> None:
    assert labels(statement(2, 5)) == "??AAA???????????????"
    assert labels(statement(2, 5, "normal")) == "??...???????????????"


def test_a_statement_shorter_than_a_step_labels_the_sample_that_holds_it() -> None:
    assert labels(statement(2.2, 2.8)) == "??A" + "?" * 17
    assert labels(statement(19.5, 19.8)) == "?" * 19 + "A"
    assert labels(statement(20.5, 21)) == "?" * 20


def test_the_statement_recorded_last_wins_whatever_the_order_of_rows() -> None:
    early, late = statement(2, 8, recorded=50), statement(4, 6, "normal", recorded=60)
    assert labels(early, late) == labels(late, early) == "??AA..AA????????????"


def test_what_was_recorded_later_does_not_exist() -> None:
    early, late = statement(2, 8, recorded=50), statement(4, 6, "normal", recorded=60)
    assert labels(early, late, as_of=minute(59)) == "??AAAAAA????????????"
    assert labels(early, late, as_of=minute(60)) == "??AA..AA????????????"


def test_statements_about_others_say_nothing() -> None:
    assert labels(statement(2, 5, entity_id="b"), statement(2, 5, kind="database")) == "?" * 20


def test_the_same_statement_twice_is_one() -> None:
    table = pa.Table.from_pylist([statement(2, 5), statement(2, 5)], schema=FEEDBACK.schema)
    assert unique(table).num_rows == 1
    assert statement(2, 5)["feedback_id"] != statement(2, 5, note="again")["feedback_id"]


@given(st.lists(st.booleans(), max_size=50))
def test_intervals_are_the_runs_of_a_mask(mask: list[bool]) -> None:
    found = intervals(np.array(mask, dtype=bool))
    again = np.zeros(len(mask), dtype=bool)
    for start, end in found:
        assert 0 <= start < end <= len(mask)
        again[start:end] = True
    assert again.tolist() == mask
    assert (found[1:, 0] > found[:-1, 1]).all(), "touching runs are one run"
