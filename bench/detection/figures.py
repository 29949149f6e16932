"""Takes the figures: the only module of the benchmark that reads labels of judged time (``Truth``).

Shapes: E entities, t samples of an entity's test part. Ranking measures are NaN for an entity without a judged incident.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.detection.decisions import Decision
from bench.detection.labelled import Given, Truth
from fleetalign.config import AlignConfig
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals
from fleetalign.evaluate.judge import JudgedEntity, judge
from fleetalign.evaluate.measures import affiliation, average_precision, pa_k_area, vus_pr
from fleetalign.evaluate.outcomes import EntityCounts

BUFFER_STEPS = 100
"""Longest slope of VUS, as TSB-AD sets it where a series has no known period."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Measures of scores: float64 [E] each, and AP over the samples of all entities together."""

    vus_pr: np.ndarray
    average_precision: np.ndarray
    pa_k_area: np.ndarray
    pooled_average_precision: float


@dataclass(frozen=True, slots=True)
class Judged:
    """Counts of one decision and of its own alarms shifted, and affiliation float64 [E, 2] (precision, recall).

    Entities without judged time are in none of them.
    """

    counts: tuple[EntityCounts, ...]
    random: tuple[EntityCounts, ...]
    shifted: tuple[EntityCounts, ...]
    affiliation: np.ndarray


def heard(truth: Truth, e: int) -> np.ndarray:
    """Labels int8 [t] of one entity, unlabelled outside judged time."""
    return np.where(truth.judged[e], truth.labels[e], UNLABELLED).astype(np.int8)


def rank(scores: Sequence[np.ndarray], truth: Truth, *, area: bool = True) -> Ranked:
    """Ranking measures of ``scores`` ([t] per entity); without ``area`` PA%K is left out (NaN)."""
    labels = [heard(truth, e) for e in range(len(scores))]
    pairs = list(zip(scores, labels, strict=True))
    nothing = np.full(len(scores), np.nan)
    return Ranked(
        np.array([vus_pr(s, said, BUFFER_STEPS) for s, said in pairs]),
        np.array([average_precision(s, said) for s, said in pairs]),
        np.array([pa_k_area(s, said) for s, said in pairs]) if area else nothing,
        average_precision(np.concatenate(scores), np.concatenate(labels)),
    )


def judged(
    decision: Decision,
    random_tails: Sequence[float],
    given: Given,
    truth: Truth,
    config: AlignConfig,
    control_seeds: int = 20,
) -> Judged:
    """Count ``decision`` and both controls; ``random_tails`` are the random score's tails."""
    panel = given.panel
    rows = [
        JudgedEntity(
            panel.kind,
            panel.entity_ids[e],
            alarms=alarms,
            scored=np.isfinite(panel.values[e, given.start : given.stop[e]]).any(axis=1),
            labels=truth.labels[e],
            judged=truth.judged[e],
            tail_probability=random_tails[e],
            step_seconds=panel.step_seconds,
        )
        for e, alarms in enumerate(decision.alarms)
    ]
    found = judge(rows, merge_steps=config.merge_steps, samples=0, seed=config.seed, control_seeds=control_seeds)
    near = [affiliation(alarms, heard(truth, e)) for e, alarms in enumerate(decision.alarms) if truth.judged[e].any()]
    return Judged(found.detector, found.random, found.shifted, np.array([(one.precision, one.recall) for one in near]))


def faults_of(pages: Sequence[tuple[int, int, int]], truth: Truth) -> list[int]:
    """Find the fault of each page (entity, samples ``[start, end)``); -1 without an incident.

    Judged incidents of any entities that overlap in time are one fault.
    """
    incidents = sorted((int(a), int(b), e) for e in range(len(truth.labels)) for a, b in _incidents(truth, e))
    fault, reached = -1, -1
    by_entity: dict[int, list[tuple[int, int, int]]] = {}
    for start, end, e in incidents:
        fault += start >= reached
        reached = max(reached, end)
        by_entity.setdefault(e, []).append((start, end, fault))
    return [next((f for a, b, f in by_entity.get(e, ()) if a < end and start < b), -1) for e, start, end in pages]


def _incidents(truth: Truth, e: int) -> np.ndarray:
    return intervals(heard(truth, e) == ANOMALY)
