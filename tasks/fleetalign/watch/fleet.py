"""What the Fleet page shows of a channel, as plain values read from the store alone.

How many objects are read does not grow with the fleet: the pointer and its recent history, the release's manifest, one
listing of the drift checks and the newest of them, and the newest partition of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fleetalign.contracts.manifest import Gate, Manifest
from fleetalign.contracts.tables import STATES
from fleetalign.errors import NotFound
from fleetalign.evaluate.figures import Figure
from fleetalign.interval import from_partition_key, parse_time
from fleetalign.plan import receipts
from fleetalign.storage import channel as channels
from fleetalign.storage import lake, layout
from fleetalign.storage.channel import Pointer
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store

FIRST = "champion"
"""The channel that is named before the others."""
CHECKED_DAYS = 30
"""Newest drift checks whose pages are shown."""
MOVES_READ = 40
"""Newest entries of a channel's history that are looked at."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where a channel points. ``since`` is when it began to point to this release: a renewal is no new beginning."""

    pointer: Pointer
    since: datetime
    expired: bool

    @property
    def expires(self) -> datetime:
        return parse_time(self.pointer.expires_at)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far one kind's data reach: validated telemetry in the store, and what the release was calibrated on."""

    kind: str
    aligned_until: datetime
    validated_until: datetime | None
    late: bool
    """Whether the newest validated telemetry is older than a release of this channel may become."""


@dataclass(frozen=True, slots=True)
class CheckedDay:
    """What a drift check counted on one day of the release that served then. ``budget``: pages that its gate allows."""

    day: str
    release_id: str
    pages: float
    budget: float | None
    drifted: bool
    over_budget: bool


@dataclass(frozen=True, slots=True)
class Release:
    """One release: its manifest, and what became of it whenever somebody asked to promote it."""

    manifest: Manifest
    promotions: Sequence[Mapping[str, Any]]

    @property
    def release_id(self) -> str:
        return self.manifest.release_id

    def gates(self, champion_id: str | None) -> list[Gate]:
        """Its own, and those of its comparison with that champion, where there was one."""
        compared = (g for p in self.promotions if p["champion_id"] == champion_id for g in p["comparison_gates"])
        return [*self.manifest.gates, *map(Gate.from_document, compared)]

    @property
    def figures(self) -> list[Figure]:
        """Empty where nothing was judged. A figure has its controls, or is not made."""
        evaluation = self.manifest.evaluation
        return [] if evaluation is None else [Figure.from_json(f) for f in evaluation["figures"]]

    @property
    def states(self) -> list[tuple[str, int]]:
        """Entities per aligner state, in the order of the contract."""
        return [(state, self.manifest.coverage.by_state.get(state, 0)) for state in STATES]


@dataclass(frozen=True, slots=True)
class FleetView:
    """``chosen`` of ``channels``, its release and what is known of it; None where nothing was promoted yet. ``store`` is
    the URI of the store."""

    store: str
    channels: Sequence[Channel]
    chosen: Channel | None
    release: Release | None
    freshness: Sequence[Freshness]
    days: Sequence[CheckedDay]

    @property
    def check(self) -> CheckedDay | None:
        """The newest check of this very release."""
        mine = [d for d in self.days if self.release is not None and d.release_id == self.release.release_id]
        return mine[-1] if mine else None


def fleet_view(store: Store, name: str, now: datetime) -> FleetView:
    """The page of channel ``name``. Raises UsageError for a name that none can have, and what the store raises."""
    layout.checked_channel(name)
    found = [
        channel
        for each in sorted(channels.names(store), key=FIRST.__ne__)
        if (channel := _channel(store, each, now)) is not None
    ]
    chosen = next((c for c in found if c.pointer.channel == name), None)
    if chosen is None:
        return FleetView(store.uri, found, None, None, [], [])
    pointer = chosen.pointer
    release = read_release(store, pointer.release_id, pointer.manifest_sha256)
    fresh = _freshness(store, release, chosen, now)
    return FleetView(store.uri, found, chosen, release, fresh, _checked_days(store, pointer))


def read_release(store: Store, release_id: str, digest: str | None = None) -> Release:
    """A release and every verdict on it. Raises NotFound, and Corrupt when it was altered."""
    manifest = read_manifest(store, release_id, digest)
    keys = [info.key for info in store.list(layout.promotions_of(release_id))]
    return Release(manifest, [store.get_json(key) for key in keys])


def release_of_plan(store: Store, plan_id: str) -> str:
    """Id of the release that was made of a plan. Raises NotFound when there is none."""
    try:
        return receipts.read_release(store, plan_id).release_id
    except NotFound:
        raise NotFound(f"plan {plan_id} has no release yet; release_promote makes it of the newest plan") from None


def validations(store: Store, key: str) -> list[str]:
    """Keys of the validation results of every kind for one partition key of Airflow. Raises UsageError for no such key."""
    granularity = "hour" if "T" in key else "day"
    of_any = layout.validation_result("any", from_partition_key(key, granularity), granularity)
    ending = of_any.removeprefix(f"{layout.VALIDATIONS}any")
    return [info.key for info in store.list(layout.VALIDATIONS) if info.key.endswith(ending)]


def _channel(store: Store, name: str, now: datetime) -> Channel | None:
    pointer = channels.read(store, name)
    if pointer is None:
        return None
    since = pointer.moved_at
    for earlier in channels.recent(store, pointer, MOVES_READ):
        if earlier.release_id != pointer.release_id:
            break
        since = earlier.moved_at
    return Channel(pointer, parse_time(since), pointer.expired(now))


def _freshness(store: Store, release: Release, channel: Channel, now: datetime) -> list[Freshness]:
    patience = channel.expires - parse_time(channel.pointer.moved_at)
    found = []
    for kind, ranges in sorted(release.manifest.ranges.items()):
        aligned = ranges.calibrate.end
        validated = lake.newest_end(store, "validated", kind, since=aligned - timedelta(days=1), now=now)
        found.append(Freshness(kind, aligned, validated, now - (validated or aligned) > patience))
    return found


def _checked_days(store: Store, pointer: Pointer) -> list[CheckedDay]:
    """Newest last. A day that several releases were checked on counts for the one that served later."""
    served = [pointer.release_id, *(p.release_id for p in channels.recent(store, pointer, MOVES_READ))]
    newest: dict[str, str] = {}
    checks = {key for info in store.list(layout.DRIFT) if (key := info.key).endswith(".json")}
    for release_id in dict.fromkeys(served):
        prefix = layout.drift(release_id)
        for key in sorted(k for k in checks if k.startswith(prefix)):
            newest.setdefault(key.removeprefix(prefix).partition("/")[0], key)
    return [_checked_day(store.get_json(newest[day])) for day in sorted(newest)[-CHECKED_DAYS:]]


def _checked_day(report: Mapping[str, Any]) -> CheckedDay:
    rate = report["alarm_rate"]
    budget = None if rate["limit"] is None or rate["entity_days"] is None else rate["limit"] * rate["entity_days"]
    over = rate["verdict"] == "fail"
    return CheckedDay(report["day"], report["release_id"], rate["pages"], budget, report["drifted"], over)
