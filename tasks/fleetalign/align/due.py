"""Whether a pre-training is due: by what lies in the store, never by counting events (docs/decisions/0001)."""

from __future__ import annotations

from collections import Counter

from fleetalign.align.plan import candidates
from fleetalign.config import Config
from fleetalign.contracts.hashing import content_id
from fleetalign.errors import NotFound
from fleetalign.interval import Interval
from fleetalign.storage import lake, layout
from fleetalign.storage.store import Store


def snapshot_due(store: Store, config: Config, last: str | None) -> str | None:
    """Id of the snapshot to train on, None while fewer than ``airflow.min_new_partitions`` of any kind are new.

    ``last`` is the plan of the newest pre-training. A time whose kinds are still being validated does not count yet:
    with and without them it would be two snapshots, and two trainings.
    """
    partitions = candidates(store, config)
    used = {p["sha256"] for p in store.get_json(layout.plan(last))["partitions"]} if last else set()
    fresh = [p for p in partitions if p.digest not in used]
    if not fresh:
        return None
    span = Interval(min(p.interval.start for p in fresh), max(p.interval.end for p in fresh))
    validated = {(p.kind, p.interval) for p in partitions}
    open_times = {
        raw.interval
        for raw in lake.list_partitions(store, "raw", within=span)
        if (raw.kind, raw.interval) not in validated and not _held(store, config, raw)
    }
    counted = Counter(p.kind for p in fresh if p.interval not in open_times)
    if max(counted.values(), default=0) < config.airflow.min_new_partitions:
        return None
    return content_id(sorted(p.digest for p in partitions if p.interval not in open_times))


def _held(store: Store, config: Config, raw: lake.Partition) -> bool:
    """Whether validation has looked at the partition and holds it."""
    try:
        result = store.get_json(layout.validation_result(raw.kind, raw.interval, config.partition))
    except NotFound:
        return False
    return result["verdict"] == "held"
