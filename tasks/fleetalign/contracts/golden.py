"""Golden vectors: inputs of a graph and the outputs it gave, stored with it.

Defined in contracts 3.6.

One row per tensor of a case. A consumer in any language feeds the inputs and compares the outputs: that is the
executable form of contracts 3. ``data`` is always float64, which holds float32 and int32 exactly; ``dtype`` is the
tensor's own type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.contracts.arrays import Floats
from fleetalign.contracts.graph import NEXT_STATE, Graph
from fleetalign.contracts.tables import TableContract
from fleetalign.errors import BadInput

INPUT, OUTPUT = "input", "output"
COMPARED = ("score", "margin", "contribution")

GOLDEN = TableContract(
    "golden",
    "1.0",
    pa.schema(
        [
            ("case", pa.string()),
            ("tensor", pa.string()),
            ("role", pa.string()),
            ("dtype", pa.string()),
            ("shape", pa.list_(pa.int64())),
            ("data", pa.list_(pa.float64())),
        ]
    ),
    ("case", "role", "tensor"),
)

MAX_PARITY = 1e-5
"""Largest relative difference of a graph from its golden vectors."""
RELATIVE_FLOOR = 1e-2
"""Scores are squared multiples of a metric's scale. Float32 carries a reconstruction to about 3e-7, so a score of
0.01 to 6e-6 relative and a smaller one to less: differences are taken relative to at least this much."""

STATE_FLOOR = 0.1
"""The same for states: a view in which large numbers cancel is known to 1e-6, and a score is a sum of log(1 + view)."""


def to_table(cases: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Write ``cases`` as a table.

    Each case is ``{"case": name, "inputs": {tensor: array}, "outputs": {tensor: array}}``.
    """
    rows = [
        {
            "case": case["case"],
            "tensor": tensor,
            "role": role,
            "dtype": str(array.dtype),
            "shape": list(array.shape),
            "data": array.astype(np.float64).ravel(),
        }
        for case in cases
        for role, tensors in ((INPUT, case["inputs"]), (OUTPUT, case["outputs"]))
        for tensor, array in tensors.items()
    ]
    return GOLDEN.conform(pa.Table.from_pylist(rows, schema=GOLDEN.schema))


def cases(table: pa.Table) -> list[dict[str, Any]]:
    """Read every case in name order, with arrays in their own dtype and shape.

    Raises:
        BadInput: Data and shape of a tensor disagree, or there is no case at all.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in GOLDEN.conform(table).to_pylist():
        case = found.setdefault(row["case"], {"case": row["case"], "inputs": {}, "outputs": {}})
        data = np.array([np.nan if value is None else value for value in row["data"]], dtype=np.float64)
        if data.size != int(np.prod(row["shape"], dtype=np.int64)):
            raise BadInput(
                f"golden vectors, case {row['case']!r}, tensor {row['tensor']!r}: {data.size} values do not fill "
                f"shape {row['shape']}; publish the model again"
            )
        side = "inputs" if row["role"] == INPUT else "outputs"
        case[side][row["tensor"]] = data.reshape(row["shape"]).astype(row["dtype"])
    if not found:
        raise BadInput("golden vectors hold no case, so nothing can be compared; publish the model again")
    return list(found.values())


def worst_difference(graph: Graph, table: pa.Table) -> float:
    """Return the worst relative difference between ``graph`` and its golden vectors.

    It is 0 for the same bytes on the same machine. A row's score and margin are compared relative to the larger of
    both (a margin is a difference of errors as large as the score) and at least ``RELATIVE_FLOOR``; contributions are
    shares and compared as they are. NaN equals NaN; NaN against a number, or another shape, is infinitely wrong.
    """
    worst = 0.0
    for case in cases(table):
        actual = graph.run(case["inputs"])
        expected = case["outputs"]
        size = np.maximum(*(np.abs(expected[name].astype(np.float64)) for name in ("score", "margin")))
        scale = np.where(np.isfinite(size), np.maximum(size, RELATIVE_FLOOR), RELATIVE_FLOOR)
        if actual.state is not None:
            worst = max(worst, _difference(actual.state, expected[NEXT_STATE], _size_of(expected[NEXT_STATE])))
        for name in COMPARED:
            unit = scale if name != "contribution" else np.ones(1)
            worst = max(worst, _difference(getattr(actual, name), expected[name], unit))
    return worst


def _size_of(expected: np.ndarray) -> Floats:
    """Compute the size that states are compared relative to, at least ``STATE_FLOOR``."""
    size: Floats = np.maximum(np.nan_to_num(np.abs(expected.astype(np.float64))), STATE_FLOOR)
    return size


def _difference(actual: np.ndarray, expected: np.ndarray, unit: Floats) -> float:
    if actual.shape != expected.shape:
        return float("inf")
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    gaps = np.abs(actual.astype(np.float64) - expected.astype(np.float64)) / unit
    return float(np.where(same, 0.0, np.where(np.isfinite(gaps), gaps, np.inf)).max(initial=0.0))
