"""Counts the pages that a release would have sent over stored telemetry.

The promotion gate on pages counts with the same code. Shapes: t samples, n pages.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetalign.align.sweep import Pages, alarm_levels
from fleetalign.config import Config
from fleetalign.contracts.attributes import Attributes, parse_attribute
from fleetalign.contracts.slots import samples_apart
from fleetalign.errors import UsageError
from fleetalign.evaluate.events import touches
from fleetalign.evaluate.measures import pages
from fleetalign.explain.plots import backtest_plot
from fleetalign.interval import Interval, format_time
from fleetalign.release.listing import newest_release
from fleetalign.release.replay import Trace, stored_traces
from fleetalign.scoring.fit import stored_doubts
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.attributes import read_attributes
from fleetalign.storage.store import Store

_log = logging.getLogger(__name__)

DAY_SECONDS = 86_400
MOST_PLOTTED = 12
"""Entities whose change the picture shows."""
RAISES = 64
"""Heights tried between an entity's threshold and its highest score, to keep a budget."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Pages of one side of a comparison."""

    name: str
    pages: Mapping[tuple[str, str], npt.NDArray[np.datetime64]]
    """Half-open intervals [n, 2] of every scored entity, by (kind, entity_id)."""
    entity_days: float
    """Scored time."""

    @property
    def count(self) -> int:
        """Number of pages."""
        return sum(map(len, self.pages.values()))

    @property
    def per_entity_day(self) -> float | None:
        """Pages of any kind per scored entity-day; None when nothing was scored."""
        return self.count / self.entity_days if self.entity_days else None

    def by_entity(self) -> Counter[tuple[str, str]]:
        """Count the pages of every entity that had any."""
        return Counter({key: len(mine) for key, mine in self.pages.items() if len(mine)})

    def by_hour(self) -> np.ndarray:
        """Count the pages that began in each hour of the day (UTC): int64 [24]."""
        return np.bincount([start.hour for start in self._starts()], minlength=24)

    def by_day(self) -> dict[str, int]:
        """Count the pages that began on each day (UTC) that had any, by ISO date."""
        return dict(sorted(Counter(start.date().isoformat() for start in self._starts()).items()))

    def _starts(self) -> list[Any]:
        return [start.astype("datetime64[us]").item() for mine in self.pages.values() for start in mine[:, 0]]


