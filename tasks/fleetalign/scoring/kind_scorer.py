"""Scores the entities of one kind: gathers windows and feeds the graph (contracts 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.graph import ROLES, Graph, windows_at_once
from fleetalign.contracts.manifest import KindManifest
from fleetalign.contracts.mutes import Mutes
from fleetalign.contracts.phases import Phases
from fleetalign.contracts.slots import stretch_starts
from fleetalign.errors import BadInput
from fleetalign.scoring.entity_parameters import EntityRow, EntityRows

SCORED, WARMING_UP, NO_METRIC, MAINTENANCE, SHORT_HISTORY = range(5)
REASONS = (None, "warming_up", "no_metric", "maintenance", "short_history")
"""Reason of a position without a score, by code; None for SCORED."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of p positions of one entity."""

    score: np.ndarray
    """float32 [p]; NaN where ``reason`` is not SCORED."""
    margin: np.ndarray
    """float32 [p]; NaN where ``reason`` is not SCORED."""
    contribution: np.ndarray
    """float32 [p, metric]: each metric's share of the score."""
    reason: np.ndarray
    """int8 [p]: an index into REASONS."""
    state: np.ndarray
    """float32 [m]: the graph's state after the last position."""


@dataclass(frozen=True, slots=True)
class Series:
    """The grid of one entity, and the positions to score."""

    entity_id: str
    values: np.ndarray
    """float64 [time, metric] in raw units; NaN = missing."""
    times: np.ndarray
    """datetime64[us] [time]"""
    first: int
    """Position of the row that its present stretch began with: from ``first + W - 1`` on, a window is full."""
    positions: np.ndarray
    """int64 [p], ascending: the positions to score."""
    state: np.ndarray | None = None
    """float32 [m]: the graph's state before the first of ``positions``; None: zeros."""
    returned: bool = False
    """Whether the stretch that began at ``first`` followed a gap."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A series whose scores are being computed."""

    series: Series
    row: EntityRow
    weight: np.ndarray
    """float32 [p, metric]: 0 where a metric is muted or not usable."""
    scores: Scores
    """Filled in place."""
    fed: np.ndarray
    """Indices into the series' positions that the graph sees: those that get a score, and those that only warm its state."""
    fresh: np.ndarray
    """bool [fed]: whether the state before it is zeros, because a stretch begins."""


_Piece = tuple[_Task, np.ndarray, np.ndarray]
"""A task, indices into its positions, and for each whether a stretch begins."""
CHAIN_BATCH = 256
"""Most windows of a batch when the graph chains rows: that costs the square of their number."""


