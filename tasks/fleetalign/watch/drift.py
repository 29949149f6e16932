"""Checks whether a day's telemetry has moved away from the data of a release.

The day is compared with the last days of that data, the control days. They are read as the release's plan froze them,
so repeating a check on the same store gives the same result. ``watch.measures`` defines the measures, ``watch.days``
reads the days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from fleetalign.config import Config
from fleetalign.config.run import DriftConfig, DriftLimits, plain
from fleetalign.contracts.manifest import rounded
from fleetalign.contracts.plan import Plan
from fleetalign.errors import BadInput
from fleetalign.evaluate import gates
from fleetalign.interval import Interval, format_time, split
from fleetalign.plan.document import partitions_of
from fleetalign.progress import Progress
from fleetalign.release.replay import stored_partitions
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import channel as channels
from fleetalign.storage import lake
from fleetalign.storage.store import Store
from fleetalign.watch import reports
from fleetalign.watch.days import Alarms, DayReader
from fleetalign.watch.measures import FLEET, Measure, largest, measures, share

REPORT_VERSION = "1.0"
DAY = timedelta(days=1)


@dataclass
class _Kind:
    """One kind of the checked day."""

    kind: str
    seen: Sequence[str]
    """Entities with telemetry on the day, sorted."""
    aligned: set[str]
    """Entities that the release has a row of."""
    control: list[Interval] = field(default_factory=list)
    """The control days."""
    measures: list[Measure] = field(default_factory=list)
    alarms: dict[Interval, Alarms] = field(default_factory=dict)
    """Alarms of the checked day and of the control days."""

    @property
    def new(self) -> list[str]:
        """Entities of the day that the release does not know, sorted."""
        return sorted({*self.seen} - self.aligned)

    @property
    def silent(self) -> list[str]:
        """Entities of the release without telemetry on the day, sorted."""
        return sorted(self.aligned - {*self.seen})

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the report's ``kinds``."""
        return {
            "seen": len(self.seen),
            "known": len(self.aligned),
            "new": len(self.new),
            "silent": len(self.silent),
            "control_days": [_date(day) for day in self.control],
        }


