"""The state of a channel for the Fleet page, as plain values read only from the store.

The number of objects read does not grow with the fleet: the pointer and its recent history, the release's manifest, one
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
from fleetalign.interval import Granularity, from_partition_key, parse_time
from fleetalign.plan import receipts
from fleetalign.storage import channel as channels
from fleetalign.storage import lake, layout
from fleetalign.storage.channel import Pointer
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store

FIRST = "champion"
"""The channel that is listed first."""
CHECKED_DAYS = 30
"""How many of the newest drift checks are charted."""
MOVES_READ = 40
"""How many of the newest entries of a channel's history are read."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel and its pointer."""

    pointer: Pointer
    since: datetime
    """Since when it points to this release; a renewal does not change it."""
    expired: bool

    @property
    def expires(self) -> datetime:
        """When the release expires."""
        return parse_time(self.pointer.expires_at)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How recent the data of one kind are."""

    kind: str
    aligned_until: datetime
    """End of the telemetry that the release was calibrated on."""
    validated_until: datetime | None
    """End of the newest validated telemetry since then; None without any."""
    late: bool
    """Whether the newest validated telemetry is older than a release of this channel may become."""


@dataclass(frozen=True, slots=True)
class CheckedDay:
    """The result of the drift check of one day."""

    day: str
    release_id: str
    """The release that served on that day."""
    pages: float
    budget: float | None
    """Pages that the release's gate allows for as many entities."""
    drifted: bool
    over_budget: bool


@dataclass(frozen=True, slots=True)
class Release:
    """One release."""

    manifest: Manifest
    promotions: Sequence[Mapping[str, Any]]
    """The verdict of every attempt to promote it."""

    @property
    def release_id(self) -> str:
        """The id of the release."""
        return self.manifest.release_id

    def gates(self, champion_id: str | None) -> list[Gate]:
        """Return its own gates and those of its comparison with that champion, if there was one."""
        compared = (g for p in self.promotions if p["champion_id"] == champion_id for g in p["comparison_gates"])
        return [*self.manifest.gates, *map(Gate.from_document, compared)]

    @property
    def figures(self) -> list[Figure]:
        """Figures with their controls; empty where nothing was judged."""
        evaluation = self.manifest.evaluation
        return [] if evaluation is None else [Figure.from_json(f) for f in evaluation["figures"]]

    @property
    def states(self) -> list[tuple[str, int]]:
        """Entities per aligner state, in the order of the contract."""
        return [(state, self.manifest.coverage.by_state.get(state, 0)) for state in STATES]


@dataclass(frozen=True, slots=True)
class FleetView:
    """The state of a channel."""

    store: str
    """URI of the store."""
    channels: Sequence[Channel]
    """Every channel that points to a release."""
    chosen: Channel | None
    """The channel shown; None if it points to no release yet."""
    release: Release | None
    """Its release; None without ``chosen``."""
    freshness: Sequence[Freshness]
    """By kind."""
    days: Sequence[CheckedDay]
    """The newest drift checks, newest last."""

    @property
    def check(self) -> CheckedDay | None:
        """The newest check of this release."""
        mine = [d for d in self.days if self.release is not None and d.release_id == self.release.release_id]
        return mine[-1] if mine else None


def fleet_view(store: Store, name: str, now: datetime) -> FleetView:
    """Read the state of the channel ``name``.

    Raises:
        UsageError: The name is not a valid name of a channel.
    """
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
    """Read a release and every verdict on it.

    Raises:
        NotFound: There is no such release.
        Corrupt: The manifest was altered.
    """
    manifest = read_manifest(store, release_id, digest)
    keys = [info.key for info in store.list(layout.promotions_of(release_id))]
    return Release(manifest, [store.get_json(key) for key in keys])


def release_of_plan(store: Store, plan_id: str) -> str:
    """Return the id of the release that was built from a plan.

    Raises:
        NotFound: There is none yet.
    """
    try:
        return receipts.read_release(store, plan_id).release_id
    except NotFound:
        raise NotFound(f"plan {plan_id} has no release yet; release_promote builds it from the newest plan") from None


def validations(store: Store, key: str) -> list[str]:
    """Return the keys of every kind's validation result for a partition key of Airflow.

    Raises:
        UsageError: The text is not a partition key.
    """
    granularity: Granularity = "hour" if "T" in key else "day"
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
    """Read the newest drift checks, newest last.

    A day with several belongs to the release that served later.
    """
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
