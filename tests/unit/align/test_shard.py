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
from fleetalign.align.shard import NO_SCORE, NO_TELEMETRY, TOO_LITTLE_HISTORY, align_shard
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
from fleetalign.errors import BadInput
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
        "silent": NO_SCORE,
        "gone": NO_TELEMETRY, "younger": TOO_LITTLE_HISTORY,
    }  # fmt: skip
    for row in rows.values():
        assert (row["quantiles"] is None) == (row["reason"] is not None)
        assert row["incident_steps"] == ([2] if row["entity_id"] in ("old", "new") else [])


def test_only_what_is_too_young_for_a_row_leaves_its_margins(scene, rows):
    """One day of 48 samples, of which 33 have a whole window, under every alignment candidate."""
    assert [e for e, row in rows.items() if row["newcomer_margins"] is not None] == ["younger"]
    assert len(rows["younger"]["newcomer_margins"]) % scene.grid.shape[0] == 0
    assert 25 <= len(rows["younger"]["newcomer_margins"]) // scene.grid.shape[0] <= 33
    assert rows["younger"]["location"] is None


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


def scene_said(scene: Scene, *said: tuple[str, float, float]) -> Scene:
    """The scene with more anomalies: (entity, first day, last day)."""
    store = MemoryStore()
    for info in scene.store.list(""):
        store.put(info.key, scene.store.get(info.key))
    for entity_id, start, end in said:
        row = {"kind": "web", "entity_id": entity_id, "start": at(start), "end": at(end), "verdict": "anomaly",
               "source": "test", "note": "", "recorded_at": at(14)}  # fmt: skip
        row["feedback_id"] = feedback_id(row)
        statements.append_feedback(store, pa.Table.from_pylist([row], schema=FEEDBACK.schema))
    return dataclasses.replace(scene, store=store, plan=draft(store, scene.config))


def test_an_incident_of_the_train_range_is_scored_like_those_of_calibrate(scene, rows):
    """It counts, its page is none of the calibrate range's, and no threshold moves by it."""
    said = scene_said(scene, ("old", 3, 3.25), ("other", 8.9, 9.25), ("new", 1, 2))
    found = {row["entity_id"]: row for row in said.rows().to_pylist()}
    assert found["old"]["incident_steps"] == [12, 2]
    assert found["old"]["incident_start"][0] == at(3)
    assert found["old"]["judged_steps"] == 14
    assert np.shape(found["old"]["detector_hits"]) == (2 * scene.grid.shape[0] * scene.grid.shape[1],)
    for column in ("quantiles", "points", "observed_steps", "false_points", "detector_false_pages"):
        assert found["old"][column] == rows["old"][column], column
    assert found["other"]["incident_steps"] == [17]
    # Six hours of it lie in the calibrate range, and are not normal.
    assert found["other"]["points"] == rows["other"]["points"] - 12
    # Its first row comes later: nothing to hit or to miss.
    assert found["new"]["incident_steps"] == [2]
    shards = said.rows()
    aligned = reduce_shards(said.plan, lambda columns: [shards.select(list(columns))], scene.grid, None)
    counts = {counts.entity_id: counts.detector for counts in aligned.held_out.leave_one_out}
    assert counts["old"].hits + counts["old"].missed == 2
    assert aligned.coverage.by_state == reduced(scene, scene.rows())[0].coverage.by_state


def test_a_newcomer_is_fitted_without_its_labelled_anomalies(scene, rows):
    """Its incident in the calibrate range raised one metric by 4,000 in one sample."""
    said = scene_said(scene, ("new", 10.25, 10.5)).rows().to_pylist()
    more = next(row for row in said if row["entity_id"] == "new")
    values = telemetry("new")[: 14 * PER_DAY]
    values[: 9 * PER_DAY] = np.nan
    for start, end in ((10 + 20 / 48, 10 + 22 / 48 + 16 / 48), (10.25, 10.5 + 16 / 48)):
        values[round(start * PER_DAY) : round(end * PER_DAY)] = np.nan
    np.testing.assert_allclose(more["location"], np.nanmean(values, axis=0), rtol=1e-3)
    np.testing.assert_allclose(more["scale"], np.nanstd(values, axis=0), rtol=1e-3)


def test_training_sees_no_labelled_anomaly(scene):
    """Nor the window after it, also where it began before the range or ends behind it."""
    said = scene_said(scene, ("old", -1, 0.5), ("old", 3, 4), ("other", 7.5, 9))
    clean = training_panel(scene.store, scene.plan, "web", scene.config)
    panel = training_panel(said.store, said.plan, "web", said.config)
    cut = {e: np.isnan(panel.values[i]).all(axis=1) for i, e in enumerate(panel.entity_ids)}
    expected = np.zeros(8 * PER_DAY, dtype=bool)
    expected[: PER_DAY // 2 + 16] = expected[3 * PER_DAY : 4 * PER_DAY + 16] = True
    np.testing.assert_array_equal(cut["old"] & np.isfinite(clean.values[panel.entity_ids.index("old")]).any(axis=1),
                                  expected & np.isfinite(clean.values[panel.entity_ids.index("old")]).any(axis=1))  # fmt: skip
    assert cut["other"][round(7.5 * PER_DAY) :].all()
    for i, entity_id in enumerate(panel.entity_ids):
        kept = ~cut[entity_id]
        np.testing.assert_array_equal(panel.values[i, kept], clean.values[i, kept])
    for entity_id in ("muted", "gone"):
        i = panel.entity_ids.index(entity_id)
        np.testing.assert_array_equal(panel.values[i], clean.values[i])


def test_feedback_that_leaves_nothing_to_train_on_says_so(scene):
    said = scene_said(scene, *((entity, 0, 9) for entity in FIRST_DAY))
    with pytest.raises(BadInput, match="feedback says that every sample is an anomaly"):
        training_panel(said.store, said.plan, "web", said.config)
