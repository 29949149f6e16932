"""When a pre-training is due: by what lies in the store, once per snapshot."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from fleetalign import steps
from fleetalign.config import Config
from fleetalign.config.run import AirflowConfig, SimulatorConfig, SourceConfig, ValidationConfig
from fleetalign.errors import BadInput
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.connect import open_store
from fleetalign.validate.run import validate_partition
from fleetalign.watch.drift import newest_day

START = datetime(2026, 3, 2, tzinfo=UTC)
CONFIG = Config(
    source=SourceConfig(simulator=SimulatorConfig(days=3, entities=4)),
    validation=ValidationConfig(data_docs=False),
    airflow=AirflowConfig(min_new_partitions=2),
)


def day(number: int) -> Interval:
    return Interval(START + timedelta(days=number), START + timedelta(days=number + 1))


def test_a_day_counts_when_all_its_kinds_are_validated_and_the_snapshot_is_one() -> None:
    uri = "memory://pretrain-due"
    for number in (0, 1):
        steps.ingest(CONFIG, uri, day(number))
    assert steps.pretrain_due(CONFIG, uri) is None, "nothing is validated"
    steps.validate(CONFIG, uri, day(0))
    assert steps.pretrain_due(CONFIG, uri) is None, "one day of two"
    store = open_store(uri)
    kinds = sorted({p.kind for p in lake.list_partitions(store, "raw", within=day(1))})
    assert len(kinds) == 2
    validate_partition(store, CONFIG, kinds[0], day(1))
    assert steps.pretrain_due(CONFIG, uri) is None, "the other kind of that day is on its way"
    validate_partition(store, CONFIG, kinds[1], day(1))
    due = steps.pretrain_due(CONFIG, uri)
    assert due is not None
    assert due["why"] == "2 new partitions of a kind, airflow.min_new_partitions is 2"
    steps.ingest(CONFIG, uri, day(2))
    validate_partition(store, CONFIG, kinds[0], day(2))
    assert steps.pretrain_due(CONFIG, uri) == due, "half a day more is no other snapshot"
    three = dataclasses.replace(CONFIG, airflow=AirflowConfig(min_new_partitions=4))
    assert steps.pretrain_due(three, uri) is None


def test_nothing_is_checked_while_nothing_is_promoted() -> None:
    assert steps.drift(CONFIG, "memory://drift-without-champion") is None


def test_the_newest_whole_day_is_the_last_that_ends(monkeypatch) -> None:
    uri, hours = "memory://newest-day", [START + timedelta(hours=h) for h in range(50)]
    spans = [Interval(hour, hour + timedelta(hours=1)) for hour in hours]
    monkeypatch.setattr(lake, "list_partitions", lambda *_: [type("P", (), {"interval": s}) for s in spans])
    assert newest_day(open_store(uri)) == day(1), "the third day has begun"
    del spans[20:]
    with pytest.raises(BadInput, match="no whole day of validated telemetry yet"):
        newest_day(open_store(uri))
