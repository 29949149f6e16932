"""Validates every raw partition of a time range, interval by interval.

A held partition does not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fleetalign.config import Config
from fleetalign.errors import BadInput, PartitionHeld
from fleetalign.interval import Interval
from fleetalign.progress import Progress
from fleetalign.storage import lake
from fleetalign.storage.store import Store
from fleetalign.validate.run import validate_interval


@dataclass(frozen=True, slots=True)
class Validated:
    """Results of validation over several intervals."""

    partitions: tuple[tuple[dict[str, Any], ...], ...]
    """For each interval the result of every partition that was validated."""
    held: tuple[PartitionHeld, ...]
    """One error for each interval with a partition that failed a critical expectation."""

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results of all intervals."""
        return [result for results in self.partitions for result in results]

    def as_json(self) -> dict[str, Any]:
        return {"partitions": self.results, "held": [str(error) for error in self.held]}


def validate_stored(store: Store, config: Config, within: Interval | None) -> Validated:
    """Validate every raw partition that overlaps ``within`` (None: all).

    Raises BadInput when there is none.
    """
    raw = lake.list_partitions(store, "raw", within=within)
    if not raw:
        raise BadInput(f"{store.uri}: no raw partition in that range; run ingest first")
    return validate_intervals(store, config, (partition.interval for partition in raw))


def validate_intervals(
    store: Store, config: Config, intervals: Iterable[Interval], progress: Progress | None = None
) -> Validated:
    """Validate the raw partitions of each of ``intervals``, in order of time."""
    results, held = [], []
    ordered = sorted(set(intervals))
    for done, interval in enumerate(ordered, start=1):
        try:
            results.append(tuple(r.as_json() for r in validate_interval(store, config, interval)))
        except PartitionHeld as error:
            held.append(error)
        if progress is not None:
            progress(done, len(ordered), "validate")
    return Validated(tuple(results), tuple(held))
