"""Finds entities that are silent or frozen while others of their kind go on.

A silent one sends no telemetry, a frozen one the same values again and again.

A score needs a sample, so none of these has an alarm. What is usual is no event: an entity that was off at the same
time a day or a week before is off by plan, and one whose values often stay the same is idle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from fleetalign.contracts.arrays import Bools, Floats, Ints
from fleetalign.contracts.cells import is_measured
from fleetalign.contracts.mutes import ANY
from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.interval import format_time
from fleetalign.scoring.kind_scorer import KindScorer
from fleetalign.scoring.score_table import by_entity, kinds_of, measured
from fleetalign.scoring.scorer import Scorer

SHOWN = 5
SILENT_STEPS = 12
"""Of a kind that ``emit.silent_steps`` does not name."""
USUAL_LAGS_SECONDS = (86_400, 7 * 86_400)
LONG_RUNS = 2
"""An entity that kept its values more often than this for so long is idle, not frozen."""
ENDS_OF_SHORT_LIVED = 3
"""Entities that end at this many different times or more, and are most of their kind, are short-lived."""
Reason = Literal["silent", "frozen"]
Key = tuple[str, str]
"""(kind, entity id)"""


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which one entity, or a whole kind, was silent or frozen."""

    kind: str
    entity_id: str
    """``*`` for the whole kind."""
    reason: Reason
    start: datetime
    """Time of the first missing or repeated sample, UTC."""
    end: datetime
    """Exclusive; while it lasts, the end of the newest sample of the kind."""
    lasts: bool
    """Whether it has not ended."""


@dataclass(slots=True)
class Silences:
    """What is silent or frozen in some telemetry, and what was heard."""

    found: list[Silence] = field(default_factory=list)
    """Sorted by kind, entity and start."""
    heard: dict[Key, datetime] = field(default_factory=dict)
    """Newest sample of each entity, and under ``*`` of each kind."""
    changed: dict[Key, datetime] = field(default_factory=dict)
    """Newest sample of each entity that differs from the one before."""
    excused: set[Key] = field(default_factory=set)
    """Entities that are silent in a maintenance window."""
    off: set[str] = field(default_factory=set)
    """Kinds that are not watched."""
    known: set[Key] = field(default_factory=set)
    """Entities of the release, and ``*`` for each of its kinds."""
    ended: dict[str, int] = field(default_factory=dict)
    """Number of silent entities of a kind whose entities seem short-lived."""

    def lines(self) -> Iterator[str]:
        """Yield one line for each kind and reason."""
        groups: dict[tuple[str, Reason, bool], list[Silence]] = {}
        for one in self.found:
            groups.setdefault((one.kind, one.reason, one.entity_id == ANY), []).append(one)
        for (kind, reason, whole), members in groups.items():
            shown = [f"{'' if whole else one.entity_id + ' '}{_when(one)}" for one in members[:SHOWN]]
            if len(members) > SHOWN:
                shown.append(f"and {len(members) - SHOWN} more")
            ids = {one.entity_id for one in members}
            heard = {entity_id for of, entity_id in self.heard if of == kind} - {ANY}
            what = f"{len(ids)} of {len(heard | ids)} entities "
            what += "silent" if reason == "silent" else "repeated the same values of all metrics"
            what = "no entity sent telemetry" if whole else what
            yield f"kind {kind!r}: {what}: {', '.join(shown)}"
        for kind, count in self.ended.items():
            yield (
                f"kind {kind!r}: {count} entities ended at different times; if they are short-lived, set "
                f"emit.silent_steps: {{{kind}: 0}}"
            )


def _when(one: Silence) -> str:
    start = format_time(one.start)
    return f"since {start}" if one.lasts else f"from {start} to {format_time(one.end)}"


@dataclass(frozen=True, slots=True)
class _Heard:
    """The measured samples of one kind up to its newest credible time, in seconds since 1970."""

    kind: str
    step: int
    least: int
    """Samples without which a silence begins to count."""
    entities: dict[str, Ints]
    """Ascending times of each entity."""
    values: dict[str, Floats]
    """[time, metric] of each entity."""
    slots: Ints
    """Ascending times at which any entity was heard, floored to the step."""

    @property
    def newest(self) -> int:
        return int(self.slots[-1])

    def slots_within(self, after: float, until: float) -> int:
        """Count the slots with any sample in ``(after, until]``."""
        first, last = np.searchsorted(self.slots, [after, until], side="right")
        return int(last - first)


