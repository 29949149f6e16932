"""A shard from the store to its rows: thresholds are fitted on the numbers that consumers compute, for old and new."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.align.aligner_rows import Reduced, reduce_shards
from fleetalign.align.shard import NO_TELEMETRY, TOO_LITTLE_HISTORY, align_shard
from fleetalign.config import AlignConfig, AlignGrid, Config, ModelConfig, RangesConfig, ShareADConfig, StorageConfig
from fleetalign.contracts.feedback import feedback_id
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.manifest import KindManifest
from fleetalign.contracts.model_card import ModelCard
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.tables import ALIGNER, FEEDBACK, MUTES, NORMALIZER, TIME, from_parquet
from fleetalign.detectors.grid import Grid, upper_quantiles
from fleetalign.detectors.registry import detector
from fleetalign.detectors.views.roles import FLEET_STATISTICS, SETTLE_STEPS, STATE_SIZE
from fleetalign.interval import Interval
from fleetalign.model import normalizer
from fleetalign.model.candidate import add_statistics, training_panel
from fleetalign.plan.document import partitions_of
from fleetalign.plan.draft import draft
from fleetalign.scoring.kind_scorer import KindScorer
from fleetalign.storage import lake, layout, statements
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.panel import read_panel
from fleetalign.testing.releases import toy_kind_manifest

STEP, PER_DAY, DAYS = 1800, 48, 14
START = datetime(2026, 3, 2, tzinfo=UTC)
METRICS = ("cpu", "disk")
FIRST_DAY = {"new": 9, "old": 0, "other": 0, "silent": 0, "gone": 0, "muted": 0, "younger": 13}
"""Day on which each entity begins; training ends with day 8."""
RANGES = RangesConfig(train=("2026-03-02", "2026-03-10"), calibrate=("2026-03-11", "2026-03-16"))


def config_of(network: str) -> Config:
    model = ModelConfig(network=network, window_steps=16)
    grid = AlignGrid(tail_probability_count=12)
    if network == "sharead":
        model = dataclasses.replace(model, sharead=ShareADConfig(latent_size=3))
        grid = dataclasses.replace(grid, conditions=(2, 6))
    return Config(
        model=model, align=AlignConfig(grid=grid, min_history_steps=100, entities_per_shard=50), ranges=RANGES
    )


def at(day: float) -> datetime:
    return START + timedelta(days=day)


def telemetry(entity_id: str) -> np.ndarray:
    random = np.random.default_rng(sum(entity_id.encode()))
    hour = np.arange(DAYS * PER_DAY)[:, None] / PER_DAY * 2 * np.pi
    values = 1e3 / 3 * (7 + np.sin(hour + random.uniform(0, 6, 2)) + 0.3 * random.normal(size=(DAYS * PER_DAY, 2)))
    values[random.random(values.shape) < 0.02] = np.nan
    if entity_id == "silent":
        values[:] = np.nan
    values[10 * PER_DAY + 20, 0] += 4e3
    return values


@dataclass(frozen=True, repr=False)
class Scene:
    config: Config
    store: MemoryStore
    plan: Plan
    grid: Grid
    entry: KindManifest
    model: bytes
    normalizer: pa.Table

    def rows(self, index: int = 0, plan: Plan | None = None, **options) -> pa.Table:
        storage = StorageConfig()
        return align_shard(self.store, plan or self.plan, index, {"web": "m"}, self.normalizer, storage, **options)


def toy_card(changes: dict[str, Any]) -> ModelCard:
    training = {"curve": [], "best_epoch": 0, "weights_chosen_by": "train_loss", "training_windows": 0, "validation_windows": 0}  # fmt: skip
    other = {"schema_version": "1.1", "network": "toy", "outputs": [], "score": "", "margin": "", "period_steps": None, "parameters": 0, "config": {}}  # fmt: skip
    return ModelCard.from_document({**other, "training": training, **changes})


def scene_of(network: str) -> Scene:
    import torch

    from fleetalign.model.export import export

    config, store = config_of(network), MemoryStore()
    values = {entity_id: telemetry(entity_id) for entity_id in FIRST_DAY}
    for day in range(DAYS):
        present = [e for e, first in FIRST_DAY.items() if day >= first and not (e == "gone" and day >= 8)]
        times = [at(day) + timedelta(seconds=STEP * i) for i in range(PER_DAY)]
        table = pa.table(
            {
                "kind": ["web"] * len(present) * PER_DAY,
                "entity_id": [e for e in present for _ in times],
                "timestamp": pa.array(times * len(present), TIME),
                **{
                    name: np.concatenate([values[e][day * PER_DAY : (day + 1) * PER_DAY, m] for e in present])
                    for m, name in enumerate(METRICS)
                },
            }
        )
        lake.write_partition(store, "validated", "web", Interval(at(day), at(day + 1)), "day", table, STEP, {})
    for entity_id in ("old", "new"):
        row = {"kind": "web", "entity_id": entity_id, "start": at(10 + 20 / 48), "end": at(10 + 22 / 48),
               "verdict": "anomaly", "source": "test", "note": "", "recorded_at": at(14)}  # fmt: skip
        row["feedback_id"] = feedback_id(row)
        statements.append_feedback(store, pa.Table.from_pylist([row], schema=FEEDBACK.schema))
    plan = draft(store, config)
    panel = training_panel(store, plan, "web", config)
    numbers = normalizer.build(panel, config.model, config.align.min_history_steps)
    torch.manual_seed(1)
    chosen = detector(network)
    made = chosen.network(config.model, PER_DAY if network == "views" else None)
    model = export(made, 16)
    numbers = add_statistics(numbers, panel, chosen, model, made.lags, config.model.clip)
    card = {
        "network": network, "window_steps": 16, "condition_used": chosen.condition_used, "inputs": list(made.inputs),
        "seasonal_lags_steps": list(made.lags), "statistics_columns": list(chosen.statistics),
    }  # fmt: skip
    document = readable_json(toy_card(card).as_document())
    for name, data in (("model.onnx", model), ("untrained.onnx", model), ("card.json", document)):
        store.put_immutable(layout.model("m", name), data)
    state = {"state_size": STATE_SIZE, "state_chains": True, "state_settle_steps": SETTLE_STEPS}
    entry = toy_kind_manifest(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in card.items()},
        step_seconds=STEP,
        metrics=METRICS,
        **(state if chosen.statistics else {}),
    )
    return Scene(config, store, plan, chosen.grid(config.align, 16), entry, model, numbers.table())


@pytest.fixture(scope="module", params=["sharead", "views"])
def scene(request) -> Scene:
    return scene_of(request.param)


@pytest.fixture(scope="module")
def rows(scene) -> dict[str, dict[str, Any]]:
    return {row["entity_id"]: row for row in scene.rows().to_pylist()}


def reduced(scene: Scene, shards: pa.Table) -> tuple[Reduced, pa.Table]:
    """The fleet's aligner, and the normalizer that belongs to it."""
    found = reduce_shards(scene.plan, lambda columns: [shards.select(list(columns))], scene.grid, None)
    table = pa.concat_tables([scene.normalizer, found.new_rows], promote_options="default")
    if not scene.grid.shared_candidate:
        return found, NORMALIZER.conform(table)
    fleet = dict(zip(FLEET_STATISTICS, found.shared.candidate, strict=True))
    return found, normalizer.with_constants(table, fleet)


