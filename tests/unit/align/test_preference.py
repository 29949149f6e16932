"""The fleet's one candidate: the default holds until feedback leaves little doubt."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.align.counts import EntityCounts, pooled
from fleetalign.align.preference import Preference
from fleetalign.config import AlignConfig, AlignGrid
from fleetalign.detectors.grid import Grid, make_tails

CONFIG = AlignConfig(grid=AlignGrid(tail_probability_count=12, smooth=1))
TAILS = make_tails(CONFIG)
DEFAULT, OTHER, THIRD = range(3)
GRID = Grid(("default", "other", "third"), TAILS, default=DEFAULT, shared_candidate=True)


def entity(*finders: tuple[int, ...], false: tuple[float, float, float] = (5.0, 5.0, 5.0)) -> EntityCounts:
    """One incident for each of ``finders``, found by those candidates at every p; ``false`` pages at p = 1."""
    hits = np.zeros((3, len(TAILS), len(finders)))
    for g, found_by in enumerate(finders):
        hits[list(found_by), :, g] = 1.0
    return EntityCounts(hits, np.ones(len(finders)), np.outer(false, TAILS), 10.0)


ALL, ONLY_OTHER, NONE = (DEFAULT, OTHER, THIRD), (OTHER,), ()


def preferred(fleet, config: AlignConfig = CONFIG, without=None) -> int:
    return Preference(fleet, pooled(fleet), GRID, config).candidate(without)


def test_what_is_better_by_luck_on_few_incidents_does_not_win():
    fleet = [entity(ALL, NONE) for _ in range(8)] + [entity(ONLY_OTHER), entity(ONLY_OTHER)]
    assert pooled(fleet).totals[0, OTHER].max() > pooled(fleet).totals[0, DEFAULT].max()
    assert preferred(fleet) == DEFAULT


def test_what_is_clearly_better_wins():
    fleet = [entity(ALL, NONE, ONLY_OTHER) for _ in range(10)]
    assert preferred(fleet) == OTHER


def test_one_entity_alone_never_convinces():
    """Its many incidents may share one cause."""
    fleet = [entity(*[ONLY_OTHER] * 6)] + [entity(ALL) for _ in range(9)]
    assert preferred(fleet) == DEFAULT
    assert preferred([entity(*[ONLY_OTHER] * 50)]) == DEFAULT


def test_a_handful_of_entities_never_convinces():
    """Resamples of two or three hardly differ, so that their spread says nothing."""
    assert preferred([entity(ONLY_OTHER)] * 4) == DEFAULT
    assert preferred([entity(ONLY_OTHER)] * 5) == OTHER


def test_of_two_that_are_better_the_best_wins():
    fleet = [entity(ALL, (OTHER, THIRD), (THIRD,)) for _ in range(10)]
    assert preferred(fleet) == THIRD


def test_fewer_false_pages_are_better_too():
    fleet = [entity(ALL, ALL, false=(300.0, 3.0, 300.0)) for _ in range(10)]
    cheaper = [dataclasses.replace(e, false=e.false + 1.0 * (np.arange(3) != OTHER)[:, None]) for e in fleet]
    assert preferred(cheaper) == OTHER


@pytest.mark.parametrize("others", [2, 4, 6])
def test_without_the_incident_that_made_the_difference_the_default_is_back(others):
    fleet = [entity(ONLY_OTHER) for _ in range(4)] + [entity(ALL) for _ in range(others)]
    assert preferred(fleet) == OTHER
    assert {preferred(fleet, without=(i, 0)) for i in range(4)} == {DEFAULT}
    assert {preferred(fleet, without=(i, 0)) for i in range(4, 4 + others)} == {OTHER}


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from([ALL, ONLY_OTHER, NONE, (DEFAULT,)]), max_size=3), min_size=2, max_size=7))
def test_leaving_out_equals_never_having_had_the_incident(incidents):
    fleet = [entity(*finders) for finders in incidents]
    for i, one in enumerate(fleet):
        for g in range(len(one.credit)):
            kept = np.arange(len(one.credit)) != g
            smaller = dataclasses.replace(one, hits=one.hits[..., kept], credit=one.credit[kept])
            assert preferred(fleet, without=(i, g)) == preferred([*fleet[:i], smaller, *fleet[i + 1 :]])


def test_false_pages_of_silent_entities_count():
    fleet = [entity(ALL, NONE, ONLY_OTHER) for _ in range(10)]
    silent = [entity(false=(5.0, 5.0, 5.0)), entity(false=(5.0, 5e6, 5.0))]
    assert Preference(fleet, pooled([*fleet, silent[0]]), GRID, CONFIG).candidate() == OTHER
    assert Preference(fleet, pooled([*fleet, silent[1]]), GRID, CONFIG).candidate() == DEFAULT


def test_no_incident_and_no_candidates_leave_the_default():
    assert preferred([entity(), entity()]) == DEFAULT
    one = dataclasses.replace(GRID, candidates=("default",))
    fleet = [dataclasses.replace(e, hits=e.hits[:1], false=e.false[:1]) for e in (entity(ALL), entity(NONE))]
    assert Preference(fleet, pooled(fleet), one, CONFIG).candidate() == DEFAULT
