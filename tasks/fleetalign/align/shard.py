"""Aligns a slice of the fleet: scores its calibrate range and tabulates every entity.

Scores come from the exported graph. Labelled incidents from the train range on are scored too (``axis``); what is fitted here
leaves them out.

An entity that cannot be aligned becomes a row with a reason and does not fail the shard. The result depends on the entities
alone, not on how the fleet was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.align.axis import axis_of
from fleetalign.align.entity import EntityTables, seeded_uniform, tabulate
from fleetalign.config import Config, StorageConfig
from fleetalign.contracts.arrays import Floats, Floats32, Ints
from fleetalign.contracts.feedback import ANOMALY, Statements
from fleetalign.contracts.graph import Graph, expose
from fleetalign.contracts.mutes import Mutes
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.slots import samples_apart
from fleetalign.contracts.tables import TIME
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.margins import EntitySeries, Margins, profile
from fleetalign.detectors.registry import detector
from fleetalign.detectors.statistics import Fitter, completed
from fleetalign.evaluate.controls import CONTROL_SEEDS
from fleetalign.interval import Interval
from fleetalign.model import normalizer
from fleetalign.plan import receipts
from fleetalign.plan.document import partitions_of, plan_config, read_statements, shard_entities
from fleetalign.progress import Progress
from fleetalign.storage import layout
from fleetalign.storage.panel import Panel, as_datetime64, read_panel, without_anomalies
from fleetalign.storage.store import Store

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
        ("statistics", _DOUBLES),
        ("quantiles", _FLOATS),
        ("recent_quantiles", _FLOATS),
        ("tails", _FLOATS),
        ("false_points", _FLOATS),
        ("incident_start", _TIMES),
        ("incident_end", _TIMES),
        ("incident_steps", pa.list_(pa.int64())),
        ("newcomer_margins", _FLOATS),
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
"""One row per entity. Arrays are flattened row-major from the shapes in ``EntityTables``; null where ``reason`` is set.

``newcomer_margins`` [C, n] are those of an entity with too little history: together they make the default row of a kind in
which no entity has more."""

TOO_LITTLE_HISTORY = "too_little_history"
TOO_LITTLE_NORMAL = "too_little_normal_time_in_calibrate"
NO_TELEMETRY = "no_telemetry_in_calibrate"
NO_SCORE = "no_usable_metric"


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the entities of one shard share; arrays are in the panel's order."""

    config: Config
    kind: str
    grid: Grid
    signal: Margins
    panel: Panel
    calibrate: tuple[int, int]
    train: tuple[int, int]
    feedback: Statements
    mutes: Mutes
    location: Floats
    """[entity, metric]."""
    scale: Floats
    """[entity, metric]."""
    statistics: Floats32
    """[entity, metric, k]."""
    normalized: bool
    """Whether every entity has normalizer rows of its own."""
    fitter: Fitter | None
    """Fits the statistics of entities without rows; None: the graph has none."""
    refit: bool
    """Whether no stored statistics apply, as for the untrained control."""
    shifts: Floats
    """Circular shifts of the shifted control, as shares of the range."""


