"""The ``views`` network, untrained, as a kind's scorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import MUTES
from fleetalign.contracts.views import SETTLE_STEPS, STATE_SIZE, STATISTICS
from fleetalign.release.kind_scorer import KindScorer
from fleetalign.settings import ModelConfig, TrainingConfig, for_network

ViewsKind = Callable[..., KindScorer]


@pytest.fixture(scope="session")
def views_kind() -> ViewsKind:
    import torch

    from fleetalign.model.export import export
    from fleetalign.model.networks import create

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
        network = create(model, for_network(TrainingConfig(), model.network), period_steps)
        entry = {
            "window_steps": window_steps,
            "step_seconds": step_seconds,
            "metrics": list(metrics),
            "inputs": list(network.inputs),
            "seasonal_lags_steps": list(network.lags),
            "statistics_columns": list(STATISTICS),
            "state_size": STATE_SIZE,
            "state_chains": True,
            "state_settle_steps": SETTLE_STEPS,
        }
        return KindScorer(kind, entry, export(network, window_steps), normalizer, aligner, MUTES.empty())

    return make
