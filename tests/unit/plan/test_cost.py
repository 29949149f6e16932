"""What an alignment will take is told, and refused above a budget, before it fans out."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.config import Config
from fleetalign.errors import ConfigError
from fleetalign.plan.cost import (
    MOST_SHARDS,
    SHARD_SECONDS,
    entities_per_shard,
    expected_cpu_hours,
    require_affordable,
)


def plan(entities: int, days: int = 1, metrics: int = 2, network: str = "views") -> dict:
    span = {"start": "2026-03-02T00:00:00Z", "end": f"2026-03-{2 + days:02}T00:00:00Z"}
    facts = {
        "entities": entities,
        "step_seconds": 60,
        "metrics": [f"m{i}" for i in range(metrics)],
        "ranges": {"train": span, "calibrate": span, "judge": None},
    }
    settings = Config().build_settings()
    settings["model"]["network"] = network
    return {"config": settings, "kinds": {"web": facts}}


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
    facts = {
        f"k{n:02}": plan(entities, days, metrics)["kinds"]["web"] for n, (entities, days, metrics) in enumerate(kinds)
    }
    sizes = entities_per_shard(Config(), facts)

    def seconds(kind: str, entities: int) -> float:
        return 3600 * expected_cpu_hours(plan(1) | {"kinds": {kind: facts[kind] | {"entities": entities}}})

    assert sum(math.ceil(facts[kind]["entities"] / size) for kind, size in sizes.items()) <= MOST_SHARDS
    whole = sum(seconds(kind, facts[kind]["entities"]) for kind in facts)
    most = max(SHARD_SECONDS, whole / (MOST_SHARDS - len(kinds)))
    for kind, size in sizes.items():
        entities = facts[kind]["entities"]
        shards = math.ceil(entities / size)
        # One entity above equal parts; and with one shard less they would be too large.
        assert seconds(kind, size - 1) <= most * (1 + 1e-9)
        assert shards <= 1 or seconds(kind, math.ceil(entities / (shards - 1))) > most * (1 - 1e-9)


def test_a_number_of_entities_that_was_asked_for_is_kept() -> None:
    config = Config(align=dataclasses.replace(Config().align, entities_per_shard=1))
    assert entities_per_shard(config, plan(1_000)["kinds"]) == {"web": 1}
