"""Writes a network as the published ONNX graph.

The bytes are deterministic, without any trace of where they were made.
``torch.onnx`` stamps its nodes with stack traces, module paths and its own version; all of it is stripped, because a
model is named by its bytes and two checkouts must give the same ones (contracts 3.6).
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import logging
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from fleetalign.contracts.graph import INTERNALS, OUTPUTS, ROLES
from fleetalign.detectors.detector import Network
from fleetalign.errors import NotReproducible
from fleetalign.model.traces import traced

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""First opset with every operation used; the older it is, the more runtimes read the graph."""


def export(network: Network, window_steps: int) -> bytes:
    """Return the ONNX bytes of ``network`` behind the roles of contracts 3.

    Batch and metrics are dynamic, the window is fixed.
    What alignment fits on is kept as internal values (``contracts.graph.INTERNALS``); ``contracts.graph.expose`` makes
    them outputs.

    Raises:
        NotReproducible: the exporter gave a graph that does not keep the contract.
    """
    import onnx

    detector = network.detector
    model = _weighted(_traced(network, window_steps), network)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)  # the exporter takes the newest it knows
    _hide(model, detector.internals)
    _strip(model)
    _check(model, network)
    onnx.checker.check_model(model, full_check=True)
    exported: bytes = model.SerializeToString(deterministic=True)
    return exported


def _traced(network: Network, window_steps: int) -> onnx.ModelProto:
    """Trace ``network``; each weight is an initializer, by its name in the module."""
    import onnx
    import onnx_ir

    def trace() -> bytes:
        proto: onnx.ModelProto = onnx_ir.to_proto(_program(network, window_steps).model)
        serialized: bytes = proto.SerializeToString(deterministic=True)
        return serialized

    structure = _structure(network, window_steps)
    packages = {type(module).__module__.partition(".")[0] for module in network.published.modules()}
    found = trace() if structure is None else traced(structure, {"fleetalign", *packages} - {"torch"}, trace)
    model: onnx.ModelProto = onnx.load_from_string(found)
    return model


def _structure(network: Network, window_steps: int) -> str | None:
    """Return a digest of everything that a trace depends on.

    That is all of the module but the values of its parameters. None for a module that cannot be pickled, such as one of a
    class that a function defines: nothing tells whether another one is the same.
    """
    published = network.published.cpu()
    shell = copy.deepcopy(published).eval().to("meta")
    buffers = {name: (str(b.dtype), tuple(b.shape), b.numpy().tobytes()) for name, b in published.named_buffers()}
    outside = (window_steps, network.inputs, network.detector.outputs, network.detector.internals)
    try:
        parts = pickle.dumps((pickle.dumps(shell), buffers, outside))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return hashlib.sha256(parts).hexdigest()


def _weighted(model: onnx.ModelProto, network: Network) -> onnx.ModelProto:
    """Put the weights of ``network`` into a trace of its structure, and fold constants."""
    import onnx_ir
    from onnx import numpy_helper

    weights = {name: value.detach().numpy() for name, value in network.published.named_parameters()}
    for initializer in model.graph.initializer:
        if initializer.name in weights:
            initializer.CopyFrom(numpy_helper.from_array(weights.pop(initializer.name), initializer.name))
    if weights:
        raise NotReproducible(
            f"the exporter gave the graph no weight {min(weights)!r}; it changed: use the locked torch, or remove a "
            "weight that the network does not use"
        )
    program = torch.onnx.ONNXProgram(onnx_ir.from_proto(model), None)
    with _quiet():
        program.optimize()
    folded: onnx.ModelProto = program.model_proto
    return folded


def _program(network: Network, window_steps: int) -> torch.onnx.ONNXProgram:
    """Run the exporter, without folding."""
    detector = network.detector
    sizes = {
        "window": window_steps,
        "lag": len(network.lags),
        "statistic": len(detector.statistics),
        "state": detector.state_size or 0,
    }
    axes = {"batch": torch.export.Dim("batch", min=1), "metric": torch.export.Dim("metric", min=1)}
    shapes = tuple(
        {axis: axes[label] for axis, label in enumerate(ROLES[name][1]) if label in axes} for name in network.inputs
    )
    with _quiet():
        program = torch.onnx.export(
            network.published.cpu().eval(),
            tuple(_example(name, sizes) for name in network.inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(network.inputs),
            output_names=[*detector.outputs, *detector.internals],
            dynamic_shapes=shapes,
            optimize=False,
        )
    assert program is not None, "dynamo=True returns a program"
    return program


def _example(name: str, sizes: Mapping[str, int]) -> torch.Tensor:
    """Return an example input with B = 2, M = 3: sizes of 1 would become constants of the graph."""
    dtype, axes = ROLES[name]
    return torch.ones([{"batch": 2, "metric": 3, **sizes}[axis] for axis in axes], dtype=getattr(torch, dtype))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter.

    It prints its progress and warns about packages that this graph does not use.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _hide(model: onnx.ModelProto, internals: Sequence[str]) -> None:
    """Remove ``internals`` from the outputs; the values stay in the graph."""
    outputs = [o for o in model.graph.output if o.name not in internals]
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


def _check(model: onnx.ModelProto, network: Network) -> None:
    """Raise NotReproducible unless ``model`` has what its detector declares.

    Inputs, outputs and internal values are checked.
    """
    detector = network.detector
    inputs = tuple(i.name for i in model.graph.input)
    outputs = tuple(o.name for o in model.graph.output)
    if inputs != network.inputs or outputs != detector.outputs or not set(outputs) <= set(OUTPUTS):
        raise NotReproducible(
            f"exported graph has inputs {inputs} and outputs {outputs}; the exporter changed: use the locked torch"
        )
    lost = set(detector.internals) - {name for node in model.graph.node for name in node.output}
    if lost or not set(detector.internals) <= set(INTERNALS) or model.functions:
        raise NotReproducible(
            f"exported graph lost its values {sorted(lost)}; the exporter changed: use the locked torch"
        )
