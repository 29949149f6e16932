"""The log-bucket histogram of durations: integers alone, so equal on every machine.

Durations below 128 µs have a bucket each. From there on each power of two has 64 buckets of equal width, so a bucket is
at most 1/64 wide relative to its start, and its middle is at most 1/128 (0.8 %) from any duration in it.
"""

from __future__ import annotations

import numpy as np

from fleetalign.contracts.arrays import Ints

BITS = 6
PER_OCTAVE = 1 << BITS


def buckets_of(durations_us: Ints) -> Ints:
    """Return the bucket of each duration, int64 [duration].

    With e = max(0, bits of the duration − 7), the bucket is 64·e + floor(duration / 2^e).
    """
    # Exact: durations are far below 2^53.
    _, bits = np.frexp(durations_us.astype(np.float64))
    exponents = np.maximum(bits.astype(np.int64) - (BITS + 1), 0)
    found: Ints = PER_OCTAVE * exponents + (durations_us >> exponents)
    return found


def middle_us(bucket: int) -> float:
    """Return the middle of the durations in a bucket, in microseconds."""
    exponent = max(bucket // PER_OCTAVE - 1, 0)
    start = (bucket - PER_OCTAVE * exponent) << exponent
    return start + ((1 << exponent) - 1) / 2
