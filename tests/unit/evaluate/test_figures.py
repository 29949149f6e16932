from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.hashing import canonical_json
from fleetalign.errors import FleetalignError
from fleetalign.evaluate.bootstrap import Estimate, estimate, resample, rounded
from fleetalign.evaluate.figures import Figure, Figures, difference
from fleetalign.evaluate.measures import f_beta
from fleetalign.evaluate.outcomes import EntityCounts, Points

DAY = 86_400.0


def entity(name: str, hits: float, missed: float, false: float, delays=(), days: float = 1.0, **more) -> EntityCounts:
    return EntityCounts("service", name, hits, missed, false, days * DAY, tuple(delays), **more)


def figures(detector, random=None, shifted=None, untrained=(), samples: int = 200) -> Figures:
    zero = [entity(c.entity_id, 0, c.incidents, 0, days=c.judged_seconds / DAY) for c in detector]
    return Figures.from_counts(
        detector, random or zero, shifted or zero, untrained, samples=samples, seed=3, protocol="leave_one_incident_out"
    )


def named(found: Figures) -> dict[str, Figure]:
    return {figure.name: figure for figure in found.table()}


def test_a_figure_cannot_be_made_without_its_controls() -> None:
    for kind in (Figure, Figures):
        required = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
        assert {"detector", "random", "shifted"} <= set(required)
    with pytest.raises(FleetalignError, match="lacks its controls"):
        Figures.from_counts([entity("a", 1, 0, 0)], [], [], samples=1, seed=1, protocol="judge_range")
    with pytest.raises(FleetalignError, match="another entity"):
        figures([entity("a", 1, 0, 0)], random=[entity("b", 0, 1, 0)])


def test_the_untrained_control_stands_beside_where_it_was_run() -> None:
    good, bad = ([entity(f"e{i}", 2 * side, 2 - 2 * side, 1) for i in range(6)] for side in (1, 0))
    beside = figures(good, untrained=bad[::-1])
    assert [c.entity_id for c in beside.untrained] == [c.entity_id for c in beside.detector]
    assert named(beside)["event_f1"].untrained.value == 0 < named(beside)["event_f1"].detector.value
    assert beside.difference("untrained").low > 0
    without = figures(good)
    assert without.untrained == () and named(without)["event_f1"].untrained is None
    assert without.as_json()["figures"][0]["untrained"] is None
    assert figures([], untrained=[]).as_json()["figures"] == []


def test_the_untrained_control_is_of_the_same_entities_or_refused() -> None:
    rows = [entity("a", 1, 0, 0), entity("b", 1, 0, 0)]
    with pytest.raises(FleetalignError, match="lacks its controls"):
        figures(rows, untrained=rows[:1])
    with pytest.raises(FleetalignError, match="another entity"):
        figures(rows, untrained=[entity("a", 1, 0, 0), entity("c", 1, 0, 0)])


def test_pooled_and_mean_over_entities_differ_as_they_should() -> None:
    found = named(figures([entity("a", 1, 0, 0), entity("b", 0, 3, 2), entity("quiet", 0, 0, 1)]))
    assert found["event_f1"].detector.value == pytest.approx(f_beta(1, 3, 3))
    # An entity without incidents has no F1 of its own; its false page still counts in the pooled figure.
    assert found["event_f1_mean_over_entities"].detector.value == pytest.approx((1.0 + 0.0) / 2)
    assert found["event_precision"].detector.value == pytest.approx(1 / 4)
    assert found["event_recall"].detector.value == pytest.approx(1 / 4)
    assert (found["hits"].detector.value, found["missed"].detector.value, found["false_pages"].detector.value) == (
        1,
        3,
        3,
    )


def test_false_pages_are_per_judged_entity_day() -> None:
    found = named(figures([entity("a", 1, 0, 3, days=2.0), entity("b", 0, 1, 0, days=0.5)]))
    assert found["false_pages_per_entity_day"].detector.value == pytest.approx(3 / 2.5)


def test_delay_is_the_median_of_hit_incidents() -> None:
    found = named(figures([entity("a", 2, 0, 0, [60.0, 600.0]), entity("b", 1, 1, 0, [120.0])]))
    assert found["median_delay_seconds"].detector.value == 120.0
    assert found["median_delay_seconds"].random.value is None


def test_points_are_pooled_and_absent_when_only_events_were_counted() -> None:
    with_points = {"points": Points(5, 5, 0), "adjusted": Points(10, 5, 0)}
    side = [entity("a", 1, 0, 0, **with_points), entity("b", 1, 0, 0, **with_points)]
    found = named(figures(side, side, side))
    assert found["point_f1"].detector.value == pytest.approx(20 / 30)
    assert found["point_adjusted_f1"].detector.value == pytest.approx(40 / 50)
    assert "point_f1" not in named(figures([entity("a", 1, 0, 0)]))


def test_without_incidents_there_is_no_f1() -> None:
    found = named(figures([entity("a", 0, 0, 2), entity("b", 0, 0, 0)]))
    assert "event_f1" not in found and "event_recall" not in found
    assert found["false_pages_per_entity_day"].detector.value == pytest.approx(1.0)


