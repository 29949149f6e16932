"""The random and the shifted control of every figure (contracts 6.2).

Both are seeded per entity, so that a figure does not depend on which other entities are judged, on their order or on
the number of shards.
"""

from __future__ import annotations

import hashlib

import numpy as np

CONTROL_SEEDS = 20
"""Seeds of each control of a figure."""


def generator(kind: str, entity_id: str, seed: int, purpose: str) -> np.random.Generator:
    """Create a random generator that depends only on its arguments."""
    digest = hashlib.sha256("\x1f".join((purpose, kind, entity_id, str(seed))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def uniform_scores(kind: str, entity_id: str, seed: int, steps: int) -> np.ndarray:
    """Draw a score without information: uniform float64 [steps] in [0, 1)."""
    return generator(kind, entity_id, seed, "uniform").random(steps)


def random_alarms(kind: str, entity_id: str, seed: int, scored: np.ndarray, tail_probability: float) -> np.ndarray:
    """Compute alarms, bool [t], of the uniform score at the entity's tail probability.

    Only samples that the detector could score (``scored`` bool [t]) can alarm, as with the detector itself.
    """
    return scored & (uniform_scores(kind, entity_id, seed, len(scored)) > 1.0 - tail_probability)


def shift_offsets(kind: str, entity_id: str, seeds: int, steps: int) -> np.ndarray:
    """Draw circular offsets, int64 [seeds] in [1, steps), independent of the entity's alarms."""
    if steps < 2:
        return np.zeros(seeds, dtype=np.int64)
    return generator(kind, entity_id, seeds, "shift").integers(1, steps, seeds)


def shifted(alarms: np.ndarray, offset: int) -> np.ndarray:
    """Shift the detector's own alarms bool [t] circularly.

    This keeps their rate and, except at one seam, the lengths of their runs.
    """
    return np.roll(alarms, offset)
