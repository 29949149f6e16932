"""Sparse feedback: what a few marks per entity buy, silence elsewhere.

A mark is one statement of an operator about the feedback part: of a page that the release without a mark sends, that it
was true or false (of the page's interval, as ``fleetalign feedback`` stores it), or of an incident that no page touched,
that it was missed. Time without a mark stays unlabelled. Marks come in the order of time; the operator lets about every
second one pass, and comes back to those only after the others. The marks of one draw are nested.

Shapes: f samples of a feedback part, e entities, b bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.detection import methods
from bench.detection.decisions import EVENTS, decide
from bench.detection.figures import Judged, judged
from bench.detection.labelled import Given, Truth
from bench.detection.methods import Method
from fleetalign.config import AlignConfig
from fleetalign.contracts.feedback import ANOMALY, NORMAL, UNLABELLED, intervals
from fleetalign.evaluate.bootstrap import estimate, resample, rounded
from fleetalign.evaluate.events import pages, touches
from fleetalign.evaluate.outcomes import EntityCounts, mean
from fleetalign.evaluate.pooled import DAY_SECONDS, Measure, event_f1, false_pages_per_entity_day

COUNTS = (0, 1, 2, 5, 10)
DRAWS = 5
WORST = 0.1
"""Share of entities that the worst decile is."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One statement about the samples ``[start, end)`` of a feedback part; ``verdict`` is ANOMALY or NORMAL."""

    start: int
    end: int
    verdict: np.int8


def curve(method: Method, given: Given, truth: Truth, config: AlignConfig, seed: int, samples: int) -> dict[str, Any]:
    """Figures on judged time by marks per entity, at last with every sample of the feedback part labelled, as JSON.

    Each entity's counts are means over ``DRAWS`` draws of marks. ``step`` and ``gain`` are differences to fewer marks and
    to none, paired bootstraps over entities with ``samples`` draws. Controls: the random score aligned on the same marks,
    and the shifted alarms.
    """
    chance = methods.random(given, config, seed)
    marks = possible(method, given, config)
    points: list[dict[str, Any]] = []
    figures: list[dict[str, np.ndarray]] = []
    for number in (*COUNTS, None):
        heard = [given] if number is None else [marked(given, marks, number, d) for d in range(DRAWS if number else 1)]
        runs = [_judged(method, chance, one, truth, config) for one in heard]
        counts, random, shifted = (_over_draws(runs, side) for side in ("counts", "random", "shifted"))
        draws = resample(len(counts), samples, config.seed)
        found = {name: measure(counts, draws) for name, measure in MEASURES.items()}
        measures = {}
        for name, measure in MEASURES.items():
            measures[name] = estimate(found[name], len(counts)).as_json() | {
                "random": rounded(float(measure(random, draws[:1])[0])),
                "shifted": rounded(float(measure(shifted, draws[:1])[0])),
            }
            if figures:
                measures[name]["step"] = estimate(found[name] - figures[-1][name], len(counts)).as_json()
                measures[name]["gain"] = estimate(found[name] - figures[0][name], len(counts)).as_json()
        given_marks = None if number is None else float(np.mean([min(len(one), number) for one in marks]))
        points.append({"marks": number, "given": given_marks, "measures": measures})
        figures.append(found)
    return {"draws": DRAWS, "points": points}


def possible(method: Method, given: Given, config: AlignConfig) -> list[list[Mark]]:
    """Per entity what an operator could mark, in the order of time, when the release without a mark is at work."""
    alarms = decide(method, marked(given, [[]] * given.entities, 0, 0), config, (EVENTS,))[0].alarms
    found = []
    for e, labels in enumerate(given.feedback):
        raised = pages(alarms[e][: len(labels)], config.merge_steps)
        incidents = given.incidents(e)
        true, known = touches(raised, incidents), touches(raised, intervals(labels != UNLABELLED))
        marks = [
            (a, Mark(int(a), int(b), ANOMALY if hit else NORMAL))
            for (a, b), hit, said in zip(raised, true, known, strict=True)
            if said
        ]
        missed = incidents[~touches(incidents, raised)]
        marks += [(b, Mark(int(a), int(b), ANOMALY)) for a, b in missed]  # who missed it knows when it is over
        found.append([mark for _, mark in sorted(marks, key=lambda one: (one[0], one[1].start))])
    return found


def marked(given: Given, marks: Sequence[Sequence[Mark]], number: int, draw: int) -> Given:
    """Replace the feedback of every entity by its first ``number`` marks."""
    feedback = []
    for e, labels in enumerate(given.feedback):
        said = np.full_like(labels, UNLABELLED)
        answered = np.random.default_rng([draw, e]).random(len(marks[e])) < 0.5
        order = [*np.flatnonzero(answered), *np.flatnonzero(~answered)]
        for at in order[:number]:
            said[marks[e][at].start : marks[e][at].end] = marks[e][at].verdict
        feedback.append(said)
    return replace(given, feedback=tuple(feedback))


def _judged(method: Method, chance: Method, given: Given, truth: Truth, config: AlignConfig) -> Judged:
    tails = decide(chance, given, config, (EVENTS,))[0].tails
    return judged(decide(method, given, config, (EVENTS,))[0], tails, given, truth, config, DRAWS)


def _over_draws(runs: Sequence[Judged], side: str) -> list[EntityCounts]:
    return [mean(of_one) for of_one in zip(*(getattr(run, side) for run in runs), strict=True)]


def _worst_event_f1(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    known = [e for e, counts in enumerate(side) if counts.incidents > 0]
    values = [event_f1(side[e : e + 1], np.ones((1, 1)))[0] for e in known]
    return lower_tail(np.array(values), draws[:, known])


def _worst_false_pages(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    rates = [counts.false_pages * DAY_SECONDS / counts.judged_seconds for counts in side]
    return 0.0 - lower_tail(-np.array(rates), draws)


def lower_tail(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mean of the lowest ``WORST`` of ``values`` [e], each there as often as ``draws`` [b, e] says: float64 [b].

    The entity at the edge counts in part, so that a set of six has a worst tenth too. NaN where nobody was drawn.
    """
    order = np.argsort(values, kind="stable")
    weight = draws[:, order]
    reached = np.cumsum(weight, axis=1)
    wanted = WORST * reached[:, -1:] if len(values) else np.zeros((len(draws), 1))
    taken = np.clip(wanted - (reached - weight), 0.0, weight)
    total = wanted[:, 0]
    return np.divide(taken @ values[order], total, out=np.full(len(draws), np.nan), where=total > 0)


MEASURES: dict[str, Measure] = {
    "event_f1": event_f1,
    "worst_event_f1": _worst_event_f1,
    "false_pages_per_entity_day": false_pages_per_entity_day,
    "worst_false_pages_per_entity_day": _worst_false_pages,
}
