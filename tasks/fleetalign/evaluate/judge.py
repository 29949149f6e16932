"""From alarms and labels to figures: counts every entity's alarms and both its controls (contracts 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.feedback import UNLABELLED
from fleetalign.evaluate.controls import random_alarms, shift_offsets, shifted
from fleetalign.evaluate.figures import Figures, Protocol
from fleetalign.evaluate.outcomes import EntityCounts, count, mean


@dataclass(frozen=True, slots=True)
class JudgedEntity:
    """One entity's alarms beside what operators said, on its grid of ``step_seconds``.

    ``alarms``, ``scored``, ``judged`` bool [t]; ``labels`` int8 [t]; ``tail_probability`` is the aligner row's;
    ``untrained`` bool [t] the alarms of the untrained network, None where it was not run.
    """

    kind: str
    entity_id: str
    alarms: np.ndarray
    scored: np.ndarray
    labels: np.ndarray
    judged: np.ndarray
    tail_probability: float
    step_seconds: int
    untrained: np.ndarray | None = None


def judge(
    entities: Iterable[JudgedEntity],
    *,
    merge_steps: int,
    samples: int,
    seed: int,
    control_seeds: int = 20,
    protocol: Protocol = "judge_range",
) -> Figures:
    """Judge alarms where ``judged`` and labelled, beside ``control_seeds`` seeds of each control.

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
                merge_steps,
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