def test_thresholds_are_quantiles_of_the_margins_that_a_consumer_computes(scene):
    """For entities of the training, and for one that came later and has its own normalizer rows by now."""
    found, table = reduced(scene, scene.rows())
    scorer = KindScorer(
        "web",
        scene.entry,
        scene.model,
        FleetTable.of(NORMALIZER, table),
        FleetTable(ALIGNER, found.aligner, "aligner"),
        MUTES.empty(),
    )
    plan_range = scene.plan.kinds["web"].ranges.calibrate
    aligned = {row["entity_id"]: row for row in from_parquet(found.aligner, "aligner").to_pylist()}
    panel = read_panel(
        scene.store, partitions_of(scene.plan, "web"), "web", ["new", "old", "other"], list(METRICS),
        Interval(START, plan_range.end), STEP,
    )  # fmt: skip
    start = panel.index_of(plan_range.start)
    for i, entity_id in enumerate(panel.entity_ids):
        first = int(panel.first[i])
        positions = np.arange(first, panel.values.shape[1])
        scores = scorer.score(entity_id, np.asarray(panel.values[i]), panel.times, first, positions, 64)
        row = aligned[entity_id]
        margins = (scores.margin + np.float32(row["threshold"]))[positions >= start]
        labelled = entity_id in ("new", "old")
        normal = np.isfinite(margins)
        normal[10 * PER_DAY + 20 - start : 10 * PER_DAY + 22 - start] &= not labelled
        expected = upper_quantiles(np.sort(margins[normal]), np.array([row["tail_probability"]], dtype=np.float64))[0]
        assert row["threshold"] == pytest.approx(expected, rel=1e-5), entity_id
        # What stands on the threshold is no alarm, whatever the last bits of a consumer.
        share = (scores.margin[positions >= start][normal] > 0).mean()
        assert share <= row["tail_probability"]


