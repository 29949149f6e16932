from __future__ import annotations

import pytest

from fleetalign.contracts.manifest import Gate
from fleetalign.contracts.schema import validate
from fleetalign.evaluate import gates
from fleetalign.evaluate.bootstrap import Estimate
from fleetalign.evaluate.figures import Figures
from fleetalign.evaluate.outcomes import EntityCounts


def figures(
    entities: int, detector: tuple[float, float, float], control: tuple[float, float, float], untrained: bool = True
) -> Figures:
    def side(numbers):
        return [EntityCounts("service", f"e{i}", *numbers, 86_400.0) for i in range(entities)]

    return Figures.from_counts(
        side(detector),
        side(control),
        side(control),
        side(control) if untrained else (),
        samples=100,
        seed=1,
        protocol="leave_one_incident_out",
    )


@pytest.mark.parametrize(
    ("by_state", "value", "verdict"),
    [
        ({"aligned": 9, "default": 1}, 0.9, "pass"),
        ({"shared": 89, "default": 10, "quarantined": 1}, 0.89, "fail"),
        ({"carried_over": 1}, 1.0, "pass"),
        ({"default": 3}, 0.0, "fail"),
        ({"default": 1}, 0.0, "fail"),
        # Nine hosts, one of them new, broken or decommissioned; and two that are broken.
        ({"shared": 8, "new": 1}, 1.0, "pass"),
        ({"shared": 8, "gone": 1}, 1.0, "pass"),
        ({"shared": 8, "default": 1}, 8 / 9, "pass"),
        ({"shared": 8, "quarantined": 1}, 8 / 9, "pass"),
        ({"shared": 7, "quarantined": 1, "default": 1}, 7 / 9, "fail"),
        ({"shared": 4, "new": 50, "quarantined": 2}, 4 / 6, "fail"),
        ({"new": 120}, None, "not_applicable"),
        ({"new": 3, "gone": 84}, None, "not_applicable"),
        ({}, None, "fail"),
    ],
)
def test_coverage(by_state: dict[str, int], value: float | None, verdict: str) -> None:
    gate = gates.coverage(by_state, 0.9)
    assert (gate.value, gate.verdict) == (pytest.approx(value) if value is not None else None, verdict)


@pytest.mark.parametrize(
    ("worst", "verdict"),
    [(0.0, "pass"), (1e-5, "pass"), (1.1e-5, "fail"), (float("inf"), "fail"), (float("nan"), "fail")],
)
def test_golden_parity(worst: float, verdict: str) -> None:
    assert gates.golden_parity(worst, 1e-5).verdict == verdict


def test_pages_per_entity_day() -> None:
    assert gates.pages_per_entity_day(2.0, 2.0).verdict == "pass"
    assert gates.pages_per_entity_day(2.01, 2.0).verdict == "fail"
    assert gates.pages_per_entity_day(None, 2.0).verdict == "not_applicable"


@pytest.mark.parametrize("beats", [gates.beats_random, gates.beats_shifted])
def test_beating_a_control_needs_the_whole_interval(beats) -> None:
    assert beats(figures(4, (2, 0, 0), (0, 2, 1))).verdict == "pass"
    assert beats(figures(4, (1, 1, 1), (1, 1, 1))).verdict == "fail"
    assert beats(figures(4, (0, 2, 1), (1, 1, 1))).verdict == "fail"
    assert "leave one incident out" in beats(figures(4, (2, 0, 0), (0, 2, 1))).why


@pytest.mark.parametrize("beats", [gates.beats_random, gates.beats_shifted])
def test_without_incidents_or_with_one_entity_the_question_does_not_arise(beats) -> None:
    assert beats(None).verdict == "not_applicable"
    assert beats(figures(4, (0, 0, 1), (0, 0, 1))).why == "no incident was judged"
    assert "two judged entities" in beats(figures(1, (2, 0, 0), (0, 2, 1))).why


