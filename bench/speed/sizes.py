"""How many bytes a model and an entity's numbers take where they are stored."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from bench.speed.product import Exported
from bench.speed.synthetic import KIND, Telemetry
from fleetalign.config import ModelConfig
from fleetalign.contracts.tables import ALIGNER, to_parquet
from fleetalign.detectors.views.roles import FLEET_STATISTICS
from fleetalign.model import normalizer

ENTITIES = 1_000


def sizes(series: Telemetry, network: Any, exported: Mapping[str, Exported]) -> dict[str, Any]:
    """Bytes: the published network's weights as torch saves them, each ONNX graph, and rows at 1,000 entities."""
    import torch

    saved = io.BytesIO()
    torch.save(network.state_dict(), saved)
    metrics = len(series.panel.metrics)
    return {
        "entities": ENTITIES,
        "aligner_bytes_per_entity": len(to_parquet(aligner_rows())) / ENTITIES,
        "normalizer_bytes_per_metric": {
            name: len(to_parquet(normalizer_rows(series, side.card["statistics_columns"]))) / (ENTITIES * metrics)
            for name, side in exported.items()
        },
        "published_bytes_per_entity": 4 + 8,
        "model_bytes": {"published": len(saved.getvalue()), **{n: len(side.model) for n, side in exported.items()}},
    }


def aligner_rows() -> pa.Table:
    """Make an aligner of 1,000 entities with numbers that compress as little as real ones."""
    random = np.random.default_rng(0)
    own = random.random(ENTITIES) < 0.3
    return ALIGNER.conform(
        pa.table(
            {
                "kind": [KIND] * ENTITIES,
                "entity_id": [f"host-{i:04d}.example" for i in range(ENTITIES)],
                "condition": random.choice([2, 6, 11, 21, 37, 60, 85, 100], ENTITIES).astype(np.int32),
                "threshold": random.lognormal(0, 1, ENTITIES).astype(np.float32),
                "tail_probability": np.geomspace(1e-4, 0.15, 50)[random.integers(0, 50, ENTITIES)].astype(np.float32),
                "state": np.where(own, "aligned", "shared").tolist(),
                "reason": np.where(own, "own feedback", "fleet values, own quantile").tolist(),
                "incidents": random.poisson(1, ENTITIES).astype(np.int32),
                "calibrated_until": [datetime(2026, 3, 9, tzinfo=UTC)] * ENTITIES,
            }
        )
    )


def normalizer_rows(series: Telemetry, statistics: Sequence[str] = ()) -> pa.Table:
    """Make the normalizer of 1,000 entities and the default from that of the measured entities.

    Of the columns ``statistics`` those of an entity's own are random numbers, the fleet's are the same everywhere.
    """
    random = np.random.default_rng(0)
    metrics = series.panel.metrics
    ids = [f"host-{i:04d}.example" for i in range(ENTITIES)]
    copied = np.arange(ENTITIES) % len(series.location)
    shape = (ENTITIES, len(metrics))
    location = series.location[copied] * random.uniform(0.5, 2.0, shape)
    scale = series.scale[copied] * random.uniform(0.5, 2.0, shape)
    default = normalizer.defaults(location, scale, ModelConfig())
    table = normalizer.to_table(KIND, ids, metrics, location, scale, default)
    if not statistics:
        return table
    values = np.ones((*shape, len(statistics)))
    own = [name not in FLEET_STATISTICS for name in statistics]
    values[..., own] = random.lognormal(0, 1, (*shape, sum(own)))
    return normalizer.with_statistics(table, ids, metrics, statistics, values, np.median(values, axis=0))
