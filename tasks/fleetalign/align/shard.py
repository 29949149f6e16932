"""Aligns a slice of the fleet: scores its calibrate range with the exported graph and tabulates every entity.

A bad entity becomes a row with a reason, never a failed shard. The result depends on the entities alone, not on how
the fleet was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.align.entity import EntityTables, seeded_uniform, tabulate
from fleetalign.align.grid import Grid, make_grid
from fleetalign.align.plan import entity_ids, partitions_of, plan_config, range_of, read_statements
from fleetalign.config import Config, StorageConfig
from fleetalign.contracts.feedback import ANOMALY, Statements
from fleetalign.contracts.graph import Graph, margins, with_profile
from fleetalign.contracts.mutes import Mutes
from fleetalign.contracts.tables import TIME
from fleetalign.interval import Interval
from fleetalign.model import normalizer
from fleetalign.storage import layout
from fleetalign.storage.panel import Panel, read_panel
from fleetalign.storage.store import Store

BATCH = 512
_FLOATS = pa.list_(pa.float32())
_DOUBLES = pa.list_(pa.float64())
_TIMES = pa.list_(TIME)

SHARD_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("entity_id", pa.string()),
        ("reason", pa.string()),
        ("points", pa.int64()),
        ("judged_steps", pa.int64()),
        ("observed_steps", pa.int64()),
        ("location", _DOUBLES),
        ("scale", _DOUBLES),
        ("quantiles", _FLOATS),
        ("tails", _FLOATS),
        ("false_points", _FLOATS),
        ("incident_start", _TIMES),
        ("incident_end", _TIMES),
        ("incident_steps", pa.list_(pa.int64())),
        *(
            (f"{source}_{what}", _FLOATS)
            for source in ("detector", "random", "shifted")
            for what in ("hits", "false_pages", "false_judged")
        ),
        ("tpe_condition", pa.int32()),
        ("tpe_threshold", pa.float32()),
        ("tpe_tail_probability", pa.float32()),
        ("tpe_pages", pa.int64()),
    ]
)
"""One row per entity. Arrays are flattened row-major from the shapes in ``EntityTables``; null where ``reason`` is set."""

TOO_LITTLE_HISTORY = "too_little_history"
NO_TELEMETRY = "no_telemetry_in_calibrate"
NO_SCORE = "no_usable_metric"


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the entities of one shard share; ``location`` and ``scale`` float64 [entity, metric] in the panel's order.

    ``known``: they all have rows of their own in the normalizer.
    """

    config: Config
    kind: str
    grid: Grid
    graph: Graph
    panel: Panel
    calibrate: tuple[int, int]
    feedback: Statements
    mutes: Mutes
    location: np.ndarray
    scale: np.ndarray
    known: bool
    shifts: np.ndarray


def align_shard(
    store: Store,
    plan: Mapping[str, Any],
    index: int,
    models: Mapping[str, str],
    normalizer_table: pa.Table,
    storage: StorageConfig,
    progress: Callable[[int, int, str], None] | None = None,
) -> pa.Table:
    """One row of SHARD_SCHEMA per entity of shard ``index``; ``models`` maps kind to model_id.

    ``normalizer_table`` is the pre-training's; an entity that is not in it gets its own location and scale from its
    history once it has ``align.min_history_steps`` samples (contracts 4.5).
    """
    shard = plan["shards"][index]
    kind = shard["kind"]
    config = plan_config(plan)
    entry = plan["kinds"][kind]
    train, calibrate = range_of(plan, kind, "train"), range_of(plan, kind, "calibrate")
    ids = entity_ids(store, plan, kind, shard["first"], shard["last"])
    known = set(normalizer.entities(normalizer_table, kind))
    window = timedelta(seconds=config.model.window_steps * entry["step_seconds"])
    # Who has a normalizer row needs no history; for the others it decides whether they get one.
    groups = (
        (True, [i for i in ids if i in known], Interval(calibrate.start - window, calibrate.end)),
        (
            False,
            [i for i in ids if i not in known],
            Interval(min(train.start, calibrate.start - window), calibrate.end),
        ),
    )
    feedback = Statements(read_statements(store, plan, "feedback"), kind)
    mutes = Mutes(kind, read_statements(store, plan, "mutes"))
    graph = Graph(with_profile(store.get(layout.model(models[kind], "model.onnx"))))
    rows: list[dict[str, Any]] = []
    for is_known, members, span in groups:
        if not members:
            continue
        panel = read_panel(
            store, partitions_of(plan, kind), kind, members, entry["metrics"], span, entry["step_seconds"],
            memory_mb=storage.memory_mb, scratch_dir=storage.scratch_dir or None,
        )  # fmt: skip
        scene = _Scene(
            config,
            kind,
            make_grid(config.align, config.model.window_steps),
            graph,
            panel,
            (panel.index_of(calibrate.start), panel.index_of(calibrate.end)),
            feedback,
            mutes,
            *normalizer.lookup(normalizer_table, kind, members, panel.metrics),
            is_known,
            np.random.default_rng(config.align.seed).uniform(0.02, 0.98, config.gates.shift_seeds),
        )
        for position in range(len(members)):
            rows.append(_align_entity(scene, position))
            if progress is not None:
                progress(len(rows), len(ids), f"align {kind}")
    rows.sort(key=lambda row: row["entity_id"])
    return pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)


