"""Makes the golden vectors of a graph.

They are seeded windows for every case of contracts 3, with the outputs of the graph.
The table's form and its comparison are ``contracts.golden``; consumers in any language read it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.contracts import golden as contract
from fleetalign.contracts.graph import NEXT_STATE, ROLES, Graph

PADDING = 3
QUANTUM = 2.0**-6
"""Values are multiples of this in units of the scale: exact in float64, and the table compresses."""
LOCATIONS = (0.0, 1.0, 64.0, 2.0**30)
SCALES = (2.0**-10, 1.0, 16.0, 2.0**10)
BEYOND_CLIP = 4096.0


def golden_vectors(model: bytes, metrics: int, seed: int) -> pa.Table:
    """Return inputs and outputs of ``model`` (GOLDEN contract).

    Batches have 1, 2, 7 and 64 windows.
    Together the cases hold: complete windows, one metric, the catalogue size and 3 columns of padding, scattered and
    leading gaps, a missing newest sample, a row without any sample, a muted metric, samples beyond the clip, and
    conditions from 2 to ``window_steps``. A graph with state also has consecutive windows of one entity, marked by a
    state of NaN, with one without a sample among them.
    """
    graph = Graph(model)
    random = np.random.default_rng(seed)
    window_steps = graph.window_steps
    made = {
        "complete": _windows(random, 1, metrics, window_steps),
        "one_metric": _all_missing(_windows(random, 2, 1, window_steps), row=1),
        "muted": _muted(_windows(random, 2, metrics, window_steps), metric=0),
        "padded": _padded(_gaps(random, _windows(random, 7, metrics, window_steps))),
        "gaps": _all_missing(_gaps(random, _windows(random, 64, metrics, window_steps)), row=5),
    }
    made = {name: _beside(random, graph, feeds) for name, feeds in made.items()}
    if "state" in graph.inputs:
        made["chained"] = _chained(made["gaps"], length=24)
    return contract.to_table(_case(graph, name, feeds) for name, feeds in made.items())


def verify(model: bytes, golden: pa.Table) -> float:
    """Return the largest relative difference of ``model`` in onnxruntime from ``golden``."""
    return contract.worst_difference(Graph(model), golden)


def _case(graph: Graph, name: str, feeds: dict[str, np.ndarray]) -> dict[str, Any]:
    scored = graph.run(feeds)
    outputs = {"score": scored.score, "margin": scored.margin, "contribution": scored.contribution}
    if scored.state is not None:
        outputs[NEXT_STATE] = scored.state
    return {"case": name, "inputs": feeds, "outputs": outputs}


def _beside(random: np.random.Generator, graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return ``feeds`` with the optional roles that the graph has.

    They are earlier samples with gaps, statistics, and a state.
    """
    batch, metrics = feeds["location"].shape
    sizes = {"batch": batch, "metric": metrics, **graph.sizes}
    found = dict(feeds)
    for role in ("seasonal", "statistics", "state"):
        if role not in graph.inputs:
            continue
        shape = [sizes[axis] for axis in ROLES[role][1]]
        if role == "seasonal":
            z = np.round(random.standard_normal(shape) / QUANTUM) * QUANTUM
            found[role] = feeds["location"][..., None] + feeds["scale"][..., None] * z
            found[role][random.random(shape) < 0.1] = np.nan
            found[role][1::3] = np.nan
        else:
            found[role] = (np.round(random.uniform(0.25, 0.75, shape) / QUANTUM) * QUANTUM).astype(np.float32)
    return found


def _chained(feeds: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Return the first windows as consecutive samples of one entity.

    Its numbers are the same in every row.
    """
    chain = {name: array[:length].copy() for name, array in feeds.items()}
    for name in ("location", "scale", "threshold"):
        chain[name][:] = chain[name][0]
    if "statistics" in chain:
        # What holds for the whole fleet, such as a smoothing, stands in every metric's row.
        chain["statistics"][:] = chain["statistics"][0, 0]
    chain["state"][1:] = np.nan
    return chain


def _windows(random: np.random.Generator, batch: int, metrics: int, window_steps: int) -> dict[str, np.ndarray]:
    """Draw windows of a rhythm plus noise and, in every third one, a jump at the newest sample."""
    shape = (batch, metrics, window_steps)
    phase = random.uniform(0, 2 * np.pi, (batch, metrics, 1))
    period = random.uniform(8, 2 * window_steps, (batch, metrics, 1))
    z = np.sin(2 * np.pi * np.arange(window_steps) / period + phase) + 0.25 * random.standard_normal(shape)
    z[::3, :, -1] += 4.0
    z[-1, 0, -1] = BEYOND_CLIP
    z = np.round(z / QUANTUM) * QUANTUM
    location = np.broadcast_to(np.resize(LOCATIONS, metrics), (batch, metrics)).copy()
    scale = np.broadcast_to(np.resize(SCALES, metrics), (batch, metrics)).copy()
    return {
        "values": location[..., None] + scale[..., None] * z,
        "location": location,
        "scale": scale,
        "weight": np.ones((batch, metrics), dtype=np.float32),
        "condition": np.linspace(2, window_steps, batch).astype(np.int32),
        "threshold": (QUANTUM * np.arange(batch)).astype(np.float32),
    }


def _gaps(random: np.random.Generator, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = feeds["values"]
    values[random.random(values.shape) < 0.1] = np.nan
    values[::4, :, : values.shape[2] // 3] = np.nan
    values[1::4, 0, -1] = np.nan
    return feeds


def _muted(feeds: dict[str, np.ndarray], metric: int) -> dict[str, np.ndarray]:
    feeds["weight"][:, metric] = 0
    return feeds


def _all_missing(feeds: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    feeds["values"][row] = np.nan
    return feeds


def _padded(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add columns as a consumer fills its batch: no values, weight 0, location 0, scale 1."""
    fills = {"values": np.nan, "location": 0.0, "scale": 1.0, "weight": 0.0}
    padded = {
        name: np.pad(feeds[name], [(0, 0), (0, PADDING), (0, 0)][: feeds[name].ndim], constant_values=fill)
        for name, fill in fills.items()
    }
    return feeds | padded
