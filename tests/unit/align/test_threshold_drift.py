"""Thresholds follow an entity's newest scores at a bounded speed, and start anew when somebody decided something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.align.threshold_drift import Drift, followed
from fleetalign.contracts.tables import ALIGNER

MARCH = datetime(2026, 3, 9, tzinfo=UTC)
TAIL = np.float32(0.01)
FINITE = st.floats(-1e3, 1e3, width=32)


def previous(*rows: tuple[str, float], kind: str = "web", condition: int = 0, until: datetime = MARCH) -> pa.Table:
    table = [
        {
            "kind": kind, "entity_id": entity_id, "condition": condition, "threshold": threshold,
            "tail_probability": TAIL, "state": "shared", "reason": "", "incidents": 0, "calibrated_until": until,
        }
        for entity_id, threshold in rows
    ]  # fmt: skip
    return ALIGNER.conform(pa.Table.from_pylist(table, schema=ALIGNER.schema))


def follow(drift: Drift, quantile: float, recent: float, *, days: float = 1.0, limit: float = 0.05, tail=TAIL,
           condition: int = 0, entities: tuple[str, ...] = ("a",)) -> list[float]:  # fmt: skip
    count = len(entities)
    return drift.follow(
        pa.chunked_array([list(entities)], pa.string()),
        np.full(count, quantile, dtype=np.float32),
        np.full(count, recent, dtype=np.float32),
        np.full(count, condition),
        np.full(count, tail, dtype=np.float32),
        MARCH + timedelta(days=days),
        limit,
    ).tolist()


def test_nothing_before_is_the_quantile_of_the_whole_range():
    assert follow(Drift(None), 5.0, 9.0) == [5.0]
    assert follow(Drift(previous()), 5.0, 9.0) == [5.0]
    assert follow(Drift(previous(("b", 4.0))), 5.0, 9.0) == [5.0]
    assert follow(Drift(previous(("a", float("nan")))), 5.0, 9.0) == [5.0]


@pytest.mark.parametrize("days", [0.0, 0.5, 1.0, 3.0])
def test_the_bound_is_a_share_of_the_size_for_each_day(days):
    drift = Drift(previous(("a", 4.0)))
    reach = 0.05 * 5.0 * days
    assert follow(drift, 5.0, 100.0, days=days) == [pytest.approx(4.0 + reach)]
    assert follow(drift, 5.0, -100.0, days=days) == [pytest.approx(4.0 - reach)]


def test_what_lies_within_reach_is_reached():
    drift = Drift(previous(("a", 4.0)))
    assert follow(drift, 5.0, 4.1) == [pytest.approx(4.1)]
    assert follow(drift, 5.0, 100.0, limit=0.0) == [4.0]


def test_a_new_candidate_tail_probability_or_condition_starts_anew():
    before = previous(("a", 4.0))
    drift = Drift(before)
    assert follow(drift, 5.0, 9.0, tail=np.float32(0.02)) == [5.0]
    assert follow(drift, 5.0, 9.0, condition=6) == [5.0]


def test_about_whom_something_was_said_starts_anew_and_nobody_else():
    drift = Drift(previous(("a", 4.0), ("b", 4.0)), {"a"})
    assert follow(drift, 5.0, 9.0, entities=("a", "b")) == [5.0, pytest.approx(4.25)]


def test_an_older_range_moves_nothing():
    """A plan whose range ends before what was calibrated: no time has passed."""
    assert follow(Drift(previous(("a", 4.0))), 5.0, 9.0, days=-3.0) == [4.0]


def test_every_entity_is_followed_from_its_own_row():
    drift = Drift(previous(("c", 6.0), ("a", 2.0)))
    found = follow(drift, 5.0, 100.0, entities=("a", "b", "c"))
    assert found == [pytest.approx(2.25), 5.0, pytest.approx(6.25)]


@given(FINITE, FINITE, FINITE, st.floats(0, 30), st.floats(0, 1))
def test_it_never_leaves_the_way_between_and_never_exceeds_its_reach(anchor, recent, size, days, limit):
    found = followed(*(np.array([x]) for x in (anchor, recent, size, days)), limit)[0]
    slack = 1e-6 * max(abs(anchor), abs(recent), 1.0)
    assert min(anchor, recent) - slack <= found <= max(anchor, recent) + slack
    assert abs(found - anchor) <= limit * abs(size) * days + slack