def _align_entity(scene: _Scene, position: int) -> dict[str, Any]:
    panel, config = scene.panel, scene.config
    entity_id = panel.entity_ids[position]
    start, stop = scene.calibrate
    first, last = int(panel.first[position]), int(panel.last[position])
    row: dict[str, Any] = {"kind": scene.kind, "entity_id": entity_id}
    times = panel.times
    labels, incidents = scene.feedback.in_range(entity_id, times, start, stop)
    row["incident_start"] = [_utc(times[start + a]) for a, _ in incidents]
    row["incident_end"] = [_utc(times[start + b - 1] + (times[1] - times[0])) for _, b in incidents]
    row["incident_steps"] = [int(b - a) for a, b in incidents]
    if last < start:
        return row | {"reason": NO_TELEMETRY}
    location, scale = scene.location[[position]], scene.scale[[position]]
    if not scene.known:
        if np.isfinite(panel.values[position]).sum(axis=0).max() < config.align.min_history_steps:
            return row | {"reason": TOO_LITTLE_HISTORY}
        location, scale = _own_normalizer(scene, position, stop, location, scale)
        row |= {"location": location[0], "scale": scale[0]}
    weight, maintenance = scene.mutes.weights(entity_id, panel.metrics, times)
    span = (start, min(stop, last + 1))
    profile = score_profile(scene.graph, panel.values[position], weight, first, span, location[0], scale[0])
    profile[maintenance[slice(*span)]] = np.nan
    d = np.full((len(scene.grid.conditions), stop - start), np.nan, dtype=np.float32)
    d[:, : len(profile)] = np.stack([margins(profile, c) for c in scene.grid.conditions])
    normal = (labels != ANOMALY) & ~np.isnan(d[0])
    row["observed_steps"] = int((~np.isnan(d[0])).sum())
    if not normal.any():
        return row | {"reason": NO_SCORE}
    if normal.sum() < max(config.align.min_history_steps - config.model.window_steps, 1):
        return row | {"reason": TOO_LITTLE_HISTORY}
    if config.align.method == "published_tpe":
        from fleetalign.align.tpe import fit

        row |= fit(profile, labels[: len(profile)], config.align, scene.kind, entity_id)
    tables = tabulate(
        d, labels, incidents, scene.grid, config.align.merge_steps,
        random_scores=seeded_uniform(config.align.seed, scene.kind, entity_id, stop - start), shifts=scene.shifts,
    )  # fmt: skip
    return row | flat(tables)


def _utc(instant: np.datetime64) -> datetime:
    return instant.astype(datetime).replace(tzinfo=UTC)


def _own_normalizer(
    scene: _Scene, position: int, stop: int, location: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale of a new entity from its own samples; the fleet's for metrics it never sent."""
    panel = scene.panel
    own = Panel(
        panel.kind, (panel.entity_ids[position],), panel.metrics, panel.start, panel.step_seconds,
        panel.values[position : position + 1], panel.first[position : position + 1], panel.last[position : position + 1],
    )  # fmt: skip
    own_location, own_scale, samples = normalizer.fit(own, 0, stop, scene.config.model)
    own_scale = normalizer.floored(own_location, own_scale, scale[0], scene.config.model)
    return np.where(samples > 0, own_location, location), np.where(samples > 0, own_scale, scale)


def score_profile(
    graph: Graph,
    values: np.ndarray,
    weight: np.ndarray,
    first: int,
    span: tuple[int, int],
    location: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Error profiles float32 [n, W] of the samples ``span`` of one entity; NaN rows where no full window is.

    ``values`` float64 [time, metric], ``weight`` float32 [time, metric] (0 = muted at that newest sample), ``first`` the
    entity's first sample, ``location`` and ``scale`` float64 [metric] (NaN: the metric is unknown).
    """
    start, stop = span
    window = graph.window_steps
    known = np.isfinite(location) & np.isfinite(scale)
    location, scale = np.where(known, location, 0.0), np.where(known, scale, 1.0)
    profile = np.full((max(stop - start, 0), window), np.nan, dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(values, window, axis=0) if len(values) >= window else None
    for at in range(max(start, first + window - 1), stop, BATCH):
        ends = np.arange(at, min(at + BATCH, stop))
        shape = (len(ends), len(location))
        profile[ends - start] = graph.profile(
            {
                "values": windows[ends - window + 1],
                "location": np.broadcast_to(location, shape),
                "scale": np.broadcast_to(scale, shape),
                "weight": weight[ends] * known,
                "condition": np.full(len(ends), 2, dtype=np.int32),
                "threshold": np.zeros(len(ends), dtype=np.float32),
            }
        )
    return profile


def flat(tables: EntityTables) -> dict[str, Any]:
    """The columns of SHARD_SCHEMA that hold ``tables``."""
    out: dict[str, Any] = {
        "points": tables.points,
        "judged_steps": tables.judged_steps,
        "quantiles": tables.quantiles.ravel(),
        "tails": tables.tails.ravel(),
        "false_points": tables.false_points.ravel(),
    }
    for source in ("detector", "random", "shifted"):
        counts = getattr(tables, source)
        for what in ("hits", "false_pages", "false_judged"):
            out[f"{source}_{what}"] = np.ascontiguousarray(getattr(counts, what), dtype=np.float32).ravel()
    return out
