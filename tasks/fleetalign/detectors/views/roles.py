"""Names and sizes of what the ``views`` graph reads in addition to telemetry.

They are the statistics columns, the state and the seasonal lags.
Training, export, alignment and the normalizer table share these names; a scorer needs none of them, the manifest
lists what to feed.
"""

from __future__ import annotations

from itertools import chain

VIEWS = ("recent", "seasonal", "residual", "residual_square")
"""The views of a sample, in the order of the graph's internal value ``views``."""

OWN_STATISTICS = ("recent_error", "seasonal_error", "direction", "residual")
"""Per entity and metric, fitted on its history with the exported graph: mean |c - f(recent)|, mean squared error of the
seasonal forecast, the metric's component of the first right-singular vector, mean |r|."""
FLEET_STATISTICS = (*(f"weight_{view}" for view in VIEWS), "smoothing")
"""One number for the whole fleet each, learned in alignment; every row repeats it, which costs nothing once compressed."""
STATISTICS = (*OWN_STATISTICS, *FLEET_STATISTICS)

STATE_SIZE = len(VIEWS) + 1
SETTLE_STEPS = 64
"""Samples after which what was before no longer matters to a smoothed view: at most 0.8^64 = 6e-7 of it is left."""
REFERENCE_STEPS = 9
"""Reference positions: the same time of earlier periods, for the newest sample and the eight before it."""
REFERENCE_PERIODS = 3
"""Earlier periods that are averaged."""
MAX_HALF_WIDTH = 2
"""Samples on each side that are averaged with it, so that a late job does not count as unusual."""


def half_width(period_steps: int) -> int:
    """Return a 48th of the period (half an hour of a day), at most ``MAX_HALF_WIDTH``."""
    return min(MAX_HALF_WIDTH, period_steps // 48)


def reference_lags(period_steps: int) -> tuple[tuple[int, ...], ...]:
    """Return the lags that each reference position averages.

    They are P tuples in steps, oldest position first.
    """
    width = half_width(period_steps)
    return tuple(
        tuple(
            period * period_steps + back + offset
            for period in range(1, REFERENCE_PERIODS + 1)
            for offset in range(-width, width + 1)
        )
        for back in reversed(range(REFERENCE_STEPS))
    )


def seasonal_lags(period_steps: int | None) -> tuple[int, ...]:
    """Return ``seasonal_lags_steps`` of the manifest, ascending; empty without a period."""
    return tuple(sorted(set(chain.from_iterable(reference_lags(period_steps))))) if period_steps else ()
