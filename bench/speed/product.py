"""fleetalign's own networks as the benchmark sees them: trained, exported and run by the product's public functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from bench.speed.synthetic import Telemetry
from fleetalign.config import ModelConfig, ResearchConfig, ShareADConfig, TrainingConfig
from fleetalign.config.detectors import BUILT_IN
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.graph import Graph
from fleetalign.contracts.manifest import KindManifest
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, MUTES, NORMALIZER
from fleetalign.detectors.registry import detector
from fleetalign.model import normalizer
from fleetalign.scoring.kind_scorer import KindScorer


def names() -> tuple[str, ...]:
    """Every detector of the package."""
    return tuple(BUILT_IN)


def training_settings(windows: int, device: str = "cpu") -> TrainingConfig:
    """One epoch over ``windows`` windows, one thread, no validation pass; the rest is the product's default."""
    return replace(
        TrainingConfig(),
        epochs=1,
        max_windows_per_epoch=windows,
        research=ResearchConfig(validation_share=0.0),
        device=device,
        threads=1,
    )


def train(name: str, telemetry: Telemetry, windows: int, device: str = "cpu", drawless: bool = False) -> Any:
    """Make a ``TrainedModel`` of ``windows`` windows; ``drawless``: without dropout and hidden metrics."""
    from fleetalign.model.train import train as product_train

    model = ModelConfig(network=name)
    if drawless and name == "sharead":
        model = ModelConfig(network=name, sharead=ShareADConfig(dropout=0.0, drop_metric_share=0.0))
    settings = training_settings(windows, device)
    return product_train(telemetry.panel, telemetry.location, telemetry.scale, model, settings)


@dataclass(frozen=True, slots=True)
class Exported:
    """One trained network as its ONNX bytes and a session over them.

    ``card`` holds what the model card says of its inputs: ``window_steps``, ``condition_used``,
    ``seasonal_lags_steps``, ``statistics_columns`` and ``state_size``.
    """

    name: str
    model: bytes
    graph: Graph
    card: dict[str, Any]

    def feeds(self, telemetry: Telemetry, entity: int, count: int) -> dict[str, np.ndarray]:
        """Make a scorer's feeds for ``count`` windows of one entity: every role that the graph lists.

        Statistics are all 1, the state is that of a first sample and earlier periods repeat the newest one: time does
        not depend on them.
        """
        values = telemetry.windows(entity, count, self.graph.window_steps)
        metrics = values.shape[1]
        roles = {
            "values": values,
            "location": np.tile(telemetry.location[entity], (count, 1)),
            "scale": np.tile(telemetry.scale[entity], (count, 1)),
            "weight": np.ones((count, metrics), dtype=np.float32),
            "condition": np.full(count, min(11, self.graph.window_steps), dtype=np.int32),
            "threshold": np.zeros(count, dtype=np.float32),
            "seasonal": np.repeat(values[:, :, -1:], len(self.card["seasonal_lags_steps"]), axis=2),
            "statistics": np.ones((count, metrics, len(self.card["statistics_columns"])), dtype=np.float32),
            "state": np.zeros((count, self.card["state_size"] or 0), dtype=np.float32),
        }
        return {role: roles[role] for role in self.graph.inputs}


def scorer_of(side: Exported, telemetry: Telemetry) -> KindScorer:
    """Make the reference consumer with ``side``'s graph and parameters for every entity."""
    panel, columns = telemetry.panel, side.card["statistics_columns"]
    rows = normalizer.to_table(
        panel.kind, panel.entity_ids, panel.metrics, telemetry.location, telemetry.scale,
        (telemetry.location[0], telemetry.scale[0]),
    )  # fmt: skip
    aligner = {"kind": panel.kind, "entity_id": DEFAULT_ENTITY, "condition": 11, "threshold": 0.0, "state": "default"}
    entry = KindManifest(
        model_id="", model="", golden="", network=side.name,
        window_steps=side.card["window_steps"],
        step_seconds=panel.step_seconds,
        metrics=tuple(panel.metrics),
        inputs=tuple(side.graph.inputs),
        condition_used=side.card["condition_used"],
        seasonal_lags_steps=tuple(side.card["seasonal_lags_steps"]),
        statistics_columns=tuple(columns),
        state_size=side.card["state_size"],
        state_chains=True,
        state_settle_steps=detector(side.name).settle_steps,
    )  # fmt: skip
    return KindScorer(
        panel.kind, entry, side.model,
        FleetTable.of(NORMALIZER, normalizer.with_constants(rows, dict.fromkeys(columns, 1.0))),
        FleetTable.of(ALIGNER, pa.Table.from_pylist([aligner], schema=ALIGNER.schema)), MUTES.empty(),
    )  # fmt: skip


def export(name: str, telemetry: Telemetry, windows: int) -> Exported:
    """Train on ``windows`` windows and export."""
    from fleetalign.model.export import export as product_export

    network = train(name, telemetry, windows).network
    model = product_export(network, ModelConfig(network=name).window_steps)
    card = {
        "window_steps": ModelConfig(network=name).window_steps,
        "network": name,
        "condition_used": network.detector.condition_used,
        "seasonal_lags_steps": list(network.lags),
        "statistics_columns": list(network.detector.statistics),
        "state_size": network.detector.state_size,
    }
    return Exported(name, model, Graph(model), card)