def test_entities_without_judged_time_drop_out() -> None:
    found = figures([entity("a", 1, 0, 0), entity("unlabelled", 0, 0, 0, days=0.0)])
    assert set(found.per_entity) == {("service", "a")}


def test_nobody_judged_gives_no_figures() -> None:
    empty = figures([])
    assert empty.table() == [] and empty.incidents == 0
    assert empty.as_json()["figures"] == []


def test_one_entity_has_a_value_and_no_interval() -> None:
    found = named(figures([entity("a", 1, 1, 0)]))["event_f1"].detector
    assert found.value == pytest.approx(2 / 3) and found.low is None and found.high is None


def test_the_order_of_entities_does_not_matter() -> None:
    rows = [entity(f"e{i}", i % 3, i % 2, i % 4, [60.0 * i] * (i % 3)) for i in range(9)]
    assert canonical_json(figures(rows).as_json()) == canonical_json(figures(rows[::-1]).as_json())


def test_json_comes_back() -> None:
    rows = [entity(f"e{i}", 1, i % 2, i % 3, [60.0]) for i in range(5)]
    both = [figures(rows), figures(rows, untrained=rows)]
    found = both[0]
    for figure, again in ((f, Figure.from_json(f.as_json())) for one in both for f in one.table()):
        assert again == figure or again.as_json() == figure.as_json()
    before = [{k: v for k, v in f.as_json().items() if k != "untrained"} for f in found.table()]
    assert [Figure.from_json(f).untrained for f in before] == [None] * len(before), (
        "figures of manifests of version 1.0"
    )
    for figure, document in zip(found.table(), json.loads(canonical_json(found.as_json()))["figures"], strict=True):
        assert Figure.from_json(document).as_json() == figure.as_json()


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=2, max_size=8))
def test_the_interval_holds_the_value_of_even_fleets_and_is_ordered(rows: list[tuple[int, int, int]]) -> None:
    found = named(figures([entity(f"e{i}", *row) for i, row in enumerate(rows)], samples=50))
    for figure in found.values():
        side = figure.detector
        assert side.low is None or side.low <= side.high
    same = named(figures([entity(f"e{i}", *rows[0]) for i in range(len(rows))], samples=50))
    for name in ("event_f1", "event_recall"):
        if name in same:
            side = same[name].detector
            assert side.low == pytest.approx(side.value) == pytest.approx(side.high)


def test_a_better_detector_has_a_difference_above_zero_and_a_twin_none() -> None:
    good = [entity(f"e{i}", 2, i % 2, 1) for i in range(12)]
    bad = [entity(f"e{i}", 0, 2 + i % 2, 3) for i in range(12)]
    found = figures(good, random=bad, shifted=good)
    assert found.difference("random").low > 0
    twin = found.difference("shifted")
    assert (twin.value, twin.low, twin.high) == (0.0, 0.0, 0.0)


def test_the_difference_is_paired() -> None:
    """Entities differ a lot, the two detectors by one false page each: unpaired resampling could not tell them apart."""
    left = [entity(f"e{i}", i % 5, 4 - i % 5, 0) for i in range(20)]
    right = [entity(f"e{i}", i % 5, 4 - i % 5, 1) for i in range(20)]
    found = difference(left, right, samples=500, seed=1)
    assert 0 < found.low < found.value < found.high


def test_resampling_draws_each_time_as_many_entities() -> None:
    draws = resample(7, 100, 5)
    assert draws.shape == (101, 7) and (draws[0] == 1).all() and (draws.sum(axis=1) == 7).all()
    assert np.array_equal(draws, resample(7, 100, 5)) and resample(0, 10, 1).shape == (1, 0)


def test_undefined_resamples_are_left_out() -> None:
    values = np.array([0.5, np.nan, 0.4, 0.6])
    found = estimate(values, 3)
    assert found.value == 0.5 and 0.4 <= found.low <= found.high <= 0.6
    assert estimate(np.array([np.nan, 1.0]), 3) == Estimate(None)
    assert estimate(np.array([0.5, np.nan]), 3) == Estimate(0.5)


def test_coverage_of_the_interval_is_about_95_percent() -> None:
    """Repeated experiments with a known recall: the interval must hold it most of the time."""
    random, held = np.random.default_rng(4), 0
    for run in range(150):
        hits = random.binomial(4, 0.6, 40)
        rows = [entity(f"e{i}", int(h), 4 - int(h), 0) for i, h in enumerate(hits)]
        found = named(Figures.from_counts(rows, rows, rows, samples=200, seed=run, protocol="judge_range"))
        side = found["event_recall"].detector
        held += side.low <= 0.6 <= side.high
    assert 0.88 <= held / 150 <= 0.99


def test_rounding_keeps_none_and_drops_what_json_cannot_hold() -> None:
    assert rounded(None) is None and rounded(float("nan")) is None and rounded(1 / 3) == 0.333333333
