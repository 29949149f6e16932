"""Judges alarms against labels: counts every entity's events and those of its controls.

Defined in contracts 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.feedback import UNLABELLED
from fleetalign.contracts.slots import samples_apart
from fleetalign.evaluate.controls import CONTROL_SEEDS, random_alarms, shift_offsets, shifted
from fleetalign.evaluate.figures import Figures, Protocol
from fleetalign.evaluate.outcomes import EntityCounts, count, mean


@dataclass(frozen=True, slots=True)
class JudgedEntity:
    """One entity's alarms and labels on its grid."""

    kind: str
    entity_id: str
    alarms: np.ndarray
    """bool [t]"""
    scored: np.ndarray
    """bool [t]: samples with a score."""
    labels: np.ndarray
    """int8 [t]: 1 anomaly, 0 normal, -1 unlabelled."""
    judged: np.ndarray
    """bool [t]: samples that may be judged."""
    tail_probability: float
    """That of the aligner row."""
    step_seconds: int
    """Seconds between samples."""
    untrained: np.ndarray | None = None
    """bool [t]: alarms of the untrained network; None where it was not run."""


def judge(
    entities: Iterable[JudgedEntity],
    *,
    merge_steps: int,
    samples: int,
    seed: int,
    control_seeds: int = CONTROL_SEEDS,
    protocol: Protocol = "judge_range",
) -> Figures:
    """Judge alarms where ``judged`` and labelled, with ``control_seeds`` seeds of each control.

    Entities may come from a generator: only their counts are kept.
    """
    detector, random, moved, untrained = [], [], [], []
    for entity in entities:
        if not (entity.judged & (entity.labels != UNLABELLED)).any():
            continue

        def counted(alarms: np.ndarray, entity: JudgedEntity = entity) -> EntityCounts:
            return count(
                entity.kind,
                entity.entity_id,
                alarms,
                entity.labels,
                entity.judged,
                entity.step_seconds,
                merge_steps * samples_apart(np.flatnonzero(entity.scored)),
            )

        key = (entity.kind, entity.entity_id)
        offsets = shift_offsets(*key, control_seeds, len(entity.alarms))
        detector.append(counted(entity.alarms))
        random.append(
            mean(
                [
                    counted(random_alarms(*key, seed + run, entity.scored, entity.tail_probability))
                    for run in range(control_seeds)
                ]
            )
        )
        moved.append(mean([counted(shifted(entity.alarms, offset)) for offset in offsets]))
        if entity.untrained is not None:
            untrained.append(counted(entity.untrained))
    return Figures.from_counts(detector, random, moved, untrained, samples=samples, seed=seed, protocol=protocol)
