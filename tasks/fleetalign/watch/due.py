"""Decides whether a pre-training is due.

The decision follows from the content of the store, not from events (docs/decisions/0001).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fleetalign.config import Config
from fleetalign.contracts.hashing import content_id
from fleetalign.errors import NotFound
from fleetalign.interval import Interval
from fleetalign.plan.document import read_plan
from fleetalign.plan.draft import candidates
from fleetalign.storage import channel as channels
from fleetalign.storage import lake, layout
from fleetalign.storage.store import Store
from fleetalign.watch import reports


@dataclass(frozen=True, slots=True)
class Due:
    """A pre-training that is due."""

    snapshot: str
    """Id of the training data: the same state of the store gives the same id."""
    why: str
    """The reason, as text."""


def snapshot_due(store: Store, config: Config, last: str | None) -> Due | None:
    """Decide whether to train; ``last`` is the plan of the newest pre-training.

    A training is due when ``airflow.min_new_partitions`` of any kind are new, or, with
    ``drift.pretrain_when_drifted``, when a check found that the champion has drifted.
    """
    partitions = candidates(store, config)
    used = {p.sha256 for p in read_plan(store, last).partitions} if last else set()
    fresh = [p for p in partitions if p.digest not in used]
    if not fresh:
        return None
    return _enough_new(store, config, partitions, fresh) or _drifted(store, config, fresh, last)


def _enough_new(
    store: Store, config: Config, partitions: Sequence[lake.Partition], fresh: Sequence[lake.Partition]
) -> Due | None:
    """Decide whether enough partitions are new.

    A time does not count before all its kinds are validated: it would give two snapshots, and so two trainings.
    """
    span = Interval(min(p.interval.start for p in fresh), max(p.interval.end for p in fresh))
    validated = {(p.kind, p.interval) for p in partitions}
    open_times = {
        raw.interval
        for raw in lake.list_partitions(store, "raw", within=span)
        if (raw.kind, raw.interval) not in validated and not _held(store, config, raw)
    }
    counted = Counter(p.kind for p in fresh if p.interval not in open_times)
    new = max(counted.values(), default=0)
    if new < config.airflow.min_new_partitions:
        return None
    snapshot = content_id(sorted(p.digest for p in partitions if p.interval not in open_times))
    return Due(
        snapshot, f"{new} new partitions of a kind, airflow.min_new_partitions is {config.airflow.min_new_partitions}"
    )


def _drifted(store: Store, config: Config, fresh: Sequence[lake.Partition], last: str | None) -> Due | None:
    """Decide whether drift makes a training due, at most once per model.

    It does when the newest check of the champion found drift on a day that no training has used, and the champion's
    model is still the newest: a newer model that waits for its gates would not improve by training again.
    """
    pointer = channels.read(store, config.release.channel)
    if not config.drift.pretrain_when_drifted or last is None or pointer is None:
        return None
    report = reports.newest(store, pointer.release_id)
    if report is None or not report["drifted"] or not {p.digest for p in fresh} & {*report["partitions"]}:
        return None
    built = store.get_json(layout.release(pointer.release_id, "provenance.json"))["plan_id"]
    reused = read_plan(store, built).reuse
    if last != (reused.plan_id if reused else built):
        return None
    findings = reports.summary(report)["findings"]
    why = f"release {pointer.release_id} drifted on {report['day']}: {'; '.join(findings[:3])}"
    return Due(content_id(["drift", last]), why)


def _held(store: Store, config: Config, raw: lake.Partition) -> bool:
    """Return whether validation holds the partition."""
    try:
        result = store.get_json(layout.validation_result(raw.kind, raw.interval, config.partition))
    except NotFound:
        return False
    return bool(result["verdict"] == "held")
