"""Scores one kind's entities with its graph: gathers windows, feeds the roles the manifest lists (contracts 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.contracts.graph import ROLES, Graph, Scored
from fleetalign.contracts.mutes import Mutes
from fleetalign.errors import BadInput
from fleetalign.release.entity_rows import EntityRow, EntityRows

SCORED, WARMING_UP, NO_METRIC, MAINTENANCE = range(4)
REASONS = (None, "warming_up", "no_metric", "maintenance")
"""Why a position has no score, by code; SCORED has none."""


@dataclass(frozen=True, slots=True)
class Scores:
    """``score``, ``margin`` float32 [p], NaN where ``reason`` int8 [p] is not SCORED; ``contribution`` float32 [p, metric]."""

    score: np.ndarray
    margin: np.ndarray
    contribution: np.ndarray
    reason: np.ndarray


NEXT_STATE = "next_state"
"""Output that holds the role ``state``: in ONNX an input and an output cannot share a name."""


class StatefulGraph(Graph):
    """A graph that may return a ``state`` float32 [B, m] to be fed with the entity's next window."""

    def run_with_state(self, feeds: Mapping[str, np.ndarray]) -> tuple[Scored, np.ndarray]:
        score, margin, contribution, state = self._run(("score", "margin", "contribution", NEXT_STATE), feeds)
        return Scored(score, margin, contribution), state


class KindScorer:
    """The graph of one kind with its entities' rows and mutes."""

    def __init__(
        self,
        kind: str,
        entry: Mapping[str, Any],
        model: bytes,
        normalizer: pa.Table,
        aligner: pa.Table,
        mutes: pa.Table,
    ) -> None:
        """``entry`` is the manifest's ``kinds[kind]``. Raises BadInput for an input role that no scorer knows."""
        self.kind = kind
        self.window_steps: int = entry["window_steps"]
        self.step_seconds: int = entry["step_seconds"]
        self.metrics: tuple[str, ...] = tuple(entry["metrics"])
        self._lags = np.array(entry.get("seasonal_lags_steps", ()), dtype=np.int64)
        self._state_size: int = entry.get("state_size", 0)
        self._rows = EntityRows(kind, self.metrics, entry.get("statistics_columns", ()), normalizer, aligner)
        self._mutes = Mutes(kind, mutes)
        self.graph = StatefulGraph(model)
        self.stateful = "state" in self.graph.inputs
        unknown = sorted(set(self.graph.inputs) - set(ROLES)) or sorted(set(self.graph.inputs) ^ set(entry["inputs"]))
        if unknown:
            raise BadInput(
                f"model of kind {kind!r}: input {unknown[0]!r} is not both in the graph, in the manifest and among the "
                f"roles this scorer feeds ({', '.join(ROLES)}); install a fleetalign that knows it"
            )

    @property
    def context_steps(self) -> int:
        """How many samples before the newest one a score depends on."""
        return max(self.window_steps - 1, int(self._lags.max(initial=0)))

    def score(
        self, entity_id: str, values: np.ndarray, times: np.ndarray, first: int, positions: np.ndarray, batch: int
    ) -> Scores:
        """Score the newest samples at ``positions`` int64 [p], ascending.

        ``values`` float64 [time, metric] is the entity's grid in raw units, NaN = missing; ``times`` datetime64[us]
        [time]; ``first`` the position of its first row: a position has a full window from ``first + W - 1`` on.
        At most ``batch`` windows are in memory at a time.
        """
        row = self._rows.of(entity_id)
        weight, maintenance = self._mutes.weights(entity_id, self.metrics, times[positions])
        weight *= row.usable
        reason = np.full(len(positions), SCORED, dtype=np.int8)
        reason[~((weight > 0) & np.isfinite(values[positions])).any(axis=1)] = NO_METRIC
        reason[positions - first + 1 < self.window_steps] = WARMING_UP
        reason[maintenance] = MAINTENANCE
        score = np.full(len(positions), np.nan, dtype=np.float32)
        margin = score.copy()
        contribution = np.zeros((len(positions), len(self.metrics)), dtype=np.float32)
        state = np.zeros((1, self._state_size), dtype=np.float32)
        wanted = np.flatnonzero(reason == SCORED)
        size = 1 if self.stateful else batch  # a state comes from the window before
        for chunk in (wanted[i : i + size] for i in range(0, len(wanted), size)):
            feeds = self._feeds(row, values, positions[chunk], weight[chunk])
            if self.stateful:
                found, state = self.graph.run_with_state({**feeds, "state": state})
            else:
                found = self.graph.run(feeds)
            score[chunk], margin[chunk], contribution[chunk] = found.score, found.margin, found.contribution
        reason[(reason == SCORED) & np.isnan(score)] = NO_METRIC
        return Scores(score, margin, contribution, reason)

    def _feeds(self, row: EntityRow, values: np.ndarray, ends: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of every role for the windows that end at ``ends`` [b]."""
        count = len(ends)
        window = ends[:, None] + np.arange(1 - self.window_steps, 1)
        feeds = {
            "values": values[window].transpose(0, 2, 1),
            "location": np.broadcast_to(row.location, (count, len(self.metrics))),
            "scale": np.broadcast_to(row.scale, (count, len(self.metrics))),
            "weight": weight,
            "condition": np.full(count, row.condition, dtype=np.int32),
            "threshold": np.full(count, row.threshold, dtype=np.float32),
            "statistics": np.broadcast_to(row.statistics, (count, *row.statistics.shape)),
        }
        if len(self._lags):
            earlier = ends[:, None] - self._lags
            lagged = np.where((earlier >= 0)[:, :, None], values[np.maximum(earlier, 0)], np.nan)
            feeds["seasonal"] = lagged.transpose(0, 2, 1)
        return feeds
