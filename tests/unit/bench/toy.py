"""A network that needs no training, for the benchmark's tests."""

from __future__ import annotations

from bench.detection.labelled import Given
from bench.detection.learned import Learned
from fleetalign.config import ModelConfig
from fleetalign.detectors.registry import detector
from fleetalign.model import normalizer
from fleetalign.testing.graphs import toy_model

WINDOW = 16
CARD = {
    "condition_used": True,
    "window_steps": WINDOW,
    "seasonal_lags_steps": [],
    "statistics_columns": [],
    "period_steps": None,
}


def toy(given: Given) -> Learned:
    """Squared standardised values. The window is fixed, as an exported network's is."""
    import onnx

    model = onnx.load_model_from_string(toy_model(WINDOW))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = WINDOW
    table = normalizer.build(given.training, ModelConfig(), 50).table()
    return Learned(detector("sharead"), model.SerializeToString(), CARD, table, {"train": 0.0, "export": 0.0})