def find_silences(
    scorer: Scorer,
    telemetry: pa.Table,
    silent_steps: Mapping[str, int],
    start: datetime | None = None,
    until: datetime | None = None,
    unread: Collection[str] = (),
) -> Silences:
    """Find what is silent or frozen in ``telemetry`` (TELEMETRY, raw units) from ``start`` on.

    Args:
        scorer: The release.
        telemetry: Samples, with some history before ``start``.
        silent_steps: Samples that must be missing or equal, by kind; ``*`` for the others, 0 turns a kind off.
        start: Rows before this aware time are history only.
        until: End of the telemetry, if the table holds all there is up to then: a kind of the release may then be
            silent as a whole.
        unread: Kinds whose telemetry exists and is not in the table.
    """
    result = Silences()
    since = None if start is None else int(start.timestamp())
    result.known = _known(scorer)
    kinds: list[_Heard] = []
    watched = {}
    for kind in scorer.kinds:
        watched[kind] = silent_steps.get(kind, silent_steps.get(ANY, SILENT_STEPS))
        if not watched[kind]:
            result.off.add(kind)
    present = {kind: rows for kind, rows in kinds_of(telemetry) if kind in watched and rows.num_rows}
    for kind, least in watched.items():
        one = scorer.kind(kind)
        if one is not None and least and kind in present and kind not in unread:
            found = _heard(one, present[kind], least)
            if found is not None:
                kinds.append(found)
    newest = max((heard.newest for heard in kinds), default=None)
    if until is not None:
        newest = int(until.timestamp())
        for kind in sorted(set(watched) - set(present) - set(unread) - result.off):
            if start is not None:
                result.found.append(Silence(kind, ANY, "silent", start, until, True))
    for heard in kinds:
        assert newest is not None
        _look(scorer, heard, since, newest - (heard.step if until is not None else 0), result)
    result.found.sort(key=lambda one: (one.kind, one.entity_id, one.start))
    return result


def _known(scorer: Scorer) -> set[Key]:
    """Return the entities that had telemetry of their own when the release was built."""
    rows = scorer.aligner.read(("kind", "entity_id", "state")).to_pydict()
    own = zip(rows["kind"], rows["entity_id"], rows["state"], strict=True)
    known = {(k, e) for k, e, state in own if e != DEFAULT_ENTITY and state not in ("default", "quarantined")}
    return known | {(kind, ANY) for kind in scorer.kinds}


