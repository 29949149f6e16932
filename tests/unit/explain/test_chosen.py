"""Which entities a report explains."""

from __future__ import annotations

import pyarrow as pa

from fleetalign.contracts.receipts import PagedEntity
from fleetalign.contracts.tables import ALIGNER
from fleetalign.explain.chosen import MOST_MOVED, _chosen


def rows(**thresholds: float | None) -> pa.Table:
    found = [{"kind": "web", "entity_id": e, "threshold": t} for e, t in thresholds.items()]
    return ALIGNER.conform(pa.Table.from_pylist(found, schema=ALIGNER.schema))


def paged(**pages: float) -> list[PagedEntity]:
    return [PagedEntity(kind="web", entity_id=e, pages=n) for e, n in pages.items()]


def test_those_that_page_most_come_first_and_say_so():
    assert _chosen(rows(a=1.0, b=1.0), paged(b=7.0, a=2.0), rows()) == {
        ("web", "b"): ["pages in the calibrate range: 7"],
        ("web", "a"): ["pages in the calibrate range: 2"],
    }


def test_those_whose_threshold_moved_furthest_in_either_direction_say_from_where():
    before = rows(a=1.0, b=1.0, c=1.0, d=1.0, same=1.0, gone=9.0, empty=None, zero=0.0, __default__=1.0)
    now = rows(a=1.1, b=0.25, c=3.0, d=2.0, same=1.0, new=50.0, empty=9.0, zero=9.0, __default__=9.0)
    chosen = _chosen(now, paged(c=1.0), before)
    assert list(chosen) == [("web", "c"), ("web", "b"), ("web", "d")]
    assert len(chosen) == MOST_MOVED
    assert chosen["web", "c"] == ["pages in the calibrate range: 1", "threshold moved from 1 to 3"]
    assert chosen["web", "b"] == ["threshold moved from 1 to 0.25"]
