from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from fleetalign.contracts.tables import TIME
from fleetalign.interval import Interval
from fleetalign.storage.lake import write_partition
from fleetalign.storage.memory import MemoryStore

DAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def fleet() -> MemoryStore:
    """A store with two days of two kinds: ``web`` has a, b/c and twin, ``db`` has twin; b/c came on the second day."""
    store = MemoryStore()
    for day, web in ((DAY, ("a", "twin")), (DAY + timedelta(days=1), ("a", "b/c", "twin"))):
        for kind, entities in (("web", web), ("db", ("twin",))):
            times = [day + timedelta(hours=h) for h in range(24)] * len(entities)
            table = pa.table(
                {
                    "kind": [kind] * len(times),
                    "entity_id": [e for e in entities for _ in range(24)],
                    "timestamp": pa.array(times, TIME),
                    "cpu": [1.0] * len(times),
                }
            )
            write_partition(store, "raw", kind, Interval(day, day + timedelta(days=1)), "day", table, 3600, {})
    return store
