from __future__ import annotations

import dataclasses

import numpy as np

from fleetalign.evaluate.judge import JudgedEntity, judge

STEPS = 4_000


def fleet(kind_of_detector: str, entities: int = 8) -> list[JudgedEntity]:
    out = []
    for index in range(entities):
        random = np.random.default_rng(index)
        labels = np.zeros(STEPS, dtype=np.int8)
        for start in random.choice(np.arange(100, STEPS - 100, 200), 6, replace=False):
            labels[start : start + 15] = 1
        if kind_of_detector == "good":
            alarms = (labels == 1) & (random.random(STEPS) < 0.5) | (random.random(STEPS) < 0.0005)
        else:
            alarms = random.random(STEPS) < 0.002
        everything = np.ones(STEPS, dtype=bool)
        out.append(JudgedEntity("service", f"e{index}", alarms, everything, labels, everything, 0.002, 300))
    return out


def figures(entities, **changes):
    settings = {"merge_steps": 3, "samples": 300, "seed": 1, "control_seeds": 10}
    return judge(entities, **{**settings, **changes})


def test_a_good_detector_beats_both_controls() -> None:
    found = figures(fleet("good"))
    assert found.protocol == "judge_range" and found.incidents == 48
    assert found.difference("random").low > 0.3
    assert found.difference("shifted").low > 0.3


def test_a_random_detector_beats_neither() -> None:
    found = figures(fleet("random", 20))
    for control in ("random", "shifted"):
        difference = found.difference(control)
        assert difference.low < 0.05 and abs(difference.value) < 0.08


def test_the_untrained_networks_alarms_are_counted_as_the_detectors() -> None:
    good, bad = fleet("good"), fleet("random")
    beside = [dataclasses.replace(g, untrained=b.alarms) for g, b in zip(good, bad, strict=True)]
    found = figures(beside)
    assert found.untrained == figures(bad).detector
    assert found.detector == figures(good).detector and found.random == figures(good).random
    assert found.difference("untrained").low > 0.3
    twin = figures([dataclasses.replace(g, untrained=g.alarms) for g in good])
    assert twin.untrained == twin.detector and twin.difference("untrained").value == 0


def test_an_entity_is_judged_alike_whoever_else_is_there() -> None:
    entities = fleet("good")
    together, alone = figures(entities), figures(entities[3:4])
    for side in ("detector", "random", "shifted"):
        assert getattr(together, side)[3] == getattr(alone, side)[0]


def test_entities_may_come_from_a_generator_in_any_order() -> None:
    entities = fleet("good", 4)
    assert figures(iter(entities[::-1])).as_json() == figures(entities).as_json()


def test_unlabelled_entities_are_not_judged() -> None:
    first, second = fleet("good", 2)
    silent = JudgedEntity(
        "service", "silent", second.alarms, second.scored, np.full(STEPS, -1, np.int8), second.judged, 0.002, 300
    )
    assert set(figures([first, silent]).per_entity) == {("service", "e0")}
    assert figures([silent]).table() == []
