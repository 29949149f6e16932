"""Medians over entities."""

from __future__ import annotations

import numpy as np

from fleetalign.contracts.arrays import Floats


def median_over_entities(values: np.ndarray) -> Floats:
    """Compute the median of the finite values of each column, [E, M] -> [M].

    NaN for a column without any.
    """
    out: Floats = np.full(values.shape[1], np.nan)
    present = np.isfinite(values).any(axis=0)
    if present.any():
        out[present] = np.nanmedian(values[:, present], axis=0)
    return out
