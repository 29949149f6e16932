"""The published ONNX graph: its roles, and how to run it (contracts 3).

Consumers in other languages restate this file; ``Graph`` is what the scorer, the align workers and the parity
checks share, so thresholds are fitted on the numbers that consumers compute.

Shapes: B batch, M metric (padded), W window_steps, L lags, K statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.errors import BadInput

ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "values": ("float64", ("batch", "metric", "window")),
    "location": ("float64", ("batch", "metric")),
    "scale": ("float64", ("batch", "metric")),
    "weight": ("float32", ("batch", "metric")),
    "condition": ("int32", ("batch",)),
    "threshold": ("float32", ("batch",)),
    "seasonal": ("float64", ("batch", "metric", "lag")),
    "statistics": ("float32", ("batch", "metric", "statistic")),
    "state": ("float32", ("batch", "state")),
}
"""Role name -> (dtype, axes). The first six are always there; the last three only when the manifest lists them."""

OUTPUTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "score": ("float32", ("batch",)),
    "margin": ("float32", ("batch",)),
    "contribution": ("float32", ("batch", "metric")),
    "next_state": ("float32", ("batch", "state")),
}

INTERNALS: dict[str, tuple[str, ...]] = {
    "profile": ("batch", "window"),
    "views": ("batch", "view"),
    "recent_error": ("batch", "metric"),
    "seasonal_error": ("batch", "metric"),
}
"""Internal float32 values that alignment and statistics are fitted on -> axes. They are no outputs of the published
graph; ``expose`` makes them outputs. ``profile`` (``sharead``) is E: error per window position, averaged over usable
metrics. The others (``views``): each view before smoothing, and the two forecast errors of every metric."""

STATE, NEXT_STATE = "state", "next_state"
"""In ONNX an input and an output cannot share a name: ``next_state`` is what to feed as ``state`` next time."""


METRIC_WINDOWS = 131_072
"""Most windows times metrics that a graph is fed at once; up to 128 metrics this changes no batch."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The outputs of a graph for one batch."""

    score: np.ndarray
    """float32 [B]; NaN without a usable metric."""
    margin: np.ndarray
    """float32 [B]; NaN without a usable metric."""
    contribution: np.ndarray
    """float32 [B, M]; every row sums to 1."""
    state: np.ndarray | None = None
    """float32 [B, m]; None for a graph without state."""


class Graph:
    """An onnxruntime session over the bytes of a graph, fed by role.

    One thread by default: scorers and align workers scale over processes, and one thread gives the same numbers
    everywhere.
    """

    def __init__(self, model: bytes, threads: int = 1) -> None:
        """Open a session over the ONNX bytes ``model``.

        Raises:
            BadInput: This onnxruntime cannot read them.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            raise BadInput(
                f"onnxruntime {onnxruntime.__version__} cannot read the model's graph "
                f"({str(error).rpartition('&) ')[2].strip() or type(error).__name__}); install a newer onnxruntime"
            ) from None
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        self.sizes: dict[str, int] = {
            axis: size
            for i in self._session.get_inputs()
            for axis, size in zip(ROLES.get(i.name, ("", ()))[1], i.shape, strict=False)
            if isinstance(size, int)
        }
        """Fixed sizes by axis name: ``window``, and where the graph has them ``lag``, ``statistic``, ``state``."""
        self.window_steps: int = self.sizes.get("window", 0)
        """0 for a graph that takes any window."""
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self._published = tuple(name for name in OUTPUTS if name in self.outputs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Scored:
        """Score one batch; ``feeds`` maps roles to arrays, extra roles are ignored."""
        return Scored(*self.values(self._published, feeds))

    def values(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Compute the named outputs for one batch.

        They may be internal values of a graph made by ``expose``.
        """
        arrays: list[np.ndarray] = self._session.run(
            list(outputs), {name: np.ascontiguousarray(feeds[name], dtype=ROLES[name][0]) for name in self.inputs}
        )
        return arrays


def windows_at_once(most: int, metrics: int) -> int:
    """Return how many windows of ``metrics`` metrics to feed at once, at most ``most``.

    A graph holds some kilobytes for each metric of each window.
    """
    return max(min(most, METRIC_WINDOWS // max(metrics, 1)), 1)


def versions(model: bytes) -> tuple[int, int]:
    """Return the ONNX IR version and the opset of a graph: what a runtime must know to read it."""
    import onnx

    proto = onnx.load_model_from_string(model)
    return proto.ir_version, max(entry.version for entry in proto.opset_import if not entry.domain)


def expose(model: bytes) -> bytes:
    """Return the same graph with its internal values as additional outputs."""
    import onnx

    proto = onnx.load_model_from_string(model)
    computed = {name for node in proto.graph.node for name in node.output}
    for name, axes in INTERNALS.items():
        if name in computed:
            proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes))
    return bytes(proto.SerializeToString())


def margins(profile: np.ndarray, condition: int) -> np.ndarray:
    """Compute the margin at threshold 0 for one C (contracts 3.4), float32 [B].

    ``d(C) = E[W-1] - max(E[W-C] .. E[W-2])``, where E is ``profile`` float32 [B, W].
    """
    window = profile.shape[1]
    margin: np.ndarray = profile[:, -1] - profile[:, window - condition : window - 1].max(axis=1)
    return margin
