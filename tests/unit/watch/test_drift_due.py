"""When drift makes a pre-training due: once per model, by what lies in the store."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from fleetalign.config import Config
from fleetalign.config.run import DriftConfig
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.plan import ReusedModel
from fleetalign.interval import Interval
from fleetalign.storage import channel, lake, layout
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.store import Store
from fleetalign.testing.plans import toy_plan
from fleetalign.testing.releases import toy_release, toy_telemetry
from fleetalign.watch.due import Due, snapshot_due
from fleetalign.watch.reports import rate_evidence, summary

START = datetime(2026, 3, 9, tzinfo=UTC)
CONFIG = Config(drift=DriftConfig(pretrain_when_drifted=True))
FINDING = {"kind": "service", "name": "new_share", "metric": None, "value": 0.5, "limit": 0.2, "drifted": True}


class Champion:
    """A store with one validated day, a model trained on the day before, and its release on the channel."""

    def __init__(self) -> None:
        self.store: Store = MemoryStore()
        day = Interval(START, START + timedelta(days=1))
        self.day = lake.write_partition(
            self.store, "validated", "service", day, "day", toy_telemetry("service", "a", 10), 60, {}
        )
        self.plan("trained")
        self.serve("trained", 1.0)

    def plan(self, plan_id: str, *partitions: lake.Partition, reuse: str | None = None) -> None:
        model = ReusedModel(plan_id=reuse, normalizer_id="n") if reuse else None
        plan = toy_plan(partitions=tuple(p.as_plan_entry() for p in partitions), reuse=model)
        self.store.put(layout.plan(plan_id), readable_json(plan.as_document()))

    def serve(self, plan_id: str, threshold: float) -> None:
        self.release_id = toy_release(self.store, threshold=threshold)
        self.store.put(layout.release(self.release_id, "provenance.json"), readable_json({"plan_id": plan_id}))
        channel.move(self.store, "champion", self.release_id, "ana", "test", 48.0, START)

    def report(self, day: str = "2026-03-09", drifted: bool = True, partitions: list[str] | None = None) -> None:
        found = [{**FINDING, "drifted": drifted, "control": [], "worst": []}]
        document = {
            "release_id": self.release_id,
            "day": day,
            "partitions": [self.day.digest] if partitions is None else partitions,
            "measures": found,
            "alarm_rate": {"value": 0.25},
            "drifted": drifted,
        }
        self.store.put(layout.drift(self.release_id, day), readable_json(document))

    def due(self, last: str | None = "trained", config: Config = CONFIG) -> Due | None:
        return snapshot_due(self.store, config, last)


@pytest.fixture
def champion() -> Champion:
    return Champion()


def test_drift_makes_it_due_and_says_why(champion: Champion) -> None:
    assert champion.due() is None, "nobody has looked"
    champion.report()
    due = champion.due()
    assert due is not None
    assert due.why == f"release {champion.release_id} drifted on 2026-03-09: service new_share: 0.5, limit 0.2"
    assert champion.due() == due, "the same state starts nothing twice"
    assert champion.due(config=Config()) is None, "only where it is configured"


def test_the_newest_report_counts(champion: Champion) -> None:
    champion.report()
    champion.report("2026-03-10", drifted=False)
    assert champion.due() is None


def test_a_day_that_a_training_has_seen_makes_nothing_due(champion: Champion) -> None:
    champion.report(partitions=["f" * 64])
    assert champion.due() is None


def test_one_training_for_one_model_also_while_the_new_one_waits(champion: Champion) -> None:
    champion.report()
    champion.plan("newer")
    assert champion.due("newer") is None
    champion.serve("newer", 2.0)
    assert champion.due("newer") is None, "nobody has looked at the new champion"
    champion.report()
    assert champion.due("newer") is not None, "and when it drifts too, it is due once more"


def test_a_champion_that_was_aligned_anew_still_has_its_model(champion: Champion) -> None:
    champion.report()
    before = champion.due()
    champion.plan("aligned", reuse="trained")
    champion.serve("aligned", 3.0)
    assert champion.due() is None
    champion.report()
    after = champion.due()
    assert before is not None
    assert after is not None
    assert after.snapshot == before.snapshot, "so no second training of the same model is started"


def test_without_champion_or_model_there_is_nothing_to_replace(champion: Champion) -> None:
    champion.report()
    assert champion.due(None) is None
    other = dataclasses.replace(CONFIG, release=dataclasses.replace(CONFIG.release, channel="challenger"))
    assert champion.due(config=other) is None


def test_what_others_read_of_a_report(champion: Champion) -> None:
    assert rate_evidence(champion.store, champion.release_id) == ""
    champion.report()
    assert rate_evidence(champion.store, champion.release_id) == "; its drift check of 2026-03-09 counted 0.25"
    told = summary(champion.store.get_json(layout.drift(champion.release_id, "2026-03-09")))
    assert (told["drifted"], told["findings"]) == (True, ["service new_share: 0.5, limit 0.2"])
    assert told["report"] == f"drift/{champion.release_id}/2026-03-09/report.html"
