"""Pages of scored telemetry: maximal runs of alarms of one entity (contracts 6.1).

Two runs with fewer than ``merge_steps`` samples between them are one page; a missing sample counts as quiet there. The
samples are the entity's own: where it has one in five slots, a distance is counted in fives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.slots import samples_apart
from fleetalign.contracts.tables import CONTRIBUTIONS
from fleetalign.interval import format_time

TOP_METRICS = 3
"""How many metrics a page names; grouping compares these too."""


@dataclass(frozen=True, slots=True)
class Page:
    """One run of alarms of one entity."""

    kind: str
    entity_id: str
    start: datetime
    """Time of the first alarm, UTC."""
    end: datetime
    """End of the last alarm's sample, UTC, exclusive."""
    margin: float
    """Largest margin of the page."""
    metrics: tuple[tuple[str, float], ...]
    """The metrics with the largest shares (0 to 1) of the score at the largest margin, largest first."""

    @property
    def page_id(self) -> str:
        """``KIND/ENTITY/START``: the start is the first alarm's time, so the id needs no register."""
        return f"{self.kind}/{self.entity_id}/{format_time(self.start)}"


def find_pages(scores: pa.Table, step_seconds: Mapping[str, int], merge_steps: int) -> list[Page]:
    """Find the pages of ``scores`` (SCORES), sorted by kind, entity and start.

    Without CONTRIBUTIONS among the columns the pages name no metrics.

    Args:
        scores: Scores of any number of entities.
        step_seconds: Seconds between samples, by kind.
        merge_steps: Runs with fewer samples between them are one page.
    """
    alarms = scores.filter(scores["alarm"]).to_pylist()
    own = own_seconds(scores, step_seconds)
    samples = (
        Page(
            row["kind"],
            row["entity_id"],
            row["timestamp"],
            row["timestamp"] + timedelta(seconds=step_seconds[row["kind"]]),
            row["margin"],
            _largest(row.get(CONTRIBUTIONS.name, [])),
        )
        for row in alarms
    )
    return merge_pages(samples, step_seconds, merge_steps, own)


def own_seconds(scores: pa.Table, step_seconds: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Return the sampling interval of each entity with a longer one than its kind.

    Keys are (kind, entity_id), of entities with alarms. The interval is what usually lies between two scores of the
    entity; of fewer than three it is not known.
    """
    found = {}
    alarming = scores.filter(scores["alarm"]).select(["kind", "entity_id"]).group_by(["kind", "entity_id"])
    if not len(alarms := alarming.aggregate([])):
        return {}
    scored = scores.filter(pc.is_valid(scores["score"])).select(["kind", "entity_id", "timestamp"])
    mine = scored.join(alarms, ["kind", "entity_id"], join_type="left semi").sort_by(
        [("kind", "ascending"), ("entity_id", "ascending"), ("timestamp", "ascending")]
    )
    grouped = mine.group_by(["kind", "entity_id"], use_threads=False).aggregate([("timestamp", "list")])
    for kind, entity_id, times in zip(*(grouped[name] for name in grouped.schema.names), strict=True):
        step = step_seconds.get(kind.as_py(), 0)
        if step:
            seconds = times.values.cast(pa.int64()).to_numpy() // (step * 1_000_000)
            apart = samples_apart(seconds)
            if apart > 1:
                found[kind.as_py(), entity_id.as_py()] = apart * step
    return found


def merge_pages(
    pages: Iterable[Page],
    step_seconds: Mapping[str, int],
    merge_steps: int,
    own: Mapping[tuple[str, str], int] | None = None,
) -> list[Page]:
    """Merge the pages of an entity that are closer than ``merge_steps``.

    The result is sorted by kind, entity and start. ``own`` is what ``own_seconds`` found.

    Merging is idempotent: a repeated run finds the same pages again.
    """
    merged: list[Page] = []
    for page in sorted(pages, key=lambda p: (p.kind, p.entity_id, p.start, p.end)):
        last = merged[-1] if merged else None
        if last and (last.kind, last.entity_id) == (page.kind, page.entity_id):
            # A kind that a newer release no longer knows has no step, and no new samples either.
            step = (own or {}).get((page.kind, page.entity_id), step_seconds.get(page.kind, 0))
            near = timedelta(seconds=step * merge_steps)
            if page.start <= last.end or page.start - last.end < near:
                worst = page if page.margin > last.margin else last
                merged[-1] = replace(worst, start=last.start, end=max(last.end, page.end))
                continue
        merged.append(page)
    return merged


def _largest(shares: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(shares, key=lambda item: (-item[1], item[0]))[:TOP_METRICS])
