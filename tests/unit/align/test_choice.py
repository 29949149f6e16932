"""Choosing (C, p): shared values, own feedback, leave-one-incident-out, page budget."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.align.choice import EntityCounts, best, choose, folds
from fleetalign.align.grid import make_grid
from fleetalign.config import AlignConfig

CONFIG = AlignConfig(conditions=(2, 6), default_condition=6, tail_probability_count=20, smooth=1)
GRID = make_grid(CONFIG, 8)


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
    spoken = np.ones(7, dtype=bool)
    choice = choose(fleet, spoken, GRID, dataclasses.replace(CONFIG, prior_weights=(1.0,)))
    assert tuple(choice.own[6]) != choice.shared
    spoken[6] = False
    choice = choose(fleet, spoken, GRID, dataclasses.replace(CONFIG, prior_weights=(1.0,)))
    assert tuple(choice.own[6]) == choice.shared


def test_one_incident_cannot_overfit_under_a_heavy_prior():
    fleet = [entity(0.003, 4) for _ in range(9)] + [entity(0.15, 1)]
    light = choose(fleet, np.ones(10, dtype=bool), GRID, dataclasses.replace(CONFIG, prior_weights=(0.01,)))
    heavy = choose(fleet, np.ones(10, dtype=bool), GRID, dataclasses.replace(CONFIG, prior_weights=(30.0,)))
    assert tuple(heavy.own[9]) == heavy.shared
    assert tuple(light.own[8]) == light.shared


def test_k_is_chosen_by_held_out_incidents_and_every_candidate_is_reported():
    fleet = [entity(0.003, 3) for _ in range(5)]
    choice = choose(fleet, np.ones(5, dtype=bool), GRID, CONFIG)
    assert set(choice.k_values) == set(CONFIG.prior_weights)
    assert choice.k == max(k for k, v in choice.k_values.items() if v == max(choice.k_values.values()))


def test_a_fold_never_sees_its_own_incident():
    lonely = entity(0.1, 1, false_per_p=1.0)
    fleet = [entity(0.003, 3) for _ in range(5)] + [lonely]
    spoken = np.ones(6, dtype=bool)
    without = dataclasses.replace(lonely, hits=lonely.hits[..., :0], credit=lonely.credit[:0])
    held_out = folds(fleet, spoken, 1.0, CONFIG)[5][0]
    expected = choose([*fleet[:5], without], spoken, GRID, dataclasses.replace(CONFIG, prior_weights=(1.0,))).own[5]
    assert held_out == tuple(expected)


@given(st.floats(0.01, 5.0))
def test_without_feedback_the_page_budget_decides(budget):
    config = dataclasses.replace(CONFIG, pages_per_entity_day=budget)
    fleet = [entity(0.003, 0) for _ in range(4)]
    choice = choose(fleet, np.zeros(4, dtype=bool), GRID, config)
    c, p = choice.shared
    assert GRID.conditions[c] == config.default_condition
    per_day = fleet[0].false[c, p] / fleet[0].days
    assert per_day <= budget or p == 0
    if p + 1 < len(GRID.tails):
        assert fleet[0].false[c, p + 1] / fleet[0].days > budget


def test_the_budget_objective_never_exceeds_its_budget_while_a_cheaper_point_exists():
    config = dataclasses.replace(CONFIG, objective="page_budget", pages_per_entity_day=0.5)
    fleet = [entity(0.02, 2) for _ in range(4)]
    c, p = best(np.sum([e.totals() for e in fleet], axis=0), config)
    assert fleet[0].false[c, p] <= 0.5 * fleet[0].days


def test_ties_go_to_more_recall_then_to_less_state():
    totals = np.zeros((4, *GRID.shape))
    totals[0] = 1.0
    assert tuple(int(i) for i in best(totals, CONFIG)) == (0, len(GRID.tails) - 1)
