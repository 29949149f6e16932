"""A small plan without a store, for tests of what reads plans."""

from __future__ import annotations

import dataclasses
from typing import Any

from fleetalign.config import Config
from fleetalign.contracts.plan import FrozenStatements, FrozenTable, KindPlan, Plan, Ranges
from fleetalign.interval import Interval

TRAIN = Interval.parse("2026-03-01", "2026-03-05")
CALIBRATE = Interval.parse("2026-03-06", "2026-03-08")


def toy_kind(**changes: Any) -> KindPlan:
    """Return a kind of one entity, two metrics and five-minute samples, with ``changes``."""
    kind = KindPlan(
        step_seconds=300, metrics=("cpu", "disk"), ranges=Ranges(train=TRAIN, calibrate=CALIBRATE), entities=1
    )
    return dataclasses.replace(kind, **changes)


def toy_plan(**changes: Any) -> Plan:
    """Return a plan of one kind, ``web``, without partitions and shards, with ``changes``."""
    nothing = FrozenStatements(sha256="0" * 64, rows=0)
    plan = Plan(
        config=Config().build_settings(),
        kinds={"web": toy_kind()},
        entity_ids=FrozenTable(sha256="0" * 64, rows=1),
        partitions=(),
        feedback=nothing,
        mutes=nothing,
        shards=(),
        seeds={"model": 11, "align": 13},
    )
    return dataclasses.replace(plan, **changes)