def align_shard(
    store: Store,
    plan: Plan,
    index: int,
    models: Mapping[str, str],
    normalizer_table: pa.Table,
    storage: StorageConfig,
    progress: Progress | None = None,
    *,
    control: bool = False,
) -> pa.Table:
    """Align the entities of shard ``index``: one row of SHARD_SCHEMA each.

    ``models`` maps kind to model id.

    ``normalizer_table`` is the pre-training's; an entity that is not in it gets its own location, scale and statistics
    from its history once it has ``align.min_history_steps`` samples (contracts 4.5). With ``control`` the untrained network
    is aligned in the same way, only for the entities with feedback, because only they are judged.
    """
    shard = plan.shards[index]
    kind = shard.kind
    config = plan_config(plan)
    entry = plan.kinds[kind]
    train, calibrate = entry.ranges.train, entry.ranges.calibrate
    feedback = Statements(read_statements(store, plan, "feedback"), kind)
    mutes = Mutes(kind, read_statements(store, plan, "mutes"))
    ids = shard_entities(store, plan, shard)
    if control:
        ids = [i for i in ids if feedback.speaks_of(i)]
    normalized = set(normalizer.entities(normalizer_table, kind))
    card = receipts.card(store, models[kind])
    chosen = detector(card.network)
    grid = chosen.grid(config.align, card.window_steps)
    model = expose(store.get(layout.model(models[kind], "untrained.onnx" if control else "model.onnx")))
    signal = chosen.margins(Graph(model), card.seasonal_lags_steps, grid)
    columns = card.statistics_columns
    fitter = chosen.fitter(signal.graph, card.seasonal_lags_steps, config.model.clip)
    context = timedelta(seconds=signal.context_steps * entry.step_seconds)
    recent = Interval(calibrate.start - context, calibrate.end)
    whole = Interval(min(train.start, recent.start), calibrate.end)
    known = [i for i in ids if i in normalized]
    labelled = {i for i in known if feedback.starts_before(i, as_datetime64(calibrate.start))}
    # An entity with normalizer rows needs history only for earlier incidents; for the others it decides whether they get rows.
    groups = (
        (True, [i for i in known if i not in labelled], whole if control and fitter else recent),
        (True, [i for i in known if i in labelled], whole),
        (False, [i for i in ids if i not in normalized], whole),
    )
    rows: list[dict[str, Any]] = []
    for has_rows, members, span in groups:
        if not members:
            continue
        panel = read_panel(
            store, partitions_of(plan, kind), kind, members, entry.metrics, span, entry.step_seconds,
            memory_mb=storage.memory_mb, scratch_dir=storage.scratch_dir or None,
        )  # fmt: skip
        found = normalizer.columns_of(
            normalizer_table, kind, members, panel.metrics, ("location", "scale", *columns)
        )  # fmt: skip
        scene = _Scene(
            config,
            kind,
            grid,
            signal,
            panel,
            (panel.index_of(calibrate.start), panel.index_of(calibrate.end)),
            (panel.index_of(train.start), panel.index_of(train.end)),
            feedback,
            mutes,
            found[0],
            found[1],
            np.moveaxis(found[2:], 0, -1).astype(np.float32),
            has_rows,
            fitter,
            control,
            np.random.default_rng(config.align.seed).uniform(0.02, 0.98, CONTROL_SEEDS),
        )
        for position in range(len(members)):
            rows.append(_align_entity(scene, position))
            if progress is not None:
                progress(len(rows), len(ids), f"align {kind}" + (", untrained control" if control else ""))
    rows.sort(key=lambda row: row["entity_id"])
    return pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)


def _align_entity(scene: _Scene, position: int) -> dict[str, Any]:
    panel, config = scene.panel, scene.config
    entity_id = panel.entity_ids[position]
    start, stop = scene.calibrate
    last = int(panel.last[position])
    row: dict[str, Any] = {"kind": scene.kind, "entity_id": entity_id}
    times, origin = panel.times, scene.train[0]
    labels, incidents = scene.feedback.in_range(entity_id, times, origin, stop)
    labels, incidents = labels[start - origin :], incidents + origin
    row |= _incident_columns(times, incidents)
    samples = int(np.isfinite(panel.values[position]).sum(axis=0).max())
    new = not scene.normalized and 0 < samples < config.align.min_history_steps
    if last < start:
        return row | {"reason": TOO_LITTLE_HISTORY if new else NO_TELEMETRY}
    weight, maintenance = scene.mutes.weights(entity_id, panel.metrics, times)
    series, own = _series(scene, position, weight, fitted=not new)
    end = min(stop, last + 1)

    def scored(begin: int, until: int) -> Floats32:
        margins = np.full((len(scene.grid.candidates), until - begin), np.nan, dtype=np.float32)
        margins[:, : end - begin] = scene.signal.margins(series, begin, min(until, end))
        margins[:, maintenance[begin:until]] = np.nan
        return margins

    d = scored(start, stop)
    normal = (labels != ANOMALY) & ~np.isnan(d[0])
    row["observed_steps"] = int((~np.isnan(d[0])).sum())
    if new:
        return row | {"reason": TOO_LITTLE_HISTORY, "newcomer_margins": d[:, normal].ravel()}
    row |= own
    if not normal.any():
        return row | {"reason": NO_SCORE}
    if normal.sum() < max(config.align.min_history_steps - config.model.window_steps, 1):
        return row | {"reason": TOO_LITTLE_NORMAL if scene.normalized else TOO_LITTLE_HISTORY}
    # An earlier incident without any score could be neither hit nor missed.
    unscored = [b <= start and bool(np.isnan(scored(a, b)[0]).all()) for a, b in incidents.tolist()]
    incidents = incidents[~np.array(unscored, dtype=bool)]
    row |= _incident_columns(times, incidents)
    merge_steps = config.align.merge_steps * samples_apart(np.flatnonzero(~np.isnan(d[0])))
    axis = axis_of(labels, incidents, start, merge_steps)
    if config.align.method == "published_tpe":
        row |= _published(scene, series, entity_id, axis.earlier, labels[: end - start], maintenance)
    d = axis.joined(scored, d)
    tables = tabulate(
        d, axis.labels, axis.incidents, scene.grid.tails, merge_steps,
        random_scores=seeded_uniform(config.align.seed, scene.kind, entity_id, d.shape[1]), shifts=scene.shifts,
        recent_steps=round(config.align.quantile_days * 86_400 / panel.step_seconds), rounding=scene.signal.rounding,
    )  # fmt: skip
    return row | flat(tables)


