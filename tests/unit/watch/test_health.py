"""The gauges of a channel, and the alarm that names its reason first."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.manifest import Gate
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release
from fleetalign.watch.health import Health, health

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
DASHBOARD = Path(__file__).parents[3] / "infra" / "dashboards" / "fleetalign.json"
GATE = Gate("coverage", 0.95, 0.9, "pass", "fine")
REFUSED = Gate("beats_random", -0.1, 0.0, "fail", "no better")
IDLE = Gate("beats_shifted", None, 0.0, "not_applicable", "no incident")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def promoted(store: MemoryStore, hours_ago: float) -> str:
    release_id = toy_release(store, gates=[GATE, REFUSED, IDLE])
    channels.move(store, "champion", release_id, "ops", "test", 48.0, NOW - timedelta(hours=hours_ago))
    return release_id


def of(store: MemoryStore, hours_ago: float = 40.0) -> Health:
    promoted(store, hours_ago)
    return health(store, "champion", NOW, warn_hours=12.0)


def test_nothing_promoted_has_no_gauges(store: MemoryStore) -> None:
    assert health(store, "champion", NOW, 12.0) is None


def test_gauges_are_seconds_counts_and_signed_margins(store: MemoryStore) -> None:
    gauges = of(store).gauges
    assert gauges["fleetalign.champion.expires_in_seconds"] == 8 * 3600
    assert gauges["fleetalign.champion.age_seconds"] == 40 * 3600
    assert gauges["fleetalign.champion.gate_margin.coverage"] == pytest.approx(0.05)
    assert gauges["fleetalign.champion.gate_margin.beats_random"] == pytest.approx(-0.1)
    assert not any("beats_shifted" in name for name in gauges), "a gate that does not apply has no margin"
    assert sum(v for name, v in gauges.items() if ".entities." in name) > 0
    assert 0 <= gauges["fleetalign.champion.coverage_share"] <= 1


def test_pages_stand_beside_their_budget(store: MemoryStore) -> None:
    release_id = promoted(store, 1)
    rate = {"pages": 12.0, "entity_days": 10.0, "limit": 2.0, "verdict": "pass"}
    report = {"release_id": release_id, "day": "2026-03-19", "drifted": False, "alarm_rate": rate}
    store.put(layout.drift(release_id, "2026-03-19"), readable_json(report))
    gauges = health(store, "champion", NOW, 12.0).gauges
    assert (gauges["fleetalign.champion.pages_per_day"], gauges["fleetalign.champion.pages_per_day_budget"]) == (12, 20)


@pytest.mark.parametrize(("hours_ago", "says"), [(35.9, None), (36.1, "expires in 12 h"), (51.0, "expired 3 h ago")])
def test_the_alarm_comes_before_the_release_expires_and_stays(
    store: MemoryStore, hours_ago: float, says: str | None
) -> None:
    alarm = of(store, hours_ago).alarm
    assert alarm is None if says is None else says in alarm


def test_the_reason_comes_first(store: MemoryStore) -> None:
    release_id = toy_release(store, gates=[GATE])
    [(kind, ranges)] = store.get_json(layout.release(release_id, "manifest.json"))["ranges"].items()
    end = datetime.fromisoformat(ranges["calibrate"]["end"])
    channels.move(store, "champion", release_id, "ops", "test", 48.0, end)

    def alarm(hours: float) -> str:
        return health(store, "champion", end + timedelta(hours=hours), 12.0).alarm

    assert alarm(40).startswith(f"no newer release was made: champion {release_id} expires in 8 h")
    record = {
        "release_id": "f" * 16,
        "champion_id": release_id,
        "absolute_gates": [GATE.as_document(), REFUSED.as_document()],
        "comparison_gates": [],
    }
    store.put(layout.promotion("f" * 16, release_id), readable_json(record))
    assert alarm(40).startswith(f"release {'f' * 16} was refused by beats_random: champion")
    assert alarm(49).startswith(f"no validated telemetry of {kind} since {ranges['calibrate']['end']}: champion")


def test_the_dashboard_shows_gauges_that_are_sent(store: MemoryStore) -> None:
    release_id = promoted(store, 1)
    rate = {"pages": 12.0, "entity_days": 10.0, "limit": 2.0, "verdict": "pass"}
    report = {"release_id": release_id, "day": "2026-03-19", "drifted": False, "alarm_rate": rate}
    store.put(layout.drift(release_id, "2026-03-19"), readable_json(report))
    sent = {f"airflow_{re.sub(r'[.-]', '_', name)}" for name in health(store, "champion", NOW, 12.0).gauges}
    sent |= {"airflow_fleetalign_champion_telemetry_age_seconds_service", "airflow_task_duration"}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len(panels) >= 6
    for panel in panels:
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            for name, matcher in re.findall(r'(airflow_\w+)|__name__=~"([^"]+)"', target["expr"]):
                if matcher:
                    assert any(re.fullmatch(matcher, one) for one in sent), matcher
                else:
                    assert name in sent, name
