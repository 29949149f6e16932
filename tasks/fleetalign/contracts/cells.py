"""The cells of telemetry that are measurements: finite numbers (contracts 2.2).

Every other cell is missing.
"""

from __future__ import annotations

import numpy as np

from fleetalign.contracts.arrays import Bools, Floats

MAX_ABS_VALUE = 1e18
"""Largest size of a value in the lake: the squares of larger ones exceed float64's useful range."""


def is_measured(values: Floats, max_abs_value: float | None = None) -> Bools:
    """Mark the cells of ``values`` that are finite and at most ``max_abs_value`` in size.

    NaN is the missing marker; infinities and values beyond the bound are no measurements. Same shape as ``values``.
    """
    finite: Bools = np.isfinite(values)
    return finite if max_abs_value is None else finite & (np.abs(values) <= max_abs_value)
