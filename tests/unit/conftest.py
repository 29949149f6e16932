"""Small fleets, networks trained on them, and stores that hold them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.config import AlignConfig, Config, ModelConfig, ShareADConfig, TrainingConfig
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.plan import Ranges
from fleetalign.contracts.tables import MUTES, TIME
from fleetalign.detectors.registry import detector
from fleetalign.detectors.views.roles import SETTLE_STEPS, STATE_SIZE, STATISTICS
from fleetalign.interval import Interval
from fleetalign.scoring.kind_scorer import KindScorer
from fleetalign.storage.lake import write_partition
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.panel import Panel
from fleetalign.testing.plans import toy_kind, toy_plan
from fleetalign.testing.releases import toy_kind_manifest

if TYPE_CHECKING:
    from fleetalign.model.train import TrainedModel


def synthetic_values(entities: int, steps: int, metrics: int, seed: int = 0) -> np.ndarray:
    """float64 [entity, time, metric]: rhythm plus noise in different units."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 2 * np.pi, (entities, 1, metrics))
    period = random.uniform(20, 60, (entities, 1, metrics))
    z = np.sin(2 * np.pi * np.arange(steps)[None, :, None] / period + phase)
    z += 0.2 * random.standard_normal((entities, steps, metrics))
    return 10.0 ** random.integers(-2, 6, (entities, 1, metrics)) * (5 + z)


def daily_values(entities: int, steps: int, metrics: int, seed: int = 0, period: int = 24) -> np.ndarray:
    """float64 [entity, time, metric]: a daily rhythm with a sharp peak, plus noise, in different units."""
    random = np.random.default_rng(seed)
    hour = np.arange(steps)[None, :, None] + random.integers(0, period, (entities, 1, metrics))
    z = np.exp(np.cos(2 * np.pi * hour / period)) + 0.2 * random.standard_normal((entities, steps, metrics))
    return 10.0 ** random.integers(-2, 6, (entities, 1, metrics)) * (5 + z)


def panel_of(
    values: np.ndarray, first: np.ndarray | None = None, last: np.ndarray | None = None, step_seconds: int = 60
) -> Panel:
    entities, steps, metrics = values.shape
    return Panel(
        kind="web",
        entity_ids=tuple(f"e{i:03d}" for i in range(entities)),
        metrics=tuple(f"m{i:02d}" for i in range(metrics)),
        start=np.datetime64("2026-03-02T00:00:00", "us"),
        step_seconds=step_seconds,
        values=values,
        first=np.zeros(entities, dtype=np.int64) if first is None else first,
        last=np.full(entities, steps - 1, dtype=np.int64) if last is None else last,
    )


@pytest.fixture(scope="session")
def make_panel():
    def make(entities: int = 4, steps: int = 200, metrics: int = 3, seed: int = 0) -> Panel:
        return panel_of(synthetic_values(entities, steps, metrics, seed))

    return make


@pytest.fixture(scope="session")
def as_panel():
    return panel_of


@pytest.fixture(scope="session")
def make_daily():
    def make(entities: int = 4, steps: int = 200, metrics: int = 3, seed: int = 0) -> Panel:
        return panel_of(daily_values(entities, steps, metrics, seed), step_seconds=3600)

    return make


@dataclass(frozen=True)
class Example:
    """One network trained for two short epochs, its graph, and the settings it was trained with."""

    name: str
    panel: Panel = field(repr=False)
    location: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    model: ModelConfig
    trained: TrainedModel = field(repr=False)
    exported: bytes = field(repr=False)

    @property
    def window_steps(self) -> int:
        return self.model.window_steps


EXAMPLES = ("sharead", "views", "views without a period")


@functools.cache
def example_of(name: str) -> Example:
    """Networks at their default width, good enough for small errors. ``views`` sees a daily rhythm at hourly steps."""
    from fleetalign.model import normalizer
    from fleetalign.model.export import export
    from fleetalign.model.train import train

    seasonal = name == "views"
    values = daily_values(6, 24 * 16, 5, seed=3) if seasonal else synthetic_values(6, 700, 5, seed=3)
    panel = panel_of(values, step_seconds=3600 if seasonal else 60)
    model = ModelConfig(network="sharead" if name == "sharead" else "views")
    location, scale = normalizer.build(panel, model, 10).lookup()
    settings = TrainingConfig(epochs=2, batch_size=32, learning_rate=2e-3, max_windows_per_epoch=800)
    trained = train(panel, location, scale, model, settings)
    assert (trained.network.period_steps is not None) == seasonal
    return Example(name, panel, location, scale, model, trained, export(trained.network, model.window_steps))


