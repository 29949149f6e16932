"""Infers the sampling step of a kind, and finds rows of a clock that is years off."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from fleetalign.contracts.arrays import Ints
from fleetalign.contracts.slots import Times
from fleetalign.errors import BadInput
from fleetalign.ingest.batch import ROWS_WITH_TIME, without_rows
from fleetalign.interval import DAY_SECONDS
from fleetalign.storage.quarantine import Rule

DIVISORS_OF_A_DAY = [d for d in range(1, DAY_SECONDS + 1) if DAY_SECONDS % d == 0]
ROUNDS = 10
"""Means of spacings near a mean before it is taken: with much jitter the first lies beside the middle."""
SAME_STEP = 0.01
"""Share of a mean spacing that a divisor of a day may be off."""
LEAST_SPACINGS = 20
"""Spacings of a partition before they are taken for its step."""
LONGEST_SILENCE = timedelta(days=730)
"""Two recordings of one fleet may be a year apart; a gap longer than this is a clock that was never set."""


def infer_step_seconds(series: Ints, times: Times, kind: str) -> int:
    """Return the most common spacing inside a series, in whole seconds; of equals the shortest.

    Where jitter spreads the spacings, so that less than half of those near it are equal, it is their mean, or the divisor
    of a day within 1 % of that. ``series`` int [row] numbers the series each row belongs to, ``times`` is datetime64[us]
    [row]. Raises BadInput naming ``kind`` when no series has two times.
    """
    order = np.lexsort((times, series))
    spacing = np.diff(times[order]).astype(np.int64)
    spacing = spacing[(np.diff(series[order]) == 0) & (spacing > 0)]
    if len(spacing) == 0:
        raise BadInput(
            f"kind {kind}: no entity has two samples, so the sampling step is unknown; "
            f"set steps: {{{kind}: SECONDS}} in params.yaml"
        )
    seconds, counts = np.unique(np.maximum(1, np.rint(spacing / 1e6).astype(np.int64)), return_counts=True)
    step = float(seconds[counts.argmax()])
    near = _near(spacing, step)
    if counts.max() * 2 >= len(near):
        return int(step)
    for _ in range(ROUNDS):
        step = float(near.mean()) / 1e6
        near = _near(spacing, step)
    divisor = min(DIVISORS_OF_A_DAY, key=lambda d: abs(d - step))
    return divisor if abs(divisor - step) <= SAME_STEP * step else max(1, round(step))


def _near(spacing: Ints, seconds: float) -> Ints:
    """Return those of ``spacing`` (microseconds) that are about ``seconds``, no gap or repeat."""
    near: Ints = spacing[(spacing > seconds * 0.5e6) & (spacing < seconds * 1.5e6)]
    return near


def changed_step(series: Ints, times: Times, parts: Times, step_seconds: int) -> tuple[int, np.datetime64] | None:
    """Return another step that most spacings of a part have, and that part.

    None without one.

    ``parts`` says for each row in which partition it lies; the earliest such part is returned.
    """
    order = np.lexsort((times, series))
    spacing = np.diff(times[order]).astype(np.int64)
    same = (np.diff(series[order]) == 0) & (spacing > 0) & (parts[order][1:] == parts[order][:-1])
    seconds = np.maximum(1, np.rint(spacing[same] / 1e6).astype(np.int64))
    lies_in = parts[order][1:][same]
    for part in np.unique(lies_in):
        found, counts = np.unique(seconds[lies_in == part], return_counts=True)
        if (
            counts.sum() >= LEAST_SPACINGS
            and counts.max() > counts.sum() / 2
            and found[counts.argmax()] != step_seconds
        ):
            return int(found[counts.argmax()]), part
    return None


def times_of(table: pa.Table) -> Times:
    """Return the column ``timestamp`` of ``table``, datetime64[us] [row]."""
    times: Times = table["timestamp"].to_numpy().astype("datetime64[us]")
    return times


def split_by_clock(table: pa.Table, origin: str) -> tuple[pa.Table, pa.Table]:
    """Split off the rows of ``table`` (one kind) behind a gap that no outage explains.

    Times of all entities together fall into blocks more than ``LONGEST_SILENCE`` apart; the block with most rows
    stays (of equals the earliest). The others come back as quarantined rows without a usable time, since their
    own would stretch the range of the run by years.
    """
    times = times_of(table).astype(np.int64)
    ordered = np.sort(times)
    cuts = np.flatnonzero(np.diff(ordered) > LONGEST_SILENCE // timedelta(microseconds=1))
    if len(cuts) == 0:
        return table, ROWS_WITH_TIME.empty_table()
    edges = np.concatenate(([0], cuts + 1, [len(ordered)]))
    largest = int(np.diff(edges).argmax())
    first, last = ordered[edges[largest]], ordered[edges[largest + 1] - 1]
    stays = (times >= first) & (times <= last)
    strays = table.filter(pa.array(~stays))
    timeless = pa.nulls(strays.num_rows, ROWS_WITH_TIME.field("at").type)
    return table.filter(pa.array(stays)), without_rows(strays, Rule.CLOCK_JUMP, origin, timeless)
