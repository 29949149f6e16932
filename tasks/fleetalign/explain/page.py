"""One page of one entity, explained: how far over its threshold, by which metrics, and which earlier pages were like it.

Shapes: t samples, M metrics, n pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, NORMAL, Statements
from fleetalign.errors import BadInput
from fleetalign.evaluate.measures import pages
from fleetalign.interval import Interval, format_time
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.lake import Partition, list_partitions
from fleetalign.storage.panel import as_datetime64, read_panel
from fleetalign.storage.store import Store

LOOKBACK_DAYS = 14
AHEAD_HOURS = 24
"""How long after the instant the page may go on."""
MOST_METRICS, MOST_ALIKE = 5, 3
LEAST_LIKENESS = 0.7
BATCH = 1024
Line = tuple[str, str]
"""A line of an explanation: what it is about, in a word or two, and what it says."""


@dataclass(frozen=True, slots=True)
class ExplainedPage:
    """``share`` float64 [M]: mean share of the score over the page's samples; ``peak`` the sample furthest over the
    threshold, ``values`` float64 [2, M] every metric there and usually; ``said`` what operators said (empty: nothing)."""

    start: datetime
    end: datetime
    peak: datetime
    margin: float
    share: np.ndarray
    values: np.ndarray
    said: str


@dataclass(frozen=True, slots=True)
class Pager:
    """Explains pages of the entities of one kind as ``scorer`` pages them; ``said`` is what operators said."""

    store: Store
    scorer: Scorer
    kind: str
    said: Statements
    merge_steps: int
    partitions: Sequence[Partition] | None = None
    """Telemetry to look at; None: the validated partitions that the store holds now."""

    def page_at(self, entity_id: str, at: datetime) -> list[Line]:
        """The page that holds ``at``, or the margin that the entity had there.

        Raises BadInput when there is no telemetry of the entity at that time.
        """
        span = Interval(at - timedelta(days=LOOKBACK_DAYS), at + timedelta(hours=AHEAD_HOURS))
        seen = self._look(entity_id, span)
        now = seen.index_of(at)
        if now is None:
            where, when = f"{self.kind}/{entity_id}: {self.store.uri}", format_time(at)
            raise BadInput(f"{where} has no validated telemetry of it at {when}; choose another --at")
        here = next((i for i, p in enumerate(seen.pages) if p.start <= at < p.end), None)
        if here is not None:
            return self._lines(seen.pages, here)
        margin = float(seen.margin[now])
        quiet = f"margin {margin:.4g}" if np.isfinite(margin) else "no score there"
        near = [p for p in seen.pages if abs(p.start - at) <= timedelta(hours=AHEAD_HOURS)]
        return [("at", f"{_short(at)} UTC, no page: {quiet}"), *(("within a day", f" {_span(p)}") for p in near)]

    def last_page(self, entity_id: str, end: datetime) -> list[Line]:
        """The last page of the days before ``end``, or that there was none."""
        pages = self._look(entity_id, Interval(end - timedelta(days=LOOKBACK_DAYS), end)).pages
        return self._lines(pages, len(pages) - 1) if pages else [("page", f"none in {LOOKBACK_DAYS} days")]

    def _lines(self, pages: Sequence[ExplainedPage], index: int) -> list[Line]:
        """``pages[index]``, the metrics that made it, and those of ``pages`` before it that are most like it."""
        here, metrics = pages[index], self.scorer.manifest.kinds[self.kind].metrics
        lines = [
            ("page", f"{_span(here)}{here.said and f', {here.said}'}"),
            ("furthest", f"{here.margin:.4g} over its threshold at {_short(here.peak)}"),
        ]
        for m in np.argsort(-here.share, kind="stable")[:MOST_METRICS]:
            if here.share[m] > 0:
                values = f"{here.values[0, m]:.6g}, usually {here.values[1, m]:.6g}"
                lines.append((f"{here.share[m]:4.0%}", f"{metrics[m]}: {values}"))
        alike = sorted(((likeness(here.share, p.share), p) for p in pages[:index]), key=lambda x: -x[0])
        for like, page in [pair for pair in alike if pair[0] >= LEAST_LIKENESS][:MOST_ALIKE]:
            lines.append(("like it", f"{_span(page)}: {like:.0%} alike{page.said and f', {page.said}'}"))
        return lines

    def _look(self, entity_id: str, span: Interval) -> _Seen:
        by_kind = self.scorer.kind(self.kind)
        step = timedelta(seconds=by_kind.step_seconds)
        wide = Interval(span.start - by_kind.history_steps * step, span.end)
        partitions = self.partitions
        if partitions is None:
            partitions = list_partitions(self.store, "validated", self.kind, within=wide)
        panel = read_panel(
            self.store, partitions, self.kind, [entity_id], by_kind.metrics, wide, by_kind.step_seconds
        )  # fmt: skip
        times, first, last = panel.times, int(panel.first[0]), int(panel.last[0])
        begin = by_kind.settling(max(first, panel.index_of(span.start)))
        positions = np.arange(max(first, begin), last + 1)
        if len(positions) == 0:
            return _Seen([], times[:0], np.empty(0), step)
        scored = by_kind.score(entity_id, panel.values[0], times, first, positions, BATCH)
        typical = by_kind.location(entity_id)
        labels, _ = self.said.in_range(entity_id, times, int(positions[0]), last + 1)
        found = []
        for a, b in pages(scored.margin > 0, self.merge_steps):
            peak = a + int(np.nanargmax(scored.margin[a:b]))
            found.append(
                ExplainedPage(
                    _time(times[positions[a]]),
                    _time(times[positions[b - 1]]) + step,
                    _time(times[positions[peak]]),
                    float(scored.margin[peak]),
                    np.nanmean(scored.contribution[a:b].astype(np.float64), axis=0),
                    np.stack([panel.values[0, positions[peak]], typical]),
                    _verdict(labels[a:b]),
                )
            )
        return _Seen(found, times[positions], scored.margin, step)


@dataclass(frozen=True, slots=True)
class _Seen:
    """``pages`` in order; ``times`` datetime64[us] [t] and ``margin`` float32 [t] (NaN: no score) of every sample."""

    pages: list[ExplainedPage]
    times: np.ndarray
    margin: np.ndarray
    step: timedelta

    def index_of(self, at: datetime) -> int | None:
        """The sample that holds ``at``; None when there is none."""
        if len(self.times) == 0:
            return None
        index = int((as_datetime64(at) - self.times[0]) // np.timedelta64(self.step))
        return index if 0 <= index < len(self.times) else None


def likeness(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine of two vectors of shares [M]: 1 = the same metrics to the same extent, 0 = no metric in common."""
    size = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / size) if size > 0 else 0.0


def _verdict(labels: np.ndarray) -> str:
    if (labels == ANOMALY).any():
        return "operators: a real incident"
    return "operators: false" if (labels == NORMAL).any() else ""


def _time(instant: np.datetime64) -> datetime:
    return instant.astype("datetime64[us]").item().replace(tzinfo=UTC)


def _short(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _span(page: ExplainedPage) -> str:
    return f"{_short(page.start)} to {page.end:%m-%d %H:%M} UTC"
