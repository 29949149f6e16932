"""The cost of an alignment is estimated, and refused above a budget, before it fans out."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.config import Config
from fleetalign.contracts.plan import Plan, Ranges
from fleetalign.errors import ConfigError
from fleetalign.interval import Interval
from fleetalign.plan.cost import (
    MOST_SHARDS,
    SHARD_SECONDS,
    entities_per_shard,
    expected_cpu_hours,
    require_affordable,
)
from fleetalign.testing.plans import toy_kind, toy_plan


def plan(entities: int, days: int = 1, metrics: int = 2, network: str = "views") -> Plan:
    span = Interval.parse("2026-03-02", f"2026-03-{2 + days:02}")
    kind = toy_kind(
        entities=entities,
        step_seconds=60,
        metrics=tuple(f"m{i}" for i in range(metrics)),
        ranges=Ranges(train=span, calibrate=span),
    )
    settings = Config().build_settings()
    settings["model"]["network"] = network
    return toy_plan(config=settings, kinds={"web": kind})


def test_it_grows_with_entities_and_their_samples() -> None:
    assert expected_cpu_hours(plan(2_000)) == pytest.approx(2 * expected_cpu_hours(plan(1_000)))
    more = expected_cpu_hours(plan(1_000, days=2)) - expected_cpu_hours(plan(1_000))
    assert more == pytest.approx(1_000 * 1_440 * 2 * 2.3e-6 / 3600)
    assert expected_cpu_hours(plan(1_000, network="sharead")) > expected_cpu_hours(plan(1_000))


def test_a_budget_refuses_with_the_numbers_and_none_refuses_nothing() -> None:
    dear = plan(100_000, days=20, metrics=40)
    require_affordable("p1", dear, 0.0)
    require_affordable("p1", dear, 1_000.0)
    with pytest.raises(
        ConfigError, match=r"plan p1: aligning 100000 entities is expected to take 73\.6 CPU hours.* 10:"
    ):
        require_affordable("p1", dear, 10.0)


@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 28), st.integers(1, 50)), min_size=1, max_size=40))
def test_shards_are_half_a_minute_of_work_or_as_many_as_there_may_be(kinds: list[tuple[int, int, int]]) -> None:
    planned = {
        f"k{n:02}": plan(entities, days, metrics).kinds["web"] for n, (entities, days, metrics) in enumerate(kinds)
    }
    sizes = entities_per_shard(Config(), planned)

    def seconds(kind: str, entities: int) -> float:
        one = {kind: dataclasses.replace(planned[kind], entities=entities)}
        return 3600 * expected_cpu_hours(toy_plan(kinds=one))

    assert sum(math.ceil(planned[kind].entities / size) for kind, size in sizes.items()) <= MOST_SHARDS
    whole = sum(seconds(kind, planned[kind].entities) for kind in planned)
    most = max(SHARD_SECONDS, whole / (MOST_SHARDS - len(kinds)))
    for kind, size in sizes.items():
        entities = planned[kind].entities
        shards = math.ceil(entities / size)
        # One entity above equal parts; and with one shard less they would be too large.
        assert seconds(kind, size - 1) <= most * (1 + 1e-9)
        assert shards <= 1 or seconds(kind, math.ceil(entities / (shards - 1))) > most * (1 - 1e-9)


def test_a_number_of_entities_that_was_asked_for_is_kept() -> None:
    config = Config(align=dataclasses.replace(Config().align, entities_per_shard=1))
    assert entities_per_shard(config, plan(1_000).kinds) == {"web": 1}