class KindScorer:
    """The graph of one kind with its entities' parameters and mutes."""

    def __init__(
        self,
        kind: str,
        entry: KindManifest,
        model: bytes,
        normalizer: FleetTable,
        aligner: FleetTable,
        mutes: pa.Table,
        phases: pa.Table | None = None,
    ) -> None:
        """Load the graph ``model`` of ``kind``; ``entry`` is the manifest's ``kinds[kind]``.

        ``phases`` (PHASES) may hold other kinds too; None: every entity reports on the grid.

        Raises:
            BadInput: The graph has an input role that this scorer does not feed.
        """
        self.kind = kind
        self.window_steps: int = entry.window_steps
        self.step_seconds: int = entry.step_seconds
        self.metrics: tuple[str, ...] = entry.metrics
        self._lags = np.array(entry.seasonal_lags_steps, dtype=np.int64)
        self._state_size: int = entry.state_size or 0
        self._chains: bool = entry.state_chains
        self.settle_steps: int | None = entry.state_settle_steps
        self._rows = EntityRows(kind, self.metrics, entry.statistics_columns, normalizer, aligner)
        self._mutes = Mutes(kind, mutes)
        self._phases = Phases(None if phases is None else phases.filter(pc.equal(phases["kind"], kind)))
        self.graph = Graph(model)
        self.stateful = "state" in self.graph.inputs
        unknown = sorted(set(self.graph.inputs) - set(ROLES)) or sorted(set(self.graph.inputs) ^ set(entry.inputs))
        if unknown:
            raise BadInput(
                f"model of kind {kind!r}: input {unknown[0]!r} is not both in the graph, in the manifest and among the "
                f"roles this scorer feeds ({', '.join(ROLES)}); install a fleetalign that knows it"
            )

    def on_grid(self, rows: pa.Table) -> pa.Table:
        """Return ``rows`` (telemetry of the kind by entity and time), each timed at its slot."""
        return self._phases.on_grid(rows, self.step_seconds)

    @property
    def context_steps(self) -> int:
        """Number of samples before the newest one that its score depends on, but for the state.

        A window, and as much before it as tells a full window from the rest of a gap.
        """
        return max(2 * self.window_steps - 2, int(self._lags.max(initial=0)))

    @property
    def history_steps(self) -> int:
        """Number of samples needed before the first score: the window's reach and the settling time."""
        return self.context_steps + (self.settle_steps or 0)

    def settling(self, index: int) -> int:
        """Return where to begin, of ascending positions, so that the state has settled at ``index``.

        It is 0 for a graph whose state never forgets.
        """
        if not self.stateful:
            return index
        return 0 if self.settle_steps is None else max(index - self.settle_steps, 0)

    def location(self, entity_id: str) -> np.ndarray:
        """Return the usual level of every metric of an entity in raw units, float64 [metric].

        NaN if unknown.
        """
        row = self._rows.of(entity_id)
        return np.where(row.usable, row.location, np.nan)

    def scale(self, entity_id: str) -> np.ndarray:
        """Return the scale of every metric of an entity in raw units, float64 [metric].

        NaN if unknown.
        """
        row = self._rows.of(entity_id)
        return np.where(row.usable, row.scale, np.nan)

    def knows(self, entity_id: str) -> bool:
        """Return whether the release has a row of the entity."""
        return self._rows.is_aligned(entity_id)

    def maintenance(self, entity_id: str, times: np.ndarray) -> np.ndarray:
        """Return whether the entity is in maintenance at ``times`` (datetime64 [t]), bool [t]."""
        return self._mutes.weights(entity_id, (), times)[1]

    def has_own_location(self, entity_id: str) -> bool:
        """Return whether the entity has a location of its own rather than the default's."""
        return self._rows.has_own_location(entity_id)

    def score(
        self, entity_id: str, values: np.ndarray, times: np.ndarray, first: int, positions: np.ndarray, batch: int
    ) -> Scores:
        """Score one series given by its fields; at most ``batch`` windows are in memory at a time."""
        return next(self.score_all([Series(entity_id, values, times, first, positions)], batch))[1]

    def score_all(self, series: Iterable[Series], batch: int) -> Iterator[tuple[Series, Scores]]:
        """Score every series, in order.

        Windows of several entities share a batch of at most ``batch``, so that a fleet with one new sample per entity
        costs hardly more than one entity with as many samples. The other windows of a batch may change a margin in its
        last bit.
        """
        group: list[_Task] = []
        samples = windows = 0
        batch = windows_at_once(batch, len(self.metrics))
        for task in map(self._task, series):
            group.append(task)
            samples += len(task.series.values)
            windows += len(task.fed)
            if windows >= batch or samples >= batch * self.window_steps:
                yield from self._finish(group, batch)
                group, samples, windows = [], 0, 0
        yield from self._finish(group, batch)

    def _task(self, series: Series) -> _Task:
        positions, count = series.positions, len(series.positions)
        row = self._rows.of(series.entity_id)
        weight, maintenance = self._mutes.weights(series.entity_id, self.metrics, series.times[positions])
        weight *= row.usable
        reason = np.full(count, SCORED, dtype=np.int8)
        reason[~((weight > 0) & np.isfinite(series.values[positions])).any(axis=1)] = NO_METRIC
        starts = stretch_starts(series.values, series.first, self.window_steps)[positions]
        young = positions - starts + 1 < self.window_steps
        fed = (reason == SCORED) & ~maintenance & (~young | self.stateful)
        reason[young] = np.where((starts[young] > series.first) | series.returned, SHORT_HISTORY, WARMING_UP)
        reason[maintenance] = MAINTENANCE
        score = np.full(count, np.nan, dtype=np.float32)
        contribution = np.zeros((count, len(self.metrics)), dtype=np.float32)
        state = np.zeros(self._state_size, dtype=np.float32) if series.state is None else series.state.copy()
        scores = Scores(score, score.copy(), contribution, reason, state)
        seen = starts[fed]
        fresh = np.diff(seen, prepend=series.first) != 0
        return _Task(series, row, weight, scores, np.flatnonzero(fed), fresh)

    def _finish(self, group: Sequence[_Task], batch: int) -> Iterator[tuple[Series, Scores]]:
        if self.stateful:  # a state comes from the window before, which may be in the same batch if the graph chains
            batch = min(batch, CHAIN_BATCH) if self._chains else 1
        for pieces in _packed(group, batch):
            feeds = self._feeds(pieces)
            if self.stateful:
                feeds["state"] = self._states(pieces)
            found = self.graph.run(feeds)
            at = 0
            for task, chunk, _ in pieces:
                mine = slice(at, at + len(chunk))
                task.scores.score[chunk], task.scores.margin[chunk] = found.score[mine], found.margin[mine]
                task.scores.contribution[chunk] = found.contribution[mine]
                at += len(chunk)
                if found.state is not None:
                    task.scores.state[:] = found.state[at - 1]
        for task in group:
            scores = task.scores
            scores.reason[(scores.reason == SCORED) & np.isnan(scores.score)] = NO_METRIC
            silent = scores.reason != SCORED
            scores.score[silent] = scores.margin[silent] = np.nan
            scores.contribution[silent] = 0.0
            yield task.series, scores

    def _states(self, pieces: Sequence[_Piece]) -> np.ndarray:
        """Return the state of each piece's first window, and zeros where a stretch begins.

        NaN, which stands for the row before, for the others.
        """
        states = np.full((sum(len(chunk) for _, chunk, _ in pieces), self._state_size), np.nan, dtype=np.float32)
        at = 0
        for task, chunk, fresh in pieces:
            states[at] = task.scores.state
            states[at : at + len(chunk)][fresh] = 0.0
            at += len(chunk)
        return states

    def _feeds(self, pieces: Sequence[_Piece]) -> dict[str, np.ndarray]:
        """Return the array of every role for the windows of ``pieces``, one piece after the other."""
        counts = [len(chunk) for _, chunk, _ in pieces]
        rows = [task.row for task, _, _ in pieces]
        back = np.arange(1 - self.window_steps, 1)
        ends = [task.series.positions[chunk] for task, chunk, _ in pieces]
        series = [task.series for task, _, _ in pieces]
        windows = [_looked_up(one.values, end[:, None] + back) for one, end in zip(series, ends, strict=True)]
        feeds = {
            "values": np.concatenate(windows).transpose(0, 2, 1),
            "location": np.repeat([row.location for row in rows], counts, axis=0),
            "scale": np.repeat([row.scale for row in rows], counts, axis=0),
            "weight": np.concatenate([task.weight[chunk] for task, chunk, _ in pieces]),
            "condition": np.repeat(np.array([row.condition for row in rows], dtype=np.int32), counts),
            "threshold": np.repeat(np.array([row.threshold for row in rows], dtype=np.float32), counts),
            "statistics": np.repeat([row.statistics for row in rows], counts, axis=0),
        }
        if len(self._lags):
            lagged = [_looked_up(one.values, end[:, None] - self._lags) for one, end in zip(series, ends, strict=True)]
            feeds["seasonal"] = np.concatenate(lagged).transpose(0, 2, 1)
        return feeds


def _looked_up(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return ``values`` [t, metric] at ``positions`` [...]; NaN before the first of them."""
    found: np.ndarray = values[np.maximum(positions, 0)]
    if positions.min(initial=0) < 0:
        found[positions < 0] = np.nan
    return found


def _packed(group: Sequence[_Task], size: int) -> Iterator[list[_Piece]]:
    """Pack the windows that the graph sees, in order, into lists of at most ``size``."""
    pieces: list[_Piece] = []
    room = size
    for task in group:
        at = 0
        while at < len(task.fed):
            chunk = task.fed[at : at + room]
            pieces.append((task, chunk, task.fresh[at : at + room]))
            at += len(chunk)
            room -= len(chunk)
            if room == 0:
                yield pieces
                pieces, room = [], size
    if pieces:
        yield pieces
