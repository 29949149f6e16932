"""The reference consumer of a release; it needs only numpy, pyarrow and onnxruntime.

Defined in contracts 2.8 and 3.

It follows one pointer, then only immutable keys, and checks every sha256. Scorers in other languages restate this
file; ``fleetalign.testing.scorers`` checks them.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.golden import worst_difference
from fleetalign.contracts.manifest import Manifest
from fleetalign.contracts.slots import slot_times, slots_of
from fleetalign.contracts.tables import (
    ALIGNER,
    CONTRIBUTIONS,
    MUTES,
    NORMALIZER,
    PHASES,
    SCORES,
    TELEMETRY,
    TableContract,
    from_parquet,
)
from fleetalign.errors import BadInput, NotFound
from fleetalign.scoring.kind_scorer import KindScorer
from fleetalign.scoring.score_table import Contributions, grids, kinds_of, measured, score_table, unknown_kind
from fleetalign.storage import channel as channels
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import read_file, read_manifest
from fleetalign.storage.panel import Panel, as_datetime64
from fleetalign.storage.store import Store


class Scorer:
    """One loaded release: its ``manifest``, its ``aligner`` table, and a scorer per kind.

    ``pointer`` is the channel's pointer, or None for a release that was opened by its id.
    """

    def __init__(self, store: Store, manifest: Manifest, pointer: channels.Pointer | None = None) -> None:
        """Load the files of ``manifest`` and check each against its sha256."""
        self.manifest = manifest
        self.pointer = pointer
        self._store = store

        def table(contract: TableContract, key: str) -> FleetTable:
            return FleetTable(contract, read_file(store, manifest, key), f"{store.uri}/{key}")

        normalizer, self.aligner = table(NORMALIZER, manifest.normalizer), table(ALIGNER, manifest.aligner)
        mutes = MUTES.empty()
        if key := manifest.mutes:
            mutes = MUTES.conform(from_parquet(read_file(store, manifest, key), f"{store.uri}/{key}"))
        phases = PHASES.empty()
        if key := manifest.phases:
            phases = PHASES.conform(from_parquet(read_file(store, manifest, key), f"{store.uri}/{key}"))
        self._kinds = {
            kind: KindScorer(
                kind, entry, read_file(store, manifest, entry.model), normalizer, self.aligner, mutes, phases
            )
            for kind, entry in sorted(manifest.kinds.items())
        }

    @classmethod
    def open(cls, store: Store | str, channel: str = "champion", release: str | None = None) -> Scorer:
        """Load the release that ``channel`` points to, or the release with the id ``release``.

        Args:
            store: A store or its URI.
            channel: The channel; ignored if ``release`` is given.
            release: A release id.

        Raises:
            NotFound: There is no such channel or release.
            Corrupt: A file differs from its sha256.
            BadInput: The manifest has another major version.
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
        """Id of the release."""
        return self.manifest.release_id

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the release, sorted."""
        return tuple(self._kinds)

    def kind(self, name: str) -> KindScorer | None:
        """Return the scorer of one kind, or None if the release does not know the kind."""
        return self._kinds.get(name)

    def on_grid(self, telemetry: pa.Table) -> pa.Table:
        """Return ``telemetry`` sorted by kind, entity and time, each row timed at its slot.

        The slot is the nearest one after the phase of the entity, which is 0 for an entity that the release does not
        know. Rows of a kind that it does not know stay as they are.

        Raises:
            BadInput: As ``score``.
        """
        parts = [telemetry.slice(0, 0)]
        for kind, rows in kinds_of(telemetry):
            scorer = self._kinds.get(kind)
            parts.append(rows if scorer is None else scorer.on_grid(TELEMETRY.conform(rows)))
        return pa.concat_tables(parts, promote_options="permissive")

    def score(
        self,
        telemetry: pa.Table,
        *,
        batch: int = 1024,
        start: datetime | None = None,
        contributions: Contributions = False,
        context: pa.Table | None = None,
        on_grid: bool = False,
    ) -> pa.Table:
        """Score every sample of ``telemetry`` (TELEMETRY, raw units).

        Each row belongs to the slot nearest to it after the entity's phase; rows of one slot are merged cell by cell, and
        the last value in (time, table) order counts. A row without a score has a ``reason``, the first that applies of: ``unknown_kind``, ``maintenance``,
        ``warming_up`` (no full window since the entity's first row in this table), ``short_history`` (none since it came
        back from a gap of a window or more), ``no_metric``. Memory holds the
        table, its scores, one entity's grid and about twice ``batch`` windows.

        Args:
            telemetry: Rows of any number of kinds and entities.
            batch: Windows that are scored at a time.
            start: Rows before this aware time are context only.
            context: Earlier rows that windows reach back to, such as those of validated partitions: on the grid. They get
                no score, and none of a kind is later than its first row of ``telemetry``.
            contributions: Add a map column metric -> share of the score; ``"alarms"`` fills it for alarms only.
            on_grid: The rows are timed at their slots, as those of validated partitions are, or by ``on_grid``.

        Returns:
            One row of SCORES for each slot with a row, timed at the slot.

        Raises:
            BadInput: A column is missing, a time has no zone, a key is empty, or an entity's times lie impossibly far
                apart.
        """
        schema = SCORES.schema.append(CONTRIBUTIONS) if contributions else SCORES.schema
        since = None if start is None else as_datetime64(start)
        parts = [schema.empty_table()]
        for kind, rows in kinds_of(telemetry):
            scorer = self._kinds.get(kind)
            if scorer is None:
                parts.append(unknown_kind(rows, start).select(schema.names))
            elif rows.num_rows:
                rows, begin = measured(rows, scorer.metrics), since
                rows = rows if on_grid else scorer.on_grid(rows)
                if context is not None:
                    before = measured(context.filter(pc.equal(context["kind"], kind)), scorer.metrics)
                    if before.num_rows:
                        begin = _first_slot(rows, scorer.step_seconds, since)
                        rows = measured(pa.concat_tables([before, rows], promote_options="default"), scorer.metrics)
                series = grids(scorer, rows, begin)
                parts.append(score_table(scorer, scorer.score_all(series, batch), begin, contributions))
        return pa.concat_tables(parts).combine_chunks()

    def score_panel(
        self, kind: str, panel: Panel, entity_index: int, first: int, last: int, *, batch: int = 1024
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score one entity of a panel at the grid positions ``[first, last)``.

        Returns:
            ``(score, margin)``, float32 [last - first] each; NaN where ``score`` would give a reason.

        Raises:
            BadInput: The panel's metrics are not the kind's catalogue in its order.
        """
        scorer = self._kinds[kind]
        if panel.metrics != scorer.metrics:
            raise BadInput(f"kind {kind!r}: the panel's metrics are not the release's catalogue {scorer.metrics}")
        begin = scorer.settling(first)
        offset = max(begin - scorer.context_steps, 0)
        found = scorer.score(
            panel.entity_ids[entity_index],
            np.asarray(panel.values[entity_index, offset:last]),
            panel.times[offset:last],
            int(panel.first[entity_index]) - offset,
            np.arange(begin, last) - offset,
            batch,
        )
        return found.score[first - begin :], found.margin[first - begin :]

    def history_steps(self, kind: str) -> int:
        """Return how many samples must precede the first score of ``kind`` to match scoring in bulk."""
        return self._kinds[kind].history_steps

    def verify(self) -> float:
        """Return the worst relative difference of any graph from its golden vectors on this machine.

        Defined in contracts 3.6.
        """
        worst = 0.0
        for kind, scorer in self._kinds.items():
            key = self.manifest.kinds[kind].golden
            golden = from_parquet(read_file(self._store, self.manifest, key), f"{self._store.uri}/{key}")
            worst = max(worst, worst_difference(scorer.graph, golden))
        return worst


def _first_slot(rows: pa.Table, step_seconds: int, since: np.datetime64 | None) -> np.datetime64:
    """Return the time of the first slot of ``rows``, or ``since`` if that is later."""
    times = rows["timestamp"].to_numpy().astype("datetime64[us]")
    first: np.datetime64 = slot_times(slots_of(times.min(keepdims=True), step_seconds), step_seconds)[0]
    return first if since is None else max(first, since)