def sent(name: str, traces: Iterable[Trace], merge_steps: int, budget: float | None = None) -> Sent:
    """Count the pages of ``traces``; alarms closer than ``merge_steps`` are one (contracts 6.1).

    With ``budget`` (pages per entity-day) the threshold of an entity that would send more is raised to the least height
    that keeps the budget. That height is chosen with hindsight; a live threshold cannot do as well.
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    seconds = 0.0
    for trace in traces:
        width = np.timedelta64(trace.step_seconds, "s")
        mine = float(np.isfinite(trace.margin).sum()) * trace.step_seconds
        apart = merge_steps * samples_apart(np.flatnonzero(np.isfinite(trace.margin)))
        raised = 0.0 if budget is None else raise_for(trace.margin, budget * mine / DAY_SECONDS, apart)
        spans = pages(trace.margin > raised, apart)
        found[trace.kind, trace.entity_id] = trace.times[0] + spans * width
        seconds += mine
    return Sent(name, found, seconds / DAY_SECONDS)


def raise_for(margin: np.ndarray, allowed: float, merge_steps: int) -> float:
    """Find the least height above 0 at which ``margin`` [t] sends at most ``allowed`` pages.

    Heights come from a grid of ``RAISES`` quantiles.
    """
    above = margin[margin > 0]
    if len(pages(margin > 0, merge_steps)) <= allowed:
        return 0.0
    heights = np.unique(np.quantile(above, np.linspace(0, 1, RAISES)).astype(np.float32))[::-1]
    counted = Pages(alarm_levels(margin, heights), len(heights), merge_steps).counts
    # Nested alarms split and join, so counts are not monotone: everything above the height must keep the budget too.
    keeps = np.logical_and.accumulate(counted <= allowed)
    return float(heights[np.flatnonzero(keeps).max()]) if keeps[0] else float(above.max())


def overlap(left: Sent, right: Sent) -> tuple[int, int, int]:
    """Count the pages of both sides, of ``left`` only and of ``right`` only.

    A page is of both when they overlap for the same entity.
    """
    both = only_right = 0
    none = np.empty((0, 2), dtype="datetime64[us]")
    for key in {*left.pages, *right.pages}:
        a, b = left.pages.get(key, none), right.pages.get(key, none)
        both += int(touches(a, b).sum())
        only_right += int((~touches(b, a)).sum())
    return both, left.count - both, only_right


def document(left: Sent, right: Sent, span: Interval) -> dict[str, Any]:
    """Return both sides as JSON values."""
    both, only_left, only_right = overlap(left, right)
    return {
        "start": format_time(span.start),
        "end": format_time(span.end),
        "sides": [
            {
                "name": side.name,
                "pages": side.count,
                "entity_days": side.entity_days,
                "pages_per_entity_day": side.per_entity_day,
                "entities": len(side.pages),
                "entities_paged": len(side.by_entity()),
                "by_hour": side.by_hour().tolist(),
                "by_day": side.by_day(),
                "by_entity": {f"{kind}/{entity}": n for (kind, entity), n in sorted(side.by_entity().items())},
            }
            for side in (left, right)
        ],
        "pages_of_both": both,
        "pages_of_first_only": only_left,
        "pages_of_second_only": only_right,
    }


def text(found: Mapping[str, Any], most: int = 10) -> str:
    """Write ``document`` for a terminal: two sides, then the entities that differ most."""
    first, second = found["sides"]
    lines = [
        f"{found['start']} to {found['end']}",
        f"{'':<28}{'pages':>8}{'per entity-day':>16}{'entities paged':>16}  busiest hour",
    ]
    for side in (first, second):
        rate = "-" if side["pages_per_entity_day"] is None else f"{side['pages_per_entity_day']:.3f}"
        hour = int(np.argmax(side["by_hour"]))
        busiest = f"{hour:02}:00 UTC ({side['by_hour'][hour]})" if side["pages"] else "-"
        paged = f"{side['entities_paged']} of {side['entities']}"
        lines.append(f"{side['name']:<28}{side['pages']:>8}{rate:>16}{paged:>16}  {busiest}")
    lines.append(
        f"sent by both {found['pages_of_both']}, by the first alone {found['pages_of_first_only']}, "
        f"by the second alone {found['pages_of_second_only']}"
    )
    for group in found.get("groups", ()):
        value = "without it" if group["value"] is None else f"{group['key']}={group['value']}"
        lines.append(f"  {value}: {' -> '.join(map(str, group['pages']))} pages of {group['entities']} entities")
    moved = changes(found)[:most]
    if moved:
        lines.append("most moved:")
        lines += [f"  {name}: {a} -> {b}" for name, a, b in moved]
    return "\n".join(lines)


def changes(found: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """List the entities whose pages differ, most first: (kind/entity_id, first, second)."""
    first, second = (side["by_entity"] for side in found["sides"])
    moved = [(name, first.get(name, 0), second.get(name, 0)) for name in {*first, *second}]
    return sorted((m for m in moved if m[1] != m[2]), key=lambda m: (-abs(m[2] - m[1]), m[0]))


def backtest(
    store: Store,
    config: Config,
    span: Interval,
    *,
    channel: str,
    release_id: str | None = None,
    against: str | None = None,
    budget: float | None = None,
    where: str | None = None,
    group_by: str | None = None,
) -> dict[str, Any]:
    """Compare the pages of two releases over ``span``; returns ``document`` and ``notes``.

    ``where`` (``KEY=VALUE``) keeps the entities with an attribute; ``group_by`` adds ``groups``, the pages of each value of
    an attribute.

    The notes say what of the telemetry does not fit the releases; they are logged as warnings.

    The release is ``release_id``, else the one that ``channel`` points to. The other side is the release ``against``;
    by default the same release held to ``budget`` (pages per entity and day), or without a budget the newest release.

    Raises:
        UsageError: ``budget`` is negative, or the newest release is the first one itself.
        BadInput: no validated telemetry lies in ``span``.
    """
    if budget is not None and not budget >= 0:
        raise UsageError(f"backtest: --budget is {budget:g}; give pages per entity and day, 0 or more")
    first = Scorer.open(store, channel, release_id)
    attributes = read_attributes(store, first.kinds, until=span.end) if where or group_by else None
    chosen = None if attributes is None or where is None else _with_attribute(store, attributes, where, span)
    if attributes is not None and group_by and group_by not in attributes.keys:
        raise UsageError(f"no entity has an attribute {group_by!r}; there is {', '.join(attributes.keys) or 'none'}")
    other = against or (first.release_id if budget is not None else _newest_release(store, first.release_id))
    if budget is None and other == first.release_id:
        _log.warning("both sides are release %s; name another one with --against, or give a --budget", other)
    sides, notes = [], dict[str, None]()
    for scorer, limit in ((first, None), (Scorer.open(store, release=other), budget)):
        name = scorer.release_id if limit is None else f"{scorer.release_id}, at most {limit:g}"
        notes |= {f"release {scorer.release_id}: {doubt}": None for doubt in stored_doubts(store, scorer, span)}
        traces = stored_traces(store, scorer, span, config, chosen)
        sides.append(sent(name, traces, config.align.merge_steps, limit))
    for note in notes:
        _log.warning("%s", note)
    left, right = sides
    grouped = groups(left, right, attributes, group_by, span) if attributes is not None and group_by else []
    return {**document(left, right, span), "groups": grouped, "notes": list(notes)}


def groups(left: Sent, right: Sent, attributes: Attributes, key: str, span: Interval) -> list[dict[str, Any]]:
    """Count the pages of both sides by the value of an attribute.

    It is the value of ``key`` at the end of ``span``; None: entities without one.
    """
    entities, pages_of = Counter[str | None](), (Counter[str | None](), Counter[str | None]())
    for one in {*left.pages, *right.pages}:
        value = attributes.of(*one, span.end).get(key)
        entities[value] += 1
        for side, counted in zip((left, right), pages_of, strict=True):
            counted[value] += len(side.pages.get(one, ()))
    first, second = pages_of
    return [
        {"key": key, "value": value, "entities": entities[value], "pages": [first[value], second[value]]}
        for value in sorted(entities, key=lambda value: (value is None, -first[value] - second[value], value or ""))
    ]


def _with_attribute(store: Store, attributes: Attributes, where: str, span: Interval) -> set[tuple[str, str]]:
    attribute = parse_attribute(where)
    chosen = set(attributes.entities(attribute, span.end))
    if not chosen:
        known = attributes.values(attribute[0]) or attributes.keys
        raise UsageError(
            f"{store.uri}: no entity has the attribute {where}; there is {', '.join(known[:10]) or 'none'}"
        )
    return chosen


def _newest_release(store: Store, first_id: str) -> str:
    newest = newest_release(store)
    if newest == first_id:
        raise UsageError(
            f"{store.uri}: {newest} is the newest release and would be compared with itself; name another with --against, "
            "or give a --budget"
        )
    return newest


def write(found: Mapping[str, Any], folder: Path) -> Path:
    """Write ``document`` as ``backtest.json`` and ``backtest.svg``; returns the picture's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "backtest.json").write_text(json.dumps(found, indent=2) + "\n")
    picture = folder / "backtest.svg"
    picture.write_text(backtest_plot(found["sides"], changes(found)[:MOST_PLOTTED]))
    return picture
