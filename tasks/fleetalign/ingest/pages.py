"""Pages of a scores table, each with an id that a person can read and hand back.

The id of a page is ``KIND/ENTITY/START``: the start is the first alarm's time, so the id needs no register.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import SCORES, from_parquet
from fleetalign.errors import BadInput, UsageError
from fleetalign.evaluate.events import pages as runs_of_alarms
from fleetalign.interval import format_time


@dataclass(frozen=True, slots=True)
class Page:
    """One page of one entity, ``[start, end)``; the last alarm's step belongs to it."""

    kind: str
    entity_id: str
    start: datetime
    end: datetime

    @property
    def page_id(self) -> str:
        return f"{self.kind}/{self.entity_id}/{format_time(self.start)}"


def read_pages(path: str, merge_steps: int) -> list[Page]:
    """The pages of a Parquet file that ``fleetalign score`` wrote. Raises UsageError, BadInput naming the file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: not readable ({error.strerror}); name a table that `fleetalign score` wrote"
        ) from None
    return pages_of(SCORES.conform(from_parquet(data, path)), merge_steps, path)


def pages_of(scores: pa.Table, merge_steps: int, where: str) -> list[Page]:
    """The pages of ``scores`` (SCORES contract) by kind, entity and time; runs closer than ``merge_steps`` are one."""
    found = []
    alarmed = scores.filter(scores["alarm"])
    for kind in sorted(pc.unique(alarmed["kind"]).to_pylist()):
        mine = scores.filter(pc.equal(scores["kind"], kind))
        step = _step_micros(mine, f"{where}: kind {kind}")
        speaking = pc.unique(alarmed.filter(pc.equal(alarmed["kind"], kind))["entity_id"])
        for entity in speaking.to_pylist():
            rows = mine.filter(pc.equal(mine["entity_id"], entity))
            times = rows["timestamp"].cast(pa.int64()).to_numpy()
            alarms = np.zeros((times[-1] - times[0]) // step + 1, dtype=bool)
            alarms[(times - times[0]) // step] = rows["alarm"].to_numpy()
            for begin, stop in runs_of_alarms(alarms, merge_steps):
                found.append(Page(kind, entity, _instant(times[0] + begin * step), _instant(times[0] + stop * step)))
    return found


def find_page(pages: list[Page], page_id: str, where: str) -> Page:
    """The page with that id. Raises BadInput naming the pages of the same entity."""
    for page in pages:
        if page.page_id == page_id:
            return page
    prefix = page_id.rpartition("/")[0] + "/"
    near = [p.page_id for p in pages if p.page_id.startswith(prefix)]
    raise BadInput(
        f"{where}: no page {page_id!r}; "
        + (
            f"that entity has {', '.join(near[:5])}"
            if near
            else f"`feedback pages --scores {where}` lists all {len(pages)}"
        )
    )


def _step_micros(scores: pa.Table, where: str) -> int:
    """The sampling step: the smallest distance of two rows of one entity."""
    times = scores["timestamp"].cast(pa.int64()).to_numpy()
    entities = scores["entity_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    gaps = np.diff(times)[np.diff(entities) == 0]
    gaps = gaps[gaps > 0]
    if len(gaps) == 0:
        raise BadInput(f"{where}: no entity has two samples, so a page has no length; score a longer range")
    return int(gaps.min())


def _instant(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros))
