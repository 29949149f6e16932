"""Has the telemetry moved away from what a release was built on? One day of the store, beside the release's own last days.

The control days are read as the release's plan froze them, so the same store gives the same answer however often it is
asked. What is measured is in ``evaluate.drift``, how days are read in ``release.drift_days``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from fleetalign.config import Config
from fleetalign.config.run import DriftConfig, plain
from fleetalign.errors import BadInput
from fleetalign.evaluate import gates
from fleetalign.evaluate.bootstrap import rounded
from fleetalign.interval import Interval, format_time, split
from fleetalign.plan.document import partitions_of
from fleetalign.progress import Progress
from fleetalign.release.backtest import stored_partitions
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
    """One kind of the checked day. ``seen``, ``known``, ``new``, ``silent``: entity ids, sorted; ``alarms`` by day."""

    kind: str
    seen: Sequence[str]
    known: set[str]
    control: list[Interval] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    alarms: dict[Interval, Alarms] = field(default_factory=dict)

    @property
    def new(self) -> list[str]:
        return sorted({*self.seen} - self.known)

    @property
    def silent(self) -> list[str]:
        return sorted(self.known - {*self.seen})

    def as_json(self) -> dict[str, Any]:
        counts = {name: len(getattr(self, name)) for name in ("seen", "known", "new", "silent")}
        return {**counts, "control_days": [_date(day) for day in self.control]}


def check(
    store: Store, config: Config, scorer: Scorer, day: Interval | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Compare ``day`` (None: the newest whole day of validated telemetry) with what ``scorer``'s release was built on.

    Writes the report and returns its document. Raises BadInput when nobody has validated telemetry on that day, or has
    it with another step than the release knows.
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
    kinds = [_Kind(name, lake.entity_ids(store, partitions, name).to_pylist(), reader.known(name)) for name in names]
    for one in kinds:
        if one.kind in scorer.kinds and one.seen:
            _compare(one, stored_partitions(store, scorer, one.kind, day), reader, scorer, day, config.drift)
    alarm_rate, pages = _alarm_rate(kinds, scorer, day, config)
    found = [*(m for one in kinds for m in one.measures), *_coverage(kinds, config.drift), pages]
    report = {
        "schema_version": REPORT_VERSION,
        "release_id": scorer.release_id,
        "day": _date(day),
        "partitions": [p.digest for p in partitions],
        "limits": plain(config.drift),
        "kinds": {one.kind: one.as_json() for one in kinds},
        "alarm_rate": alarm_rate,
        "measures": [m.as_json() for m in found],
        "drifted": any(m.drifted for m in found),
    }
    reports.write(store, report)
    return report


def check_channel(store: Store, config: Config) -> dict[str, Any] | None:
    """Check the release that ``release.channel`` points to on the newest whole day, and sum up its report.

    None while the channel points nowhere: nothing is served that could have drifted. Raises what ``check`` raises.
    """
    if channels.read(store, config.release.channel) is None:
        return None
    return reports.summary(check(store, config, Scorer.open(store, config.release.channel)))


def newest_day(store: Store) -> Interval:
    """The newest whole day (UTC) whose end validated telemetry reaches. Raises BadInput when there is none."""
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
    limits: DriftConfig,
) -> None:
    """Measure the entities that the release knows, and count the alarms of all."""
    measured = sorted(reader.measurable(one.kind) & {*one.seen})
    found, (one.alarms[day],) = reader.read(one.kind, partitions, one.seen, [day], measured)
    if not found:
        return
    one.control = _control_days(reader.plan, one.kind, day, limits.control_days)
    if one.control:
        built_on = partitions_of(reader.plan, one.kind)
        control, alarms = reader.read(one.kind, built_on, measured, one.control, measured)
        found += control
        one.alarms |= dict(zip(one.control, alarms, strict=True))
    metrics = scorer.manifest.kinds[one.kind]["metrics"]
    one.measures = measures(one.kind, metrics, measured, found[0], found[1:], limits)


def _control_days(plan: Mapping[str, Any], kind: str, day: Interval, most: int) -> list[Interval]:
    """The newest whole days that the release was built on and that lie before ``day``."""
    spans = [p.interval for p in partitions_of(plan, kind)]
    start, end = min(s.start for s in spans), min(max(s.end for s in spans), day.start)
    if end <= start or most == 0:
        return []
    whole = [d for d in split(Interval(start, end), "day") if start <= d.start and d.end <= end]
    return [d for d in whole if any(d.overlaps(s) for s in spans)][-most:]


def _coverage(kinds: Sequence[_Kind], limits: DriftConfig) -> list[Measure]:
    """Who is new and who is silent, by kind and in the fleet."""
    found = []
    groups = [(one.kind, [one]) for one in kinds] + [(FLEET, list(kinds))]
    for name, members in groups:
        for what, among, limit in (
            ("new", "seen", limits.max_new_share),
            ("silent", "known", limits.max_silent_share),
        ):
            prefix = "{}/" if name == FLEET else ""
            some = [prefix.format(one.kind) + entity for one in members for entity in getattr(one, what)]
            total = sum(len(getattr(one, among)) for one in members)
            found.append(share(name, f"{what}_share", some, total, limit))
    return found


def _alarm_rate(
    kinds: Sequence[_Kind], scorer: Scorer, day: Interval, config: Config
) -> tuple[dict[str, Any], Measure]:
    """The release's gate on pages, asked again of what it sends on the day; and the same as a measure."""
    by_day: dict[Interval, Alarms] = {day: Alarms()}
    for one in kinds:
        for when, alarms in one.alarms.items():
            by_day.setdefault(when, Alarms()).add(alarms)
    found = by_day.pop(day)
    name = "pages_per_entity_day"
    own = next((g for g in scorer.manifest.gates if g["name"] == name), None)
    gate = gates.pages_per_entity_day(
        found.per_entity_day, own["limit"] if own else config.gates.max_pages_per_entity_day
    )
    control = tuple(by_day[when].per_entity_day for when in sorted(by_day))
    worst = largest(list(found.pages), np.array(list(found.pages.values()), dtype=np.float64))
    document = {
        **gate.as_json(),
        "pages": sum(found.pages.values()),
        "entity_days": rounded(found.entity_days),
        "when_aligned": own["value"] if own else None,
        "over_threshold_share": rounded(found.over / found.scored) if found.scored else None,
        "tail_probability": rounded(found.expected / found.scored) if found.scored else None,
    }
    return document, Measure(FLEET, name, None, gate.value, gate.limit, gate.verdict == "fail", control, worst)
