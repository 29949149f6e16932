"""Watches every generated input: only errors raised on purpose, bounded time, bounded memory."""

from __future__ import annotations

import faulthandler
import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, settings

from fleetalign.errors import BadInput, StoreError, UsageError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
"""Inputs of each test; ``make fuzz`` sets it to thousands."""
MOST_SECONDS = 10.0
HANG_SECONDS = 60.0
MOST_MIB = 1024

FUZZ = settings(
    max_examples=EXAMPLES,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Reader:
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    grown_mib: float = 0.0


@dataclass
class Watch:
    readers: dict[str, Reader] = field(default_factory=dict)

    def read(self, name: str, call: Callable[[], object]) -> object:
        """What ``call`` returns, or the error that it raised on purpose. Anything else it raises is a bug."""
        reader = self.readers.setdefault(name, Reader())
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        began, before = time.perf_counter(), peak_mib()
        try:
            result = call()
        except (BadInput, StoreError, UsageError) as error:
            assert str(error).strip(), "an error must say something"
            result = error
        finally:
            faulthandler.cancel_dump_traceback_later()
        seconds, grown = time.perf_counter() - began, peak_mib() - before
        reader.outcomes[type(result).__name__ if isinstance(result, Exception) else "read"] += 1
        reader.slowest_seconds = max(reader.slowest_seconds, seconds)
        reader.grown_mib = max(reader.grown_mib, grown)
        assert seconds < MOST_SECONDS
        assert grown < MOST_MIB
        return result