def check(
    store: Store, config: Config, scorer: Scorer, day: Interval | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Compare a day with the data that a release was built on, and write the report.

    Args:
        store: The store.
        config: Settings; ``drift`` has the limits.
        scorer: The release.
        day: The day; None: the newest whole day of validated telemetry.
        progress: Is called after each block of entities.

    Returns:
        The report's document.

    Raises:
        BadInput: There is no validated telemetry on that day, or its sampling differs from the release's.
    """
    day = day or newest_day(store)
    partitions = lake.list_partitions(store, "validated", within=day)
    if not partitions:
        raise BadInput(
            f"{store.uri}: no validated telemetry from {format_time(day.start)} to {format_time(day.end)}; "
            "run ingest and validate, or choose another day"
        )
    reader = DayReader(store, config, scorer, progress)
    names = sorted({*scorer.kinds, *(p.kind for p in partitions)})
    kinds = [_Kind(name, lake.entity_ids(store, partitions, name).to_pylist(), reader.aligned(name)) for name in names]
    for one in kinds:
        if one.kind in scorer.kinds and one.seen:
            _compare(one, stored_partitions(store, scorer, one.kind, day), reader, scorer, day, config.drift)
    alarm_rate, pages = _alarm_rate(kinds, scorer, day, config)
    found = [*(m for one in kinds for m in one.measures), *_coverage(kinds, config.drift.limits), pages]
    report = {
        "schema_version": REPORT_VERSION,
        "release_id": scorer.release_id,
        "day": _date(day),
        "partitions": [p.digest for p in partitions],
        "limits": plain(config.drift.limits) | {"control_days": config.drift.control_days},
        "kinds": {one.kind: one.as_json() for one in kinds},
        "alarm_rate": alarm_rate,
        "measures": [m.as_json() for m in found],
        "drifted": any(m.drifted for m in found),
    }
    reports.write(store, report)
    return report


def check_channel(store: Store, config: Config) -> dict[str, Any] | None:
    """Check the release of ``release.channel`` on the newest whole day and summarise its report.

    Returns:
        The summary; None while the channel points to no release.

    Raises:
        BadInput: As ``check``.
    """
    if channels.read(store, config.release.channel) is None:
        return None
    return reports.summary(check(store, config, Scorer.open(store, config.release.channel)))


def newest_day(store: Store) -> Interval:
    """Find the newest whole day (UTC) that validated telemetry covers to its end.

    Raises:
        BadInput: There is none.
    """
    spans = [p.interval for p in lake.list_partitions(store, "validated")]
    end = max((s.end.replace(hour=0, minute=0, second=0, microsecond=0) for s in spans), default=None)
    if end is None or end <= min(s.start for s in spans):
        raise BadInput(f"{store.uri}: no whole day of validated telemetry yet; run ingest and validate first")
    return Interval(end - DAY, end)


def _date(day: Interval) -> str:
    return day.start.date().isoformat()


def _compare(
    one: _Kind,
    partitions: Sequence[lake.Partition],
    reader: DayReader,
    scorer: Scorer,
    day: Interval,
    settings: DriftConfig,
) -> None:
    """Measure the entities that the release knows, and count the alarms of all entities."""
    measured = sorted(reader.measurable(one.kind) & {*one.seen})
    found, (one.alarms[day],) = reader.read(one.kind, partitions, one.seen, [day], measured)
    if not found:
        return
    one.control = _control_days(reader.plan, one.kind, day, settings.control_days)
    if one.control:
        built_on = partitions_of(reader.plan, one.kind)
        control, alarms = reader.read(one.kind, built_on, measured, one.control, measured)
        found += control
        one.alarms |= dict(zip(one.control, alarms, strict=True))
    metrics = scorer.manifest.kinds[one.kind].metrics
    one.measures = measures(one.kind, metrics, measured, found[0], found[1:], settings.limits)


def _control_days(plan: Plan, kind: str, day: Interval, most: int) -> list[Interval]:
    """Return the newest whole days that the release was built on and that lie before ``day``."""
    spans = [p.interval for p in partitions_of(plan, kind)]
    start, end = min(s.start for s in spans), min(max(s.end for s in spans), day.start)
    if end <= start or most == 0:
        return []
    whole = [d for d in split(Interval(start, end), "day") if start <= d.start and d.end <= end]
    return [d for d in whole if any(d.overlaps(s) for s in spans)][-most:]


def _coverage(kinds: Sequence[_Kind], limits: DriftLimits) -> list[Measure]:
    """Measure the shares of new and of silent entities, by kind and over the fleet."""
    found = []
    groups = [(one.kind, [one]) for one in kinds] + [(FLEET, list(kinds))]
    for name, members in groups:
        for what, among, limit in (
            ("new", "seen", limits.max_new_share),
            ("silent", "aligned", limits.max_silent_share),
        ):
            prefix = "{}/" if name == FLEET else ""
            some = [prefix.format(one.kind) + entity for one in members for entity in getattr(one, what)]
            total = sum(len(getattr(one, among)) for one in members)
            found.append(share(name, f"{what}_share", some, total, limit))
    return found


def _alarm_rate(
    kinds: Sequence[_Kind], scorer: Scorer, day: Interval, config: Config
) -> tuple[dict[str, Any], Measure]:
    """Apply the release's gate on pages to the day.

    Return the document and the same as a measure.
    """
    by_day: dict[Interval, Alarms] = {day: Alarms()}
    for one in kinds:
        for when, alarms in one.alarms.items():
            by_day.setdefault(when, Alarms()).add(alarms)
    found = by_day.pop(day)
    name = "pages_per_entity_day"
    own = next((g for g in scorer.manifest.gates if g.name == name), None)
    limit = own.limit if own and own.limit is not None else config.gates.max_pages_per_entity_day
    gate = gates.pages_per_entity_day(found.per_entity_day, limit)
    control = tuple(by_day[when].per_entity_day for when in sorted(by_day))
    worst = largest(list(found.pages), np.array(list(found.pages.values()), dtype=np.float64))
    document = {
        **gate.as_document(),
        "pages": sum(found.pages.values()),
        "entity_days": rounded(found.entity_days),
        "when_aligned": own.value if own else None,
        "over_threshold_share": rounded(found.over / found.scored) if found.scored else None,
        "tail_probability": rounded(found.expected / found.scored) if found.scored else None,
    }
    return document, Measure(FLEET, name, None, gate.value, limit, gate.verdict == "fail", control, worst)
