"""What people said about the incidents: late, imprecise, sometimes wrong, and only while somebody was on call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.contracts.feedback import feedback_id
from fleetalign.contracts.tables import FEEDBACK
from fleetalign.simulate.faults import MARGIN, Fault
from fleetalign.simulate.fleet import SimulatedEntity
from fleetalign.simulate.random import Stream, generator

MISS_SHARE = 0.15
"""Incidents that nobody reports."""
MISLABEL_SHARE = 0.05
"""Reported incidents that are called normal."""
EARLY_MINUTES, LATE_MINUTES = 8, 15
"""A reported edge lies up to this much before, or after, the true one."""
FALSE_REPORTS_PER_ENTITY_DAY = 0.01
"""Quiet periods that are called an anomaly."""
NORMAL_REPORTS_PER_ENTITY_DAY = 0.25
"""Quiet periods that are called normal: the answer to "was this page false?"."""
REVIEWED_SHARE = 0.6
"""Entities whose team closes each day with a review: whatever nobody spoke about was normal."""
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
    """Feedback (FEEDBACK contract) on the time from ``on_call_from`` to ``end``."""
    rng = generator(seed, Stream.OPERATORS)
    rows = []
    for fault in faults:
        if fault.start < on_call_from or rng.random() < MISS_SHARE:
            continue
        reported = (max(fault.start + _jitter(rng), on_call_from), fault.end + _jitter(rng))
        mislabelled = rng.random() < MISLABEL_SHARE
        verdict, note = ("normal", "load test, not an incident") if mislabelled else ("anomaly", _note(fault))
        rows.append(_statement(rng, fault.entity, *reported, verdict, note, end))
    for entity in fleet:
        since = max(on_call_from, entity.born)
        days = max(0.0, (end - since).total_seconds() / 86_400)
        for verdict, rate, note in (
            ("normal", NORMAL_REPORTS_PER_ENTITY_DAY, "page was false"),
            ("anomaly", FALSE_REPORTS_PER_ENTITY_DAY, "looked wrong on the dashboard"),
        ):
            for _ in range(rng.poisson(rate * days)):
                quiet = _quiet_period(rng, since, end, [f for f in faults if f.entity is entity])
                if quiet is not None:
                    rows.append(_statement(rng, entity, *quiet, verdict, note, end))
        if rng.random() < REVIEWED_SHARE:
            told = [(r["start"], r["end"]) for r in rows if r is not None and _same(r, entity)]
            for start, stop in _silence(sorted(told), since, end - timedelta(minutes=1)):
                rows.append(_statement(rng, entity, start, stop, "normal", "daily review: nothing else", end))
    return FEEDBACK.conform(pa.Table.from_pylist([r for r in rows if r is not None], schema=FEEDBACK.schema))


def _same(row: dict[str, Any], entity: SimulatedEntity) -> bool:
    return row["kind"] == entity.kind.name and row["entity_id"] == entity.entity_id


def _silence(
    told: Sequence[tuple[datetime, datetime]], since: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """The parts of [since, end) that no interval of ``told`` (sorted) covers, cut at midnights."""
    quiet, at = [], since
    for start, stop in [*told, (end, end)]:
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
    """A period of one to three hours well away from the entity's incidents, or None when the draw hits one."""
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
    start: datetime,
    end: datetime,
    verdict: str,
    note: str,
    data_end: datetime,
) -> dict[str, Any] | None:
    """One row, or None when nobody could have recorded it before ``data_end``."""
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