def test_every_entity_has_a_row_and_what_cannot_be_aligned_has_a_reason(rows):
    assert {e: row["reason"] for e, row in rows.items()} == {
        "new": None, "old": None, "other": None, "muted": None,
        "silent": TOO_LITTLE_HISTORY,
        "gone": NO_TELEMETRY, "younger": TOO_LITTLE_HISTORY,
    }  # fmt: skip
    for row in rows.values():
        assert (row["quantiles"] is None) == (row["reason"] is not None)
        assert row["incident_steps"] == ([2] if row["entity_id"] in ("old", "new") else [])


def test_only_newcomers_bring_numbers_of_their_own(scene, rows):
    assert [e for e, row in rows.items() if row["location"] is not None and row["reason"] is None] == ["new"]
    assert (rows["new"]["statistics"] is None) == (not scene.entry.statistics_columns)


def test_the_cut_of_shards_changes_no_row(scene):
    align = dataclasses.replace(scene.config.align, entities_per_shard=1)
    plan = draft(scene.store, dataclasses.replace(scene.config, align=align))
    assert len(plan.shards) == len(FIRST_DAY)
    alone = pa.concat_tables([scene.rows(i, plan) for i in range(len(FIRST_DAY))])
    assert alone.equals(scene.rows())


def test_the_control_goes_the_same_way_for_entities_that_somebody_spoke_about(scene, rows):
    control = scene.rows(control=True).to_pylist()
    assert [row["entity_id"] for row in control] == ["new", "old"]
    for row in control:
        # Its graph is the model's here: what it finds is what the model found.
        np.testing.assert_allclose(row["quantiles"], rows[row["entity_id"]]["quantiles"], rtol=2e-3, atol=1e-5)
        assert len(row["location"]) == len(METRICS)


def test_a_maintenance_window_is_not_fitted_on(scene):
    window = {"kind": "web", "entity_id": "muted", "metric": "*", "from": at(9), "until": at(13), "by": "", "why": ""}
    store = scene_store_with(scene, window)
    plan = draft(store, scene.config)
    storage = StorageConfig()
    found = align_shard(store, plan, 0, {"web": "m"}, scene.normalizer, storage).to_pylist()
    muted = next(row for row in found if row["entity_id"] == "muted")
    assert muted["observed_steps"] == PER_DAY


def scene_store_with(scene: Scene, mute: dict[str, Any]) -> MemoryStore:
    store = MemoryStore()
    for info in scene.store.list(""):
        store.put(info.key, scene.store.get(info.key))
    statements.append_mutes(store, pa.Table.from_pylist([mute], schema=MUTES.schema))
    return store