def test_training_must_not_have_made_it_worse() -> None:
    better, same, worse = ((2, 0, 0), (0, 2, 1)), ((1, 1, 1), (1, 1, 1)), ((0, 2, 1), (1, 1, 1))
    verdicts = {
        strict: [gates.beats_untrained(figures(4, *sides), strict).verdict for sides in (better, same, worse)]
        for strict in (False, True)
    }
    assert verdicts == {False: ["pass", "pass", "fail"], True: ["pass", "fail", "fail"]}
    assert "whole interval is below 0" in gates.beats_untrained(figures(4, *same), False).why


@pytest.mark.parametrize("strict", [False, True])
def test_without_an_untrained_network_the_question_does_not_arise(strict: bool) -> None:
    without = figures(4, (2, 0, 0), (0, 2, 1), untrained=False)
    assert gates.beats_untrained(without, strict).why == "the untrained network was not run"
    assert gates.beats_untrained(None, strict).verdict == "not_applicable"
    assert gates.beats_untrained(figures(4, (0, 0, 1), (0, 0, 1)), strict).verdict == "not_applicable"
    assert gates.beats_untrained(figures(1, (2, 0, 0), (0, 2, 1)), strict).verdict == "not_applicable"
    assert gates.beats_random(without).verdict == gates.beats_shifted(without).verdict == "pass"


def test_event_f1_against_the_champion_fails_only_when_surely_worse() -> None:
    assert gates.event_f1_vs_champion(Estimate(-0.1, -0.2, 0.01)).verdict == "pass"
    assert gates.event_f1_vs_champion(Estimate(-0.1, -0.2, -0.01)).verdict == "fail"
    for unknown in (None, Estimate(None), Estimate(-0.1)):
        assert gates.event_f1_vs_champion(unknown).verdict == "not_applicable"


def test_pages_against_the_champion() -> None:
    assert gates.pages_vs_champion(0.6, 0.2, 3.0).verdict == "pass"
    assert gates.pages_vs_champion(0.61, 0.2, 3.0).verdict == "fail"
    assert gates.pages_vs_champion(0.02, 0.0, 3.0).verdict == "pass"
    assert gates.pages_vs_champion(0.5, None, 3.0).verdict == "not_applicable"


def test_coverage_against_the_champion() -> None:
    champion = {"shared": 10}
    assert gates.coverage_vs_champion({"shared": 96, "default": 4}, champion).verdict == "pass"
    assert gates.coverage_vs_champion({"shared": 94, "default": 6}, champion).verdict == "fail"
    assert gates.coverage_vs_champion({"shared": 1}, None).verdict == "not_applicable"
    assert gates.coverage_vs_champion({"shared": 4, "default": 1}, {"shared": 4}).verdict == "pass"
    assert gates.coverage_vs_champion({"shared": 4, "new": 4}, {"shared": 4}).verdict == "pass"
    assert gates.coverage_vs_champion({"shared": 4, "default": 2}, {"shared": 4}).verdict == "fail"
    assert gates.coverage_vs_champion({"new": 4}, {"shared": 4}).verdict == "not_applicable"
    assert gates.coverage_vs_champion({"shared": 4}, {"new": 4}).verdict == "not_applicable"
    assert gates.coverage_vs_champion({}, {"shared": 4}).verdict == "fail"


@pytest.mark.parametrize(
    "gate",
    [
        gates.coverage({}, 0.9),
        gates.golden_parity(float("nan"), 1e-5),
        gates.beats_random(figures(4, (2, 0, 0), (0, 2, 1))),
        gates.beats_untrained(figures(4, (0, 2, 1), (1, 1, 1)), False),
        gates.beats_untrained(None, True),
        gates.event_f1_vs_champion(None),
        gates.coverage_vs_champion({}, None),
    ],
)
def test_every_gate_is_a_valid_document_and_comes_back(gate: Gate) -> None:
    validate("gate", gate.as_document())
    assert Gate.from_document(gate.as_document()).as_document() == gate.as_document()
