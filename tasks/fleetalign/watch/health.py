"""The health of a channel as gauges, and the alarm while its release is about to expire.

Names contain the channel (``fleetalign.<channel>.…``), so that a backend without labels keeps them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetalign.evaluate.gates import coverage_share
from fleetalign.interval import format_time
from fleetalign.storage import layout
from fleetalign.storage.store import Store
from fleetalign.watch.fleet import Channel, FleetView, Release, fleet_view


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a channel."""

    gauges: dict[str, float]
    """By name: seconds, shares, gate margins, pages."""
    alarm: str | None
    """One sentence that begins with the reason; None without an alarm."""


def health(store: Store, name: str, now: datetime, warn_hours: float) -> Health | None:
    """Compute the health of the channel ``name``; None while it points to no release.

    The alarm is raised when the release expires in less than ``warn_hours``, and after.

    Raises:
        UsageError: The name is not a valid name of a channel.
    """
    view = fleet_view(store, name, now)
    if view.chosen is None or view.release is None:
        return None
    left = (view.chosen.expires - now).total_seconds()
    alarm = _alarm(store, view, view.chosen, view.release, left) if left < 3600 * warn_hours else None
    gauges = _gauges(view, view.chosen, view.release, now)
    return Health({f"fleetalign.{name}.{key}": value for key, value in gauges.items()}, alarm)


def _gauges(view: FleetView, chosen: Channel, release: Release, now: datetime) -> dict[str, float]:
    found = {
        "expires_in_seconds": (chosen.expires - now).total_seconds(),
        "age_seconds": (now - chosen.since).total_seconds(),
    }
    for fresh in view.freshness:
        if fresh.validated_until is not None:
            found[f"telemetry_age_seconds.{fresh.kind}"] = (now - fresh.validated_until).total_seconds()
    by_state = dict(release.states)
    found |= {f"entities.{state}": float(count) for state, count in by_state.items()}
    share = coverage_share(by_state)
    if share is not None:
        found["coverage_share"] = share
    for gate in release.gates(chosen.pointer.previous):
        if gate.value is not None and gate.limit is not None and gate.verdict != "not_applicable":
            room = abs(gate.value - gate.limit)
            found[f"gate_margin.{gate.name}"] = room if gate.verdict == "pass" else -room
    if view.check is not None:
        found["pages_per_day"] = view.check.pages
        if view.check.budget is not None:
            found["pages_per_day_budget"] = view.check.budget
    return found


def _alarm(store: Store, view: FleetView, chosen: Channel, release: Release, left: float) -> str:
    pointer = chosen.pointer
    when = f"expires in {left / 3600:.0f} h" if left > 0 else f"expired {-left / 3600:.0f} h ago"
    reason = _reason(store, view, release)
    return f"{reason}: {pointer.channel} {pointer.release_id} {when} ({format_time(chosen.expires)})"


def _reason(store: Store, view: FleetView, release: Release) -> str:
    """Find out from the store why no newer release was promoted."""
    late = [f for f in view.freshness if f.late]
    if late:
        oldest = min(late, key=lambda f: f.validated_until or f.aligned_until)
        since = format_time(oldest.validated_until or oldest.aligned_until)
        return f"no validated telemetry of {oldest.kind} since {since}"
    refused = _refused(store, release.release_id)
    if refused is not None:
        return refused
    return "no newer release was made"


def _refused(store: Store, champion_id: str) -> str | None:
    """Describe the newest release that was compared with the champion and refused."""
    ending = f"-vs-{champion_id}.json"
    newest = max(
        (info for info in store.list(layout.PROMOTIONS) if info.key.endswith(ending)),
        key=lambda info: info.modified_at,
        default=None,
    )
    if newest is None:
        return None
    record = store.get_json(newest.key)
    failed = [g["name"] for g in (*record["absolute_gates"], *record["comparison_gates"]) if g["verdict"] == "fail"]
    return f"release {record['release_id']} was refused by {', '.join(failed)}" if failed else None
