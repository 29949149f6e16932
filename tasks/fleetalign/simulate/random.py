"""Independent random streams: the values of a day never depend on what else is drawn."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from fleetalign.contracts.arrays import Floats


class Stream(IntEnum):
    """What a stream of random numbers is for; the first number of its key after the seed."""

    GROUP_EXPORT = 1
    GROUP_PARAMETERS = 2
    ENTITY_PARAMETERS = 3
    GROUP_NOISE = 4
    ENTITY_NOISE = 5
    METRIC_NOISE = 6
    LOSS = 7
    FAULT_SCHEDULE = 8
    FAULT_NOISE = 9
    OPERATORS = 10


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return the generator of ``(seed, stream, *key)``; all numbers are at least 0."""
    return np.random.default_rng([seed, int(stream), *key])


def smooth_noise(seed: int, stream: Stream, key: tuple[int, ...], day: int, steps: int, memory_steps: int) -> Floats:
    """Return unit-variance correlated noise of one day [step], continuous over midnight.

    White noise of this day and the day before, weighted by a kernel that decays over ``memory_steps`` and is no
    longer than a day: a day needs no other day's result.
    """
    white = np.concatenate(
        [generator(seed, stream, *key, previous_or_this).standard_normal(steps) for previous_or_this in (day, day + 1)]
    )
    kernel = np.exp(-np.arange(min(5 * memory_steps, steps)) / memory_steps)
    kernel /= np.sqrt(np.sum(kernel**2))
    return np.convolve(white, kernel)[steps : 2 * steps]
