"""Cuts the time of a kind into train, calibrate and judge ranges (contracts 1.4)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from fleetalign.config import Config
from fleetalign.contracts.plan import KindPlan, Ranges
from fleetalign.errors import BadInput, ConfigError
from fleetalign.interval import Interval, format_time
from fleetalign.storage import lake


def plan_kind(
    config: Config,
    kind: str,
    partitions: Sequence[lake.Partition],
    entities: int,
    interval: Interval | None,
    base: KindPlan | None,
) -> KindPlan:
    """Plan one kind from its ``partitions``.

    ``interval`` restricts the time; ``base`` is the kind in the plan whose model is kept.
    Raises BadInput when the partitions have several steps or too little time, ConfigError when ranges do not fit.
    """
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
        ranges = _default_ranges(config, kind, Interval(start, end), step, gap, base)
    metrics = base.metrics if base else tuple(sorted({m for p in partitions for m in p.metrics}))
    return KindPlan(step_seconds=steps[0], metrics=metrics, ranges=ranges, entities=entities)


def _explicit_ranges(config: Config, kind: str, gap: timedelta) -> Ranges:
    settings = config.ranges
    assert settings.train and settings.calibrate  # RangesConfig takes both or neither
    train, calibrate = Interval.parse(*settings.train), Interval.parse(*settings.calibrate)
    judge = Interval.parse(*settings.judge) if settings.judge else None
    for before, after in itertools.pairwise([train, calibrate, *([judge] if judge else [])]):
        if after.start < before.end:
            raise ConfigError(f"ranges: {before.end} comes after {after.start}; order is train, calibrate, judge")
        if after.start - before.end < gap:
            raise ConfigError(
                f"ranges for kind {kind}: the gap from {format_time(before.end)} to {format_time(after.start)} is shorter "
                f"than one window ({gap}); end the earlier range at {format_time(after.start - gap)} or before"
            )
    return Ranges(train=train, calibrate=calibrate, judge=judge)


def _default_ranges(
    config: Config,
    kind: str,
    telemetry: Interval,
    step: timedelta,
    gap: timedelta,
    base: KindPlan | None,
) -> Ranges:
    """Cut ``telemetry`` so that calibrate has its share; feedback moves neither range.

    Defined in contracts 1.4.
    """
    steps = int(np.ceil((1 - config.ranges.calibrate_share) * (telemetry.seconds / step.total_seconds())))
    cut = telemetry.start + steps * step
    if base is not None:
        train = base.ranges.train
        if telemetry.end <= train.end + gap:
            raise BadInput(
                f"kind {kind}: the telemetry ends at {format_time(telemetry.end)}, within a window of the model's train range "
                f"(until {format_time(train.end)}); nothing is left to align on: widen --from and --to"
            )
        return Ranges(train=train, calibrate=Interval(max(cut, train.end + gap), telemetry.end))
    if cut - gap < telemetry.start + 2 * gap:
        raise BadInput(
            f"kind {kind}: only {(cut - telemetry.start) / step:.0f} samples lie before the calibrate range "
            f"(it starts at {format_time(cut)}, with the last {config.ranges.calibrate_share:.0%}); "
            f"at least {3 * config.model.window_steps} are needed: give more history, a smaller model.window_steps or explicit ranges"
        )
    return Ranges(train=Interval(telemetry.start, cut - gap), calibrate=Interval(cut, telemetry.end))
