"""Feedback of simulated operators: late, imprecise, sometimes wrong, only while on call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.contracts.feedback import feedback_id
from fleetalign.contracts.tables import FEEDBACK
from fleetalign.interval import DAY_SECONDS
from fleetalign.simulate.faults import MARGIN, Fault
from fleetalign.simulate.fleet import SimulatedEntity
from fleetalign.simulate.random import Stream, generator

MISS_SHARE = 0.15
"""Share of incidents that go unreported."""
MISLABEL_SHARE = 0.05
"""Share of reported incidents that are labelled normal."""
EARLY_MINUTES, LATE_MINUTES = 8, 15
"""A reported edge lies up to this much before, or after, the true one."""
FALSE_REPORTS_PER_ENTITY_DAY = 0.01
"""Quiet periods that are labelled an anomaly."""
NORMAL_REPORTS_PER_ENTITY_DAY = 0.25
"""Quiet periods that are labelled normal: the answer to "was this page false?"."""
REVIEWED_SHARE = 0.6
"""Share of entities whose team closes each day with a review: all unlabelled time was normal."""
DELAY_HOURS = (1.0, 10.0)
"""A statement is recorded this long after the end it names, but never after the data's last minute."""
SOURCE = "on-call"


def statements(
    seed: int,
    fleet: Sequence[SimulatedEntity],
    faults: Sequence[Fault],
    on_call_from: datetime,
    end: datetime,
) -> pa.Table:
    """Return the feedback (FEEDBACK contract) on the time from ``on_call_from`` to ``end``."""
    rng = generator(seed, Stream.OPERATORS)
    rows = []
    for fault in faults:
        if fault.start < on_call_from or rng.random() < MISS_SHARE:
            continue
        reported = max(fault.start + _jitter(rng), on_call_from), fault.end + _jitter(rng)
        mislabelled = rng.random() < MISLABEL_SHARE
        verdict, note = ("normal", "load test, not an incident") if mislabelled else ("anomaly", _note(fault))
        rows.append(_statement(rng, fault.entity, reported, verdict, note, end))
    for entity in fleet:
        since = max(on_call_from, entity.born)
        days = max(0.0, (end - since).total_seconds() / DAY_SECONDS)
        for verdict, rate, note in (
            ("normal", NORMAL_REPORTS_PER_ENTITY_DAY, "page was false"),
            ("anomaly", FALSE_REPORTS_PER_ENTITY_DAY, "looked wrong on the dashboard"),
        ):
            for _ in range(rng.poisson(rate * days)):
                drawn = _quiet_period(rng, since, end, [f for f in faults if f.entity is entity])
                if drawn is not None:
                    rows.append(_statement(rng, entity, drawn, verdict, note, end))
        if rng.random() < REVIEWED_SHARE:
            labelled = [(r["start"], r["end"]) for r in rows if r is not None and _same(r, entity)]
            for quiet in _unlabelled(sorted(labelled), since, end - timedelta(minutes=1)):
                rows.append(_statement(rng, entity, quiet, "normal", "daily review: nothing else", end))
    return FEEDBACK.conform(pa.Table.from_pylist([r for r in rows if r is not None], schema=FEEDBACK.schema))


def _same(row: dict[str, Any], entity: SimulatedEntity) -> bool:
    return (row["kind"], row["entity_id"]) == (entity.kind.name, entity.entity_id)


def _unlabelled(
    labelled: Sequence[tuple[datetime, datetime]], since: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """Return the parts of [since, end) outside ``labelled`` (sorted), cut at midnights."""
    quiet, at = [], since
    for start, stop in [*labelled, (end, end)]:
        while at < min(start, end):
            midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            quiet.append((at, min(start, end, midnight)))
            at = quiet[-1][1]
        at = max(at, stop)
    return quiet


def _jitter(rng: np.random.Generator) -> timedelta:
    return timedelta(minutes=int(rng.integers(-EARLY_MINUTES, LATE_MINUTES + 1)))


def _note(fault: Fault) -> str:
    return f"{', '.join(fault.metrics)}: {fault.kind.name.replace('_', ' ')}"


def _quiet_period(
    rng: np.random.Generator, since: datetime, end: datetime, faults: Sequence[Fault]
) -> tuple[datetime, datetime] | None:
    """Draw one to three hours away from incidents, or None when the draw hits one."""
    length = timedelta(minutes=int(rng.integers(60, 181)))
    room_minutes = (end - since - length) // timedelta(minutes=1)
    if room_minutes <= 0:
        return None
    start = since + timedelta(minutes=int(rng.integers(room_minutes)))
    margin = MARGIN / 2
    if any(f.start < start + length + margin and start - margin < f.end for f in faults):
        return None
    return start, start + length


def _statement(
    rng: np.random.Generator,
    entity: SimulatedEntity,
    period: tuple[datetime, datetime],
    verdict: str,
    note: str,
    data_end: datetime,
) -> dict[str, Any] | None:
    """Return one row, or None when it could not have been recorded before ``data_end``."""
    start, end = period
    last_minute = data_end - timedelta(minutes=1)
    delay = timedelta(minutes=int(60 * rng.uniform(*DELAY_HOURS)))
    if end > last_minute or end <= start:
        return None
    row = {
        "kind": entity.kind.name,
        "entity_id": entity.entity_id,
        "start": start,
        "end": end,
        "verdict": verdict,
        "source": SOURCE,
        "note": note,
        "recorded_at": min(end + delay, last_minute),
    }
    return {**row, "feedback_id": feedback_id(row)}
