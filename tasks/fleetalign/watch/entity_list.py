"""The entities of a release in slices of rows, compared with the previous release."""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.align.threshold_changes import ThresholdChanges, compare
from fleetalign.contracts.arrays import Bools
from fleetalign.contracts.attributes import Attributes
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import ALIGNER, STATES
from fleetalign.errors import NotFound
from fleetalign.storage.attributes import NEWEST, read_attributes
from fleetalign.storage.manifest import read_file, read_manifest
from fleetalign.storage.store import Store

PAGE_ROWS = 50
COMPARISONS_KEPT = 4
ATTRIBUTES_LISTED = 500
LAST_CHARACTER = "\U0010ffff"

Order = Literal["moved", "name"]


@dataclass(frozen=True, slots=True)
class Query:
    """Which entities to list, and in which order."""

    order: Order = "moved"
    kind: str = ""
    """Empty: any kind."""
    state: str = ""
    """Empty: any state."""
    text: str = ""
    """Beginning of the id, or of ``KIND/ID``; empty: any id."""
    page: int = 1
    """Number of the slice, from 1."""
    attribute: str = ""
    """``KEY=VALUE``; empty: any entity."""


@dataclass(frozen=True, slots=True)
class EntityPage:
    """One slice of the entities of a release, and counts of the whole release."""

    rows: Sequence[dict[str, Any]]
    """Rows of the aligner table, with ``before`` (the earlier threshold) and ``factor``, each None if unknown, and
    ``attributes``."""
    total: int
    """Rows that match the query."""
    page: int
    """Number of this slice, from 1."""
    pages: int
    """Number of slices."""
    kinds: Sequence[str]
    """Every kind of the release."""
    attributes: Sequence[str]
    """``KEY=VALUE`` of every attribute, at most ``ATTRIBUTES_LISTED``."""
    compared: bool
    """Whether there was a previous release to compare with."""
    moved: int
    """Entities of the release whose threshold moved."""
    new: int
    """Entities that the previous release did not have."""
    gone: int
    """Entities that only the previous release had."""


class EntityPages:
    """Slices of the entities of any release of a store.

    Releases never change, so the comparison of two (some numbers per entity) is made once and kept for the next slice.
    It is safe to share among threads.
    """

    def __init__(self, store: Store) -> None:
        """Read releases from ``store``."""
        self._store = store
        self._compared = lru_cache(COMPARISONS_KEPT)(self._compare)

    def page(self, release_id: str, before_id: str | None, query: Query) -> EntityPage:
        """Return one slice; a number beyond the last slice gives the last.

        A deleted predecessor counts as none.

        Raises:
            NotFound: There is no such release.
            Corrupt: A file of the release was altered.
        """
        data, changes, compared = self._compared(release_id, before_id)
        table = FleetTable(ALIGNER, data, f"aligner of release {release_id}")
        positions = changes.furthest() if query.order == "moved" else np.flatnonzero(changes.entity)
        attributes = read_attributes(self._store, changes.kinds, newest=NEWEST)
        positions = positions[_wanted(table, changes, query, attributes)[positions]]
        pages = max(math.ceil(len(positions) / PAGE_ROWS), 1)
        page = min(max(query.page, 1), pages)
        shown = positions[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
        found = table.at(shown.tolist()).to_pylist()
        for row, before, factor in zip(found, changes.before[shown], changes.factor[shown], strict=True):
            row["before"], row["factor"] = (float(v) if np.isfinite(v) else None for v in (before, factor))
            row["attributes"] = attributes.of(row["kind"], row["entity_id"])
        new = 0 if not compared else int(np.sum(changes.entity & np.isnan(changes.before)))
        counts = int(np.sum(changes.moved)), new, changes.gone
        listed = [f"{key}={value}" for key in attributes.keys for value in attributes.values(key)][:ATTRIBUTES_LISTED]
        return EntityPage(found, len(positions), page, pages, changes.kinds, listed, compared, *counts)

    def _compare(self, release_id: str, before_id: str | None) -> tuple[bytes, ThresholdChanges, bool]:
        data, before = self._aligner(release_id), None
        if before_id is not None:
            with contextlib.suppress(NotFound):
                before = FleetTable(ALIGNER, self._aligner(before_id), f"aligner of release {before_id}")
        changes = compare(FleetTable(ALIGNER, data, f"aligner of release {release_id}"), before)
        return data, changes, before is not None

    def _aligner(self, release_id: str) -> bytes:
        manifest = read_manifest(self._store, release_id)
        return read_file(self._store, manifest, manifest.aligner)


def _wanted(table: FleetTable, changes: ThresholdChanges, query: Query, attributes: Attributes) -> Bools:
    """Mark the rows of the table that match the query, bool [row]."""
    wanted = np.ones(len(changes.entity), bool)
    if query.kind:
        wanted &= changes.kind == (changes.kinds.index(query.kind) if query.kind in changes.kinds else -1)
    if query.state:
        wanted &= changes.state == (STATES.index(query.state) if query.state in STATES else -1)
    if query.text:
        named = np.zeros(len(wanted), bool)
        for kind in changes.kinds:
            named[_beginning_with(table, kind, query.text)] = True
            if query.text.startswith(f"{kind}/"):
                named[_beginning_with(table, kind, query.text.removeprefix(f"{kind}/"))] = True
        wanted &= named
    if query.attribute:
        key, _, value = query.attribute.partition("=")
        named = np.zeros(len(wanted), bool)
        for kind in changes.kinds:
            named[_among(table, kind, [entity_id for _, entity_id in attributes.entities((key, value), kind=kind)])] = (
                True
            )
        wanted &= named
    return wanted


def _among(table: FleetTable, kind: str, ids: Sequence[str]) -> list[int]:
    """Find the rows of the entities ``ids`` (sorted) of a kind."""
    found: list[int] = []
    starts = table.group_starts
    for number, first, last in table.spans(kind):
        mine = ids[bisect_left(ids, first) : bisect_right(ids, last)]
        if mine:
            rows = table.group(number)
            named = pc.and_(pc.equal(rows["kind"], kind), pc.is_in(rows["entity_id"], pa.array(mine, pa.string())))
            found.extend(starts[number] + np.flatnonzero(named.to_numpy()))
    return found


def _beginning_with(table: FleetTable, kind: str, text: str) -> list[int]:
    """Find the rows of a kind's entities whose id begins with ``text``.

    They lie in a few row groups.
    """
    found: list[int] = []
    starts = table.group_starts
    for number, first, last in table.spans(kind):
        if first <= text + LAST_CHARACTER and text <= last:
            rows = table.group(number)
            mine = pc.and_(pc.equal(rows["kind"], kind), pc.starts_with(rows["entity_id"], text))
            found.extend(starts[number] + np.flatnonzero(mine.to_numpy()))
    return found