@pytest.fixture(scope="session", params=EXAMPLES)
def example(request) -> Example:
    return example_of(request.param)


@pytest.fixture(scope="session")
def sharead() -> Example:
    return example_of("sharead")


@pytest.fixture(scope="session", params=EXAMPLES[1:])
def views(request) -> Example:
    return example_of(request.param)


@pytest.fixture(scope="session")
def seasonal() -> Example:
    return example_of("views")


@pytest.fixture
def make_plan():
    """A memory store with one validated day of kind ``web`` (1-minute steps), and a plan that trains on its start."""
    from fleetalign.storage import lake

    def make(train_steps: int = 240, entities: int = 3, metrics: int = 2):
        steps = 300
        values = synthetic_values(entities, steps, metrics, seed=1)
        start = np.datetime64("2026-03-02T00:00:00", "us")
        times = start + np.arange(steps) * np.timedelta64(60_000_000, "us")
        names = [f"m{i:02d}" for i in range(metrics)]
        table = pa.table(
            {
                "kind": pa.array(["web"] * entities * steps),
                "entity_id": pa.array(np.repeat([f"e{i:03d}" for i in range(entities)], steps)),
                "timestamp": pa.array(np.tile(times, entities)).cast(TIME),
                **{name: values[:, :, m].ravel() for m, name in enumerate(names)},
            }
        )
        store = MemoryStore()
        day = Interval.parse("2026-03-02", "2026-03-03")
        partition = lake.write_partition(store, "validated", "web", day, "day", table, 60, {})
        cut = Interval.parse("2026-03-02T00:00:00Z", str(times[train_steps - 1] + np.timedelta64(60, "s")) + "Z")
        ranges = Ranges(train=cut, calibrate=Interval(cut.end, day.end))
        kind = toy_kind(step_seconds=60, metrics=tuple(names), ranges=ranges, entities=entities)
        return store, toy_plan(kinds={"web": kind}, partitions=(partition.as_plan_entry(),))

    return make


@pytest.fixture(params=["sharead", "views"])
def small_config(request) -> Config:
    """Trains in a second."""
    sharead = ShareADConfig(latent_size=3) if request.param == "sharead" else ShareADConfig()
    return Config(
        model=ModelConfig(network=request.param, window_steps=16, sharead=sharead),
        training=TrainingConfig(
            epochs=2, batch_size=32, max_windows_per_epoch=160, max_validation_windows=60, checkpoint_every_batches=2
        ),
        align=AlignConfig(min_history_steps=20),
    )


ViewsKind = Callable[..., KindScorer]


@pytest.fixture(scope="session")
def views_kind() -> ViewsKind:
    import torch

    from fleetalign.model.export import export

    def make(
        kind: str,
        metrics: Sequence[str],
        normalizer: FleetTable,
        aligner: FleetTable,
        *,
        window_steps: int,
        step_seconds: int,
        period_steps: int | None,
    ) -> KindScorer:
        """``normalizer`` has the columns of STATISTICS."""
        torch.manual_seed(3)
        model = ModelConfig(window_steps=window_steps)
        network = detector(model.network).network(model, period_steps)
        entry = toy_kind_manifest(
            window_steps=window_steps,
            step_seconds=step_seconds,
            metrics=tuple(metrics),
            inputs=tuple(network.inputs),
            seasonal_lags_steps=tuple(network.lags),
            statistics_columns=tuple(STATISTICS),
            state_size=STATE_SIZE,
            state_chains=True,
            state_settle_steps=SETTLE_STEPS,
        )
        return KindScorer(kind, entry, export(network, window_steps), normalizer, aligner, MUTES.empty())

    return make


DAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def fleet() -> MemoryStore:
    """A store with two days of two kinds: ``web`` has a, b/c and twin, ``db`` has twin; b/c came on the second day."""
    store = MemoryStore()
    for day, web in ((DAY, ("a", "twin")), (DAY + timedelta(days=1), ("a", "b/c", "twin"))):
        for kind, entities in (("web", web), ("db", ("twin",))):
            times = [day + timedelta(hours=h) for h in range(24)] * len(entities)
            table = pa.table(
                {
                    "kind": [kind] * len(times),
                    "entity_id": [e for e in entities for _ in range(24)],
                    "timestamp": pa.array(times, TIME),
                    "cpu": [1.0] * len(times),
                }
            )
            write_partition(store, "raw", kind, Interval(day, day + timedelta(days=1)), "day", table, 3600, {})
    return store
