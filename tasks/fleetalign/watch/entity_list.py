"""The entities of a release, a page of rows at a time, beside the release before."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from fleetalign.align.threshold_changes import ThresholdChanges, compare
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import ALIGNER, STATES
from fleetalign.errors import NotFound
from fleetalign.storage.manifest import read_file, read_manifest
from fleetalign.storage.store import Store

PAGE_ROWS = 50
COMPARISONS_KEPT = 4
LAST_CHARACTER = "\U0010ffff"

Order = Literal["moved", "name"]


@dataclass(frozen=True, slots=True)
class Query:
    """Which entities: of ``kind``, in ``state``, whose id begins with ``text`` (or ``KIND/text``); empty means any."""

    order: Order = "moved"
    kind: str = ""
    state: str = ""
    text: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class EntityPage:
    """``rows`` as the aligner table has them, with ``before`` (the earlier threshold) and ``factor``, None where there is
    none. ``total`` rows match in all, on ``pages`` pages; ``page`` is the one that was given. The other counts are of the
    whole release: entities whose threshold ``moved``, that are ``new``, and that are ``gone`` since the release before.
    """

    rows: Sequence[dict[str, Any]]
    total: int
    page: int
    pages: int
    kinds: Sequence[str]
    compared: bool
    moved: int
    new: int
    gone: int


class EntityPages:
    """Pages of the entities of any release of a store.

    Releases never change, so the comparison of two, some numbers per entity, is made once and kept for the next page;
    safe to share among threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._compared = lru_cache(COMPARISONS_KEPT)(self._compare)

    def page(self, release_id: str, before_id: str | None, query: Query) -> EntityPage:
        """One page; a page after the last gives the last. Raises NotFound and Corrupt as the releases do; a release
        before that is gone is as none."""
        data, moves, compared = self._compared(release_id, before_id)
        table = FleetTable(ALIGNER, data, f"aligner of release {release_id}")
        rows = moves.furthest() if query.order == "moved" else np.flatnonzero(moves.entity)
        rows = rows[_wanted(table, moves, query)[rows]]
        pages = max(math.ceil(len(rows) / PAGE_ROWS), 1)
        page = min(max(query.page, 1), pages)
        shown = rows[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
        found = table.at(shown).to_pylist()
        for row, before, factor in zip(found, moves.before[shown], moves.factor[shown], strict=True):
            row["before"], row["factor"] = (float(v) if np.isfinite(v) else None for v in (before, factor))
        new = 0 if not compared else int(np.sum(moves.entity & np.isnan(moves.before)))
        counts = int(np.sum(moves.moved)), new, moves.gone
        return EntityPage(found, len(rows), page, pages, moves.kinds, compared, *counts)

    def _compare(self, release_id: str, before_id: str | None) -> tuple[bytes, ThresholdChanges, bool]:
        data, before = self._aligner(release_id), None
        if before_id is not None:
            with contextlib.suppress(NotFound):
                before = FleetTable(ALIGNER, self._aligner(before_id), f"aligner of release {before_id}")
        moves = compare(FleetTable(ALIGNER, data, f"aligner of release {release_id}"), before)
        return data, moves, before is not None

    def _aligner(self, release_id: str) -> bytes:
        manifest = read_manifest(self._store, release_id)
        return read_file(self._store, manifest, manifest.aligner)


def _wanted(table: FleetTable, moves: ThresholdChanges, query: Query) -> np.ndarray:
    """bool [row of the table]"""
    wanted = np.ones(len(moves.entity), bool)
    if query.kind:
        wanted &= moves.kind == (moves.kinds.index(query.kind) if query.kind in moves.kinds else -1)
    if query.state:
        wanted &= moves.state == (STATES.index(query.state) if query.state in STATES else -1)
    if query.text:
        named = np.zeros(len(wanted), bool)
        for kind in moves.kinds:
            named[_beginning_with(table, kind, query.text)] = True
            if query.text.startswith(f"{kind}/"):
                named[_beginning_with(table, kind, query.text.removeprefix(f"{kind}/"))] = True
        wanted &= named
    return wanted


def _beginning_with(table: FleetTable, kind: str, text: str) -> list[int]:
    """Rows of a kind's entities whose id begins so: reads the few row groups where they stand, side by side."""
    found: list[int] = []
    starts = table.group_starts
    for number, first, last in table.spans(kind):
        if first <= text + LAST_CHARACTER and text <= last:
            rows = table.group(number)
            mine = pc.and_(pc.equal(rows["kind"], kind), pc.starts_with(rows["entity_id"], text))
            found.extend(starts[number] + np.flatnonzero(mine.to_numpy()))
    return found
