"""Location and scale of every metric of every entity.

They make raw telemetry comparable across a fleet.
A two-pass z-score (the iterative z-score of He et al., ISSRE 2022, without its day-by-day drift): mean and standard
deviation, clip to mean +- clip * sd, once more. Missing samples are skipped. NaN means "never measured": the
graph treats a metric without location as absent, because any guessed scale would make its first value an alarm.

Shapes: E entity, M metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import ModelConfig
from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.tables import DEFAULT_ENTITY, NORMALIZER
from fleetalign.evaluate.medians import median_over_entities
from fleetalign.storage.panel import Panel, entities_of

RELATIVE_FLOOR = 1e-6
"""Least scale as a share of the location's size: float64 rounding of a constant metric must raise no alarm."""
SMALLEST = 1e-150
"""Below this a scale counts as 0: dividing an ordinary move by it would overflow."""
ZERO_FLOOR = 1e-6
"""Scale of a metric that is 0 everywhere in the fleet."""
ENTITIES_AT_ONCE = 1_000
BITS = 12
"""Significant bits of scales and statistics, and how finely a location is kept in units of its scale: more would be
noise of the estimate, and noise does not compress (half the bytes of a table)."""


def fit(panel: Panel, start_index: int, stop_index: int, config: ModelConfig) -> tuple[Floats, Floats, Ints]:
    """Return location, scale and number of samples, each [E, M].

    They cover ``[start_index, stop_index)``.
    ``scale`` is the plain standard deviation, see ``floored``. A metric without a sample has NaN location and scale.
    One entity is in memory at a time.
    """
    shape = (len(panel.entity_ids), len(panel.metrics))
    location, scale = np.full(shape, np.nan), np.full(shape, np.nan)
    samples = np.zeros(shape, dtype=np.int64)
    for entity in entities_of(panel.values):
        values = np.array(panel.values[entity, start_index:stop_index])  # [time, M], a copy: the panel may be a map
        values[~np.isfinite(values)] = np.nan
        samples[entity] = np.isfinite(values).sum(axis=0)
        seen = samples[entity] > 0
        if not seen.any():
            continue
        values = values[:, seen]
        for _ in range(2):
            mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
            reach = config.clip * deviation
            values = np.clip(values, mean - reach, mean + reach)
        location[entity, seen], scale[entity, seen] = mean, deviation
    return location, scale, samples


def short(values: Floats, bits: int = BITS) -> Floats:
    """Return ``values`` rounded to ``bits`` significant bits."""
    mantissa, exponent = np.frexp(values)
    rounded: Floats = np.ldexp(np.round(mantissa * 2.0**bits), exponent - bits)
    return rounded


def short_location(location: Floats, scale: Floats) -> Floats:
    """Return ``location`` rounded to a power of two of at most 2^-BITS of its ``scale``."""
    _, exponent = np.frexp(scale)
    step = np.ldexp(1.0, exponent - 1 - BITS)
    return np.where(step >= SMALLEST, np.round(location / np.maximum(step, SMALLEST)) * step, location)


