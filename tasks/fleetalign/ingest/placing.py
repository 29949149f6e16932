"""Places the rows of a kind in the slots of its grid, and so in partitions (contracts 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools, Ints
from fleetalign.contracts.phases import fit_phases, nearest_slots, phase_table
from fleetalign.contracts.slots import Times, slot_times, slots_of, step_width
from fleetalign.contracts.tables import TIME
from fleetalign.ingest.sampling import times_of
from fleetalign.interval import Granularity, Interval

SLOT = "__slot__"
"""A column of kept rows while they are ingested: where the row's slot begins."""
EDGE = timedelta(hours=1)
"""How far before and after a run's range rows are read: jitter may have put a sample of the range there."""
_UNITS = {"day": "D", "hour": "h"}


@dataclass(frozen=True, slots=True)
class Placed:
    """Where rows belong, and by which phases."""

    at: Times
    """datetime64[us] [row]: where the slot of each row begins."""
    inside: Bools
    """bool [row]: whether that is in the range of the run."""
    phases: dict[np.datetime64, pa.Table]
    """By the start of a partition the phases (PHASES) of its entities; none for one whose rows all lie on the grid."""


def place(kind: str, rows: pa.Table, step_seconds: int, granularity: Granularity, interval: Interval | None) -> Placed:
    """Fit the phase of each entity in each partition, and find the slot of each row.

    ``rows`` has the columns entity_id and timestamp.

    Phases are fitted on the rows of ``interval`` (None: on all), those of a partition on its rows alone, so that a
    partition is the same whichever range it was ingested with. A row beyond an end of the range is placed by the phase
    of the partition at that end.
    """
    times = times_of(rows)
    parts = parts_of(times, granularity)
    within = np.ones(len(times), dtype=np.bool_)
    if interval is not None:
        start, end = (np.array(t.replace(tzinfo=None), "datetime64[us]") for t in (interval.start, interval.end))
        within = (times >= start) & (times < end)
        parts = np.clip(parts, start.astype(parts.dtype), (end - np.timedelta64(1, "us")).astype(parts.dtype))
    at, phases = times, dict[np.datetime64, pa.Table]()
    if (times.astype(np.int64) % int(step_width(step_seconds).astype(np.int64))).any():
        at, phases = _fitted(kind, rows, times, parts, within, step_seconds)
    if interval is not None:
        slots = slots_of(at, step_seconds)
        within = (slots >= slots_of(start, step_seconds)) & (at < end)
    return Placed(at, within, phases)


def _fitted(
    kind: str, rows: pa.Table, times: Times, parts: Times, within: Bools, step_seconds: int
) -> tuple[Times, dict[np.datetime64, pa.Table]]:
    """Return the slot of each row, and the phases of each partition that has a row off the grid."""
    entities = rows["entity_id"].combine_chunks().dictionary_encode()
    starts, part = np.unique(parts, return_inverse=True)
    codes = entities.indices.to_numpy().astype(np.int64) * len(starts) + part
    groups, group = np.unique(codes, return_inverse=True)
    # Samples of the long layout repeat the time of their row; it counts once.
    order = np.lexsort((times, group))
    order = order[within[order]]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = (np.diff(group[order]) != 0) | (np.diff(times[order]).astype(np.int64) != 0)
    order = order[fresh]
    known, numbered = np.unique(group[order], return_inverse=True)
    fitted = np.zeros(len(groups), dtype=np.int64)
    fitted[known] = fit_phases(times[order], numbered, step_seconds)
    fitted = fitted[_like(groups, group, starts, times, step_seconds)]
    at = slot_times(nearest_slots(times, step_seconds, fitted[group]), step_seconds)
    belongs = at.astype(parts.dtype)
    tables = {}
    for start in np.unique(belongs[at != times]):
        rows_of_it = np.flatnonzero(belongs == start)
        members, row = np.unique(entities.indices.to_numpy()[rows_of_it], return_index=True)
        phases = fitted[group[rows_of_it[row]]]
        # That of the partition itself, but for an entity whose samples of it all lie beyond its edge.
        number = np.searchsorted(starts, start)
        if number < len(starts) and starts[number] == start:
            own = members.astype(np.int64) * len(starts) + number
            place = np.minimum(np.searchsorted(groups, own), len(groups) - 1)
            phases = np.where(groups[place] == own, fitted[place], phases)
        ids = entities.dictionary.take(pa.array(members))
        tables[start.astype("datetime64[us]")] = phase_table(kind, ids, phases)
    return at, tables


def _like(groups: Ints, group: Ints, starts: Times, times: Times, step_seconds: int) -> Ints:
    """Return the group whose phase each group has, int64 [group].

    It is itself, unless it only has samples at an edge.

    Those within a step of the end of a partition have the phase of the entity in the next one, those at the beginning
    that of the one before: jitter may have put them there, and they are too few to tell.
    """
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(len(groups)))
    step, length = step_width(step_seconds), np.ones(1, starts.dtype.str.replace("M8", "m8"))[0]
    begin = starts[groups % len(starts)]
    early = np.maximum.reduceat(times[order], first) < begin + step
    late = np.minimum.reduceat(times[order], first) >= begin + length - step
    follows = np.zeros(len(groups) + 1, dtype=np.bool_)  # whether a group is the next partition of the one before
    follows[1:-1] = (np.diff(groups) == 1) & (np.diff(begin) == length)
    like = np.arange(len(groups))
    if length > step:
        like = np.where(late & follows[1:], like + 1, np.where(early & follows[:-1], like - 1, like))
    return like


def parts_of(times: Times, granularity: Granularity) -> Times:
    """Return the partition that each of ``times`` lies in, as datetime64 of its length."""
    parts: Times = times.astype(f"datetime64[{_UNITS[granularity]}]")
    return parts


def starts_of(times: Times, granularity: Granularity) -> frozenset[np.datetime64]:
    """Return where the partitions begin that ``times`` lie in."""
    return frozenset(np.unique(parts_of(times, granularity)).astype("datetime64[us]"))


def with_slots(table: pa.Table, placed: Placed, first: int) -> pa.Table:
    """Return the rows of ``table`` that belong to the range, with the column ``SLOT``.

    They are the rows of ``placed`` from ``first`` on.
    """
    mine = slice(first, first + table.num_rows)
    slots = pa.array(placed.at[mine]).cast(TIME)
    return table.append_column(SLOT, slots).filter(pa.array(placed.inside[mine]))


def in_partition(table: pa.Table, part: Interval) -> pa.Table:
    """Return the rows of ``table`` whose slot lies in ``part``."""
    slot = table[SLOT]
    inside = pc.and_(pc.greater_equal(slot, pa.scalar(part.start, TIME)), pc.less(slot, pa.scalar(part.end, TIME)))
    return table.filter(inside)
