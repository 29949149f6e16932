"""The reference consumer of a release: numpy, pyarrow and onnxruntime, nothing else (contracts 2.8 and 3).

It follows one pointer, then only immutable keys, and checks every sha256. Scorers in other languages restate this
file; ``fleetalign.testing.scorers`` checks them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.golden import worst_difference
from fleetalign.contracts.tables import ALIGNER, MUTES, NORMALIZER, SCORES, TELEMETRY, TIME, from_parquet
from fleetalign.errors import BadInput, NotFound
from fleetalign.release import channel as channels
from fleetalign.release.kind_scorer import REASONS, SCORED, KindScorer, Series
from fleetalign.release.manifest import Manifest, read_manifest
from fleetalign.storage.panel import Panel, as_datetime64
from fleetalign.storage.store import Store, open_store

KEY_COLUMNS = ("kind", "entity_id", "timestamp")
MAX_GRID_STEPS = 10_000_000
"""Longest dense grid of one entity: 19 years of minutes. Beyond, one row with a wrong clock would fill the disk."""
CONTRIBUTIONS = pa.field("contributions", pa.map_(pa.string(), pa.float32()))


class Scorer:
    """One release, loaded. ``pointer`` is None when it was opened by release id."""

    def __init__(self, store: Store, manifest: Manifest, pointer: channels.Pointer | None = None) -> None:
        self.manifest = manifest
        self.pointer = pointer
        self._store = store
        document = manifest.document

        def table(key: str, contract) -> pa.Table:
            return contract.conform(from_parquet(manifest.get(store, key), f"{store.uri}/{key}"))

        normalizer = table(document["normalizer"], NORMALIZER)
        aligner = table(document["aligner"], ALIGNER)
        mutes = table(document["mutes"], MUTES) if document["mutes"] else MUTES.empty()
        self._kinds = {
            kind: KindScorer(kind, entry, manifest.get(store, entry["model"]), normalizer, aligner, mutes)
            for kind, entry in sorted(manifest.kinds.items())
        }

    @classmethod
    def open(cls, store: Store | str, channel: str = "champion", release: str | None = None) -> Scorer:
        """Load the release that ``channel`` points to, or ``release``, from a store or its URI.

        Raises NotFound when there is no such channel or release, Corrupt when any file differs from its sha256,
        BadInput for a manifest of another major version.
        """
        store = open_store(store) if isinstance(store, str) else store
        if release is not None:
            return cls(store, read_manifest(store, release))
        pointer = channels.read(store, channel)
        if pointer is None:
            raise NotFound(f"{store.uri}: channel {channel!r} points nowhere yet; promote a release to it first")
        return cls(store, read_manifest(store, pointer.release_id, pointer.manifest_sha256), pointer)

    @property
    def release_id(self) -> str:
        return self.manifest.release_id

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._kinds)

    def score(
        self, telemetry: pa.Table, *, batch: int = 1024, start: datetime | None = None, contributions: bool = False
    ) -> pa.Table:
        """Score every sample of ``telemetry`` (telemetry columns, raw units): one row of SCORES each.

        Timestamps are floored to the kind's step; of several rows in one slot the last in (time, table) order counts.
        A row without a score says why in ``reason``, in this order: ``unknown_kind``, ``maintenance``, ``warming_up``
        (no full window since the entity's first row in this table), ``no_metric``. Rows before ``start`` are context
        only. ``contributions`` adds a map column metric -> share of the score. Memory holds the table, its scores, one
        entity's grid and about twice ``batch`` windows.

        Raises BadInput naming the column for a missing one, a time without a zone, or an empty key, and naming the
        entity whose times lie impossibly far apart.
        """
        schema = SCORES.schema.append(CONTRIBUTIONS) if contributions else SCORES.schema
        parts = [schema.empty_table()]
        for kind, rows in _by_kind(telemetry):
            scorer = self._kinds.get(kind)
            if scorer is None:
                parts.append(_unknown(rows, start).select(schema.names))
            elif rows.num_rows:
                parts.append(_score_kind(scorer, _measured(rows, scorer.metrics), batch, start, contributions))
        return pa.concat_tables(parts).combine_chunks()

    def score_panel(
        self, kind: str, panel: Panel, entity_index: int, first: int, last: int, *, batch: int = 1024
    ) -> tuple[np.ndarray, np.ndarray]:
        """``(score, margin)`` float32 [last - first] of one entity at grid positions ``[first, last)``.

        NaN where ``score`` would give a reason. ``panel.metrics`` must be the kind's catalogue in its order.
        """
        scorer = self._kinds[kind]
        if panel.metrics != scorer.metrics:
            raise BadInput(f"kind {kind!r}: the panel's metrics are not the release's catalogue {scorer.metrics}")
        begin = scorer.settling(first)
        origin = max(begin - scorer.context_steps, 0)
        found = scorer.score(
            panel.entity_ids[entity_index],
            np.asarray(panel.values[entity_index, origin:last]),
            panel.times[origin:last],
            int(panel.first[entity_index]) - origin,
            np.arange(begin, last) - origin,
            batch,
        )
        return found.score[first - begin :], found.margin[first - begin :]

    def history_steps(self, kind: str) -> int:
        """How many steps of telemetry before the first wanted score of ``kind`` make it what it is in bulk."""
        return self._kinds[kind].history_steps

    def verify(self) -> float:
        """Worst relative difference of any kind's graph from its golden vectors, on this machine (contracts 3.6)."""
        worst = 0.0
        for kind, scorer in self._kinds.items():
            key = self.manifest.kinds[kind]["golden"]
            golden = from_parquet(self.manifest.get(self._store, key), f"{self._store.uri}/{key}")
            worst = max(worst, worst_difference(scorer.graph, golden))
        return worst


def _by_kind(telemetry: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for name in KEY_COLUMNS:
        if name not in telemetry.schema.names:
            raise BadInput(f"telemetry: column {name!r} is missing; it has {telemetry.schema.names}")
        if telemetry[name].null_count:
            raise BadInput(
                f"telemetry: column {name!r} has {telemetry[name].null_count} empty cells; remove those rows"
            )
    time = telemetry.schema.field("timestamp").type
    if not pa.types.is_timestamp(time) or time.tz is None:
        raise BadInput(f"telemetry: column 'timestamp' is {time}; it must be a timestamp with a zone, such as {TIME}")
    kinds = telemetry["kind"].cast(pa.string())
    for kind in sorted(pc.unique(kinds).to_pylist()):
        yield kind, telemetry.filter(pc.equal(kinds, kind))


def _measured(rows: pa.Table, metrics: tuple[str, ...]) -> pa.Table:
    """Key columns and the catalogue's metrics, sorted by entity and time; columns beyond are nobody's business."""
    return TELEMETRY.conform(rows.select([*KEY_COLUMNS, *(m for m in metrics if m in rows.schema.names)]))


def by_entity(ids: pa.ChunkedArray) -> list[tuple[int, int]]:
    """Half-open row ranges, one per entity, of a table sorted by the column ``ids``."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    return list(itertools.pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]))


def _score_kind(
    scorer: KindScorer, rows: pa.Table, batch: int, start: datetime | None, contributions: bool
) -> pa.Table:
    """Scores of ``rows``, sorted by entity and time.

    Entities with few rows cost more in Arrow's calls than in the graph: numpy until the whole kind is one table.
    """
    since = None if start is None else as_datetime64(start)
    ids, times, parts = [], [], []
    for one, found in scorer.score_all(_series(scorer, rows, since), batch):
        at = one.times[one.positions]
        late = np.full(len(at), True) if since is None else at >= since
        ids.append(one.entity_id)
        times.append(at[late])
        shares = found.contribution[late] if contributions else None
        parts.append((found.score[late], found.margin[late], found.reason[late], shares))
    score, margin, reason = (np.concatenate(column) for column in itertools.islice(zip(*parts, strict=True), 3))
    quiet = reason != SCORED
    columns = [
        pa.repeat(pa.scalar(scorer.kind), len(score)),
        pa.array(ids, pa.string()).take(pa.array(np.repeat(np.arange(len(ids)), [len(part) for part in times]))),
        pa.array(np.concatenate(times), pa.timestamp("us")).cast(TIME),
        pa.array(score, pa.float32(), mask=quiet),
        pa.array(margin, pa.float32(), mask=quiet),
        pa.array(~quiet & (margin > 0)),
        pa.array(REASONS, pa.string()).take(pa.array(reason)),
    ]
    if not contributions:
        return pa.table(columns, schema=SCORES.schema)
    shares = _shares(scorer.metrics, np.concatenate([part[3] for part in parts]), quiet)
    return pa.table([*columns, shares], schema=SCORES.schema.append(CONTRIBUTIONS))


def _series(scorer: KindScorer, rows: pa.Table, since: np.datetime64 | None) -> Iterator[Series]:
    """Every entity of ``rows`` on its own grid. Of several rows in one slot the last counts."""
    step = np.int64(scorer.step_seconds) * 1_000_000
    slots = rows["timestamp"].cast(pa.int64()).to_numpy() // step
    columns = [
        (index, rows[metric].to_numpy(zero_copy_only=False).astype(np.float64, copy=False))
        for index, metric in enumerate(scorer.metrics)
        if metric in rows.schema.names
    ]
    for begin, end in by_entity(rows["entity_id"]):
        entity_id = rows["entity_id"][begin].as_py()
        length = slots[end - 1] - slots[begin] + 1
        if length > MAX_GRID_STEPS:
            raise BadInput(
                f"telemetry: entity {entity_id!r} of kind {scorer.kind!r} has times from {rows['timestamp'][begin]} to "
                f"{rows['timestamp'][end - 1]}, {length - 1} steps apart; is a clock wrong? Remove those rows"
            )
        steps = slots[begin:end] - slots[begin]
        values = np.full((length, len(scorer.metrics)), np.nan)
        for index, column in columns:
            values[steps, index] = column[begin:end]
        values[~np.isfinite(values)] = np.nan
        times = ((slots[begin] + np.arange(length)) * step).astype("datetime64[us]")
        positions = np.unique(steps)
        if since is not None:
            positions = positions[scorer.settling(int(np.searchsorted(times[positions], since))) :]
        yield Series(entity_id, values, times, 0, positions)


def _shares(metrics: tuple[str, ...], contribution: np.ndarray, quiet: np.ndarray) -> pa.Array:
    """Metric -> share of the score, where there is a score."""
    shared = (contribution > 0) & ~quiet[:, None]
    offsets = np.concatenate(([0], np.cumsum(shared.sum(axis=1)))).astype(np.int32)
    names = pa.array(metrics, pa.string()).take(pa.array(np.nonzero(shared)[1]))
    return pa.MapArray.from_arrays(pa.array(offsets), names, pa.array(contribution[shared], pa.float32()))


def _unknown(rows: pa.Table, start: datetime | None) -> pa.Table:
    """Rows of a kind the release does not know: no step to floor to, one row per entity and time."""
    keys = TELEMETRY.conform(rows.select(KEY_COLUMNS)).group_by(list(KEY_COLUMNS), use_threads=False).aggregate([])
    if start is not None:
        keys = keys.filter(pc.greater_equal(keys["timestamp"], pa.scalar(start, TIME)))
    columns = [
        *(keys[name] for name in KEY_COLUMNS),
        pa.nulls(keys.num_rows, pa.float32()),
        pa.nulls(keys.num_rows, pa.float32()),
        pa.repeat(pa.scalar(False), keys.num_rows),
        pa.repeat(pa.scalar("unknown_kind"), keys.num_rows),
        pa.nulls(keys.num_rows, CONTRIBUTIONS.type),
    ]
    return pa.table(columns, schema=SCORES.schema.append(CONTRIBUTIONS))
