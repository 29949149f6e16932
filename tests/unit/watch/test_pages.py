"""The pages about a fleet: what is on them, and that nothing from a store becomes markup."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from fleetalign.errors import NotFound
from fleetalign.storage import channel as channels
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release
from fleetalign.watch import pages
from fleetalign.watch.entity_list import EntityPages, Query
from fleetalign.watch.fleet import CheckedDay, FleetView, Release, fleet_view, read_release

NOW = datetime(2026, 3, 9, tzinfo=UTC)
EVIL = "<img src=x onerror=alert(1)>\"'"
SITE = pages.Site(lambda path, **p: f"/x/{path}", lambda path: f"/{path}", True, NOW)


def side(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


EVALUATION = {
    "protocol": "judge_range",
    "entities": 3,
    "incidents": 7.0,
    "judged_days": 3.0,
    "figures": [
        {"name": "event_f1", "unit": "", "detector": side(0.811), "random": side(0.122), "shifted": side(0.233), "untrained": side(0.744)},
        {"name": "event_recall", "unit": "", "detector": side(0.655), "random": side(0.166), "shifted": side(0.277), "untrained": None},
    ],
}  # fmt: skip


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def view() -> tuple[FleetView, Any]:
    store = MemoryStore()
    old, new = (toy_release(store, kinds={"service": ("a", EVIL)}, threshold=t) for t in (1.0, 2.0))
    for release_id in (old, new):
        channels.move(store, "champion", release_id, EVIL, EVIL, 48.0, NOW - timedelta(hours=3))
    return fleet_view(store, "champion", NOW), EntityPages(store).page(new, old, Query(text=""))


def with_days(view: FleetView, *days: CheckedDay) -> FleetView:
    return dataclasses.replace(view, days=days)


def test_the_page_says_what_serves_and_what_moved(view) -> None:
    found, entities = view
    days = [CheckedDay(f"2026-03-0{d}", "r", pages, 20.0, False, pages > 20) for d, pages in ((7, 5), (8, 25))]
    page = pages.fleet(SITE, "champion", with_days(found, *days), entities, Query())
    assert found.release.release_id in page
    for said in ("3 h ago", "expires in 45 h", "▲ × 2", "2 of 2", "2 moved, 0 new, 0 gone", 'class="bar over"'):
        assert said in page, said
    assert page.count('class="bar') == 2
    assert "Not judged, because there is no feedback" in page


def test_what_changes_something_is_offered_to_who_may(view) -> None:
    may = pages.fleet(SITE, "champion", *view, Query())
    may_not = pages.fleet(dataclasses.replace(SITE, may_act=False), "champion", *view, Query())
    assert "/dags/release_rollback" in may
    assert "release_rollback" not in may_not


def test_no_figure_without_its_controls(view) -> None:
    found, entities = view
    release = found.release
    judged = Release(dataclasses.replace(release.manifest, evaluation=EVALUATION), [])
    for page in (
        pages.fleet(SITE, "champion", dataclasses.replace(found, release=judged), entities, Query()),
        pages.release(SITE, judged, {}, []),
    ):
        rows = [re.sub("<[^>]+>", "|", row) for row in re.findall("<tr>.*?</tr>", page, re.DOTALL)]
        row = next(r for r in rows if "Event F1" in r)
        assert all(number in row for number in ("0.811", "0.122", "0.233", "0.744"))
        row = next(r for r in rows if "Event recall" in r)
        assert all(number in row for number in ("0.655", "0.166", "0.277", "–"))


def test_nothing_of_a_store_becomes_markup(view) -> None:
    found, entities = view
    promotion = {"champion_id": None, "verdict": "fail", "comparison_gates": [{"name": EVIL, "value": None, "limit": 1.0, "verdict": "fail", "why": EVIL}]}  # fmt: skip
    release = Release(found.release.manifest, [promotion])
    finding = {"expectation": EVIL, "column": EVIL, "success": False, "severity": EVIL, "unexpected_count": 1, "element_count": 2, "worst": EVIL, "why": EVIL}  # fmt: skip
    counts = {"raw_rows": 1, "kept": 1, "inserted": 0, "quarantined_rows": {EVIL: 1}, "quarantined_cells": {}}
    result = {"kind": EVIL, "start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z", "verdict": EVIL, "counts": counts, "findings": [finding]}  # fmt: skip
    rendered = [
        pages.fleet(SITE, EVIL, dataclasses.replace(found, release=release), entities, Query(text=EVIL, kind=EVIL)),
        pages.release(SITE, release, {"data_revision": EVIL}, [EVIL]),
        pages.entity(SITE, "r", EVIL, [("said", EVIL)]),
        pages.validation(SITE, EVIL, result, [EVIL]),
        pages.links(SITE, EVIL, {EVIL: EVIL}),
        pages.sentence(SITE, EVIL, EVIL),
    ]
    for page in rendered:
        elements = Elements(page).found
        assert "img" not in [tag for tag, _ in elements]
        assert [attrs["src"] for tag, attrs in elements if tag == "script"] == ["/x/assets/page.js"]
        assert not any(name.startswith("on") or name == "style" for _, attrs in elements for name in attrs)
        assert not any(str(attrs.get(a)).startswith(("http", "//")) for _, attrs in elements for a in ("src", "href"))
        assert "onerror" in page, "the text is there, escaped"


def test_a_page_number_keeps_what_was_asked_for() -> None:
    store = MemoryStore()
    release_id = toy_release(store, kinds={"service": [f"e{i:03}" for i in range(120)]})
    channels.move(store, "champion", release_id, "ops", "test", 48.0, NOW)
    query = Query(order="name", kind="service", text="e", page=2)
    site = dataclasses.replace(SITE, url=lambda path, **p: f"/x/{path}?{sorted((k, v) for k, v in p.items() if v)}")
    page = pages.fleet(
        site, "champion", fleet_view(store, "champion", NOW), EntityPages(store).page(release_id, None, query), query
    )
    assert "page 2 of 3" in page
    asked = "&#39;kind&#39;, &#39;service&#39;), (&#39;order&#39;, &#39;name&#39;), (&#39;page&#39;, 3), (&#39;text&#39;, &#39;e&#39;)"
    assert asked in page


def test_nothing_promoted_is_a_sentence() -> None:
    page = pages.fleet(SITE, "challenger", fleet_view(MemoryStore(), "challenger", NOW), None, Query())
    assert "No release was promoted to challenger yet" in page


def test_a_release_of_another_tool_has_a_page() -> None:
    store = MemoryStore()
    release_id = toy_release(store)
    assert "No promotion was requested yet" in pages.release(SITE, read_release(store, release_id), {}, [])


def test_assets_are_two() -> None:
    assert pages.asset("page.css")[1].startswith("text/css")
    for name in ("base.html.j2", "../fleet_page.py", ""):
        with pytest.raises(NotFound):
            pages.asset(name)