def _incident_columns(times: np.ndarray, incidents: Ints) -> dict[str, Any]:
    """Return the columns of SHARD_SCHEMA that say where ``incidents`` [G, 2] (grid steps) lie."""
    return {
        "incident_start": [_utc(times[a]) for a, _ in incidents],
        "incident_end": [_utc(times[b - 1] + (times[1] - times[0])) for _, b in incidents],
        "incident_steps": [int(b - a) for a, b in incidents],
    }


def _published(
    scene: _Scene, series: EntitySeries, entity_id: str, earlier: Ints, labels: np.ndarray, maintenance: np.ndarray
) -> dict[str, Any]:
    """Return what the published aligner fits on.

    These are the ``earlier`` incidents, and ``labels`` from the calibrate range's start on.
    """
    from fleetalign.align.tpe import fit

    start = scene.calibrate[0]
    errors = []
    for begin, until in [*earlier.tolist(), (start, start + len(labels))]:
        found = profile(scene.signal.graph, series, begin, until)
        found[maintenance[begin:until]] = np.nan
        errors.append(found)
    before = sum(len(part) for part in errors[:-1])
    labels = np.concatenate([np.full(before, ANOMALY, dtype=np.int8), labels])
    return fit(np.concatenate(errors), labels, scene.config.align, scene.kind, entity_id, before)


def _series(scene: _Scene, position: int, weight: Floats32, *, fitted: bool) -> tuple[EntitySeries, dict[str, Any]]:
    """Return the entity's input series, and the columns that the normalizer gains from it.

    With ``fitted`` False the series has the default's numbers.
    """
    panel, fitter = scene.panel, scene.fitter
    location, scale, statistics = scene.location[position], scene.scale[position], scene.statistics[position]
    own: dict[str, Any] = {}
    if fitted and (scene.refit or not scene.normalized):
        history = _history(scene, position)
        if not scene.normalized:
            location, scale = _own_normalizer(scene, history, location, scale)
        own = {"location": location, "scale": scale}
        if fitter is not None:
            # Typical errors of an entity that the network was trained with are those of the training range.
            until = scene.train[1] if scene.normalized else scene.calibrate[1]
            found = normalizer.short(fitter.fit(history, 0, 0, until, location, scale))
            width = found.shape[1]
            statistics = completed(found, statistics[:, :width].astype(np.float64), statistics[0, width:])
            own["statistics"] = statistics[:, :width].ravel().astype(np.float64)
    values = panel.values[position]
    return EntitySeries(values, weight, int(panel.first[position]), location, scale, statistics), own


def _utc(instant: np.datetime64) -> datetime:
    value: datetime = instant.astype(datetime)
    return value.replace(tzinfo=UTC)


def _history(scene: _Scene, position: int) -> Panel:
    """Return the panel of one entity without its labelled anomalies: what may be fitted on."""
    panel, at = scene.panel, slice(position, position + 1)
    own = Panel(
        panel.kind, panel.entity_ids[at], panel.metrics, panel.start, panel.step_seconds,
        np.array(panel.values[at]), panel.first[at], panel.last[at],
    )  # fmt: skip
    without_anomalies(own, scene.feedback, scene.config.model.window_steps)
    return own


def _own_normalizer(scene: _Scene, history: Panel, location: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Fit location and scale [metric] of a new entity from its own ``history``.

    Metrics that it never sent get the fleet's.
    """
    fitted = normalizer.fit(history, 0, scene.calibrate[1], scene.config.model)
    own_location, own_scale, samples = (found[0] for found in fitted)
    own_scale = normalizer.floored(own_location, own_scale, scale, scene.config.model)
    return normalizer.kept(np.where(samples > 0, own_location, location), np.where(samples > 0, own_scale, scale))


def flat(tables: EntityTables) -> dict[str, Any]:
    """Return the columns of SHARD_SCHEMA that hold ``tables``."""
    out: dict[str, Any] = {
        "points": tables.points,
        "judged_steps": tables.judged_steps,
        "quantiles": tables.quantiles.ravel(),
        "recent_quantiles": tables.recent_quantiles.ravel(),
        "tails": tables.tails.ravel(),
        "false_points": tables.false_points.ravel(),
    }
    for source in ("detector", "random", "shifted"):
        counts = getattr(tables, source)
        for what in ("hits", "false_pages", "false_judged"):
            out[f"{source}_{what}"] = np.ascontiguousarray(getattr(counts, what), dtype=np.float32).ravel()
    return out