def kept(location: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Return ``location`` and ``scale`` as the table keeps them.

    Scores made before it is written must use these.
    """
    scale = short(scale)
    return short_location(location, scale), scale


def fleet_scale(scale: Floats) -> Floats:
    """Return the median positive scale of each metric, [E, M] -> [M]; NaN where no entity moves."""
    return median_over_entities(np.where(scale > 0, scale, np.nan))


def floored(location: Floats, scale: Floats, fleet: Floats, config: ModelConfig) -> Floats:
    """Return ``scale`` [..., M], raised to its floors.

    They are ``scale_floor`` of the ``fleet`` scale [M], and the absolute floor.
    A constant metric that moves later gives a large but finite z (contracts 2.6). NaN stays NaN.
    """
    share = config.scale_floor * np.nan_to_num(fleet, nan=0.0)
    out = np.maximum(np.maximum(scale, share), RELATIVE_FLOOR * np.abs(location))
    return np.where(out < SMALLEST, absolute_floor(location), out)


def absolute_floor(location: Floats) -> Floats:
    """Return the least scale at ``location`` if no entity moves.

    It is proportional, so that units do not matter.
    """
    floor = RELATIVE_FLOOR * np.abs(location)
    return np.where(floor < SMALLEST, ZERO_FLOOR, floor)


def defaults(location: Floats, scale: Floats, config: ModelConfig) -> tuple[Floats, Floats]:
    """Return location and scale [M] of an unknown entity.

    They are medians of the results of ``fit``, NaN without any sample.
    The scale's median is over entities whose metric moves: a floored scale would make a new entity's first day one
    long alarm.
    """
    typical = median_over_entities(location)
    fleet = fleet_scale(scale)
    return typical, np.where(np.isnan(typical), np.nan, floored(typical, np.nan_to_num(fleet, nan=0.0), fleet, config))


def pooled_defaults(location: Floats, scale: Floats, samples: Ints, config: ModelConfig) -> tuple[Floats, Floats]:
    """Return location and scale [M] of all entities' samples taken together.

    They are of an unknown entity where all entities live for hours: the scale of a few hours is none of a day. ``location``,
    ``scale`` and ``samples`` are the results of ``fit``.
    """
    weight = samples / np.maximum(samples.sum(axis=0), 1)
    mean = np.where(samples.any(axis=0), np.nansum(weight * location, axis=0), np.nan)
    variance = np.nansum(weight * (scale**2 + (location - mean) ** 2), axis=0)
    deviation = np.where(np.isnan(mean), np.nan, np.sqrt(variance))
    return mean, floored(mean, deviation, fleet_scale(scale), config)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The content of one kind's normalizer table, rounded as the table keeps it."""

    kind: str
    entity_ids: Sequence[str]
    metrics: Sequence[str]
    location: Floats
    """[E, M]; NaN where an entity has no row."""
    scale: Floats
    """[E, M]."""
    default: tuple[Floats, Floats]
    """Location and scale [M] of an unknown entity."""
    columns: Sequence[str] = ()
    """Names of the statistics (K) that a detector adds."""
    statistics: Floats | None = None
    """[E, M, K]."""
    default_statistics: Floats | None = None
    """[M, K] of an unknown entity."""
    constants: Mapping[str, float] = field(default_factory=dict)
    """Columns with one value in every row."""

    def lookup(self) -> tuple[Floats, Floats]:
        """Return location and scale [E, M], the default's where an entity has none of its own."""
        known = np.isfinite(self.location)
        return np.where(known, self.location, self.default[0]), np.where(known, self.scale, self.default[1])

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of the entities in the table's order, some entities at a time."""
        for at in range(0, len(self.entity_ids), ENTITIES_AT_ONCE):
            part = slice(at, at + ENTITIES_AT_ONCE)
            rows = to_table(self.kind, self.entity_ids[part], self.metrics, self.location[part], self.scale[part])
            yield self._complete(rows, part)

    def default_rows(self) -> pa.Table:
        """Return the rows of an unknown entity."""
        none = np.empty((0, len(self.metrics)))
        return self._complete(to_table(self.kind, (), self.metrics, none, none, self.default), slice(0))

    def table(self) -> pa.Table:
        """Return the whole table."""
        return NORMALIZER.conform(pa.concat_tables([*self.tables(), self.default_rows()]))

    def _complete(self, rows: pa.Table, part: slice) -> pa.Table:
        if self.statistics is not None and self.default_statistics is not None:
            rows = with_statistics(
                rows, self.entity_ids[part], self.metrics, self.columns, self.statistics[part], self.default_statistics
            )
        return with_constants(rows, self.constants)


def build(panel: Panel, config: ModelConfig, min_history_steps: int) -> Numbers:
    """Fit the normalizer of one kind on its whole panel.

    An entity with fewer samples of its best-known metric than ``min_history_steps`` gets no rows of its own
    (contracts 4.5), but counts in the medians. Where no entity has more, the default is that of all samples together.
    """
    location, scale, samples = fit(panel, 0, panel.values.shape[1], config)
    newcomer = samples.max(axis=1, initial=0) < min_history_steps
    default = pooled_defaults(location, scale, samples, config) if newcomer.all() else defaults(location, scale, config)
    scale = floored(location, scale, fleet_scale(scale), config)
    location[newcomer] = np.nan
    return Numbers(panel.kind, panel.entity_ids, panel.metrics, *kept(location, scale), kept(*default))


def to_table(
    kind: str,
    entity_ids: Sequence[str],
    metrics: Sequence[str],
    location: Floats,
    scale: Floats,
    default: tuple[Floats, Floats] | None = None,
) -> pa.Table:
    """Return rows of the NORMALIZER contract.

    ``location`` and ``scale`` [E, M] have their floors already.
    Metrics with NaN location have no row. ``default`` (location, scale) [M] adds the ``__default__`` rows, one per
    metric; leave it out when rows join a table that has them.
    """
    known = np.isfinite(location)
    entity, metric = np.nonzero(known)
    owners = [entity_ids[e] for e in entity.tolist()]
    names = [metrics[m] for m in metric.tolist()]
    locations, scales = [location[known]], [scale[known]]
    if default is not None:
        owners += [DEFAULT_ENTITY] * len(metrics)
        names += metrics
        locations.append(default[0])
        scales.append(default[1])
    location, scale = kept(np.concatenate(locations), np.concatenate(scales))
    return NORMALIZER.conform(
        pa.table(
            {
                "kind": pa.array([kind] * len(owners), pa.string()),
                "entity_id": pa.array(owners, pa.string()),
                "metric": pa.array(names, pa.string()),
                "location": location,
                "scale": scale,
            }
        )
    )


def with_statistics(
    table: pa.Table,
    entity_ids: Sequence[str],
    metrics: Sequence[str],
    columns: Sequence[str],
    statistics: Floats,
    default: Floats,
) -> pa.Table:
    """Return ``table`` (of one kind) with float32 ``columns`` added.

    They come from ``statistics`` [E, M, K].
    ``default`` [M, K] stands in the rows of an unknown entity.
    """
    entity = _indices(table["entity_id"], pa.array([*entity_ids, DEFAULT_ENTITY], pa.string()))
    metric = _indices(table["metric"], pa.array(metrics, pa.string()))
    values = short(np.concatenate([statistics, default[None]]).astype(np.float64))[entity, metric].astype(np.float32)
    for index, name in enumerate(columns):
        table = table.append_column(name, pa.array(values[:, index]))
    return NORMALIZER.conform(table)


def with_constants(table: pa.Table, values: Mapping[str, float]) -> pa.Table:
    """Return ``table`` with each named float32 column holding one value in every row."""
    for name, value in values.items():
        column = pa.repeat(pa.scalar(value, pa.float32()), table.num_rows)
        index = table.schema.get_field_index(name)
        table = table.append_column(name, column) if index < 0 else table.set_column(index, name, column)
    return NORMALIZER.conform(table)


def lookup(table: pa.Table, kind: str, entity_ids: Sequence[str], metrics: Sequence[str]) -> tuple[Floats, Floats]:
    """Return location and scale [E, M].

    A metric without a row of its own gets the kind's ``__default__`` row.
    NaN where neither row exists: the graph then treats the metric as absent.
    """
    location, scale = columns_of(table, kind, entity_ids, metrics, ("location", "scale"))
    return location, scale


def columns_of(
    table: pa.Table, kind: str, entity_ids: Sequence[str], metrics: Sequence[str], names: Sequence[str]
) -> Floats:
    """Return the columns ``names`` [K, E, M], with the same defaults as ``lookup``."""
    found = np.full((len(names), len(entity_ids), len(metrics)), np.nan)
    rows = table.filter(pc.equal(table["kind"], kind))
    columns = _indices(rows["metric"], pa.array(metrics, pa.string()))
    rows, columns = rows.filter(pa.array(columns >= 0)), columns[columns >= 0]
    fallback = pc.equal(rows["entity_id"], DEFAULT_ENTITY).to_numpy()
    owners = _indices(rows["entity_id"], pa.array(entity_ids, pa.string()))
    own = (owners >= 0) & ~fallback
    for values, name in zip(found, names, strict=True):
        column = rows[name].to_numpy()
        values[:, columns[fallback]] = column[fallback]
        values[owners[own], columns[own]] = column[own]
    return found


def entities(table: pa.Table, kind: str) -> list[str]:
    """Return the entities of ``kind`` that have rows of their own."""
    ids = pc.unique(table.filter(pc.equal(table["kind"], kind))["entity_id"]).to_pylist()
    return [i for i in ids if i != DEFAULT_ENTITY]


def has(table: pa.Table, kind: str, entity_id: str) -> bool:
    """Return whether the entity has a row of its own."""
    return bool(pc.any(pc.and_(pc.equal(table["kind"], kind), pc.equal(table["entity_id"], entity_id))).as_py())


def _indices(column: pa.ChunkedArray, among: pa.Array) -> Ints:
    """Return the position of every value of ``column`` in ``among``, -1 where it is not there."""
    found: Ints = pc.fill_null(pc.index_in(column, value_set=among), -1).to_numpy().astype(np.int64)
    return found
