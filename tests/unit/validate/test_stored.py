"""Several intervals are validated in order, and one that is held does not stop the others."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from fleetalign.config import Config
from fleetalign.errors import BadInput, PartitionHeld
from fleetalign.interval import Interval
from fleetalign.storage.memory import MemoryStore
from fleetalign.validate import stored

FIRST = Interval.parse("2026-03-02", "2026-03-03")
DAYS = [Interval(FIRST.start + timedelta(days=n), FIRST.end + timedelta(days=n)) for n in range(3)]


def test_a_held_interval_is_kept_beside_the_results_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(store: MemoryStore, config: Config, interval: Interval) -> list[SimpleNamespace]:
        if interval == DAYS[1]:
            raise PartitionHeld("held")
        return [SimpleNamespace(as_json=lambda: {"start": interval.as_json()["start"]})]

    monkeypatch.setattr(stored, "validate_interval", validate)
    steps: list[tuple[int, int, str]] = []
    twice_and_unordered = [DAYS[2], DAYS[0], DAYS[1], DAYS[0]]
    found = stored.validate_intervals(MemoryStore(), Config(), twice_and_unordered, lambda *step: steps.append(step))
    assert found.as_json() == {
        "partitions": [{"start": "2026-03-02T00:00:00Z"}, {"start": "2026-03-04T00:00:00Z"}],
        "held": ["held"],
    }
    assert [len(results) for results in found.partitions] == [1, 1]
    assert steps == [(n, 3, "validate") for n in (1, 2, 3)]


def test_a_store_without_raw_partitions_is_bad_input() -> None:
    with pytest.raises(BadInput, match="run ingest first"):
        stored.validate_stored(MemoryStore(), Config(), None)
