"""A small synthetic fleet, and one network trained on it that the graph tests share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.config import AlignConfig, Config, ModelConfig, TrainingConfig
from fleetalign.storage.panel import Panel


def synthetic_values(entities: int, steps: int, metrics: int, seed: int = 0) -> np.ndarray:
    """float64 [entity, time, metric]: rhythm plus noise in different units."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 2 * np.pi, (entities, 1, metrics))
    period = random.uniform(20, 60, (entities, 1, metrics))
    z = np.sin(2 * np.pi * np.arange(steps)[None, :, None] / period + phase)
    z += 0.2 * random.standard_normal((entities, steps, metrics))
    return 10.0 ** random.integers(-2, 6, (entities, 1, metrics)) * (5 + z)


def panel_of(values: np.ndarray, first: np.ndarray | None = None, last: np.ndarray | None = None) -> Panel:
    entities, steps, metrics = values.shape
    return Panel(
        kind="web",
        entity_ids=tuple(f"e{i:03d}" for i in range(entities)),
        metrics=tuple(f"m{i:02d}" for i in range(metrics)),
        start=np.datetime64("2026-03-02T00:00:00", "us"),
        step_seconds=60,
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
def trained():
    """ShareAD at the default width, two short epochs in: good enough for small reconstruction errors."""
    from fleetalign.model import normalizer
    from fleetalign.model.train import train

    panel = panel_of(synthetic_values(6, 700, 5, seed=3))
    table = normalizer.build(panel, ModelConfig(), 10)
    location, scale = normalizer.lookup(table, "web", panel.entity_ids, panel.metrics)
    settings = TrainingConfig(epochs=2, batch_size=32, learning_rate=2e-3, max_windows_per_epoch=2000)
    return train(panel, location, scale, ModelConfig(), settings)


@pytest.fixture(scope="session")
def exported(trained) -> bytes:
    from fleetalign.model.export import export

    return export(trained.network, ModelConfig())


@pytest.fixture
def make_plan():
    """A memory store with one validated day of kind ``web`` (1-minute steps), and a plan that trains on its start."""
    from fleetalign.contracts.tables import TIME
    from fleetalign.interval import Interval
    from fleetalign.storage import lake
    from fleetalign.storage.memory import MemoryStore

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
        facts = {
            "step_seconds": 60,
            "metrics": names,
            "ranges": {"train": cut.as_json(), "calibrate": None, "judge": None},
            "entities": entities,
            "model_id": None,
        }
        return store, {"kinds": {"web": facts}, "partitions": [partition.as_plan_entry()]}

    return make


@pytest.fixture(scope="session")
def small_config() -> Config:
    """Trains in a second."""
    return Config(
        model=ModelConfig(window_steps=16, latent_size=3),
        training=TrainingConfig(
            epochs=2, batch_size=32, max_windows_per_epoch=160, max_validation_windows=60, checkpoint_every_batches=2
        ),
        align=AlignConfig(min_history_steps=20),
    )
