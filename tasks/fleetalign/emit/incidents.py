"""Groups pages of one moment into incidents, so that a fault of many replicas pages once.

Pages are taken in order of start, then kind and entity. A page joins the earliest incident of its kind whose *first*
page began at most ``gap`` before and shares enough top metrics with it; otherwise it begins an incident of its own.
Comparing with the first page, not with the latest, has two effects: an incident cannot spread through the fleet for
hours, and a later page never changes the incident of an earlier one, so ids are stable while a fault unfolds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetalign.contracts.hashing import content_id
from fleetalign.contracts.mutes import ANY
from fleetalign.contracts.pages import Page
from fleetalign.interval import format_time

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Incident:
    """Pages that belong together."""

    incident_id: str
    """16 hex digits that depend only on the first page's kind, entity and start."""
    pages: tuple[Page, ...]
    """In order of start."""

    @property
    def first(self) -> Page:
        """The page that started first."""
        return self.pages[0]

    @property
    def worst(self) -> Page:
        """The page with the largest margin."""
        return max(self.pages, key=lambda page: page.margin)

    @property
    def start(self) -> datetime:
        """Start of the first page."""
        return self.first.start

    @property
    def end(self) -> datetime:
        """End of the page that ends last."""
        return max(page.end for page in self.pages)

    @property
    def members(self) -> tuple[str, ...]:
        """The entities, each once, in order of their first page."""
        return tuple(dict.fromkeys(page.entity_id for page in self.pages))


def group_pages(pages: Iterable[Page], gap: timedelta, min_overlap: float) -> list[Incident]:
    """Group ``pages``, in any order, into incidents, in order of their start.

    Args:
        pages: The pages.
        gap: How long after an incident's first page another may begin and still belong to it.
        min_overlap: Least share, 0 to 1, of common top metrics; see ``overlap``.
    """
    groups: list[list[Page]] = []
    fresh: dict[str, list[list[Page]]] = {}
    for page in sorted(pages, key=lambda p: (p.start, p.kind, p.entity_id, p.end)):
        near = [group for group in fresh.get(page.kind, ()) if page.start - group[0].start <= gap]
        joined = next((group for group in near if overlap(group[0], page) >= min_overlap), None)
        if joined is None:
            joined = []
            groups.append(joined)
            near.append(joined)
        joined.append(page)
        fresh[page.kind] = near
    return [Incident(incident_id(group[0]), tuple(group)) for group in groups]


def overlap(one: Page, other: Page) -> float:
    """Compute the common top metrics as a share of the shorter list; 0 if a page names none."""
    left, right = ({name for name, _ in page.metrics} for page in (one, other))
    return len(left & right) / min(len(left), len(right)) if left and right else 0.0


def describe(incident: Incident) -> str:
    """Describe an incident in one line: kind, entities and top metrics."""
    return f"{incident.first.kind}: {_who(incident)}: {metrics_text(incident)}"


def describe_silence(incident: Incident, reason: str) -> str:
    """Describe an incident of telemetry that is ``silent`` or ``frozen`` in one line."""
    what = "no telemetry" if reason == "silent" else "the same values of all metrics again and again"
    return f"{incident.first.kind}: {_who(incident)}: {what} since {format_time(incident.start)}"


def _who(incident: Incident) -> str:
    members = incident.members
    if ANY in members:
        return "all entities"
    return members[0] if len(members) == 1 else f"{len(members)} entities, {members[0]} first"


def metrics_text(incident: Incident) -> str:
    """List the top metrics of the worst page with their shares of the score."""
    return ", ".join(f"{name} {share:.0%}" for name, share in incident.worst.metrics)


def report_lines(incidents: Sequence[Incident]) -> Iterator[str]:
    """Yield the number of pages and incidents, then a line for each of the newest incidents."""
    yield f"{sum(len(i.pages) for i in incidents)} pages in {len(incidents)} incidents"
    for incident in incidents[-SHOWN:]:
        yield f"{incident.incident_id}  {format_time(incident.start)}  {format_time(incident.end)}  {describe(incident)}"


def incident_id(first: Page) -> str:
    """Return the id of the incident that begins with the page ``first``."""
    identity = {"kind": first.kind, "entity_id": first.entity_id, "start": format_time(first.start)}
    return content_id(identity)
