"""What does not fit a release is named, and scores get their history from the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.config import Config
from fleetalign.contracts.tables import TELEMETRY
from fleetalign.emit.scored import score_and_send
from fleetalign.errors import BadInput
from fleetalign.interval import Interval
from fleetalign.scoring.context import earlier
from fleetalign.scoring.fit import fit
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.lake import write_partition
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release, toy_telemetry

START = datetime(2026, 3, 9, tzinfo=UTC)
DAY = Interval(START, START + timedelta(days=1))
WINDOW = 8


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def scorer(store: MemoryStore) -> Scorer:
    return Scorer.open(store, release=toy_release(store, kinds={"service": ["web-1", "web-2"]}))


def renamed(rows: pa.Table, **names: str) -> pa.Table:
    return rows.rename_columns([names.get(name, name) for name in rows.schema.names])


def test_what_fits_has_no_doubt(scorer: Scorer) -> None:
    found = fit(scorer, toy_telemetry("service", "web-1", 20))
    assert (found.doubts, found.usable) == ((), True)


def test_strangers_are_named_with_the_nearest_known_id(scorer: Scorer) -> None:
    rows = pa.concat_tables([toy_telemetry("service", name, 20) for name in ("web-1", "web-2.example.com")])
    (doubt,) = fit(scorer, rows).doubts
    assert doubt.startswith("1 of 2 entities of service are unknown to the release, such as web-2.example.com")


def test_blanks_of_an_unknown_id_are_seen(scorer: Scorer) -> None:
    (doubt,) = fit(scorer, toy_telemetry("service", "web-1 ", 20)).doubts
    assert "such as 'web-1 ' (the release knows web-1)" in doubt


def test_metrics_that_no_row_has_are_named_with_what_is_there(scorer: Scorer) -> None:
    rows = toy_telemetry("service", "web-1", 20)
    one = fit(scorer, renamed(rows, latency="latency_ms"))
    assert one.usable
    assert one.doubts == ("kind service: metric latency of the release is in no row; the rows have latency_ms",)
    none = fit(scorer, renamed(rows, cpu="a", errors="b", latency="c"))
    assert not none.usable
    assert "metrics cpu, errors, latency of the release are in no row; the rows have a, b, c" in none.doubts[0]


@pytest.mark.parametrize(("step_seconds", "apart"), [(60, ""), (50, ""), (300, "300"), (3600, "3,600"), (10, "10")])
def test_another_spacing_than_the_step_is_named(scorer: Scorer, step_seconds: int, apart: str) -> None:
    doubts = fit(scorer, toy_telemetry("service", "web-1", 20, step_seconds=step_seconds)).doubts
    assert doubts == ((f"kind service: times are {apart} s apart, the release has 60 s",) if apart else ())


def test_a_kind_that_is_not_in_the_release_is_named_and_alone_it_is_an_error(
    store: MemoryStore, scorer: Scorer
) -> None:
    rows = toy_telemetry("toaster", "a", 20)
    expected = "kind toaster is not in the release (service): its 20 rows get no score"
    assert fit(scorer, rows).doubts == (expected,)
    with pytest.raises(BadInput, match=r"kind toaster is not in the release \(service\)"):
        score_and_send(store, Config(), scorer, rows, (), None, START)


def test_without_a_single_score_the_reasons_are_an_error(store: MemoryStore, scorer: Scorer) -> None:
    found = score_and_send(store, Config(), scorer, toy_telemetry("service", "web-1", 5), (), None, START)
    assert (found.scored, found.without_score) == (0, {"warming_up": 5})
    with pytest.raises(
        BadInput, match=r"none of 5 samples has a score \(5 warming_up\): kind service: scores look back"
    ):
        found.require_a_score()
    assert score_and_send(store, Config(), scorer, toy_telemetry("service", "web-1", 9), (), None, START).scored == 2


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 59))
def test_the_rest_of_a_day_is_scored_as_with_the_whole_day(cut: int) -> None:
    store = MemoryStore()
    scorer = Scorer.open(store, release=toy_release(store, kinds={"service": ["web-1", "web-2"]}))
    day = TELEMETRY.conform(pa.concat_tables([toy_telemetry("service", name, 60) for name in ("web-1", "web-2")]))
    write_partition(store, "validated", "service", DAY, "day", day, 60, {})
    late = pc.greater_equal(day["timestamp"], pa.scalar(START + timedelta(minutes=cut), day["timestamp"].type))
    rest = day.filter(late)
    alone = scorer.score(rest, context=earlier(store, scorer, rest).rows)
    assert alone.equals(scorer.score(day, start=START + timedelta(minutes=cut)))


def test_a_store_without_the_rows_in_between_says_so(store: MemoryStore, scorer: Scorer) -> None:
    day = toy_telemetry("service", "web-1", 60)
    write_partition(store, "validated", "service", DAY, "day", day.slice(0, 45), 60, {})
    assert earlier(store, scorer, day.slice(45)).missing == ()
    (missing,) = earlier(store, scorer, day.slice(54)).missing
    assert "there is nothing from 2026-03-09T00:44:00Z to 2026-03-09T00:54:00Z, longer than a window" in missing
    (nothing,) = earlier(MemoryStore(), scorer, day).missing
    assert nothing.startswith(
        "kind service: scores look back 0.233 h, and 0.233 h before 2026-03-09T00:00:00Z are missing"
    )
