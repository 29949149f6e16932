"""Missing history never pages: a cut of an entity's past does not make it alarm more than its neighbours do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import lake
from fleetalign.storage.connect import open_store

if TYPE_CHECKING:
    from tests.e2e.conftest import Build

CUTS = 12


def telemetry(build: Build) -> pa.Table:
    """The validated telemetry of the build's fleet."""
    store = open_store(str(build.store))
    return pa.concat_tables(
        [lake.read_partition(store, p) for p in lake.list_partitions(store, "validated")], promote_options="default"
    )


def alarms(scores: pa.Table) -> dict[tuple, bool]:
    """Whether each scored sample alarms."""
    scored = scores.filter(pc.is_valid(scores["score"])).select(["kind", "entity_id", "timestamp", "alarm"])
    return {(row["kind"], row["entity_id"], row["timestamp"]): row["alarm"] for row in scored.to_pylist()}


@pytest.mark.parametrize("seed", [1, 2])
def test_newcomers_and_returners_alarm_no_more_than_with_their_past(build: Build, seed: int) -> None:
    scorer = Scorer.open(str(build.store), release=build.release_id)
    whole = telemetry(build)
    expected = alarms(scorer.score(whole))
    random = np.random.default_rng(seed)
    first, last = pc.min_max(whole["timestamp"]).as_py().values()
    before = after = samples = 0
    for _ in range(CUTS):
        cut: datetime = first + random.uniform(0.2, 0.9) * (last - first)
        gone = timedelta(hours=float(random.uniform(0.5, 30)))
        # A newcomer has no past; a returner's telemetry stops for hours.
        keep = pc.greater_equal(whole["timestamp"], pa.scalar(cut, whole["timestamp"].type))
        if random.random() < 0.5:
            keep = pc.or_(keep, pc.less(whole["timestamp"], pa.scalar(cut - gone, whole["timestamp"].type)))
        found = {
            key: alarm
            for key, alarm in alarms(scorer.score(whole.filter(keep))).items()
            if cut <= key[2] < cut + timedelta(hours=24)
        }
        samples += len(found)
        before += sum(expected[key] for key in found)
        after += sum(found.values())
    print(f"{samples} samples: {before} alarms with their past, {after} without")
    assert samples > 1000
    assert after <= 1.5 * before + 0.002 * samples
