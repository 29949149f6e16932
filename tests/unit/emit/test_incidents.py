"""Pages of one moment become one incident; others do not; ids are stable while a fault unfolds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.pages import Page
from fleetalign.emit.incidents import Incident, group_pages, overlap
from fleetalign.evaluate.groups import pair_precision_recall

START = datetime(2026, 3, 9, tzinfo=UTC)
GAP = timedelta(minutes=15)


def page(
    entity: str, minute: float, metrics: str = "abc", *, kind: str = "web", minutes: float = 5, margin: float = 1.0
) -> Page:
    start = START + timedelta(minutes=float(minute))
    shares = tuple((name, 1 / len(metrics)) for name in metrics)
    return Page(kind, entity, start, start + timedelta(minutes=minutes), margin, shares)


def group(*pages: Page) -> list[Incident]:
    return group_pages(pages, GAP, 0.5)


PAGES = st.lists(
    st.builds(
        page,
        st.sampled_from(["r1", "r2", "r3", "r4"]),
        st.integers(0, 60),
        st.sampled_from(["abc", "abd", "xyz", "a"]),
        kind=st.sampled_from(["web", "db"]),
    ),
    max_size=15,
    unique_by=lambda p: (p.kind, p.entity_id, p.start),
)


@given(PAGES, st.randoms(use_true_random=False))
def test_every_page_is_in_one_incident_whatever_the_order(pages: list[Page], random) -> None:
    found = group(*pages)
    assert sorted(map(repr, (p for i in found for p in i.pages))) == sorted(map(repr, pages))
    assert len({i.incident_id for i in found}) == len(found)
    shuffled = list(pages)
    random.shuffle(shuffled)
    assert group(*shuffled) == found


@given(PAGES)
def test_an_incident_is_of_one_kind_one_moment_and_shared_metrics(pages: list[Page]) -> None:
    for incident in group(*pages):
        assert {p.kind for p in incident.pages} == {incident.first.kind}
        assert all(p.start - incident.start <= GAP and overlap(incident.first, p) >= 0.5 for p in incident.pages)


@given(PAGES, st.integers(0, 60))
def test_what_comes_later_changes_no_incident_of_what_came_before(pages: list[Page], minute: int) -> None:
    now = START + timedelta(minutes=float(minute))
    before = group(*(p for p in pages if p.start <= now))
    after = {i.incident_id: i for i in group(*pages)}
    for incident in before:
        assert after[incident.incident_id].pages[: len(incident.pages)] == incident.pages


def test_replicas_that_fail_together_are_one_incident_with_members() -> None:
    (incident,) = group(page("r2", 3, "abd"), page("r1", 0), page("r3", 14, "bca", margin=9.0), page("r1", 10))
    assert incident.members == ("r1", "r2", "r3")
    assert incident.worst.entity_id == "r3"
    assert (incident.start, incident.end) == (START, START + timedelta(minutes=19))


def test_another_moment_kind_or_symptom_is_another_incident() -> None:
    assert len(group(page("r1", 0), page("r2", 16))) == 2
    assert len(group(page("r1", 0), page("r2", 0, kind="db"))) == 2
    assert len(group(page("r1", 0), page("r2", 0, "axy"))) == 2


def test_figures_on_a_constructed_fleet() -> None:
    """Forty faults, each of one to eight replicas within ten minutes, an hour and more apart, and lone pages between."""
    random = np.random.default_rng(3)
    pages, truth = [], {}
    for fault in range(40):
        begin, metrics = fault * 90, random.choice(list("abcdefghijklmnop"), 3, replace=False)
        for replica in range(random.integers(1, 9)):
            pages.append(page(f"r{replica}", begin + random.integers(0, 11), "".join(metrics)))
            truth[pages[-1]] = fault
        pages.append(page("lone", begin + 45, "xyz"))
        truth[pages[-1]] = f"lone{fault}"
    found = {p: i.incident_id for i in group(*pages) for p in i.pages}
    assert pair_precision_recall([found[p] for p in pages], [truth[p] for p in pages]) == (1.0, 1.0)
    scattered = {p: i.incident_id for i in group_pages(pages, timedelta(minutes=3), 0.5) for p in i.pages}
    precision, recall = pair_precision_recall([scattered[p] for p in pages], [truth[p] for p in pages])
    assert precision == 1.0
    assert recall < 0.8
