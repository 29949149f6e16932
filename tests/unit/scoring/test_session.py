"""A session says in pieces what a scorer says in bulk."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import ALIGNER, NORMALIZER, TELEMETRY, TIME
from fleetalign.detectors.views.roles import STATISTICS
from fleetalign.errors import BadInput
from fleetalign.scoring.kind_scorer import KindScorer
from fleetalign.scoring.session import Session

METRICS = ("a", "b", "c")
STEP = 3600
PERIOD = 24


@pytest.fixture(scope="module")
def scorer(views_kind):
    rows = [("__default__", m, 5.0, 2.0) for m in METRICS] + [("x", m, 5.5, 1.5) for m in METRICS]
    normalizer = pa.table(
        {
            "kind": ["web"] * len(rows),
            **{name: [r[i] for r in rows] for i, name in enumerate(("entity_id", "metric", "location", "scale"))},
            **{name: pa.array([0.5] * len(rows), pa.float32()) for name in STATISTICS},
        }
    )
    aligner = pa.Table.from_pylist(
        [{"kind": "web", "entity_id": "__default__", "condition": 0, "threshold": 1.5, "state": "default"}],
        schema=ALIGNER.schema,
    )
    kind = views_kind(
        "web",
        METRICS,
        FleetTable.of(NORMALIZER, normalizer),
        FleetTable.of(ALIGNER, aligner),
        window_steps=32,
        step_seconds=STEP,
        period_steps=PERIOD,
    )

    class One:
        """As much of a Scorer as a session needs."""

        def kind(self, name: str) -> KindScorer | None:
            return kind if name == "web" else None

    return One()


def telemetry(entity: str, slots: np.ndarray, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    values = 5 + np.sin(2 * np.pi * slots / PERIOD)[:, None] + random.normal(0, 0.5, (len(slots), 3))
    values[random.random(values.shape) < 0.05] = np.nan
    times = np.datetime64("2026-03-02T00:00:00", "us") + slots * np.timedelta64(STEP, "s")
    return TELEMETRY.conform(
        pa.table(
            {
                "kind": ["web"] * len(slots),
                "entity_id": [entity] * len(slots),
                "timestamp": pa.array(times, pa.timestamp("us")).cast(TIME),
                **{m: pa.array(values[:, i], from_pandas=True) for i, m in enumerate(METRICS)},
            }
        )
    )


def fleet() -> pa.Table:
    """Three entities: one without gaps, one with holes of many lengths, one that starts late."""
    everything = np.arange(260)
    holes = np.concatenate([np.arange(60), np.arange(63, 150), np.arange(210, 260)])
    parts = (telemetry("x", everything, 1), telemetry("y", holes, 2), telemetry("z", np.arange(140, 260), 3))
    return pa.concat_tables(parts)


def close(left: pa.Table, right: pa.Table) -> None:
    keys = [("entity_id", "ascending"), ("timestamp", "ascending")]
    left, right = left.sort_by(keys), right.sort_by(keys)
    for name in ("entity_id", "timestamp", "reason", "alarm"):
        assert left[name].to_pylist() == right[name].to_pylist()
    for name in ("score", "margin"):
        a, b = (t[name].to_numpy(zero_copy_only=False) for t in (left, right))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 259), max_size=6, unique=True))
def test_pieces_of_any_size_are_what_bulk_says(scorer, cuts: list[int]):
    table = fleet()
    bulk = Session(scorer).score(table)
    session, parts = Session(scorer), []
    slots = (table["timestamp"].to_numpy() - table["timestamp"].to_numpy().min()) // np.timedelta64(STEP, "s")
    for a, b in itertools.pairwise([0, *sorted(cuts), 260]):
        parts.append(session.score(table.filter(pa.array((slots >= a) & (slots < b)))))
    close(pa.concat_tables(parts), bulk)


def test_one_sample_at_a_time_is_what_bulk_says(scorer):
    table = telemetry("x", np.arange(150), 5)
    session = Session(scorer)
    close(pa.concat_tables([session.score(table.slice(i, 1)) for i in range(150)]), Session(scorer).score(table))


def test_rows_that_go_back_in_time_are_refused_and_leave_no_trace(scorer):
    table = telemetry("x", np.arange(120), 5)
    session = Session(scorer)
    session.score(table.slice(0, 100))
    with pytest.raises(BadInput, match=r"entity 'x' of kind 'web' has a row at .*not after"):
        session.score(pa.concat_tables([telemetry("a", np.arange(40), 6), table.slice(90, 20)]))
    close(
        pa.concat_tables([session.score(table.slice(100, 20)), session.score(telemetry("a", np.arange(40), 6))]),
        pa.concat_tables(
            [Session(scorer).score(table).slice(100, 20), Session(scorer).score(telemetry("a", np.arange(40), 6))]
        ),
    )


def test_an_unknown_kind_is_answered_with_a_reason(scorer):
    table = telemetry("x", np.arange(3), 5)
    other = table.set_column(0, "kind", pa.array(["db"] * 3))
    assert Session(scorer).score(other)["reason"].to_pylist() == ["unknown_kind"] * 3
