"""One page of one entity, explained: how far over its threshold, by which metrics, and which earlier pages were like it.

Shapes: t samples, M metrics, n pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, NORMAL, Statements
from fleetalign.errors import BadInput
from fleetalign.evaluate.metrics import pages
from fleetalign.interval import Interval, format_time
from fleetalign.release.scorer import Scorer
from fleetalign.storage import lake
from fleetalign.storage.panel import as_datetime64, read_panel
from fleetalign.storage.store import Store

LOOKBACK_DAYS = 14
AHEAD_HOURS = 24
"""How long after the instant the page may go on."""
MOST_METRICS, MOST_ALIKE = 5, 3
LEAST_LIKENESS = 0.7
BATCH = 1024


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


def explain_page(
    store: Store, scorer: Scorer, kind: str, entity_id: str, at: datetime, said: Statements, merge_steps: int
) -> str:
    """What ``scorer`` makes of the entity around ``at``: the page that holds it, or the margin it had.

    Raises BadInput when the store has no validated telemetry of the entity at that time.
    """
    span = Interval(at - timedelta(days=LOOKBACK_DAYS), at + timedelta(hours=AHEAD_HOURS))
    found, margin = _pages(store, scorer, kind, entity_id, span, at, said, merge_steps)
    here = next((p for p in found if p.start <= at < p.end), None)
    metrics = scorer.manifest.kinds[kind]["metrics"]
    if here is None:
        near = [p for p in found if abs(p.start - at) <= timedelta(hours=AHEAD_HOURS)]
        lines = [
            f"  at {_short(at)}  no page: " + (f"margin {margin:.4g}" if np.isfinite(margin) else "no score there")
        ]
        return "\n".join([*lines, *(f"    a page within a day: {_span(p)}" for p in near)])
    lines = [
        f"  page        {_span(here)}{here.said and f', {here.said}'}",
        f"  furthest    {here.margin:.4g} over its threshold at {_short(here.peak)}",
    ]
    for m in np.argsort(-here.share)[:MOST_METRICS]:
        if here.share[m] > 0:
            lines.append(
                f"    {here.share[m]:4.0%}  {metrics[m]}: {here.values[0, m]:.6g}, usually {here.values[1, m]:.6g}"
            )
    alike = sorted(((likeness(here.share, p.share), p) for p in found if p.end <= here.start), key=lambda x: -x[0])
    for like, page in [pair for pair in alike if pair[0] >= LEAST_LIKENESS][:MOST_ALIKE]:
        lines.append(f"  like it     {_span(page)}: {like:.0%} alike{page.said and f', {page.said}'}")
    return "\n".join(lines)


def likeness(left: np.ndarray, right: np.ndarray) -> float:
    """Cosine of two vectors of shares [M]: 1 = the same metrics to the same extent, 0 = no metric in common."""
    size = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / size) if size > 0 else 0.0


def _pages(
    store: Store,
    scorer: Scorer,
    kind: str,
    entity_id: str,
    span: Interval,
    at: datetime,
    said: Statements,
    merge_steps: int,
) -> tuple[list[ExplainedPage], float]:
    """Pages of ``span`` in order, and the margin at ``at`` (NaN: no score)."""
    by_kind = scorer.kind(kind)
    step = timedelta(seconds=by_kind.step_seconds)
    wide = Interval(span.start - by_kind.history_steps * step, span.end)
    partitions = lake.list_partitions(store, "validated", kind, within=wide)
    panel = read_panel(store, partitions, kind, [entity_id], by_kind.metrics, wide, by_kind.step_seconds)
    times, first, last = panel.times, int(panel.first[0]), int(panel.last[0])
    now = int((as_datetime64(at) - times[0]) // np.timedelta64(step))
    if not first <= now <= last:
        raise BadInput(
            f"{kind}/{entity_id}: {store.uri} has no validated telemetry of it at {format_time(at)}; choose another --at"
        )
    begin = by_kind.settling(max(first, panel.index_of(span.start)))
    positions = np.arange(max(first, begin), last + 1)
    scored = by_kind.score(entity_id, panel.values[0], times, first, positions, BATCH)
    typical = by_kind.location(entity_id)
    labels, _ = said.in_range(entity_id, times, int(positions[0]), last + 1)
    found = []
    for a, b in pages(scored.margin > 0, merge_steps):
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
    return found, float(scored.margin[now - positions[0]])


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
