"""A small graph that follows contracts 3, for tests without a trained model.

It needs ``onnx``.
Its error at window position j is the squared standardised value: E[j] = mean over usable metrics of z[j]^2.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fleetalign.contracts.golden import to_table
from fleetalign.contracts.graph import Graph

_HEADER = """<ir_version: 8, opset_import: ["" : 18]>
toy (double[batch,metric,window] values, double[batch,metric] location, double[batch,metric] scale,
     float[batch,metric] weight, int32[batch] condition, float[batch] threshold)
 => (float[batch] score, float[batch] margin, float[batch,metric] contribution)
<int64[1] axis1 = {{1}}, int64[1] axis2 = {{2}}, int64[1] last = {{-1}}, int64[1] far = {{2147483647}},
 int64[1] zero = {{0}}, int64[1] start = {{{last_position}}}, int64[1] window_end = {{{window}}},
 float null = {{0.0}}, float infinite = {{-3.0e38}}, int64 first_step = {{0}}, int64 end_step = {{{last_position}}},
 int64 one_step = {{1}}, float[1] nan = {{nan}}, float tiny = {{1.0e-30}}>
{{
  newest = Slice(values, start, far, axis2)
  newest_flat = Squeeze(newest, axis2)
  absent = IsNaN(newest_flat)
  present = Not(absent)
  heard = Greater(weight, null)
  usable = And(present, heard)
  usable_float = Cast<to = 1>(usable)
  effective = Mul(weight, usable_float)
  total_weight = ReduceSum<keepdims = 1>(effective, axis1)
  nothing = LessOrEqual(total_weight, null)
  divisor = Max(total_weight, tiny)
  share = Div(effective, divisor)
  filled_0 = Identity(values)
"""
_SHIFT = """  pads_{i} = Constant<value_ints = [0, 0, {shift}, 0, 0, 0]>()
  padded_{i} = Pad<mode = "edge">(filled_{i}, pads_{i})
  earlier_{i} = Slice(padded_{i}, zero, window_end, axis2)
  missing_{i} = IsNaN(filled_{i})
  filled_{next} = Where(missing_{i}, earlier_{i}, filled_{i})
"""
_FOOTER = """  place = Unsqueeze(location, axis2)
  size = Unsqueeze(scale, axis2)
  still = IsNaN(filled_{last})
  complete = Where(still, place, filled_{last})
  moved = Sub(complete, place)
  scaled = Div(moved, size)
  z = Cast<to = 1>(scaled)
  error = Mul(z, z)
  share_3 = Unsqueeze(share, axis2)
  weighted = Mul(error, share_3)
  profile = ReduceSum<keepdims = 0>(weighted, axis1)
  raw = Slice(profile, start, far, axis1)
  current = Where(nothing, nan, raw)
  score = Squeeze(current, axis1)
  context = Slice(profile, zero, start, axis1)
  steps = Range(first_step, end_step, one_step)
  reach = Cast<to = 7>(condition)
  window_steps = Constant<value_int = {window}>()
  oldest = Sub(window_steps, reach)
  oldest_2 = Unsqueeze(oldest, axis1)
  outside = Less(steps, oldest_2)
  masked = Where(outside, infinite, context)
  worst = ReduceMax<keepdims = 0>(masked, axis1)
  surplus = Sub(score, worst)
  margin = Sub(surplus, threshold)
  newest_error = Slice(weighted, start, far, axis2)
  parts = Squeeze(newest_error, axis2)
  whole = ReduceSum<keepdims = 1>(parts, axis1)
  silent = LessOrEqual(whole, null)
  whole_divisor = Max(whole, tiny)
  loud_share = Div(parts, whole_divisor)
  contribution = Where(silent, share, loud_share)
}}
"""


def toy_model(window_steps: int) -> bytes:
    """Build the bytes of the toy graph for one window length."""
    import onnx

    text, index, shift = _HEADER.format(last_position=window_steps - 1, window=window_steps), 0, 1
    while shift < window_steps:
        text += _SHIFT.format(i=index, next=index + 1, shift=shift)
        index, shift = index + 1, shift * 2
    model = onnx.parser.parse_model(text + _FOOTER.format(last=index, window=window_steps))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def toy_golden(model: bytes, window_steps: int, metrics: int, seed: int = 5) -> pa.Table:
    """Compute golden vectors of a graph with the six required roles.

    The cases cover batches, gaps, a mute and an empty row.
    """
    random, graph, cases = np.random.default_rng(seed), Graph(model), []
    for batch in (1, 2, 7):
        values = random.normal(10.0, 3.0, (batch, metrics, window_steps))
        values[random.random(values.shape) < 0.1] = np.nan
        weight = np.ones((batch, metrics), dtype=np.float32)
        weight[-1, 0] = 0.0
        if batch > 2:
            values[0] = np.nan
        inputs: dict[str, np.ndarray] = {
            "values": values,
            "location": random.normal(10.0, 1.0, (batch, metrics)),
            "scale": random.uniform(1.0, 4.0, (batch, metrics)),
            "weight": weight,
            "condition": random.integers(2, window_steps + 1, batch).astype(np.int32),
            "threshold": random.uniform(0.0, 2.0, batch).astype(np.float32),
        }
        found = graph.run(inputs)
        outputs = {"score": found.score, "margin": found.margin, "contribution": found.contribution}
        cases.append({"case": f"batch_{batch}", "inputs": inputs, "outputs": outputs})
    return to_table(cases)
