"""Explains a page of an entity: its largest margin, its metrics, and similar earlier pages.

Shapes: t samples, M metrics, n pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, NORMAL, Statements
from fleetalign.errors import BadInput, NotFound
from fleetalign.evaluate.measures import pages
from fleetalign.interval import Interval, format_time
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.lake import Partition, list_partitions
from fleetalign.storage.panel import as_datetime64, read_panel
from fleetalign.storage.store import Store

LOOKBACK_DAYS = 14
AHEAD_HOURS = 24
"""How much telemetry after the instant is read, because the page may continue."""
MOST_METRICS, MOST_ALIKE = 5, 3
LEAST_LIKENESS = 0.7
BATCH = 1024
Line = tuple[str, str]
"""A line of an explanation: a short label and the text."""


@dataclass(frozen=True, slots=True)
class ExplainedPage:
    """One page and its causes."""

    start: datetime
    end: datetime
    peak: datetime
    """Time of the sample with the largest margin."""
    margin: float
    """The largest margin."""
    share: np.ndarray
    """float64 [M]: mean share of the score over the page's samples."""
    values: np.ndarray
    """float64 [2, M]: every metric at ``peak``, and its usual level."""
    verdict: str
    """The operators' verdict as text; empty without one."""


@dataclass(frozen=True, slots=True)
class Pager:
    """Explains the pages that a release raises for the entities of one kind."""

    store: Store
    scorer: Scorer
    kind: str
    statements: Statements
    """Statements of operators about the kind."""
    merge_steps: int
    """Alarms closer than this are one page."""
    partitions: Sequence[Partition] | None = None
    """Telemetry to read; None: the validated partitions that the store holds now."""

    def page_at(self, entity_id: str, at: datetime) -> list[Line]:
        """Explain the page at the time ``at``, or give the entity's margin there.

        Raises:
            BadInput: There is no telemetry of the entity at that time.
        """
        span = Interval(at - timedelta(days=LOOKBACK_DAYS), at + timedelta(hours=AHEAD_HOURS))
        seen = self._look(entity_id, span)
        now = seen.index_of(at)
        if now is None:
            where, when = f"{self.kind}/{entity_id}: {self.store.uri}", format_time(at)
            raise BadInput(f"{where} has no validated telemetry of this entity at {when}; choose another --at")
        here = next((i for i, p in enumerate(seen.pages) if p.start <= at < p.end), None)
        if here is not None:
            return self._lines(seen.pages, here)
        margin = float(seen.margin[now])
        quiet = f"margin {margin:.4g}" if np.isfinite(margin) else "no score there"
        near = [p for p in seen.pages if abs(p.start - at) <= timedelta(hours=AHEAD_HOURS)]
        return [("at", f"{_short(at)} UTC, no page: {quiet}"), *(("within a day", f" {_span(p)}") for p in near)]

    def last_page(self, entity_id: str, end: datetime) -> list[Line]:
        """Explain the last page of the days before ``end``, if there was one."""
        pages = self._look(entity_id, Interval(end - timedelta(days=LOOKBACK_DAYS), end)).pages
        return self._lines(pages, len(pages) - 1) if pages else [("page", f"none in {LOOKBACK_DAYS} days")]

    def _lines(self, pages: Sequence[ExplainedPage], index: int) -> list[Line]:
        """Describe ``pages[index]``, the metrics that caused it, and similar earlier pages."""
        here, metrics = pages[index], self.scorer.manifest.kinds[self.kind].metrics
        lines = [
            ("page", f"{_span(here)}{here.verdict and f', {here.verdict}'}"),
            ("furthest", f"{here.margin:.4g} over its threshold at {_short(here.peak)}"),
        ]
        for m in np.argsort(-here.share, kind="stable")[:MOST_METRICS]:
            if here.share[m] > 0:
                values = f"{here.values[0, m]:.6g}, usually {here.values[1, m]:.6g}"
                lines.append((f"{here.share[m]:4.0%}", f"{metrics[m]}: {values}"))
        alike = sorted(((likeness(here.share, p.share), p) for p in pages[:index]), key=lambda x: -x[0])
        for like, page in [pair for pair in alike if pair[0] >= LEAST_LIKENESS][:MOST_ALIKE]:
            lines.append(("like it", f"{_span(page)}: {like:.0%} alike{page.verdict and f', {page.verdict}'}"))
        return lines

    def _look(self, entity_id: str, span: Interval) -> _Seen:
        by_kind = self.scorer.kind(self.kind)
        if by_kind is None:
            raise NotFound(f"release {self.scorer.release_id} has no kind {self.kind!r}")
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
        labels, _ = self.statements.in_range(entity_id, times, int(positions[0]), last + 1)
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
    """The scored samples of one entity and their pages."""

    pages: list[ExplainedPage]
    """In order of time."""
    times: np.ndarray
    """datetime64[us] [t]"""
    margin: np.ndarray
    """float32 [t]; NaN without a score."""
    step: timedelta
    """Time between samples."""

    def index_of(self, at: datetime) -> int | None:
        """Return the index of the sample that covers ``at``; None if there is none."""
        if len(self.times) == 0:
            return None
        index = int((as_datetime64(at) - self.times[0]) // np.timedelta64(self.step))
        return index if 0 <= index < len(self.times) else None


def likeness(left: np.ndarray, right: np.ndarray) -> float:
    """Compute the cosine of two vectors of shares [M].

    1 = the same metrics to the same extent, 0 = no metric in common.
    """
    size = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / size) if size > 0 else 0.0


def _verdict(labels: np.ndarray) -> str:
    if (labels == ANOMALY).any():
        return "operators: a real incident"
    return "operators: false" if (labels == NORMAL).any() else ""


def _time(instant: np.datetime64) -> datetime:
    naive: datetime = instant.astype("datetime64[us]").item()
    return naive.replace(tzinfo=UTC)


def _short(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _span(page: ExplainedPage) -> str:
    return f"{_short(page.start)} to {page.end:%m-%d %H:%M} UTC"
