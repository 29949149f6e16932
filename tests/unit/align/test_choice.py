"""Choosing (C, p): shared values, own feedback, leave-one-incident-out, page budget. The fleet's one candidate is in
test_preference.py."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.align.choice import Chooser, best, choose
from fleetalign.align.counts import EntityCounts, Pool, pooled, unlabelled_share
from fleetalign.config import AlignConfig, AlignGrid
from fleetalign.detectors.grid import condition_grid

CONFIG = AlignConfig(grid=AlignGrid(conditions=(2, 6), default_condition=6, tail_probability_count=20, smooth=1))
GRID = condition_grid(CONFIG, 8)


def weighing(prior_weights: tuple[float, ...]) -> AlignConfig:
    """The configuration with other candidates k."""
    return dataclasses.replace(CONFIG, grid=dataclasses.replace(CONFIG.grid, prior_weights=prior_weights))


def entity(detected_from: float, incidents: int, false_per_p: float = 1000.0, days: float = 10.0) -> EntityCounts:
    """Incidents are hit where p >= ``detected_from``; false pages grow with p; C = 6 never hits."""
    hits = np.zeros((*GRID.shape, incidents))
    hits[0] = (GRID.tails >= detected_from)[:, None]
    false = np.tile(GRID.tails * false_per_p, (2, 1))
    return EntityCounts(hits, np.ones(incidents), false, days)


def test_the_shared_pair_is_the_smallest_p_that_finds_the_incidents():
    fleet = [entity(0.003, 2) for _ in range(6)]
    choice = choose(fleet, np.ones(6, dtype=bool), GRID, CONFIG)
    c, p = choice.shared
    assert GRID.conditions[c] == 2
    assert GRID.tails[p] == pytest.approx(GRID.tails[GRID.tails >= 0.003].min())


def test_own_feedback_moves_the_own_row_and_silence_keeps_the_shared_one():
    fleet = [entity(0.003, 2) for _ in range(6)] + [entity(0.02, 6, false_per_p=10.0)]
    labelled = np.ones(7, dtype=bool)
    choice = choose(fleet, labelled, GRID, weighing((1.0,)))
    assert tuple(choice.own[6]) != choice.shared
    labelled[6] = False
    choice = choose(fleet, labelled, GRID, weighing((1.0,)))
    assert tuple(choice.own[6]) == choice.shared


def test_one_incident_cannot_overfit_under_a_heavy_prior():
    fleet = [entity(0.003, 4) for _ in range(9)] + [entity(0.15, 1)]
    light = choose(fleet, np.ones(10, dtype=bool), GRID, weighing((0.01,)))
    heavy = choose(fleet, np.ones(10, dtype=bool), GRID, weighing((30.0,)))
    assert tuple(heavy.own[9]) == heavy.shared
    assert tuple(light.own[8]) == light.shared


def test_k_is_chosen_by_held_out_incidents_and_every_candidate_is_reported():
    fleet = [entity(0.003, 3) for _ in range(5)]
    choice = choose(fleet, np.ones(5, dtype=bool), GRID, CONFIG)
    assert set(choice.k_values) == set(CONFIG.grid.prior_weights)
    assert choice.k == max(k for k, v in choice.k_values.items() if v == max(choice.k_values.values()))


def test_a_fold_never_sees_its_own_incident():
    lonely = entity(0.1, 1, false_per_p=1.0)
    fleet = [entity(0.003, 3) for _ in range(5)] + [lonely]
    labelled = np.ones(6, dtype=bool)
    without = dataclasses.replace(lonely, hits=lonely.hits[..., :0], credit=lonely.credit[:0])
    held_out = Chooser(fleet, labelled, GRID, CONFIG).folds(1.0)[5][0]
    expected = choose([*fleet[:5], without], labelled, GRID, weighing((1.0,))).own[5]
    assert held_out == tuple(expected)


def test_silent_entities_count_in_the_sums_without_being_held():
    fleet = [entity(0.003, 3) for _ in range(4)] + [entity(0.05, 1)] + [entity(0.003, 0) for _ in range(20)]
    labelled = np.arange(25) < 5
    whole = choose(fleet, labelled, GRID, CONFIG)
    held = choose(fleet[:5], labelled[:5], GRID, CONFIG, pooled(fleet))
    assert (held.shared, held.k) == (whole.shared, whole.k)
    assert held.k_values == pytest.approx(whole.k_values, rel=1e-12)
    np.testing.assert_array_equal(held.own, whole.own[:5])
    folds = Chooser(fleet[:5], labelled[:5], GRID, CONFIG, pooled(fleet)).folds(1.0)
    assert folds == Chooser(fleet, labelled, GRID, CONFIG).folds(1.0)[:5]


def finds(candidate: int, incidents: int) -> EntityCounts:
    """Its incidents are found by one candidate only, at p >= 0.003."""
    found = entity(0.003, incidents)
    return found if candidate == 0 else dataclasses.replace(found, hits=found.hits[::-1].copy())


SHARED = dataclasses.replace(GRID, shared_candidate=True)


def test_a_candidate_of_the_fleet_is_the_same_for_every_entity_and_p_is_its_own():
    fleet = [finds(0, 3) for _ in range(5)] + [finds(1, 3), entity(0.05, 6, false_per_p=1.0)]
    config = weighing((0.01,))
    own = choose(fleet, np.ones(7, dtype=bool), GRID, config).own
    assert own[5, 0] == 1
    shared = choose(fleet, np.ones(7, dtype=bool), SHARED, config)
    assert set(shared.own[:, 0]) == {shared.shared[0]} == {0}
    assert shared.own[6, 1] != shared.shared[1]
    assert SHARED.conditions == (0, 0)


def test_a_fold_chooses_the_fleets_candidate_without_its_incident():
    # Three incidents that only candidate 0 finds convince, two do not: each of the three decides.
    fleet = [finds(0, 1) for _ in range(3)] + [found_by_all(1) for _ in range(4)]
    chooser = Chooser(fleet, np.ones(7, dtype=bool), SHARED, CONFIG)
    assert chooser.points(1.0)[:, 0].tolist() == [0] * 7
    folds = chooser.folds(1.0)
    assert [[c for c, _ in chosen] for chosen in folds] == [[1]] * 3 + [[0]] * 4
    # So no held-out incident of those three is found, though the final choice finds them all.
    assert not any(fleet[i].hits[c, p, 0] for i in range(3) for c, p in folds[i])
    assert all(fleet[i].hits[*chooser.points(1.0)[i], 0] for i in range(3))


def found_by_all(incidents: int) -> EntityCounts:
    """Every candidate finds its incidents, at p >= 0.003."""
    found = entity(0.003, incidents)
    return dataclasses.replace(found, hits=np.broadcast_to(found.hits[:1], found.hits.shape).copy())


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=6), st.sampled_from([0.3, 3.0]))
def test_a_fold_of_the_fleets_candidate_is_the_choice_of_a_fleet_that_never_had_the_incident(fleet_of, k):
    fleet = [finds(*which) for which in fleet_of]
    labelled = np.ones(len(fleet), dtype=bool)
    for i, chosen in enumerate(Chooser(fleet, labelled, SHARED, CONFIG).folds(k)):
        for g, point in enumerate(chosen):
            kept = np.arange(len(fleet[i].credit)) != g
            one = dataclasses.replace(fleet[i], hits=fleet[i].hits[..., kept], credit=fleet[i].credit[kept])
            without = [*fleet[:i], one, *fleet[i + 1 :]]
            assert point == tuple(Chooser(without, labelled, SHARED, CONFIG).points(k)[i])


def test_the_pool_of_others_leaves_the_entity_itself_out():
    fleet = [entity(0.003, 2), entity(0.1, 1)]
    pool = pooled(fleet)
    assert isinstance(pool, Pool)
    np.testing.assert_array_equal(pool.others(fleet[0].totals()), fleet[1].totals())


@given(st.floats(0.01, 5.0))
def test_without_feedback_the_page_budget_decides(budget):
    config = dataclasses.replace(CONFIG, pages_per_entity_day=budget)
    fleet = [entity(0.003, 0) for _ in range(4)]
    choice = choose(fleet, np.zeros(4, dtype=bool), GRID, config)
    c, p = choice.shared
    assert GRID.conditions[c] == config.grid.default_condition
    per_day = fleet[0].false[c, p] / fleet[0].days
    assert per_day <= budget or p == 0
    if p + 1 < len(GRID.tails):
        assert fleet[0].false[c, p + 1] / fleet[0].days > budget


def test_the_budget_objective_never_exceeds_its_budget_while_a_cheaper_point_exists():
    config = dataclasses.replace(CONFIG, objective="page_budget", pages_per_entity_day=0.5)
    fleet = [entity(0.02, 2) for _ in range(4)]
    c, p = best(np.sum([e.totals() for e in fleet], axis=0), config)
    assert fleet[0].false[c, p] <= 0.5 * fleet[0].days


@given(
    cap=st.floats(0.02, 3.0),
    rates=st.lists(st.tuples(st.floats(1.0, 2000.0), st.integers(0, 3), st.booleans()), min_size=2, max_size=8),
)
def test_a_cap_on_pages_holds_for_who_spoke_and_for_the_fleet(cap, rates):
    config = dataclasses.replace(CONFIG, max_pages_per_entity_day=cap)
    fleet = [entity(0.02, incidents, false) for false, incidents, _ in rates]
    labelled = np.array([has or incidents > 0 for _, incidents, has in rates])
    choice = choose(fleet, labelled, GRID, config)
    sent = np.array([e.false[c, p] for e, (c, p) in zip(fleet, choice.own, strict=True)])
    least = np.array([e.false[0, 0] for e in fleet])  # the highest threshold of the grid still pages this often
    days = fleet[0].days
    if any(incidents for _, incidents, _ in rates):  # else the page budget of the fleet as a whole decides
        assert (sent[labelled] <= np.maximum(cap * days, least[labelled]) + 1e-9).all()
    if (least <= cap * days).all():
        assert sent.sum() <= cap * days * len(fleet) + 1e-6


@given(budget=st.floats(0.02, 3.0), rates=st.lists(st.floats(1.0, 2000.0), min_size=2, max_size=8))
def test_where_nobody_spoke_pages_keep_the_budget_whatever_was_marked(budget, rates):
    config = dataclasses.replace(CONFIG, pages_per_entity_day=budget)
    fleet = [dataclasses.replace(entity(0.02, 2, rate), unlabelled=1.0) for rate in rates]
    choice = choose(fleet, np.ones(len(fleet), dtype=bool), GRID, config)
    for one, (c, p) in zip(fleet, choice.own, strict=True):
        assert one.false[c, p] <= max(budget * one.days, one.false[0, 0]) + 1e-9


def test_where_everything_was_said_the_objective_alone_decides():
    fleet = [entity(0.02, 2, 2000.0) for _ in range(4)]
    labelled = np.ones(4, dtype=bool)
    said = choose(fleet, labelled, GRID, CONFIG)
    marked = choose([dataclasses.replace(e, unlabelled=1.0) for e in fleet], labelled, GRID, CONFIG)
    assert fleet[0].hits[*said.shared].all() and not fleet[0].hits[*marked.shared].any()
    gaps = choose([dataclasses.replace(e, unlabelled=unlabelled_share(98, 100)) for e in fleet], labelled, GRID, CONFIG)
    assert gaps.shared == said.shared


def test_silence_is_whole_with_a_few_marks_and_none_where_all_was_said():
    assert unlabelled_share(0, 100) == unlabelled_share(5, 100) == 1.0
    assert unlabelled_share(100, 100) == unlabelled_share(120, 100) == 0.0
    assert 0 < unlabelled_share(75, 100) < 1


def test_a_cap_costs_nothing_where_it_is_kept_anyway():
    fleet = [entity(0.003, 2) for _ in range(6)]
    free = choose(fleet, np.ones(6, dtype=bool), GRID, CONFIG)
    wide = choose(fleet, np.ones(6, dtype=bool), GRID, dataclasses.replace(CONFIG, max_pages_per_entity_day=1e6))
    assert wide.shared == free.shared and wide.k == free.k
    np.testing.assert_array_equal(wide.own, free.own)
    tight = choose(fleet, np.ones(6, dtype=bool), GRID, dataclasses.replace(CONFIG, max_pages_per_entity_day=0.02))
    assert tight.shared[1] < free.shared[1], "the free choice exceeds such a cap"


def test_ties_go_to_more_recall_then_to_less_state():
    totals = np.zeros((5, *GRID.shape))
    totals[0] = 1.0
    assert tuple(int(i) for i in best(totals, CONFIG)) == (0, len(GRID.tails) - 1)
