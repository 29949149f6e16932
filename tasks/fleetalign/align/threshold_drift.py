"""Thresholds that follow an entity's scores as they drift, at a bounded speed.

A threshold fitted once does not survive drift: pages rise or stop. Each alignment moves it towards the quantile of the
entity's newest scores, by at most a share of its size a day, so that a long incident cannot raise it far. Feedback acts at
once: when the feedback or the mutes of the entity changed, or the tail probability or the fleet's candidate, the threshold
is fitted from the start.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Floats, Floats32, Ints
from fleetalign.contracts.fleet_table import FleetTable

DAY_SECONDS = 86_400
CARRIED_STATES = ("aligned", "shared", "carried_over")
"""States of an aligner row that is an entity's own."""


def followed(anchor: Floats32, recent: Floats32, size: Floats32, days: Floats, limit_per_day: float) -> Floats32:
    """Move ``anchor`` towards ``recent``, at a bounded speed.

    It moves by at most ``limit_per_day`` of the size of ``size`` for each of ``days``.
    """
    reach = limit_per_day * np.abs(size) * np.maximum(days, 0.0)
    moved: Floats32 = (anchor + np.clip(recent - anchor, -reach, reach)).astype(np.float32)
    return moved


@dataclass(frozen=True, slots=True)
class Previous:
    """The aligner before this one, and the normalizer of the model that both use."""

    aligner: FleetTable
    normalizer: FleetTable

    def rows(self, kind: str, entity_ids: Collection[str]) -> pa.Table:
        """Return the rows of these entities that still apply.

        They are their own rows, with an unchanged normalizer row.
        """
        found = self.aligner.rows(kind, entity_ids)
        own = pc.is_in(found["state"], value_set=pa.array(CARRIED_STATES))
        normalized = pc.unique(self.normalizer.rows(kind, entity_ids)["entity_id"])
        return found.filter(pc.and_(own, pc.is_in(found["entity_id"], value_set=normalized)))


class Drift:
    """The previous aligner rows of some entities of one kind, which their thresholds follow.

    ``previous`` is None when no threshold follows, as when the fleet's candidate changed and thresholds belong to another
    score. The thresholds of the entities ``changed`` do not follow either.
    """

    def __init__(self, previous: pa.Table | None, changed: Collection[str] = ()) -> None:
        self._rows: dict[str, int] = {}
        if previous is not None:
            entities = enumerate(previous["entity_id"].to_pylist())
            self._rows = {entity: row for row, entity in entities if entity not in changed}
            names = ("condition", "threshold", "tail_probability")
            self._before = {name: previous[name].to_numpy(zero_copy_only=False) for name in names}
            self._calibrated = previous["calibrated_until"].to_numpy().astype("datetime64[us]").astype(np.int64)

    def follow(
        self,
        entity_ids: pa.ChunkedArray,
        quantiles: Floats32,
        recent: Floats32,
        conditions: Ints,
        tails: Floats32,
        until: datetime,
        limit_per_day: float,
    ) -> Floats32:
        """Return the thresholds [n].

        Each is the previous one moved towards ``recent``, or without a previous one the quantile.

        ``quantiles`` are those of the whole range; ``conditions`` [n] and ``tails`` [n] are the present choice.
        """
        if not self._rows:
            return quantiles
        row = np.array([self._rows.get(entity, -1) for entity in entity_ids.to_pylist()], dtype=np.int64)
        before = {name: values[row] for name, values in self._before.items()}
        days = (round(until.timestamp() * 1e6) - self._calibrated[row]) / 1e6 / DAY_SECONDS
        same = (before["condition"] == conditions) & (before["tail_probability"] == tails)
        continues = (row >= 0) & same & np.isfinite(before["threshold"])
        return np.where(continues, followed(before["threshold"], recent, quantiles, days, limit_per_day), quantiles)
