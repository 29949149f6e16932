"""Pages found on a clock are those of contracts 6.1, and finding them twice changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.pages import find_pages, merge_pages
from fleetalign.contracts.tables import CONTRIBUTIONS, SCORES
from fleetalign.evaluate.events import pages as index_pages

START = datetime(2026, 3, 9, tzinfo=UTC)
STEP = timedelta(minutes=1)
STEPS = {"web": 60}


def scored(margins: list[float], shares: dict[str, float] | None = None, entity: str = "a") -> pa.Table:
    """Scores of one entity of kind ``web``, one sample a minute."""
    rows = [
        {
            "kind": "web",
            "entity_id": entity,
            "timestamp": START + index * STEP,
            "score": margin + 1,
            "margin": margin,
            "alarm": margin > 0,
            "contributions": list((shares or {"cpu": 1.0}).items()) if margin > 0 else [],
        }
        for index, margin in enumerate(margins)
    ]
    return pa.Table.from_pylist(rows, schema=SCORES.schema.append(CONTRIBUTIONS))


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 5))
def test_they_are_the_measures_pages(alarms: list[bool], merge_steps: int) -> None:
    found = find_pages(scored([1.0 if alarm else -1.0 for alarm in alarms]), STEPS, merge_steps)
    expected = index_pages(np.array(alarms), merge_steps)
    assert [((p.start - START) // STEP, (p.end - START) // STEP) for p in found] == [tuple(e) for e in expected]
    assert merge_pages([*found, *found], STEPS, merge_steps) == found


def test_an_entity_with_a_longer_interval_counts_its_own_samples() -> None:
    alarms = [1.0 if 10 <= i < 20 else -1.0 for i in range(60)]
    slow = scored(alarms)
    times = pa.array([START + 5 * index * STEP for index in range(60)], SCORES.schema.field("timestamp").type)
    slow = slow.set_column(slow.schema.get_field_index("timestamp"), "timestamp", times)
    fast = scored(alarms, entity="b")
    found = find_pages(pa.concat_tables([slow, fast]), STEPS, 3)
    assert [(p.entity_id, (p.start - START) // STEP) for p in found] == [("a", 50), ("b", 10)]


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 60), st.integers(1, 5))
def test_pieces_give_the_pages_of_the_whole(alarms: list[bool], cut: int, merge_steps: int) -> None:
    whole = scored([1.0 if alarm else -1.0 for alarm in alarms])
    pieces = [find_pages(piece, STEPS, merge_steps) for piece in (whole.slice(0, cut), whole.slice(cut))]
    assert merge_pages([*pieces[0], *pieces[1]], STEPS, merge_steps) == find_pages(whole, STEPS, merge_steps)


def test_a_page_names_the_largest_shares_of_its_worst_sample() -> None:
    mild = scored([0.5], {"cpu": 0.9, "errors": 0.1})
    worst = scored([-1.0, 2.0], {"cpu": 0.1, "errors": 0.1, "latency": 0.7, "disk": 0.1}).slice(1)
    (page,) = find_pages(pa.concat_tables([mild, worst]), STEPS, 3)
    assert page.margin == 2.0
    assert [name for name, _ in page.metrics] == ["latency", "cpu", "disk"]


def test_entities_never_share_a_page() -> None:
    both = pa.concat_tables([scored([1.0, 1.0]), scored([1.0, 1.0], entity="b")])
    assert [page.entity_id for page in find_pages(both, STEPS, 3)] == ["a", "b"]
