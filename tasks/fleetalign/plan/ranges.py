"""Cuts the time of a kind into the train, calibrate and judge ranges of a plan (contracts 1.4)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.tables import TIME
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval, format_time
from fleetalign.storage import lake


def kind_entry(
    config: Config,
    kind: str,
    partitions: Sequence[lake.Partition],
    feedback: pa.Table,
    interval: Interval | None,
    base: Mapping[str, Any] | None,
) -> dict[str, Any]:
    steps = sorted({p.step_seconds for p in partitions})
    if len(steps) > 1:
        odd = next(p for p in partitions if p.step_seconds != partitions[0].step_seconds)
        raise BadInput(
            f"kind {kind}: partitions have different steps {steps} s (first at {odd.prefix}); "
            f"set steps.{kind} in params.yaml and ingest those days again"
        )
    step = timedelta(seconds=steps[0])
    start, end = min(p.interval.start for p in partitions), max(p.interval.end for p in partitions)
    if interval is not None:
        start, end = max(start, interval.start), min(end, interval.end)
    gap = config.model.window_steps * step
    if config.ranges.train is not None:
        ranges = _explicit_ranges(config, kind, gap)
    else:
        ranges = _default_ranges(config, kind, Interval(start, end), step, gap, feedback, base)
    metrics = base["metrics"] if base else sorted({m for p in partitions for m in p.metrics})
    return {
        "step_seconds": steps[0],
        "metrics": list(metrics),
        "ranges": {name: value.as_json() if value else None for name, value in ranges.items()},
    }


def _explicit_ranges(config: Config, kind: str, gap: timedelta) -> dict[str, Interval | None]:
    given = config.ranges
    ranges = {n: Interval.parse(*r) if (r := getattr(given, n)) else None for n in ("train", "calibrate", "judge")}
    ordered = [r for r in ranges.values() if r is not None]
    for before, after in itertools.pairwise(ordered):
        if after.start < before.end:
            raise ConfigError(f"ranges: {before.end} comes after {after.start}; order is train, calibrate, judge")
        if after.start - before.end < gap:
            raise ConfigError(
                f"ranges for kind {kind}: the gap from {format_time(before.end)} to {format_time(after.start)} is shorter "
                f"than one window ({gap}); end the earlier range at {format_time(after.start - gap)} or before"
            )
    return ranges


def _default_ranges(
    config: Config,
    kind: str,
    data: Interval,
    step: timedelta,
    gap: timedelta,
    feedback: pa.Table,
    base: Mapping[str, Any] | None,
) -> dict[str, Interval | None]:
    """Contracts 1.4: calibrate runs from the first feedback to the end and is at least the configured share."""
    steps = int(np.ceil((1 - config.ranges.calibrate_share) * (data.seconds / step.total_seconds())))
    cut = data.start + steps * step
    # What was said about time before the telemetry says nothing about where to calibrate.
    inside = feedback.filter(pc.greater(feedback["end"], pa.scalar(data.start, TIME)))
    if inside.num_rows:
        first = max(pc.min(inside["start"]).as_py(), data.start)
        cut = min(cut, data.start + ((first - data.start) // step) * step)
    if base is not None:
        train = Interval.parse(base["ranges"]["train"]["start"], base["ranges"]["train"]["end"])
        if data.end <= train.end + gap:
            raise BadInput(
                f"kind {kind}: the telemetry ends at {format_time(data.end)}, within a window of the model's train range "
                f"(until {format_time(train.end)}); nothing is left to align on: widen --from and --to"
            )
        return {"train": train, "calibrate": Interval(max(cut, train.end + gap), data.end), "judge": None}
    if cut - gap < data.start + 2 * gap:
        raise BadInput(
            f"kind {kind}: only {(cut - data.start) / step:.0f} samples lie before the calibrate range "
            f"(it starts at {format_time(cut)}, with the first feedback or at the last {config.ranges.calibrate_share:.0%}); "
            f"at least {3 * config.model.window_steps} are needed: give more history, a smaller model.window_steps or explicit ranges"
        )
    return {"train": Interval(data.start, cut - gap), "calibrate": Interval(cut, data.end), "judge": None}