def _heard(scorer: KindScorer, rows: pa.Table, least: int) -> _Heard | None:
    """Read the samples of one kind; None if they are too few to tell what is usual."""
    table = measured(rows, scorer.metrics)
    columns = [table[name].to_numpy(zero_copy_only=False) for name in scorer.metrics if name in table.schema.names]
    if not columns:
        return None
    seconds = table["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64)
    present = np.zeros(table.num_rows, bool)
    for column in columns:
        present |= is_measured(column)
    slots = np.unique(seconds[present] // scorer.step_seconds) * scorer.step_seconds
    # One row of a clock that runs ahead must not make all others look silent.
    before = np.searchsorted(slots, slots - least * scorer.step_seconds, side="right")
    credible = np.flatnonzero(2 * (np.arange(len(slots)) + 1 - before) >= least)
    if not len(credible):
        return None
    slots = slots[: credible[-1] + 1]
    used = present & (seconds < slots[-1] + scorer.step_seconds)
    entities, values = {}, {}
    for begin, end in by_entity(table["entity_id"]):
        mine = begin + np.flatnonzero(used[begin:end])
        if len(mine):
            entity_id = table["entity_id"][begin].as_py()
            entities[entity_id] = seconds[mine]
            values[entity_id] = np.column_stack([column[mine] for column in columns])
    return _Heard(scorer.kind, scorer.step_seconds, least, entities, values, slots)


def _look(scorer: Scorer, heard: _Heard, since: int | None, newest: int, result: Silences) -> None:
    """Add what is silent or frozen of one kind; ``newest`` is the newest sample of any kind."""
    kind, step, least = heard.kind, heard.step, heard.least
    result.heard[kind, ANY] = _time(heard.newest)
    gaps: list[tuple[str, Reason, int, int, bool]] = []
    for begin, end in _gaps(heard.slots, (least + 0.5) * step):
        gaps.append((ANY, "silent", begin + step, end, False))
    if newest - heard.newest >= (least - 0.5) * step:
        gaps.append((ANY, "silent", heard.newest + step, newest + step, True))
    for entity_id, times in heard.entities.items():
        result.heard[kind, entity_id] = _time(times[-1])
        usual = max(step, float(np.median(np.diff(times)))) if len(times) > 1 else step
        for begin, end in _gaps(times, (least + 0.5) * usual):
            if _is_event(heard, entity_id, begin, end, usual, (kind, entity_id) in result.known):
                gaps.append((entity_id, "silent", begin + step, end, False))
        last = int(times[-1])
        gone = heard.newest - last >= (least - 0.5) * usual
        if gone and _is_event(heard, entity_id, last, heard.newest, usual, (kind, entity_id) in result.known):
            gaps.append((entity_id, "silent", last + step, heard.newest + step, True))
        changed = _changes(heard.values[entity_id])
        if len(at := np.flatnonzero(changed)):
            result.changed[kind, entity_id] = _time(times[at[-1] + 1])
        for begin, stop in _frozen(changed, heard.values[entity_id], least):
            lasts = stop == len(times) - 1 and not gone
            gaps.append((entity_id, "frozen", int(times[begin]), int(times[stop]) + step, lasts))
    gaps += [(entity_id, "silent", *absent, True) for entity_id, absent in _never_heard(heard, since, result.known)]
    of = scorer.kind(kind)
    assert of is not None
    kept = []
    for entity_id, reason, begin, end, lasts in gaps:
        if since is not None and end <= since:
            continue
        grid = np.arange(begin, end, step).astype("datetime64[s]")
        if np.sum(~of.maintenance(entity_id, grid)) < least:
            result.excused.add((kind, entity_id))
            continue
        kept.append(Silence(kind, entity_id, reason, _time(begin), _time(end), lasts))
    over = {s.entity_id: s.start for s in kept if s.lasts and s.reason == "silent" and s.entity_id in heard.entities}
    if 2 * len(over) > len(heard.entities) and len(set(over.values())) >= ENDS_OF_SHORT_LIVED:
        result.ended[kind] = len(over)
        kept = [s for s in kept if s.entity_id not in over or not s.lasts]
    result.found += kept


def _gaps(times: Ints, least: float) -> Iterator[tuple[int, int]]:
    """Yield the times around each gap of at least ``least`` seconds."""
    for index in np.flatnonzero(np.diff(times) >= least):
        yield int(times[index]), int(times[index + 1])


def _is_event(heard: _Heard, entity_id: str, begin: int, end: int, usual: float, known: bool) -> bool:
    """Tell whether others were heard between ``begin`` and ``end``, and the entity usually is."""
    if 2 * heard.slots_within(begin, end - 1 if end < heard.newest else end) < heard.least:
        return False
    times = heard.entities[entity_id]
    for lag in USUAL_LAGS_SECONDS:
        after, until = begin - lag, begin - lag + heard.least * usual
        first, last = np.searchsorted(times, [after, until], side="right")
        others = 2 * heard.slots_within(after, until) >= heard.least
        if others and 2 * (last - first) * usual < heard.least * usual and (first > 0 or known):
            return False
    return True


def _never_heard(heard: _Heard, since: int | None, known: Collection[Key]) -> list[tuple[str, tuple[int, int]]]:
    """List the entities of the release without any sample.

    None if the telemetry is of a few entities only.
    """
    of_kind = {entity_id for kind, entity_id in known if kind == heard.kind and entity_id != ANY}
    absent = sorted(of_kind - heard.entities.keys())
    begin = int(heard.slots[0]) if since is None else max(since, int(heard.slots[0]))
    if 2 * len(absent) > len(of_kind) or heard.newest - begin < (heard.least - 0.5) * heard.step:
        return []
    return [(entity_id, (begin, heard.newest + heard.step)) for entity_id in absent]


def _changes(values: Floats) -> Bools:
    """Tell whether any metric differs from the sample before, bool [time - 1]."""
    with np.errstate(invalid="ignore"):
        same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    changed: Bools = ~same.all(axis=1)
    return changed


def _frozen(changed: Bools, values: Floats, least: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last index of each run of equal samples.

    Only runs that the entity never had otherwise count.
    """
    if changed.sum() < 2 * least:
        return
    edges = np.concatenate(([-1], np.flatnonzero(changed), [len(changed)]))
    lengths = np.diff(edges) - 1
    long = np.flatnonzero(lengths >= least)
    if not 0 < len(long) <= LONG_RUNS or 2 * np.delete(lengths, long).max(initial=0) >= least:
        return
    varies = np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in values.T])
    for run in long:
        begin, stop = int(edges[run]) + 1, int(edges[run + 1])
        held = values[begin, varies]
        if np.any(np.isfinite(held) & (held != 0)):
            yield begin, stop


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
