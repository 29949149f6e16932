"""The reference consumer of a release: numpy, pyarrow and onnxruntime, nothing else (contracts 2.8 and 3).

It follows one pointer, then only immutable keys, and checks every sha256. Scorers in other languages restate this
file; ``fleetalign.testing.scorers`` checks them.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.golden import worst_difference
from fleetalign.contracts.manifest import Manifest
from fleetalign.contracts.tables import ALIGNER, CONTRIBUTIONS, MUTES, NORMALIZER, SCORES, TableContract, from_parquet
from fleetalign.errors import BadInput, NotFound
from fleetalign.scoring.kind_scorer import KindScorer
from fleetalign.scoring.score_table import Contributions, grids, kinds_of, measured, score_table, unknown_kind
from fleetalign.storage import channel as channels
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import read_file, read_manifest
from fleetalign.storage.panel import Panel, as_datetime64
from fleetalign.storage.store import Store


class Scorer:
    """One release, loaded: its ``manifest``, its ``aligner`` table, a scorer per kind. ``pointer`` is None when it was
    opened by release id."""

    def __init__(self, store: Store, manifest: Manifest, pointer: channels.Pointer | None = None) -> None:
        self.manifest = manifest
        self.pointer = pointer
        self._store = store

        def table(contract: TableContract, key: str) -> FleetTable:
            return FleetTable(contract, read_file(store, manifest, key), f"{store.uri}/{key}")

        normalizer, self.aligner = table(NORMALIZER, manifest.normalizer), table(ALIGNER, manifest.aligner)
        mutes = MUTES.empty()
        if key := manifest.mutes:
            mutes = MUTES.conform(from_parquet(read_file(store, manifest, key), f"{store.uri}/{key}"))
        self._kinds = {
            kind: KindScorer(kind, entry, read_file(store, manifest, entry.model), normalizer, self.aligner, mutes)
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

    def kind(self, name: str) -> KindScorer | None:
        """The scorer of one kind, None when the release does not know it."""
        return self._kinds.get(name)

    def score(
        self,
        telemetry: pa.Table,
        *,
        batch: int = 1024,
        start: datetime | None = None,
        contributions: Contributions = False,
    ) -> pa.Table:
        """Score every sample of ``telemetry`` (telemetry columns, raw units): one row of SCORES each.

        Timestamps are floored to the kind's step; of several rows in one slot the last in (time, table) order counts.
        A row without a score says why in ``reason``, in this order: ``unknown_kind``, ``maintenance``, ``warming_up``
        (no full window since the entity's first row in this table), ``no_metric``. Rows before ``start`` are context
        only. ``contributions`` adds a map column metric -> share of the score, with ``"alarms"`` of alarms only. Memory holds the table, its scores, one
        entity's grid and about twice ``batch`` windows.

        Raises BadInput naming the column for a missing one, a time without a zone, or an empty key, and naming the
        entity whose times lie impossibly far apart.
        """
        schema = SCORES.schema.append(CONTRIBUTIONS) if contributions else SCORES.schema
        since = None if start is None else as_datetime64(start)
        parts = [schema.empty_table()]
        for kind, rows in kinds_of(telemetry):
            scorer = self._kinds.get(kind)
            if scorer is None:
                parts.append(unknown_kind(rows, start).select(schema.names))
            elif rows.num_rows:
                series = grids(scorer, measured(rows, scorer.metrics), since)
                parts.append(score_table(scorer, scorer.score_all(series, batch), since, contributions))
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
            key = self.manifest.kinds[kind].golden
            golden = from_parquet(read_file(self._store, self.manifest, key), f"{self._store.uri}/{key}")
            worst = max(worst, worst_difference(scorer.graph, golden))
        return worst
