"""Writes the trained network as the published ONNX graph: deterministic bytes without any trace of where it was made.

``torch.onnx`` stamps its nodes with stack traces, module paths and its own version; all of it is stripped, because a
model is named by its bytes and two checkouts must give the same ones (contracts 3.6).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from fleetalign.config import ModelConfig
from fleetalign.contracts.graph import OUTPUTS, PROFILE, ROLES
from fleetalign.errors import NotReproducible
from fleetalign.model.network import Detector, ShareAD

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""First opset with every operation used; the older it is, the more runtimes read the graph."""
INPUTS = ("values", "location", "scale", "weight", "condition", "threshold")
PUBLISHED_OUTPUTS = ("score", "margin", "contribution")


def export(network: ShareAD, config: ModelConfig) -> bytes:
    """The ONNX bytes of ``network`` behind the roles of contracts 3: dynamic batch and metrics, fixed window.

    The per-position error E is kept as the internal value ``profile``; ``contracts.graph.with_profile`` exposes it.
    Raises NotReproducible when the exporter gave a graph that does not keep the contract.
    """
    import onnx

    detector = Detector(network, config.window_steps, config.clip).cpu().eval()
    batch, metrics = torch.export.Dim("batch", min=1), torch.export.Dim("metric", min=1)
    examples = _examples(config.window_steps)
    axes = {"batch": batch, "metric": metrics}
    shapes = {
        name: {axis: axes[label] for axis, label in enumerate(ROLES[name][1]) if label in axes} for name in INPUTS
    }
    with _quiet():
        program = torch.onnx.export(
            detector,
            tuple(examples[name] for name in INPUTS),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[*PUBLISHED_OUTPUTS, PROFILE],
            dynamic_shapes=shapes,
            optimize=True,
        )
    model = program.model_proto
    _hide_profile(model)
    _strip(model)
    _check(model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _examples(window_steps: int) -> dict[str, torch.Tensor]:
    """Example inputs with B = 2, M = 3: sizes of 1 would be baked into the graph."""
    sizes = {"batch": 2, "metric": 3, "window": window_steps}
    return {
        name: torch.ones([sizes[axis] for axis in ROLES[name][1]], dtype=getattr(torch, ROLES[name][0]))
        for name in INPUTS
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints a progress report and warns about packages that this graph does not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _hide_profile(model: onnx.ModelProto) -> None:
    outputs = [o for o in model.graph.output if o.name != PROFILE]
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _strip(model: onnx.ModelProto) -> None:
    """Remove everything that names a path, a tool or a source line; values keep their names."""
    model.producer_name = model.producer_version = model.domain = model.doc_string = ""
    graph = model.graph
    graph.name, graph.doc_string = "fleetalign", ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"


def _check(model: onnx.ModelProto) -> None:
    inputs = tuple(i.name for i in model.graph.input)
    outputs = tuple(o.name for o in model.graph.output)
    if inputs != INPUTS or outputs != PUBLISHED_OUTPUTS or not set(outputs) <= set(OUTPUTS):
        raise NotReproducible(
            f"exported graph has inputs {inputs} and outputs {outputs}; the exporter changed: use the locked torch"
        )
    if PROFILE not in {name for node in model.graph.node for name in node.output} or model.functions:
        raise NotReproducible("exported graph lost its value 'profile'; the exporter changed: use the locked torch")
